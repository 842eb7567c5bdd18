"""Pooling in 2D, forward and backward, over the planes (n, c) of an image.

Window (p, q) of a plane covers rows p stride + i - padding and columns q stride + j - padding, i < kH and j < kW.
Forward, a worker owns rows of the output. Backward, it owns rows of dx and gathers from the windows that reach them, so
windows may overlap without two workers meeting in one cell. The entries (i, j) of all windows of a row are looked at
together: with a stride of 1, and forward of 2, they become vectors. `pooling_gpu.py` is the same on a GPU.

The place of the maximum is kept as i kW + j: one byte for each output up to windows of 256 entries.
All arrays are C-contiguous; window, stride and padding are pairs (vertical, horizontal).
"""

import math

import numpy as np

from ..compiling.blas import zero
from ..compiling.linking import linked
from ..compiling.parallel import Kernel
from ..convolution.windows import columns_inside, halves, inside, output_size, pairs, windows_over
from ..gpu.arrays.device_array import is_device
from ..gpu.extremes import larger
from . import pooling_gpu


def max_pool(x, window, stride, padding, ceil_mode=False):
    """The largest entry of each window, and its place; the first of equal ones, NaN before everything."""
    shape = x.shape[:2] + tuple(map(output_size, x.shape[2:], window, stride, padding, (ceil_mode, ceil_mode)))
    y = np.empty(shape, x.dtype, like=x)
    place = np.empty(shape, np.uint8 if window[0] * window[1] <= 256 else np.int32, like=x)
    _pool(_max_pool, pooling_gpu.max_pool[place.dtype.type], (x, y, place), x, y, window, stride, padding)
    return y, place


def max_pool_dx(dy, place, H, W, window, stride, padding):
    """dx[n, c, h, w] = sum of dy over the windows whose maximum is there; dx (N, C, H, W)."""
    dx = np.empty(dy.shape[:2] + (H, W), dy.dtype, like=dy)
    kernel = pooling_gpu.max_pool_dx[place.dtype.type]
    _pool(_max_pool_dx, kernel, (dy, place, dx), dx, dy, window, stride, padding)
    return dx


def avg_pool(x, window, stride, padding):
    """The mean of each window, where padding counts as zeros."""
    shape = x.shape[:2] + tuple(map(output_size, x.shape[2:], window, stride, padding))
    y = np.empty(shape, x.dtype, like=x)
    _pool(_avg_pool, pooling_gpu.avg_pool, (x, y), x, y, window, stride, padding)
    return y


def avg_pool_dx(dy, H, W, window, stride, padding):
    """dx[n, c, h, w] = sum of dy over the windows that contain it, divided by their size; dx (N, C, H, W)."""
    dx = np.empty(dy.shape[:2] + (H, W), dy.dtype, like=dy)
    _pool(_avg_pool_dx, pooling_gpu.avg_pool_dx, (dy, dx), dx, dy, window, stride, padding)
    return dx


def _pool(on_cores, on_device, arrays, image, output, window, stride, padding):
    """The last of `arrays` (N, C, rows, columns) is written, on the CPU by rows; `image` and `output` are of them."""
    if is_device(image):
        pooling_gpu.launch(on_device, arrays, image, output, window, stride, padding)
    else:
        on_cores(math.prod(arrays[-1].shape[:3]), image.size + output.size, *arrays,
                 np.array([window, stride, padding]))


@linked(nogil=True)
def _largest_of_four(source, above, below, count, largest, places, at):
    """A row of `count` windows of 2 x 2, many at a time: what wins above, what wins below, and which of the two.

    The rows begin at entries `above` and `below` of the flat source, and the result's at entry `at`.
    """
    for q in range(count):
        a, b = source[np.uint64(above + 2 * q)], source[np.uint64(above + 2 * q + 1)]
        c, d = source[np.uint64(below + 2 * q)], source[np.uint64(below + 2 * q + 1)]
        second, fourth = larger(b, a), larger(d, c)
        top, bottom = b if second else a, d if fourth else c
        lower = larger(bottom, top)
        largest[np.uint64(at + q)] = bottom if lower else top
        at_top, at_bottom = np.uint8(1) if second else np.uint8(0), np.uint8(3) if fourth else np.uint8(2)
        places[np.uint64(at + q)] = at_bottom if lower else at_top


