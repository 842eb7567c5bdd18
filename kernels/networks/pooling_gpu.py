"""Pooling on a GPU: a thread owns an entry of the output, or of dx. Shapes and places are those of `pooling.py`."""

from typing import NamedTuple

import numpy as np

from ..convolution.windows import halves, inside, windows_over
from ..gpu.extremes import larger
from ..gpu.launch import block, cuda, cuda_kernel, device_function

GRID = 65535  # blocks of a grid along its second and third axis


class Windows(NamedTuple):
    first_plane: int  # of this launch
    first_row: int
    planes: int  # of all
    image: tuple[int, int]  # rows and columns of x
    output: tuple[int, int]  # and of y
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def launch(kernel, arrays, image, output, window, stride, padding):
    """A thread for each entry of the last of `arrays`, in blocks of columns, rows and planes, as many as there are.

    `image` and `output` are the two of them, (N, C, H, W), on either side of the windows. No entry's number is divided
    to find its place. Columns lie side by side in a warp: 32 of them, in one row or in several. A block has at most 64
    planes, and a grid 65535 blocks of rows or planes: beyond that there are more grids.
    """
    N, C, rows, columns = arrays[-1].shape
    planes = N * C
    if not planes * rows * columns:
        return
    threads, left = [], block()
    for n, most in ((columns, 32), (rows, left), (planes, 64)):
        threads.append(min(1 << (n - 1).bit_length(), most, left))
        left //= threads[-1]
    run = kernel[image.dtype.type, halves.py_func(window, stride, padding, image.shape, output.shape)]
    high, deep = GRID * threads[1], GRID * threads[2]
    for first_plane in range(0, planes, deep):
        for first_row in range(0, rows, high):
            blocks = (-(-columns // threads[0]), -(-min(rows - first_row, high) // threads[1]),
                      -(-min(planes - first_plane, deep) // threads[2]))
            run(blocks, tuple(threads), *arrays, first_plane, first_row, planes, *image.shape[2:], *output.shape[2:],
                *window, *stride, *padding)


_EITHER = [(T, halved) for T in (np.float32, np.float64) for halved in (True, False)]
_LARGE = [(T, False) for T in (np.float32, np.float64)]


def _window(halved):
    """For kernels: (windows, plane, p, q) -> where window (p, q) is in y, where it begins in x, and the ranges of its
    rows and columns inside the image."""
    def window(windows, plane, p, q):
        (H, W), (H_out, W_out) = windows.image, windows.output
        into = (plane * H_out + p) * W_out + q
        if halved:
            return into, (plane * H + 2 * p) * W + 2 * q, 0, 2, 0, 2
        top, left = p * windows.stride[0] - windows.padding[0], q * windows.stride[1] - windows.padding[1]
        i_first, i_end = inside(top, windows.window[0], H)
        j_first, j_end = inside(left, windows.window[1], W)
        return into, (plane * H + top) * W + left, i_first, i_end, j_first, j_end

    return device_function(window)


def _max_pool(T, halved):
    window_at = _window(halved)

    def max_pool(x, y, place, windows):
        W, kW = windows.image[1], 2 if halved else windows.window[1]
        q, p, plane = cuda.grid(3)
        p, plane = p + windows.first_row, plane + windows.first_plane
        if q < windows.output[1] and p < windows.output[0] and plane < windows.planes:
            into, at, i_first, i_end, j_first, j_end = window_at(windows, plane, p, q)
            found = i_first * kW + j_first
            best = x[at + i_first * W + j_first]
            for i in range(i_first, i_end):
                for j in range(j_first, j_end):
                    value = x[at + i * W + j]
                    if larger(value, best):
                        best, found = value, i * kW + j
            y[into], place[into] = best, found
    return max_pool


max_pool = {np.uint8: cuda_kernel("T* T* uint8*", Windows, offered=_EITHER)(_max_pool),
            np.int32: cuda_kernel("T* T* int32*", Windows, offered=_LARGE)(_max_pool)}


@cuda_kernel("T* T*", Windows, offered=_EITHER)
def avg_pool(T, halved):
    window_at = _window(halved)

    def avg_pool(x, y, windows):
        W, size = windows.image[1], 4 if halved else windows.window[0] * windows.window[1]
        q, p, plane = cuda.grid(3)
        p, plane = p + windows.first_row, plane + windows.first_plane
        if q < windows.output[1] and p < windows.output[0] and plane < windows.planes:
            into, at, i_first, i_end, j_first, j_end = window_at(windows, plane, p, q)
            total = T(0)
            for i in range(i_first, i_end):
                for j in range(j_first, j_end):
                    total += x[at + i * W + j]
            y[into] = total * (T(1) / T(size))
    return avg_pool


def _max_pool_dx(T, halved):
    def max_pool_dx(dy, place, dx, windows):
        (H, W), (H_out, W_out), (kH, kW) = windows.image, windows.output, windows.window
        (sH, sW), (pH, pW) = windows.stride, windows.padding
        w, h, plane = cuda.grid(3)
        h, plane = h + windows.first_row, plane + windows.first_plane
        if w < W and h < H and plane < windows.planes:
            total = T(0)
            if halved:  # one window at most
                at = (plane * H_out + h // 2) * W_out + w // 2
                if h // 2 < H_out and w // 2 < W_out and place[at] == h % 2 * 2 + w % 2:
                    total = dy[at]
            else:
                p_first, p_end = windows_over(h, kH, sH, pH, H_out)
                q_first, q_end = windows_over(w, kW, sW, pW, W_out)
                for p in range(p_first, p_end):
                    for q in range(q_first, q_end):
                        at = (plane * H_out + p) * W_out + q
                        if place[at] == (h + pH - p * sH) * kW + w + pW - q * sW:
                            total += dy[at]
            dx[(plane * H + h) * W + w] = total
    return max_pool_dx


max_pool_dx = {np.uint8: cuda_kernel("T* uint8* T*", Windows, offered=_EITHER)(_max_pool_dx),
               np.int32: cuda_kernel("T* int32* T*", Windows, offered=_LARGE)(_max_pool_dx)}


@cuda_kernel("T* T*", Windows, offered=_EITHER)
def avg_pool_dx(T, halved):
    def avg_pool_dx(dy, dx, windows):
        (H, W), (H_out, W_out), (kH, kW) = windows.image, windows.output, windows.window
        (sH, sW), (pH, pW) = windows.stride, windows.padding
        w, h, plane = cuda.grid(3)
        h, plane = h + windows.first_row, plane + windows.first_plane
        if w < W and h < H and plane < windows.planes:
            total, share = T(0), T(1) / T(kH * kW)
            if halved:  # one window at most
                if h // 2 < H_out and w // 2 < W_out:
                    total = dy[(plane * H_out + h // 2) * W_out + w // 2] * share
            else:
                p_first, p_end = windows_over(h, kH, sH, pH, H_out)
                q_first, q_end = windows_over(w, kW, sW, pW, W_out)
                for p in range(p_first, p_end):
                    for q in range(q_first, q_end):
                        total += dy[(plane * H_out + p) * W_out + q] * share
            dx[(plane * H + h) * W + w] = total
    return avg_pool_dx
