"""Pooling in 2D, forward and backward, over the planes (n, c) of an image.

Window (p, q) of a plane covers rows p stride + i - padding and columns q stride + j - padding, i < kH and j < kW.
Forward, a worker owns rows of the output. Backward, it owns rows of dx and gathers from the windows that reach them, so
windows may overlap without two workers meeting in one cell. On a GPU, a thread owns an entry of the output, or of dx.

The place of the maximum is kept as i kW + j: one byte for each output up to windows of 256 entries.
All arrays are C-contiguous; window, stride and padding are pairs (vertical, horizontal).
"""

import numpy as np

from ..compiling.linking import linked
from ..compiling.parallel import Kernel
from ..convolution.windows import output_size, pairs
from ..gpu.arrays.device_array import empty, is_device
from ..gpu.integer_division import split
from ..gpu.launch import block, cuda, cuda_kernel

GRID = 65535  # blocks of a grid along its second and third axis


def max_pool(x, window, stride, padding):
    """The largest entry of each window, and its place; the first of equal ones, NaN before everything."""
    shape = x.shape[:2] + tuple(map(output_size, x.shape[2:], window, stride, padding))
    place_type = np.uint8 if window[0] * window[1] <= 256 else np.int32
    if is_device(x):
        y, place = empty(shape, x.dtype), empty(shape, place_type)
        _launch(_max_pool_device[place_type], shape, window, stride, padding, x, y, place, x.shape, shape)
        return y, place
    y, place = np.empty(shape, x.dtype), np.empty(shape, place_type)
    _max_pool(x.shape[0] * x.shape[1] * shape[2], x.size + y.size, x, np.array([window, stride, padding]), y, place)
    return y, place


def max_pool_dx(dy, place, H, W, window, stride, padding):
    """dx[n, c, h, w] = sum of dy over the windows whose maximum is there."""
    shape = dy.shape[:2] + (H, W)
    if is_device(dy):
        dx = empty(shape, dy.dtype)
        _launch(_max_pool_dx_device[place.dtype.type], shape, window, stride, padding, dy, place, dx, shape, dy.shape)
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
        _launch(_avg_pool_device, shape, window, stride, padding, x, y, x.shape, shape)
        return y
    y = np.empty(shape, x.dtype)
    _avg_pool(x.shape[0] * x.shape[1] * shape[2], x.size + y.size, x, np.array([window, stride, padding]), y)
    return y


def avg_pool_dx(dy, H, W, window, stride, padding):
    """dx[n, c, h, w] = sum of dy over the windows that contain it, divided by the size of a window."""
    shape = dy.shape[:2] + (H, W)
    if is_device(dy):
        dx = empty(shape, dy.dtype)
        _launch(_avg_pool_dx_device, shape, window, stride, padding, dy, dx, shape, dy.shape)
        return dx
    dx = np.empty(shape, dy.dtype)
    _avg_pool_dx(dx.shape[0] * dx.shape[1] * H, dy.size + dx.size, dy, np.array([window, stride, padding]), dx)
    return dx


@linked(nogil=True)
def _inside(start, kernel, size):
    """The offsets of a window that begins at `start` which lie inside the image."""
    return max(0, -start), min(kernel, size - start)


@linked(nogil=True)
def _halves(window, stride, padding):
    """Whether windows are 2 x 2 side by side, by far the commonest: rows of those become vectors."""
    return window == (2, 2) and stride == (2, 2) and padding == (0, 0)


@linked(nogil=True)
def _larger(value, best):
    """A NaN is larger than every number, and the first of several stays."""
    return (not value <= best) & (best == best)


@linked(nogil=True)
def _largest_of_four(source, above, below, count, largest, places, at):
    """A row of windows of 2 x 2, many at a time: what wins above, what wins below, and which of the two."""
    for q in range(count):
        a, b = source[np.uint64(above + 2 * q)], source[np.uint64(above + 2 * q + 1)]
        c, d = source[np.uint64(below + 2 * q)], source[np.uint64(below + 2 * q + 1)]
        second, fourth = _larger(b, a), _larger(d, c)
        top, bottom = b if second else a, d if fourth else c
        lower = _larger(bottom, top)
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
    halves = _halves(window, stride, padding)
    kH, kW = window
    source, target, places = x.reshape(-1), y.reshape(-1), place.reshape(-1)
    for row in range(first_row, end_row):
        plane = row // H_out
        if halves:
            above = (plane * H + 2 * (row - plane * H_out)) * W
            _largest_of_four(source, above, above + W, W_out, target, places, row * W_out)
            continue
        top = (row - plane * H_out) * stride[0] - padding[0]
        i_first, i_end = _inside(top, kH, H)
        for q in range(W_out):
            left = q * stride[1] - padding[1]
            j_first, j_end = _inside(left, kW, W)
            at = (plane * H + top) * W + left
            found = i_first * kW + j_first
            best = source[np.uint64(at + i_first * W + j_first)]
            # No branches on values: no processor could predict them.
            for i in range(i_first, i_end):
                for j in range(j_first, j_end):
                    value = source[np.uint64(at + i * W + j)]
                    larger = _larger(value, best)
                    best, found = value if larger else best, i * kW + j if larger else found
            target[np.uint64(row * W_out + q)] = best
            places[np.uint64(row * W_out + q)] = found


