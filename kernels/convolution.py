"""Convolution in 2D, forward and backward, as products of matrices (BLAS) over patches that fit a cache.

    y[n, f, p, q] = bias[f] + sum over j, c, i of  weight[f, c, i, j]  x[n, c, p s + i - padding, q s + j - padding]

The output is cut into tiles: runs of output rows (n, p), which may cross from one sample to the next or be a part of
a large image. A tile's patches stand in a buffer of its worker, one row of the buffer for each (j, c, i), and never for
the whole batch at once; the backward pass makes them again. Tiles and chunks depend on shapes only, so results are the
same bits for any number of threads. On a GPU patches stand nowhere (`patch_product`).

Shapes: x (N, C, H, W), weight (F, C, kH, kW), bias (F,), y (N, F, H_out, W_out); all C-contiguous. Windows, strides and
padding are pairs (vertical, horizontal).
"""

import numba as nb
import numpy as np

from . import patch_product
from .blas import gemm, move16
from .device_array import is_device
from .threads import one_blas_thread
from .workers import Kernel

TILE = 32 * 1024  # entries of a patch buffer: BLAS is quickest where the patches and its own copy of them fit a cache
WINDOWS = 128  # in a tile at least, where a window has so many entries that the buffer would hold few
CHUNKS = 16  # parts of the batch whose contributions to dweight are summed apart, then added in order


def output_size(size, kernel, stride, padding):
    """The number of windows along an axis."""
    return (size + 2 * padding - kernel) // stride + 1


