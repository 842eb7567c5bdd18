"""Pooling in 2D, forward and backward, over the planes (n, c) of an image.

Window (p, q) of a plane covers rows p stride + i - padding and columns q stride + j - padding, i < kH and j < kW.
Forward, a worker owns rows of the output. Backward, it owns rows of dx and gathers from the windows that reach them, so
windows may overlap without two workers meeting in one cell.

The place of the maximum is kept as i kW + j: one byte for each output up to windows of 256 entries.
All arrays are C-contiguous; window, stride and padding are pairs (vertical, horizontal).
"""

import numba as nb
import numpy as np

from .convolution import output_size


def max_pool(x, window, stride, padding):
    """The largest entry of each window, and its place; the first of equal ones, NaN before everything."""
    shape = x.shape[:2] + tuple(map(output_size, x.shape[2:], window, stride, padding))
    y = np.empty(shape, x.dtype)
    place = np.empty(shape, np.uint8 if window[0] * window[1] <= 256 else np.int32)
    _max_pool(x, window, stride, padding, y, place)
    return y, place


def max_pool_dx(dy, place, H, W, window, stride, padding):
    """dx[n, c, h, w] = sum of dy over the windows whose maximum is there."""
    dx = np.empty(dy.shape[:2] + (H, W), dy.dtype)
    _max_pool_dx(dy, place, window, stride, padding, dx)
    return dx


def avg_pool(x, window, stride, padding):
    """The mean of each window, where padding counts as zeros."""
    y = np.empty(x.shape[:2] + tuple(map(output_size, x.shape[2:], window, stride, padding)), x.dtype)
    _avg_pool(x, window, stride, padding, y)
    return y


def avg_pool_dx(dy, H, W, window, stride, padding):
    """dx[n, c, h, w] = sum of dy over the windows that contain it, divided by the size of a window."""
    dx = np.empty(dy.shape[:2] + (H, W), dy.dtype)
    _avg_pool_dx(dy, window, stride, padding, dx)
    return dx


@nb.njit(cache=True, nogil=True)
def _inside(start, kernel, size):
    """The offsets of a window that begins at `start` which lie inside the image."""
    return max(0, -start), min(kernel, size - start)


@nb.njit(cache=True, nogil=True)
def _halves(window, stride, padding):
    """Whether windows are 2 x 2 side by side, by far the commonest: with constant bounds loops over them vanish."""
    return window == (2, 2) and stride == (2, 2) and padding == (0, 0)


@nb.njit(cache=True, nogil=True)
def _larger(value, best):
    """A NaN is larger than every number, and the first of several stays."""
    return (not value <= best) & (best == best)


@nb.njit(cache=True, nogil=True, parallel=True)
def _max_pool(x, window, stride, padding, y, place):
    N, C, H, W = x.shape
    _, _, H_out, W_out = y.shape
    kH, kW = window
    halves = _halves(window, stride, padding)
    source, target, places = x.reshape(-1), y.reshape(-1), place.reshape(-1)
    for row in nb.prange(N * C * H_out):
        plane = row // H_out
        top = (row - plane * H_out) * stride[0] - padding[0]
        i_first, i_end = _inside(top, kH, H)
        for q in range(W_out):
            left = q * stride[1] - padding[1]
            j_first, j_end = _inside(left, kW, W)
            at = (plane * H + top) * W + left
            found = i_first * kW + j_first
            best = source[np.uint64(at + i_first * W + j_first)]
            # No branches on values: no processor could predict them.
            if halves:
                for k in range(1, 4):
                    value = source[np.uint64(at + k // 2 * W + k % 2)]
                    larger = _larger(value, best)
                    best, found = value if larger else best, k if larger else found
            else:
                for i in range(i_first, i_end):
                    for j in range(j_first, j_end):
                        value = source[np.uint64(at + i * W + j)]
                        larger = _larger(value, best)
                        best, found = value if larger else best, i * kW + j if larger else found
            target[np.uint64(row * W_out + q)] = best
            places[np.uint64(row * W_out + q)] = found


@nb.njit(cache=True, nogil=True)
def _windows_over(h, kernel, stride, padding, count):
    """The range of windows along an axis that contain row h."""
    return max(0, (h + padding - kernel + stride) // stride), min(count, (h + padding) // stride + 1)


@nb.njit(cache=True, nogil=True, parallel=True)
def _max_pool_dx(dy, place, window, stride, padding, dx):
    N, C, H_out, W_out = dy.shape
    H, W = dx.shape[2:]
    kH, kW = window
    halves = _halves(window, stride, padding)
    source, places, target = dy.reshape(-1), place.reshape(-1), dx.reshape(-1)
    zero = dy.dtype.type(0)
    for row in nb.prange(N * C * H):
        plane = row // H
        h = row - plane * H
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
                if halves:
                    for j in range(2):
                        target[np.uint64(row * W + left + j)] = value if j == found else zero
                else:
                    j_first, j_end = _inside(left, kW, W)
                    for j in range(j_first, j_end):
                        target[np.uint64(row * W + left + j)] += value if j == found else zero


@nb.njit(cache=True, nogil=True, parallel=True)
def _avg_pool(x, window, stride, padding, y):
    N, C, H, W = x.shape
    _, _, H_out, W_out = y.shape
    source, target = x.reshape(-1), y.reshape(-1)
    share = x.dtype.type(1) / x.dtype.type(window[0] * window[1])
    for row in nb.prange(N * C * H_out):
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


@nb.njit(cache=True, nogil=True, parallel=True)
def _avg_pool_dx(dy, window, stride, padding, dx):
    N, C, H_out, W_out = dy.shape
    H, W = dx.shape[2:]
    source, target = dy.reshape(-1), dx.reshape(-1)
    share = dy.dtype.type(1) / dy.dtype.type(window[0] * window[1])
    for row in nb.prange(N * C * H):
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
