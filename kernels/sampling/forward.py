"""The sampler forwards, from tiles: `reference.sample`, V = sum over m of U_m k(x - m), for runs of points (eq. 3)."""

import numpy as np

from ..compiling.linking import linked
from ..compiling.parallel import Kernel
from . import bilinear, separable
from .source_points import WIDTHS, Points, coordinates, index, summing
from .tiles import read_tile, steps, write_run

cpu = {"error_model": "numpy", "fastmath": {"contract"}}


@linked(**summing)
def _spoil(x, dims, count, lanes, values):
    """A NaN coordinate gives NaN."""
    total = values.dtype.type(0)
    for a in range(dims):
        for j in range(count):
            total += x[a, j] - x[a, j]  # 0, or NaN for infinity too: worth a closer look
    if total == 0:
        return
    for j in range(count):
        bad = False
        for a in range(dims):
            bad |= x[a, j] != x[a, j]
        if bad:
            for p in range(len(values)):
                for lane in range(lanes):
                    values[p, index(j * lanes + lane)] = np.nan


# Where neighbours stand together k is None, and then `separable` is left out when a function is compiled.


def _forward_items(first, last, U, M, basis, grid, scale, centre, D_out, H_out, W_out, layers, kind, k, slope, radius,
                   taps_used, padding, outside, planes, lanes, run, parts, images, V):
    """An item is a part of the points of a tile's output: V (N, C, P) of U (N, C, S, R, W), a block of channels.

    `images` (N blocks, entries) holds all tiles where several workers share an image; else a worker makes its own.
    The points are those of `Points`, of `layers` (D_out = 1 but in volumes) with P points each.
    """
    N, C, P = V.shape
    points = Points(M, basis, grid, scale, centre, (D_out, H_out, W_out))
    reading, shape, dims = separable.Reading(kind, k, slope, radius, padding), U.shape[2:], centre.size
    volume = dims == 3
    blocks = max(1, -(-C // (planes * lanes)))
    plane = (shape[0] + 3) * steps(shape[1], shape[2], volume, lanes)[0]
    share = -(-P // parts)
    x = np.empty((WIDTHS + 3, run), U.dtype)
    values = np.empty((planes, run * lanes), U.dtype)
    own = np.empty(0 if len(images) else planes * plane, U.dtype)
    target_points = np.empty((M.shape[2], run), U.dtype)
    near = bilinear.workspace(run, U.dtype)
    tables = separable.workspace(run, taps_used, grid.shape[2] > dims, U.dtype)
    for item in range(first, last):
        image, part = divmod(item, parts)
        n, block = divmod(image, blocks)
        n_U, n_M = n if len(U) == N else 0, n if max(len(M), len(grid)) == N else 0
        c = block * planes * lanes
        tile = images[n_U * blocks + block] if len(images) else own
        if not len(images):
            read_tile(U, n_U, c, 0, shape[0], volume, planes, lanes, outside, tile)
        end = min((part + 1) * share, P)
        for start in range(part * share, end, run):
            count = min(run, end - start)
            for p in range(planes):
                for j in range(count * lanes):
                    values[p, j] = U.dtype.type(0)
            for layer in range(layers):
                coordinates(points, n_M, layer * P + start, count, target_points, x)
                if k is None:
                    bilinear.place(x, count, shape, 0, shape[0], volume, lanes, padding, False, near)
                    bilinear.blend(tile, near, count, shape, volume, lanes, values[0])
                else:
                    separable.place(x, count, shape, 0, shape[0], volume, lanes, reading, tables)
                    for p in range(min(planes, C - c)):
                        separable.blend(tile, p * plane, tables, count, lanes, values[p])
                _spoil(x, dims, count, lanes, values)
            for p in range(min(planes, C - c)):
                write_run(values[p], n, c + p, start, count, lanes, V)


forward = Kernel(_forward_items, **cpu)