@linked(nogil=True)
def _spread_to_two(values, places, at, count, first, target, row, W):
    """The row of dx that holds the places first and first + 1 of windows of 2 x 2: W entries from entry `row` on."""
    none = target.dtype.type(0)
    for q in range(count):
        value, place = values[np.uint64(at + q)], places[np.uint64(at + q)]
        target[np.uint64(row + 2 * q)] = value if place == first else none
        target[np.uint64(row + 2 * q + 1)] = value if place == first + np.uint8(1) else none
    for w in range(2 * count, W):
        target[np.uint64(row + w)] = none


@linked(nogil=True)
def _keep_larger(source, begin, stride, left, right, found, largest, places, at):
    """largest[at + q] is replaced by source[begin + q stride] where that is larger, for q from left to right.

    `at` and `begin` are entries of flat arrays: where a row of windows begins, and what its first one has there.
    """
    # No branches on values: all is read before one is chosen, else the loop does not become vectors.
    for q in range(left, right):
        value, best = source[np.uint64(begin + q * stride)], largest[np.uint64(at + q)]
        place, wins = places[np.uint64(at + q)], larger(value, best)
        largest[np.uint64(at + q)] = value if wins else best
        places[np.uint64(at + q)] = found if wins else place


@linked(nogil=True)
def _add(source, begin, stride, left, right, target, at):
    """target[at + q] += source[begin + q stride], entries as for `_keep_larger`."""
    for q in range(left, right):
        target[np.uint64(at + q)] += source[np.uint64(begin + q * stride)]


@linked(nogil=True)
def _spread(values, at, share, stride, left, right, target, begin):
    """target[begin + q stride] += share values[at + q], entries as for `_keep_larger`."""
    for q in range(left, right):
        target[np.uint64(begin + q * stride)] += values[np.uint64(at + q)] * share


@linked(nogil=True)
def _spread_to_place(values, places, at, place, stride, left, right, target, begin):
    """target[begin + q stride] += values[at + q], entries as for `_keep_larger`, where the place is this one."""
    none = target.dtype.type(0)
    for q in range(left, right):
        value, found = values[np.uint64(at + q)], places[np.uint64(at + q)]
        target[np.uint64(begin + q * stride)] += value if found == place else none


@linked(nogil=True)
def _columns(window, stride, padding, W, W_out):
    """For each column j of a window: the range of the windows q that have it inside the image."""
    ranges = np.empty((window, 2), np.int64)
    for j in range(window):
        ranges[j, 0], ranges[j, 1] = columns_inside(j, W, W_out, stride, padding)
    return ranges


def _max_pool_rows(first_row, end_row, x, y, place, geometry):
    """An item is a row of y (N, C, H_out, W_out)."""
    N, C, H, W = x.shape
    _, _, H_out, W_out = y.shape
    window, stride, padding = pairs(geometry)
    halved = halves(window, stride, padding, x.shape, y.shape)
    kH, kW = window
    source, target, places = x.reshape(-1), y.reshape(-1), place.reshape(-1)
    lowest, kind = x.dtype.type(-np.inf), places.dtype.type
    columns = _columns(kW, stride[1], padding[1], W, W_out)
    for row in range(first_row, end_row):
        plane = row // H_out
        if halved:
            above = (plane * H + 2 * (row - plane * H_out)) * W
            _largest_of_four(source, above, above + W, W_out, target, places, row * W_out)
            continue
        top = (row - plane * H_out) * stride[0] - padding[0]
        i_first, i_end = inside(top, kH, H)
        at = row * W_out
        for q in range(W_out):  # where all are -inf, the first of them
            target[np.uint64(at + q)] = lowest
            places[np.uint64(at + q)] = kind(i_first * kW + max(0, padding[1] - q * stride[1]))
        for i in range(i_first, i_end):
            for j in range(kW):
                left, right = columns[j, 0], columns[j, 1]
                begin, found = (plane * H + top + i) * W + j - padding[1], kind(i * kW + j)
                if stride[1] == 1:
                    _keep_larger(source, begin, 1, left, right, found, target, places, at)
                elif stride[1] == 2:
                    _keep_larger(source, begin, 2, left, right, found, target, places, at)
                else:
                    _keep_larger(source, begin, stride[1], left, right, found, target, places, at)