def _rows_per_tile(K, W_out, rows):
    """Output rows whose patches, K entries for each window, fill the buffer; enough for a product worth its call."""
    return max(1, min(rows, max(TILE // max(1, K * W_out), -(-WINDOWS // max(1, W_out)))))


def convolve(x, weight, bias, stride, padding):
    """y; bias may be None."""
    size = tuple(map(output_size, x.shape[2:], weight.shape[2:], stride, padding))
    if is_device(x):
        return patch_product.convolve(x, weight, bias, size, stride, padding)
    return _convolve(x, weight, np.zeros(len(weight), x.dtype) if bias is None else bias, size, stride, padding)


def convolve_dweight(x, dy, window, stride, padding):
    """dweight and dbias."""
    return (patch_product.convolve_dweight if is_device(x) else _convolve_dweight)(x, dy, window, stride, padding)


def convolve_dx(dy, weight, size, stride, padding):
    """dx, with planes of `size`."""
    return (patch_product.convolve_dx if is_device(dy) else _convolve_dx)(dy, weight, size, stride, padding)


@one_blas_thread
def _convolve(x, weight, bias, size, stride, padding):
    N, C = x.shape[:2]
    F, window = len(weight), weight.shape[2:]
    H_out, W_out = size
    y = np.empty((N, F, H_out, W_out), x.dtype)
    flat = weight.transpose(0, 3, 1, 2).reshape(F, -1)  # (F, j c i)
    rows = _rows_per_tile(flat.shape[1], W_out, -(-N * H_out // 8))
    _forward(-(-N * H_out // rows), y.size * C, x, flat, bias, np.array([window, stride, padding]), rows, y)
    return y


@one_blas_thread
def _convolve_dweight(x, dy, window, stride, padding):
    C = x.shape[1]
    N, F, H_out, W_out = dy.shape
    K = C * window[0] * window[1]
    parts = np.zeros((max(1, min(CHUNKS, N * H_out)), F, K + 1), x.dtype)
    rows = _rows_per_tile(K, W_out, -(-N * H_out // CHUNKS))
    _dweight(len(parts), dy.size * C, x, dy, np.array([window, stride, padding]), rows, parts)
    total = parts.sum(axis=0)
    dweight = total[:, :K].reshape(F, window[1], C, window[0]).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(dweight), np.ascontiguousarray(total[:, K])


@one_blas_thread
def _convolve_dx(dy, weight, size, stride, padding):
    N, _, H_out, W_out = dy.shape
    F, C, kH, kW = weight.shape
    dx = np.empty((N, C, *size), dy.dtype)
    # A worker owns rows of dx. Rows of the output that reach into two parts are computed for both, so a sample is
    # divided only where the batch is too small to occupy the cores.
    parts = 1 if N >= 8 else max(1, min(8, size[0] // (2 * kH)))
    flat = np.ascontiguousarray(weight.transpose(3, 1, 2, 0).reshape(-1, F))  # (j c i, F)
    rows = _rows_per_tile(len(flat), W_out, H_out)
    _dx(N * parts, dy.size * C, dy, flat, np.array([(kH, kW), stride, padding]), rows, parts, dx)
    return dx


# Indices are unsigned where a loop should become vectors: for signed ones Numba tests each for being negative.


@nb.njit(nogil=True)
def _copy(source, start, target, at, count):
    """target[at:at + count] = source[start:start + count].

    A plain loop cannot become vectors without a test whether source and target overlap; runs are too short for that.
    """
    if count < 16:
        for q in range(count):
            target[np.uint64(at + q)] = source[np.uint64(start + q)]
    else:
        for q in range(0, count - 15, 16):
            move16(target, at + q, source, start + q)
        move16(target, at + count - 16, source, start + count - 16)


@nb.njit(nogil=True)
def pairs(geometry):
    """Window, stride and padding."""
    return (geometry[0, 0], geometry[0, 1]), (geometry[1, 0], geometry[1, 1]), (geometry[2, 0], geometry[2, 1])


@nb.njit(nogil=True)
def _zero(target, at, count):
    for q in range(count):
        target[np.uint64(at + q)] = target.dtype.type(0)


@nb.njit(nogil=True)
def _columns_inside(j, W, W_out, stride, padding):
    """The range of q for which column q stride + j - padding lies inside the image."""
    left = min(W_out, max(0, (padding - j + stride - 1) // stride))
    return left, max(left, min(W_out, (W - 1 + padding - j) // stride + 1))


@nb.njit(nogil=True)
def _shifted_rows(source, start, h_first, h_end, H, W, left, right, stride, W_out, rows):
    """rows[h, q] = source[start + h W + q stride] for left <= q < right and rows h of the image; zero elsewhere."""
    at = 0
    for h in range(h_first, h_end):
        if h < 0 or h >= H:
            _zero(rows, at, W_out)
        else:
            begin = start + h * W
            if stride == 1 and begin + right + 16 <= source.size:
                # Whole vectors: what is copied beyond the end is overwritten by what comes next.
                for q in range(left, right, 16):
                    move16(rows, at + q, source, begin + q)
            else:
                for q in range(left, right):
                    rows[np.uint64(at + q)] = source[np.uint64(begin + q * stride)]
            for q in range(left):
                rows[np.uint64(at + q)] = source.dtype.type(0)
            for q in range(right, W_out):
                rows[np.uint64(at + q)] = source.dtype.type(0)
        at += W_out


@nb.njit(nogil=True)
def _patches(x, first, last, window, stride, padding, H_out, W_out, patches):
    """patches[(j, c, i), (row - first) W_out + q] = x[n, c, p stride + i - padding, q stride + j - padding], flat.

    For one j, rows of the image are shifted once and serve every i: a column of windows is then one run of memory.
    """
    _, C, H, W = x.shape
    kH, kW = window
    source = x.reshape(-1)
    size = (last - first) * W_out
    tall = (min(H_out, last - first) - 1) * stride[0] + kH
    rows = np.empty(tall * W_out + 16, x.dtype)
    row = first
    while row < last:
        n = row // H_out
        p = row - n * H_out
        end = min(last, (n + 1) * H_out)
        h_first = p * stride[0] - padding[0]
        h_end = h_first + (end - row - 1) * stride[0] + kH
        for j in range(kW):
            left, right = _columns_inside(j, W, W_out, stride[1], padding[1])
            for c in range(C):
                start = (n * C + c) * H * W + j - padding[1]
                _shifted_rows(source, start, h_first, h_end, H, W, left, right, stride[1], W_out, rows)
                for i in range(kH):
                    at = ((j * C + c) * kH + i) * size + (row - first) * W_out
                    if stride[0] == 1:
                        _copy(rows, i * W_out, patches, at, (end - row) * W_out)
                    else:
                        for r in range(end - row):
                            _copy(rows, (r * stride[0] + i) * W_out, patches, at + r * W_out, W_out)
        row = end


def _forward_tiles(tile, end_tile, x, weight, bias, geometry, rows, y):
    N, F, H_out, W_out = y.shape
    K = weight.shape[1]
    window, stride, padding = pairs(geometry)
    patches = np.empty(K * rows * W_out, x.dtype)
    product = np.empty(F * rows * W_out, x.dtype)
    target = y.reshape(-1)
    for first in range(tile * rows, min(end_tile * rows, N * H_out), rows):
        last = min(N * H_out, first + rows)
        size = (last - first) * W_out
        _patches(x, first, last, window, stride, padding, H_out, W_out, patches)
        gemm(F, size, K, weight, 0, K, False, patches, 0, size, False, product, 0, size, False)
        row = first
        while row < last:  # the rows of one sample are neighbours in y
            n = row // H_out
            end = min(last, (n + 1) * H_out)
            for f in range(F):
                at = ((n * F + f) * H_out + row - n * H_out) * W_out
                start = f * size + (row - first) * W_out
                for q in range((end - row) * W_out):
                    target[np.uint64(at + q)] = product[np.uint64(start + q)] + bias[f]
            row = end


@nb.njit(nogil=True)
def _gather(dy, first, last, tile):
    """tile[f, (row - first) W_out + q] = dy[n, f, p, q], flat."""
    _, F, H_out, W_out = dy.shape
    source = dy.reshape(-1)
    row = first
    while row < last:
        n = row // H_out
        end = min(last, (n + 1) * H_out)
        for f in range(F):
            start = ((n * F + f) * H_out + row - n * H_out) * W_out
            _copy(source, start, tile, (f * (last - first) + row - first) * W_out, (end - row) * W_out)
        row = end


def _dweight_chunks(chunk, end_chunk, x, dy, geometry, rows, parts):
    """parts[chunk, f, k] = sum of dy[f] patches[k] over the output rows of a chunk; the last k is for the bias."""
    N, F, H_out, W_out = dy.shape
    chunks, _, K_and_bias = parts.shape
    K = K_and_bias - 1
    window, stride, padding = pairs(geometry)
    patches = np.empty(K_and_bias * rows * W_out, x.dtype)
    dy_tile = np.empty(F * rows * W_out, x.dtype)
    for c in range(chunk, end_chunk):
        end = N * H_out * (c + 1) // chunks
        for first in range(N * H_out * c // chunks, end, rows):
            last = min(end, first + rows)
            size = (last - first) * W_out
            _patches(x, first, last, window, stride, padding, H_out, W_out, patches)
            for q in range(K * size, K_and_bias * size):
                patches[q] = x.dtype.type(1)  # the bias is a weight of a patch of ones
            _gather(dy, first, last, dy_tile)
            gemm(F, K_and_bias, size, dy_tile, 0, size, False, patches, 0, size, True,
                 parts, c * F * K_and_bias, K_and_bias, True)


def _dx_parts(item, end_item, dy, weight, geometry, rows, parts, dx):
    """An item is one of the `parts` of a sample: rows top to bottom of dx[n], from the output rows that see them."""
    _, F, H_out, W_out = dy.shape
    _, C, H, W = dx.shape
    K = len(weight)
    window, stride, padding = pairs(geometry)
    target = dx.reshape(-1)
    dy_tile = np.empty(F * rows * W_out, dy.dtype)
    dpatches = np.empty(K * rows * W_out, dy.dtype)
    for both in range(item, end_item):
        n = both // parts
        top, bottom = H * (both - n * parts) // parts, H * (both - n * parts + 1) // parts
        for c in range(C):
            _zero(target, ((n * C + c) * H + top) * W, (bottom - top) * W)
        p_first = max(0, (top + padding[0] - window[0] + stride[0]) // stride[0])
        p_end = min(H_out, (bottom - 1 + padding[0]) // stride[0] + 1)
        for start in range(p_first, p_end, rows):
            stop = min(p_end, start + rows)
            size = (stop - start) * W_out
            _gather(dy, n * H_out + start, n * H_out + stop, dy_tile)
            gemm(K, size, F, weight, 0, F, False, dy_tile, 0, size, False, dpatches, 0, size, False)
            _add_patches(dpatches, n, start, stop, top, bottom, window, stride, padding, W_out, dx)


@nb.njit(nogil=True)
def _add_patches(dpatches, n, start, stop, top, bottom, window, stride, padding, W_out, dx):
    """The adjoint of `_patches`, for output rows from start to stop and the rows of dx[n] from top to bottom."""
    _, C, H, W = dx.shape
    target = dx.reshape(-1)
    begin = 0
    for j in range(window[1]):
        left, right = _columns_inside(j, W, W_out, stride[1], padding[1])
        for c in range(C):
            for i in range(window[0]):
                for p in range(start, stop):
                    h = p * stride[0] + i - padding[0]
                    if h >= top and h < bottom:
                        at = ((n * C + c) * H + h) * W + j - padding[1]
                        if stride[1] == 1:
                            for q in range(left, right):
                                target[np.uint64(at + q)] += dpatches[np.uint64(begin + q)]
                        else:
                            for q in range(left, right):
                                target[np.uint64(at + q * stride[1])] += dpatches[np.uint64(begin + q)]
                    begin += W_out


_forward = Kernel(_forward_tiles)
_dweight = Kernel(_dweight_chunks)
_dx = Kernel(_dx_parts)
