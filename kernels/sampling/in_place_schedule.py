"""The schedule of `in_place`: who samples which points of an image, and who writes what of its dU."""

import numpy as np

from ..compiling.blas import zero
from ..compiling.parallel import Kernel
from ..gpu.arrays.totals import ROWS
from . import in_place
from .forward import cpu
from .in_place import RUN, G
from .interpolation import NEAREST, ZEROS
from .source_points import Points, back_to_points, coordinates
from .tiles import move_on


def _forward_items(first, last, U, M, basis, grid, scale, centre, D_out, H_out, W_out, layers, kind, padding, outside,
                   run, parts, V):
    """An item is a part of the points of an image's output: V (N, C, P) of U (N, C, H, W) or (N, C, D, H, W)."""
    N, C, P = V.shape
    points = Points(M, basis, grid, scale, centre, (D_out, H_out, W_out))
    shape, pixels = U.shape[2:], U.size // (len(U) * C)
    source, values = U.reshape(-1), V.reshape(-1)
    numbers, integers, cells = in_place.workspace(U.dtype)
    x = numbers[:G].reshape(-1, RUN)
    target_points = np.empty((M.shape[2], RUN), U.dtype)
    share = -(-P // parts)
    for item in range(first, last):
        n, part = divmod(item, parts)
        n_U, n_M = n if len(U) == N else 0, n if max(len(M), len(grid)) == N else 0
        image, end = n_U * C * pixels, min((part + 1) * share, P)
        if parts == 1:
            numbers[0] = in_place.touched(source, image, image + C * pixels)
        for start in range(part * share, end, run):
            count = min(run, end - start)
            for c in range(C):
                zero(values, (n * C + c) * P + start, count)
            for layer in range(layers):
                coordinates(points, n_M, layer * P + start, count, target_points, x)
                in_place.place(count, shape, 0, shape[0], kind, padding, False, numbers, integers)
                for c in range(C):
                    base, at = image + c * pixels, (n * C + c) * P + start
                    if kind == NEAREST:
                        in_place.pick(source, base, count, shape, outside, numbers, integers, values, at)
                    else:
                        in_place.read(source, base, count, shape, integers, cells)
                        in_place.blend(count, shape, outside, numbers, integers, cells, values, at)


def _backward_items(first, last, U, M, basis, grid, scale, centre, D_out, H_out, W_out, layers, kind, padding, outside,
                    run, parts, groups, reach, dV, wanted_U, wanted_points, dU, dM, dgrid):
    """An item is a band of slices of U, which it alone writes; or, where dU is not wanted, a part of the points. Arrays
    are as in `gradients.py`, but U and dU (N, C, H, W) or (N, C, D, H, W)."""
    N, C, P = dV.shape
    points = Points(M, basis, grid, scale, centre, (D_out, H_out, W_out))
    shape, pixels = U.shape[2:], U.size // (len(U) * C)
    slice_step, source, target, cotangents = pixels // shape[0], U.reshape(-1), dU.reshape(-1), dV.reshape(-1)
    numbers, integers, cells = in_place.workspace(U.dtype)
    x, g = numbers[:G].reshape(-1, RUN), numbers[G:G + 4 * RUN].reshape(-1, RUN)
    target_points = np.empty((M.shape[2], RUN), U.dtype)
    one_U, one_M = len(U) < N, max(len(M), len(grid)) < N
    slices = -(-shape[0] // parts) if wanted_U else shape[0]
    share = P if wanted_U else -(-P // parts)
    # A pixel takes so many points in U's dtype; then what they have added moves on to float64.
    leg, most = max(ROWS, 2 * slices * slice_step), (-(-N // groups) if one_U else 1) * layers * P
    sums, walked = np.empty(C * slices * slice_step if wanted_U and most > leg else 0, np.float64), 0
    for item in range(first, last):
        group, part = divmod(item, parts)
        top, bottom = (shape[0] * part // parts, shape[0] * (part + 1) // parts) if wanted_U else (0, shape[0])
        begin = 0 if wanted_U else part * share
        end = min(begin + share, P)
        first_n, last_n = group * N // groups, (group + 1) * N // groups
        for n in range(first_n, last_n):
            n_U, n_M = 0 if one_U else n, 0 if one_M else n
            image, own = n_U * C * pixels, (group if one_U else n) * C * pixels
            for c in range(C):
                at = c * pixels + top * slice_step
                if wanted_points and wanted_U:
                    numbers[0] = in_place.touched(source, image + at, image + at + (bottom - top) * slice_step)
                if wanted_U and (n == first_n or not one_U):
                    zero(target, own + at, (bottom - top) * slice_step)
            if n == first_n or not one_U:
                zero(sums, 0, sums.size)
                walked = 0
            for start in range(begin, end, run):
                count = min(run, end - start)
                for layer in range(layers):
                    if reach.size > 0:
                        low, high = reach[n_M, layer, start // run, 0], reach[n_M, layer, start // run, 1]
                        if high < top or low >= bottom:
                            continue
                    point = layer * P + start
                    coordinates(points, n_M, point, count, target_points, x)
                    in_place.place(count, shape, top, bottom, kind, padding, True, numbers, integers)
                    if wanted_points:
                        zero(numbers, G, 4 * RUN)
                    for c in range(C):
                        at = (n * C + c) * P + start
                        if wanted_points:
                            in_place.read(source, image + c * pixels, count, shape, integers, cells)
                            in_place.slopes(count, shape, outside, numbers, integers, cells, cotangents, at)
                        if wanted_U and kind == NEAREST:
                            in_place.put(target, own + c * pixels, count, integers, cotangents, at)
                        elif wanted_U:
                            in_place.scatter(target, own + c * pixels, count, shape, numbers, integers, cells,
                                             cotangents, at)
                    walked += count
                    if sums.size > 0 and walked >= leg:
                        move_on(target, own + top * slice_step, C, pixels, (bottom - top) * slice_step, sums, False)
                        walked = 0
                    if not wanted_points:
                        continue
                    if padding != ZEROS:
                        in_place.through_padding(count, shape, numbers)
                    back_to_points(points, point, count, x, g, target_points, one_M and n > first_n, dM[n, part],
                                   dgrid[0, group if one_M else n])
            if sums.size > 0 and (n == last_n - 1 or not one_U):
                move_on(target, own + top * slice_step, C, pixels, (bottom - top) * slice_step, sums, True)


forward = Kernel(_forward_items, **cpu)
backward = Kernel(_backward_items, **cpu)
