"""Pooling in 2D, forward and backward, over the planes (n, c) of an image.

Window (p, q) of a plane covers rows p stride + i - padding and columns q stride + j - padding, i < kH and j < kW.
Forward, a worker owns rows of the output. Backward, it owns rows of dx and gathers from the windows that reach them, so
windows may overlap without two workers meeting in one cell. `pooling_gpu.py` is the same on a GPU.

The place of the maximum is kept as i kW + j: one byte for each output up to windows of 256 entries.
All arrays are C-contiguous; window, stride and padding are pairs (vertical, horizontal).
"""

import numpy as np

from ..compiling.linking import linked
from ..compiling.parallel import Kernel
from ..convolution.windows import halves, inside, output_size, pairs, windows_over
from ..gpu.arrays.device_array import empty, is_device
from ..gpu.extremes import larger
from . import pooling_gpu


def max_pool(x, window, stride, padding, ceil_mode=False):
    """The largest entry of each window, and its place; the first of equal ones, NaN before everything."""
    shape = x.shape[:2] + tuple(map(output_size, x.shape[2:], window, stride, padding, (ceil_mode, ceil_mode)))
    place_type = np.uint8 if window[0] * window[1] <= 256 else np.int32
    if is_device(x):
        y, place = empty(shape, x.dtype), empty(shape, place_type)
        pooling_gpu.launch(pooling_gpu.max_pool[place_type], (x, y, place), x, y, window, stride, padding)
        return y, place
    y, place = np.empty(shape, x.dtype), np.empty(shape, place_type)
    _max_pool(x.shape[0] * x.shape[1] * shape[2], x.size + y.size, x, np.array([window, stride, padding]), y, place)
    return y, place


def max_pool_dx(dy, place, H, W, window, stride, padding):
    """dx[n, c, h, w] = sum of dy over the windows whose maximum is there."""
    shape = dy.shape[:2] + (H, W)
    if is_device(dy):
        dx = empty(shape, dy.dtype)
        kernel = pooling_gpu.max_pool_dx[place.dtype.type]
        pooling_gpu.launch(kernel, (dy, place, dx), dx, dy, window, stride, padding)
        return dx
    dx = np.empty(shape, dy.dtype)
    _max_pool_dx(dx.shape[0] * dx.shape[1] * H, dy.size + dx.size, dy, place,
                 np.array([window, stride, padding]), dx)
    return dx


def avg_pool(x, window, stride, padding):
    """The mean of each window, where padding counts as zeros."""
    shape = x.shape[:2] + tuple(map(output_size, x.shape[2:], window, stride, padding))
    if is_device(x):
        y = empty(shape, x.dtype)
        pooling_gpu.launch(pooling_gpu.avg_pool, (x, y), x, y, window, stride, padding)
        return y
    y = np.empty(shape, x.dtype)
    _avg_pool(x.shape[0] * x.shape[1] * shape[2], x.size + y.size, x, np.array([window, stride, padding]), y)
    return y


def avg_pool_dx(dy, H, W, window, stride, padding):
    """dx[n, c, h, w] = sum of dy over the windows that contain it, divided by the size of a window."""
    shape = dy.shape[:2] + (H, W)
    if is_device(dy):
        dx = empty(shape, dy.dtype)
        pooling_gpu.launch(pooling_gpu.avg_pool_dx, (dy, dx), dx, dy, window, stride, padding)
        return dx
    dx = np.empty(shape, dy.dtype)
    _avg_pool_dx(dx.shape[0] * dx.shape[1] * H, dy.size + dx.size, dy, np.array([window, stride, padding]), dx)
    return dx


@linked(nogil=True)
def _largest_of_four(source, above, below, count, largest, places, at):
    """A row of windows of 2 x 2, many at a time: what wins above, what wins below, and which of the two."""
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
    """The row of dx that holds the places first and first + 1 of windows of 2 x 2."""
    zero = target.dtype.type(0)
    for q in range(count):
        value, place = values[np.uint64(at + q)], places[np.uint64(at + q)]
        target[np.uint64(row + 2 * q)] = value if place == first else zero
        target[np.uint64(row + 2 * q + 1)] = value if place == first + np.uint8(1) else zero
    for w in range(2 * count, W):
        target[np.uint64(row + w)] = zero


