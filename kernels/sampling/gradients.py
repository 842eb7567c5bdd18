"""`reference.sample_gradients`: dU, scattered to the pixels that a point reads (eq. 6), and dM or dgrid (eq. 7)."""

import numpy as np

from ..compiling.parallel import Kernel
from ..gpu.arrays.totals import ROWS
from . import bilinear, in_place, separable
from .forward import cpu
from .in_place import RUN
from .interpolation import ZEROS
from .source_points import WIDTHS, Points, back_to_points, coordinates
from .tiles import move_on, read_run, read_tile, steps, write_tile


def _backward_items(first, last, U, M, basis, grid, scale, centre, D_out, H_out, W_out, layers, kind, k, slope, radius,
                    taps_used, padding, outside, planes, lanes, run, parts, groups, images, reach, dV, wanted_U,
                    wanted_points, dU, dM, dgrid):
    """An item is a band of slices of a tile, whose dU it alone writes; or, without dU, a part of the points.

    dV (N, C, P), dU as U (N, C, S, R, W), dM (N, blocks parts, rows, K) in pixels, dgrid (blocks, N, P, columns);
    `images` as forwards, reach (N, layers, runs, 2) of `_reach_items`, or empty.
    """
    N, C, P = dV.shape
    points = Points(M, basis, grid, scale, centre, (D_out, H_out, W_out))
    reading, shape, dims = separable.Reading(kind, k, slope, radius, padding), U.shape[2:], centre.size
    volume = dims == 3
    blocks = max(1, -(-C // (planes * lanes)))
    slices = -(-shape[0] // parts) if wanted_U else shape[0]
    share = P if wanted_U else -(-P // parts)
    plane = (slices + 3) * steps(shape[1], shape[2], volume, lanes)[0]
    x, g = np.empty((WIDTHS + 3, run), U.dtype), np.empty((WIDTHS + 3 if k is not None else dims + 1, run), U.dtype)
    values = np.empty((planes, run * lanes), U.dtype)
    own = np.empty(planes * plane if wanted_points and not len(images) else 0, U.dtype)
    target = np.empty(planes * plane if wanted_U else 0, U.dtype)
    # A tile takes so many points in U's dtype; then what they have added moves on to float64.
    leg, most = max(ROWS, 2 * plane // lanes), (-(-N // groups) if len(U) < N else 1) * layers * P
    sums, walked = np.empty(target.size if most > leg else 0, np.float64), 0
    target_points = np.empty((M.shape[2], run), U.dtype)
    near = bilinear.workspace(run, U.dtype)
    tables = separable.workspace(run, taps_used, grid.shape[2] > dims, U.dtype)
    one_U, one_M = len(U) < N, max(len(M), len(grid)) < N
    for item in range(first, last):
        image, part = divmod(item, parts)
        group, block = divmod(image, blocks)
        c = block * planes * lanes
        top = part * slices if wanted_U else 0
        begin = 0 if wanted_U else part * share
        end = min(begin + share, P)
        first_n, last_n = group * N // groups, (group + 1) * N // groups
        for n in range(first_n, last_n):
            n_U, n_M = 0 if one_U else n, 0 if one_M else n
            tile = images[n_U * blocks + block] if len(images) else own
            if wanted_points and not len(images) and (n == first_n or not one_U):
                read_tile(U, n_U, c, top, slices, volume, planes, lanes, outside, tile)
            if wanted_U and (n == first_n or not one_U):
                target[:], sums[:], walked = U.dtype.type(0), 0.0, 0
            for start in range(begin, end, run):
                count = min(run, end - start)
                loaded = False
                for layer in range(layers):
                    if reach.size > 0:
                        low, high = reach[n_M, layer, start // run, 0], reach[n_M, layer, start // run, 1]
                        if high < top or low >= top + slices:
                            continue
                    if not loaded:
                        for p in range(min(planes, C - c)):
                            read_run(dV, n, c + p, start, count, lanes, values[p])
                        loaded = True
                    point = layer * P + start
                    coordinates(points, n_M, point, count, target_points, x)
                    if k is None:
                        bilinear.place(x, count, shape, top, slices, volume, lanes, padding, True, near)
                        if wanted_points:
                            bilinear.slopes(tile, values[0], near, count, shape, volume, lanes, g)
                        if wanted_U:
                            bilinear.scatter(values[0], near, count, shape, volume, lanes, target)
                    else:
                        separable.place(x, count, shape, top, slices, volume, lanes, reading, tables)
                        for p in range(min(planes, C - c)):
                            if wanted_points:
                                separable.slopes(tile, values[p], p * plane, tables, count, volume, lanes, p > 0, g)
                            if wanted_U:
                                separable.scatter(values[p], p * plane, tables, count, lanes, target)
                    walked += count
                    if sums.size > 0 and walked >= leg:
                        move_on(target, 0, 1, 0, sums.size, sums, False)
                        walked = 0
                    if not wanted_points:
                        continue
                    if k is None and padding != ZEROS:
                        bilinear.through_padding(count, volume, near, g)
                    back_to_points(points, point, count, x, g, target_points, one_M and n > first_n,
                                   dM[n, block * parts + part], dgrid[block, group if one_M else n])
            if wanted_U and (n == last_n - 1 or not one_U):
                move_on(target, 0, 1, 0, sums.size, sums, True)
                write_tile(target, group if one_U else n, c, top, slices, volume, planes, lanes, dU)


def _reach_items(first, last, U, M, basis, grid, scale, centre, D_out, H_out, W_out, P, kind, k, slope, radius,
                 taps_used, padding, run, reach):
    """The first and last slice of U (N, C, H, W) or (N, C, D, H, W) that each run of points reads.

    reach (N, layers, runs, 2) says it of runs of `run` points, of the P points of each layer.
    """
    points = Points(M, basis, grid, scale, centre, (D_out, H_out, W_out))
    reading, shape, piece = separable.Reading(kind, k, slope, radius, padding), U.shape[2:], min(run, RUN)
    layers, runs = reach.shape[1:3]
    numbers, integers, _ = in_place.workspace(scale.dtype)
    x = numbers[:(WIDTHS + 3) * RUN].reshape(-1, RUN)
    target_points = np.empty((M.shape[2], piece), scale.dtype)
    tables = separable.workspace(piece, taps_used, grid.shape[2] > centre.size, scale.dtype)
    for item in range(first, last):
        image, r = divmod(item, runs)
        n, layer = divmod(image, layers)
        low, high, end = np.int64(shape[0]), np.int64(-1), min((r + 1) * run, P)
        for start in range(r * run, end, piece):
            count = min(piece, end - start)
            coordinates(points, n, layer * P + start, count, target_points, x)
            if k is None:
                found = in_place.reach(count, shape, kind, padding, numbers, integers)
            else:
                found = separable.reach(x, count, shape, len(shape) == 3, reading, tables)
            low, high = min(low, found[0]), max(high, found[1])
        reach[n, layer, r] = low, high


backward = Kernel(_backward_items, **cpu)
reach = Kernel(_reach_items, **cpu)