@linked(nogil=True)
def _windows_over(h, kernel, stride, padding, count):
    """The range of windows along an axis that contain row h."""
    first, _ = split(max(0, h + padding - kernel + stride), stride)
    last, _ = split(h + padding, stride)
    return first, min(count, last + 1)


def _max_pool_dx_rows(first_row, end_row, dy, place, geometry, dx):
    N, C, H_out, W_out = dy.shape
    H, W = dx.shape[2:]
    window, stride, padding = pairs(geometry)
    kH, kW = window
    halves = _halves(window, stride, padding)
    source, places, target = dy.reshape(-1), place.reshape(-1), dx.reshape(-1)
    zero = dy.dtype.type(0)
    for row in range(first_row, end_row):
        plane = row // H
        h = row - plane * H
        if halves and h < 2 * H_out:
            begin = (plane * H_out + h // 2) * W_out
            _spread_to_two(source, places, begin, W_out, np.uint8(2 * (h % 2)), target, row * W, W)
            continue
        for w in range(W):
            target[np.uint64(row * W + w)] = zero
        p_first, p_end = _windows_over(h, kH, stride[0], padding[0], H_out)
        for p in range(p_first, p_end):
            first = (h + padding[0] - p * stride[0]) * kW  # the place of the row's first entry in window p
            begin = (plane * H_out + p) * W_out
            for q in range(W_out):
                left = q * stride[1] - padding[1]
                found = np.int64(places[np.uint64(begin + q)]) - first
                value = source[np.uint64(begin + q)]
                j_first, j_end = _inside(left, kW, W)
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
        i_first, i_end = _inside(top, window[0], H)
        for q in range(W_out):
            left = q * stride[1] - padding[1]
            j_first, j_end = _inside(left, window[1], W)
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
        p_first, p_end = _windows_over(row - plane * H, window[0], stride[0], padding[0], H_out)
        for p in range(p_first, p_end):
            for q in range(W_out):
                left = q * stride[1] - padding[1]
                j_first, j_end = _inside(left, window[1], W)
                value = source[np.uint64((plane * H_out + p) * W_out + q)] * share
                for w in range(left + j_first, left + j_end):
                    target[np.uint64(row * W + w)] += value


_max_pool, _max_pool_dx = Kernel(_max_pool_rows), Kernel(_max_pool_dx_rows)
_avg_pool, _avg_pool_dx = Kernel(_avg_pool_rows), Kernel(_avg_pool_dx_rows)


def _launch(kernel, shape, window, stride, padding, *arguments):
    """A thread for each entry of `shape` (N, C, H, W) in blocks of columns, rows and planes, as many as there are.

    So no entry's number is divided to find its place. Columns lie side by side in a warp: 32 of them, in one row or in
    several. A block has at most 64 planes, and a grid 65535 blocks of rows or planes: beyond that there are more grids.
    """
    planes, (rows, columns) = shape[0] * shape[1], shape[2:]
    if not planes * rows * columns:
        return
    threads, left = [], block()
    for n, most in ((columns, 32), (rows, left), (planes, 64)):
        threads.append(min(1 << (n - 1).bit_length(), most, left))
        left //= threads[-1]
    *arrays, inner, outer = arguments
    halves = window == (2, 2) and stride == (2, 2) and padding == (0, 0)
    run = kernel[arrays[0].dtype.type, halves]
    high, deep = GRID * threads[1], GRID * threads[2]
    for first_plane in range(0, planes, deep):
        for first_row in range(0, rows, high):
            blocks = (-(-columns // threads[0]), -(-min(rows - first_row, high) // threads[1]),
                      -(-min(planes - first_plane, deep) // threads[2]))
            run(blocks, tuple(threads), *arrays, first_plane, first_row, planes, *inner[2:], *outer[2:],
                *window, *stride, *padding)


# Of all of them: first plane and row, planes, size of the image, number of windows, then window, stride and padding.
_SIZES = " int int int int int int int int int int int int int"
_EITHER = [(T, halves) for T in (np.float32, np.float64) for halves in (True, False)]
_LARGE = [(T, False) for T in (np.float32, np.float64)]


def _max_pool_body(T, halves):
    def max_pool(x, y, place, first_plane, first_row, planes, H, W, H_out, W_out, kH, kW, sH, sW, pH, pW):
        if halves:
            kH = kW = sH = sW = 2
            pH = pW = 0
        q, p, plane = cuda.grid(3)
        p, plane = p + first_row, plane + first_plane
        if q < W_out and p < H_out and plane < planes:
            top, left = p * sH - pH, q * sW - pW
            i_first, i_end = (0, 2) if halves else _inside(top, kH, H)
            j_first, j_end = (0, 2) if halves else _inside(left, kW, W)
            at = (plane * H + top) * W + left
            found = i_first * kW + j_first
            best = x[at + i_first * W + j_first]
            for i in range(i_first, i_end):
                for j in range(j_first, j_end):
                    value = x[at + i * W + j]
                    if _larger(value, best):
                        best, found = value, i * kW + j
            y[(plane * H_out + p) * W_out + q] = best
            place[(plane * H_out + p) * W_out + q] = found
    return max_pool


_max_pool_device = {np.uint8: cuda_kernel("T* T* uint8*" + _SIZES, offered=_EITHER)(_max_pool_body),
                    np.int32: cuda_kernel("T* T* int32*" + _SIZES, offered=_LARGE)(_max_pool_body)}


def _max_pool_dx_body(T, halves):
    def max_pool_dx(dy, place, dx, first_plane, first_row, planes, H, W, H_out, W_out, kH, kW, sH, sW, pH, pW):
        w, h, plane = cuda.grid(3)
        h, plane = h + first_row, plane + first_plane
        if w < W and h < H and plane < planes:
            total = T(0)
            if halves:  # one window at most
                at = (plane * H_out + h // 2) * W_out + w // 2
                if h // 2 < H_out and w // 2 < W_out and place[at] == h % 2 * 2 + w % 2:
                    total = dy[at]
            else:
                p_first, p_end = _windows_over(h, kH, sH, pH, H_out)
                q_first, q_end = _windows_over(w, kW, sW, pW, W_out)
                for p in range(p_first, p_end):
                    for q in range(q_first, q_end):
                        at = (plane * H_out + p) * W_out + q
                        if place[at] == (h + pH - p * sH) * kW + w + pW - q * sW:
                            total += dy[at]
            dx[(plane * H + h) * W + w] = total
    return max_pool_dx


_max_pool_dx_device = {np.uint8: cuda_kernel("T* uint8* T*" + _SIZES, offered=_EITHER)(_max_pool_dx_body),
                       np.int32: cuda_kernel("T* int32* T*" + _SIZES, offered=_LARGE)(_max_pool_dx_body)}


@cuda_kernel("T* T*" + _SIZES, offered=_EITHER)
def _avg_pool_device(T, halves):
    def avg_pool(x, y, first_plane, first_row, planes, H, W, H_out, W_out, kH, kW, sH, sW, pH, pW):
        if halves:
            kH = kW = sH = sW = 2
            pH = pW = 0
        q, p, plane = cuda.grid(3)
        p, plane = p + first_row, plane + first_plane
        if q < W_out and p < H_out and plane < planes:
            top, left = p * sH - pH, q * sW - pW
            i_first, i_end = (0, 2) if halves else _inside(top, kH, H)
            j_first, j_end = (0, 2) if halves else _inside(left, kW, W)
            at = (plane * H + top) * W + left
            total = T(0)
            for i in range(i_first, i_end):
                for j in range(j_first, j_end):
                    total += x[at + i * W + j]
            y[(plane * H_out + p) * W_out + q] = total * (T(1) / T(kH * kW))
    return avg_pool


@cuda_kernel("T* T*" + _SIZES, offered=_EITHER)
def _avg_pool_dx_device(T, halves):
    def avg_pool_dx(dy, dx, first_plane, first_row, planes, H, W, H_out, W_out, kH, kW, sH, sW, pH, pW):
        w, h, plane = cuda.grid(3)
        h, plane = h + first_row, plane + first_plane
        if w < W and h < H and plane < planes:
            total, share = T(0), T(1) / T(kH * kW)
            if halves:  # one window at most
                if h // 2 < H_out and w // 2 < W_out:
                    total = dy[(plane * H_out + h // 2) * W_out + w // 2] * share
            else:
                p_first, p_end = _windows_over(h, kH, sH, pH, H_out)
                q_first, q_end = _windows_over(w, kW, sW, pW, W_out)
                for p in range(p_first, p_end):
                    for q in range(q_first, q_end):
                        total += dy[(plane * H_out + p) * W_out + q] * share
            dx[(plane * H + h) * W + w] = total
    return avg_pool_dx