def _max_pool_rows(first_row, end_row, x, geometry, y, place):
    N, C, H, W = x.shape
    _, _, H_out, W_out = y.shape
    window, stride, padding = pairs(geometry)
    halved = halves(window, stride, padding, x.shape, y.shape)
    kH, kW = window
    source, target, places = x.reshape(-1), y.reshape(-1), place.reshape(-1)
    for row in range(first_row, end_row):
        plane = row // H_out
        if halved:
            above = (plane * H + 2 * (row - plane * H_out)) * W
            _largest_of_four(source, above, above + W, W_out, target, places, row * W_out)
            continue
        top = (row - plane * H_out) * stride[0] - padding[0]
        i_first, i_end = inside(top, kH, H)
        for q in range(W_out):
            left = q * stride[1] - padding[1]
            j_first, j_end = inside(left, kW, W)
            at = (plane * H + top) * W + left
            found = i_first * kW + j_first
            best = source[np.uint64(at + i_first * W + j_first)]
            # No branches on values: no processor could predict them.
            for i in range(i_first, i_end):
                for j in range(j_first, j_end):
                    value = source[np.uint64(at + i * W + j)]
                    wins = larger(value, best)
                    best, found = value if wins else best, i * kW + j if wins else found
            target[np.uint64(row * W_out + q)] = best
            places[np.uint64(row * W_out + q)] = found


def _max_pool_dx_rows(first_row, end_row, dy, place, geometry, dx):
    N, C, H_out, W_out = dy.shape
    H, W = dx.shape[2:]
    window, stride, padding = pairs(geometry)
    kH, kW = window
    halved = halves(window, stride, padding, dx.shape, dy.shape)
    source, places, target = dy.reshape(-1), place.reshape(-1), dx.reshape(-1)
    zero = dy.dtype.type(0)
    for row in range(first_row, end_row):
        plane = row // H
        h = row - plane * H
        if halved and h < 2 * H_out:
            begin = (plane * H_out + h // 2) * W_out
            _spread_to_two(source, places, begin, W_out, np.uint8(2 * (h % 2)), target, row * W, W)
            continue
        for w in range(W):
            target[np.uint64(row * W + w)] = zero
        p_first, p_end = windows_over(h, kH, stride[0], padding[0], H_out)
        for p in range(p_first, p_end):
            first = (h + padding[0] - p * stride[0]) * kW  # the place of the row's first entry in window p
            begin = (plane * H_out + p) * W_out
            for q in range(W_out):
                left = q * stride[1] - padding[1]
                found = np.int64(places[np.uint64(begin + q)]) - first
                value = source[np.uint64(begin + q)]
                j_first, j_end = inside(left, kW, W)
                for j in range(j_first, j_end):
                    target[np.uint64(row * W + left + j)] += value if j == found else zero


def _avg_pool_rows(first_row, end_row, x, geometry, y):
    N, C, H, W = x.shape
    _, _, H_out, W_out = y.shape
    window, stride, padding = pairs(geometry)
    source, target = x.reshape(-1), y.reshape(-1)
    share = x.dtype.type(1) / x.dtype.type(window[0] * window[1])
    for row in range(first_row, end_row):
        plane = row // H_out
        top = (row - plane * H_out) * stride[0] - padding[0]
        i_first, i_end = inside(top, window[0], H)
        for q in range(W_out):
            left = q * stride[1] - padding[1]
            j_first, j_end = inside(left, window[1], W)
            at = (plane * H + top) * W + left
            total = x.dtype.type(0)
            for i in range(i_first, i_end):
                for j in range(j_first, j_end):
                    total += source[np.uint64(at + i * W + j)]
            target[np.uint64(row * W_out + q)] = total * share


def _avg_pool_dx_rows(first_row, end_row, dy, geometry, dx):
    N, C, H_out, W_out = dy.shape
    H, W = dx.shape[2:]
    window, stride, padding = pairs(geometry)
    source, target = dy.reshape(-1), dx.reshape(-1)
    share = dy.dtype.type(1) / dy.dtype.type(window[0] * window[1])
    for row in range(first_row, end_row):
        plane = row // H
        for w in range(W):
            target[np.uint64(row * W + w)] = dy.dtype.type(0)
        p_first, p_end = windows_over(row - plane * H, window[0], stride[0], padding[0], H_out)
        for p in range(p_first, p_end):
            for q in range(W_out):
                left = q * stride[1] - padding[1]
                j_first, j_end = inside(left, window[1], W)
                value = source[np.uint64((plane * H_out + p) * W_out + q)] * share
                for w in range(left + j_first, left + j_end):
                    target[np.uint64(row * W + w)] += value


_max_pool, _max_pool_dx = Kernel(_max_pool_rows), Kernel(_max_pool_dx_rows)
_avg_pool, _avg_pool_dx = Kernel(_avg_pool_rows), Kernel(_avg_pool_dx_rows)