def _max_pool_dx_rows(first_row, end_row, dy, place, dx, geometry):
    """An item is a row of dx (N, C, H, W)."""
    N, C, H_out, W_out = dy.shape
    H, W = dx.shape[2:]
    window, stride, padding = pairs(geometry)
    kH, kW = window
    halved = halves(window, stride, padding, dx.shape, dy.shape)
    source, places, target = dy.reshape(-1), place.reshape(-1), dx.reshape(-1)
    columns, kind = _columns(kW, stride[1], padding[1], W, W_out), places.dtype.type
    for row in range(first_row, end_row):
        plane = row // H
        h = row - plane * H
        if halved and h < 2 * H_out:
            begin = (plane * H_out + h // 2) * W_out
            _spread_to_two(source, places, begin, W_out, np.uint8(2 * (h % 2)), target, row * W, W)
            continue
        zero(target, row * W, W)
        p_first, p_end = windows_over(h, kH, stride[0], padding[0], H_out)
        for p in range(p_first, p_end):
            first = (h + padding[0] - p * stride[0]) * kW  # the place of the row's first entry in window p
            at = (plane * H_out + p) * W_out
            for j in range(kW - 1, -1, -1):  # an entry of dx adds up its windows in the order of q
                left, right, begin = columns[j, 0], columns[j, 1], row * W + j - padding[1]
                if stride[1] == 1:
                    _spread_to_place(source, places, at, kind(first + j), 1, left, right, target, begin)
                else:
                    _spread_to_place(source, places, at, kind(first + j), stride[1], left, right, target, begin)


def _avg_pool_rows(first_row, end_row, x, y, geometry):
    N, C, H, W = x.shape
    _, _, H_out, W_out = y.shape
    window, stride, padding = pairs(geometry)
    source, target = x.reshape(-1), y.reshape(-1)
    share = x.dtype.type(1) / x.dtype.type(window[0] * window[1])
    columns = _columns(window[1], stride[1], padding[1], W, W_out)
    for row in range(first_row, end_row):
        plane = row // H_out
        top = (row - plane * H_out) * stride[0] - padding[0]
        i_first, i_end = inside(top, window[0], H)
        at = row * W_out
        zero(target, at, W_out)
        for i in range(i_first, i_end):
            for j in range(window[1]):
                left, right, begin = columns[j, 0], columns[j, 1], (plane * H + top + i) * W + j - padding[1]
                if stride[1] == 1:
                    _add(source, begin, 1, left, right, target, at)
                elif stride[1] == 2:
                    _add(source, begin, 2, left, right, target, at)
                else:
                    _add(source, begin, stride[1], left, right, target, at)
        for q in range(W_out):
            target[np.uint64(at + q)] *= share


def _avg_pool_dx_rows(first_row, end_row, dy, dx, geometry):
    N, C, H_out, W_out = dy.shape
    H, W = dx.shape[2:]
    window, stride, padding = pairs(geometry)
    source, target = dy.reshape(-1), dx.reshape(-1)
    share = dy.dtype.type(1) / dy.dtype.type(window[0] * window[1])
    columns = _columns(window[1], stride[1], padding[1], W, W_out)
    for row in range(first_row, end_row):
        plane = row // H
        zero(target, row * W, W)
        p_first, p_end = windows_over(row - plane * H, window[0], stride[0], padding[0], H_out)
        for p in range(p_first, p_end):
            at = (plane * H_out + p) * W_out
            for j in range(window[1] - 1, -1, -1):  # an entry of dx adds up its windows in the order of q
                left, right, begin = columns[j, 0], columns[j, 1], row * W + j - padding[1]
                if stride[1] == 1:
                    _spread(source, at, share, 1, left, right, target, begin)
                else:
                    _spread(source, at, share, stride[1], left, right, target, begin)


_max_pool, _max_pool_dx = Kernel(_max_pool_rows), Kernel(_max_pool_dx_rows)
_avg_pool, _avg_pool_dx = Kernel(_avg_pool_rows), Kernel(_avg_pool_dx_rows)
