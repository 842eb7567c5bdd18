"""Convolution on a GPU, of images and volumes, forward and backward: products of matrices that need not exist.

              rows   columns                             inner axis
    forward   f      pixels of the output (n, o p q)     taps of a window (c, i j k)       weight  x patches of x
    dweight   f      taps of a window (c, i j k)         pixels of the output (n, o p q)   dy      x patches of x
    dx        c      pixels of the input (n, d h w)      taps of a window (f, i j k)       weight  x patches of dy

The tiles are those of `products/gpu_tiles.py`. What is special is where an entry of a patch is found: its column and
its inner index each have a position, and it is at the sum of the two, or zero if that is outside. For the inner axis
these are worked out a chunk at a time, by all threads of a block, and kept in shared memory.

With a stride s, a pixel of the input is reached only by taps whose index leaves the same remainder by s as the pixel's.
So dx is a product for each remainder, with smaller windows, stride 1, and no zeros in between. An image is a volume of
depth 1. Shapes are as in `convolution` and `convolution3d`.
"""

import functools
import itertools
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..gpu.arrays.device_array import DeviceArray, empty
from ..gpu.block_sums import sum_parts
from ..gpu.integer_division import divided, split
from ..gpu.kinds import flat
from ..gpu.launch import cuda, cuda_kernel
from ..products.gpu_tiles import LARGE, SPEED, TILES, alignment, groups, multiply, place, plan, room_for_parts, tiles

FAR = -(1 << 30)  # a position outside, and still so when another is added


class Axis(NamedTuple):
    """The columns or the inner axis of a product: index -> (n, d, h, w) -> a position, and offsets in memory."""

    extent: tuple[int, int, int]  # of d, h, w
    step: tuple[int, int, int]  # position = origin + step (d, h, w)
    origin: tuple[int, int, int]
    read: int  # entries from n to n + 1 in the array of which patches are taken
    walk: tuple[int, int, int, int]  # entries from n to n + 1, d to d + 1, ... in the array that has this axis as it is
    start: int = 0  # and of its first entry


class Product(NamedTuple):
    rows: int
    columns: int
    inner: int
    a_row: int  # entries from row to row in a
    out_row: int  # and in out
    size: tuple[int, int, int]  # D, H, W of the array of which patches are taken
    k: Axis  # the inner one
    column: Axis


def convolve(x, weight, bias, size, stride, padding):
    """y (N, F, *size), with planes of `size` pixels; bias may be None."""
    y = empty((len(x), len(weight), *size), x.dtype)
    _launch([_over_windows(False, x.shape, weight.shape, y.shape, stride, padding)], False, weight, x, bias, y)
    return y


def convolve_dweight(x, dy, window, stride, padding):
    """dweight and dbias, which share a memory."""
    F, C, K = dy.shape[1], x.shape[1], x.shape[1] * prod(window)
    if K == 0:  # a product without columns would not be launched, nor the bias summed
        return empty((F, C, *window), x.dtype), dy.sum(axis=(0, *range(2, dy.ndim)))
    both = empty(F * K + F, x.dtype)
    _launch([_over_windows(True, x.shape, (F, C, *window), dy.shape, stride, padding)], True, dy, x, None, both)
    strides = (K, *(prod(window[axis:]) for axis in range(len(window) + 1)))
    return both.view((F, C, *window), strides), both.view((F,), (1,), F * K)


def convolve_dx(dy, weight, size, stride, padding):
    """dx, with planes of `size`."""
    dx = empty((len(dy), weight.shape[1], *size), dy.dtype)
    _launch(_dx(dx.shape, weight.shape, dy.shape, stride, padding), False, weight, dy, None, dx)
    return dx


# dweight reads both operands at places of their own: beside them a large tile has too few registers.
TILES_OF = {False: tuple(SPEED), True: tuple(tile for tile in SPEED if tile != LARGE)}


def _launch(products: list[list[int]], is_dweight: bool, a: DeviceArray, b: DeviceArray, bias: DeviceArray | None,
            out: DeviceArray) -> None:
    """out = a b + bias, some of its entries by each of `products`: a `Product` as numbers in a row."""
    if out.size == 0:
        return
    T: Any = out.dtype.type
    biased, volume = bias is not None, b.ndim == 5
    tile, parts, part = plan(*(max(size) for size in zip(*(product[:3] for product in products), strict=True)), T,
                             len(products), TILES_OF[is_dweight])
    target = room_for_parts(parts, out)
    for product in products:
        _patch_product[T, tile, is_dweight, volume](
            (tiles(tile, *product[:2]), parts), tile.threads, a, b, bias if biased else out, target, part, out.size,
            biased and parts == 1, *product)
    if parts > 1:
        sum_parts(target, parts, out, bias=bias, run=prod(out.shape[2:]), period=products[0][0])


@functools.lru_cache(1024)
def _over_windows(is_dweight, x, weight, y, stride, padding):
    """Forward, or dweight, for the shapes (N, C, ...) of x, weight and y."""
    (size, window, outputs, stride), padding = map(_volume, (x[2:], weight[2:], y[2:], stride)), _volume(padding, 0)
    taps = Axis(window, (1, 1, 1), (0, 0, 0), prod(size), _walk(prod(window), window))
    pixels = Axis(outputs, stride, tuple(-p for p in padding), prod(x[1:]), _walk(prod(y[1:]), outputs))
    P, K = prod(outputs), prod(weight[1:])
    return flat(Product(y[1], K, y[0] * P, P, K, size, pixels, taps) if is_dweight else
                Product(y[1], y[0] * P, K, K, P, size, taps, pixels))


@functools.lru_cache(1024)
def _dx(x, weight, y, stride, padding):
    """A product for each remainder by the stride."""
    F, C = weight[:2]
    (size, window, outputs, stride), padding = map(_volume, (x[2:], weight[2:], y[2:], stride)), _volume(padding, 0)
    products = []
    for remainders in itertools.product(*map(range, stride)):
        axes = list(zip(remainders, stride, padding, size, window, strict=True))
        first = [(r - p) % s for r, s, p, _, _ in axes]  # the first pixel d with (d + padding) % s == r
        extent = tuple(max(0, -(-(n - d) // s)) for d, (_, s, _, n, _) in zip(first, axes, strict=True))
        origin = tuple((d + p) // s for d, (_, s, p, _, _) in zip(first, axes, strict=True))
        pixels = Axis(extent, (1, 1, 1), origin, prod(y[1:]), _walk(prod(x[1:]), size, stride), _at(first, size))
        extent = tuple(max(0, -(-(k - r) // s)) for r, s, _, _, k in axes)
        taps = Axis(extent, (-1, -1, -1), (0, 0, 0), prod(outputs), _walk(prod(weight[1:]), window, stride),
                    _at(remainders, window))
        products.append(flat(Product(C, x[0] * prod(pixels.extent), F * prod(taps.extent), prod(window), prod(size),
                                     outputs, taps, pixels)))
    return products


def _volume(sizes, depth=1):
    """A number for each axis of a volume, with `depth` for the one that an image lacks."""
    return tuple(sizes) if len(sizes) == 3 else (depth, *sizes)


def _walk(outer, size, step=(1, 1, 1)):
    """Entries from n to n + 1, and for a step along each axis of a volume of `size`."""
    return outer, step[0] * size[1] * size[2], step[1] * size[2], step[2]


def _at(place, size):
    return (place[0] * size[1] + place[1]) * size[2] + place[2]


@njit(inline="always")
def found(axis, i, size):
    """Of index i of an axis: its offset in the array that has the axis, that of its pixel in an image or volume of
    `size`, and the pixel's position d, h, w."""
    depth, height, width = axis.extent
    h = divided(i, width)
    d = divided(h, height)
    n = divided(d, depth)
    d, h, w = d - n * depth, h - d * height, i - h * width
    at = axis.start + n * axis.walk[0] + d * axis.walk[1] + h * axis.walk[2] + w * axis.walk[3]
    d, h = axis.origin[0] + axis.step[0] * d, axis.origin[1] + axis.step[1] * h
    w = axis.origin[2] + axis.step[2] * w
    return at, n * axis.read + (d * size[1] + h) * size[2] + w, d, h, w


@njit(inline="always")
def within(place, step, size):
    """0 <= place + step < size."""
    return np.uint32(place + step) < np.uint32(size)


@cuda_kernel("T* T* T* T* int int bool", Product, offered=[
    (*each, is_dweight, volume) for is_dweight in (False, True) for each in TILES if each[1] in TILES_OF[is_dweight]
    for volume in (False, True)])
def _patch_product(T, tile, is_dweight, volume):
    ROWS, COLUMNS, DEPTH, TALL, WIDE = tile
    THREADS, (A_LINE, B_LINE), (A_LOADS, B_LOADS) = tile.threads, tile.lines, tile.loads
    A_SIZE, B_SIZE, SUMS = 2 * DEPTH * A_LINE, 2 * DEPTH * B_LINE, TALL * WIDE
    # Threads fetch along the inner axis where pixels lie there, else along the columns, where they lie then.
    A_ROWS = THREADS // DEPTH
    B_COLUMNS, B_DEPTH = (THREADS // DEPTH, 0) if is_dweight else (0, THREADS // COLUMNS)
    CHUNK = THREADS  # inner indices whose positions are kept, one worked out by each thread
    (A_GROUP, A_STEP), (B_GROUP, B_STEP) = groups(tile)
    ALIGNMENT = alignment()
    placed, multiplied = place(tile), multiply(tile)

    def patch_product(a, b, bias, out, part, out_size, biased, product):
        """out[blockIdx.y], out_size entries, = a b + bias over `part` inner indices; bias (rows,) is read if biased."""
        rows, columns, inner, a_row, out_row, size, k_axis, axis = product
        D, H, W = size
        a_tile = cuda.shared.array(A_SIZE, T, ALIGNMENT)
        b_tile = cuda.shared.array(B_SIZE, T, ALIGNMENT)
        k_a = cuda.shared.array(CHUNK, np.int64)  # of the inner indices of a chunk: offset in a, -1 behind the last,
        k_b = cuda.shared.array(CHUNK, np.int64)  # offset in b,
        k_d = cuda.shared.array(CHUNK, np.int32)  # and position
        k_h = cuda.shared.array(CHUNK, np.int32)
        k_w = cuda.shared.array(CHUNK, np.int32)
        c_out = cuda.shared.array(COLUMNS, np.int64)  # of the columns: offset in out, which is only needed at the end,
        c_b = cuda.shared.array(COLUMNS, np.int64)  # and for dweight as above
        c_d = cuda.shared.array(COLUMNS, np.int32)
        c_h = cuda.shared.array(COLUMNS, np.int32)
        c_w = cuda.shared.array(COLUMNS, np.int32)
        a_next = cuda.local.array(A_LOADS, T)
        b_next = cuda.local.array(B_LOADS, T)
        a_line = cuda.local.array(TALL, T)
        b_line = cuda.local.array(WIDE, T)
        sums = cuda.local.array(SUMS, T)
        for i in range(SUMS):
            sums[i] = T(0)
        bias_sum = T(0)

        tid = cuda.threadIdx.x
        y, x = placed(tid)
        down = (rows + ROWS - 1) // ROWS
        across = divided(cuda.blockIdx.x, down)
        first_row, first_column = (cuda.blockIdx.x - across * down) * ROWS, across * COLUMNS
        first = cuda.blockIdx.y * part
        left = np.int32(min(inner - first, part))

        strip, s = split(tid, COLUMNS)  # s is the column that a thread writes and, but for dweight, fetches
        column = first_column + s
        d, h, w, b_at, out_at = np.int32(FAR), np.int32(FAR), np.int32(FAR), np.int64(0), np.int64(0)
        if column < columns:
            out_at, b_at, d_, h_, w_ = found(axis, column, size)
            out_at += cuda.blockIdx.y * out_size
            d, h, w = np.int32(d_), np.int32(h_), np.int32(w_)
        u = np.uint64(s)
        if strip == 0:
            c_out[u] = out_at
            if is_dweight:
                c_b[u], c_d[u], c_h[u], c_w[u] = b_at, d, h, w
        cuda.syncthreads()

        a_i, a_l = split(tid, DEPTH)
        b_j, b_l = (a_i, a_l) if is_dweight else (s, strip)
        a_at, a_jump = (first_row + a_i) * a_row, A_ROWS * a_row
        rows_left = np.int32(min(rows - first_row, ROWS) - a_i)
        k = np.int32(0)
        while k < left + DEPTH:
            this = k & DEPTH  # the first line of this step's copy, and of the last one's
            last = DEPTH - this
            step = k & (CHUNK - 1)
            if step == 0:
                u = np.uint64(tid)
                k_a[u], k_b[u], k_d[u], k_h[u], k_w[u] = -1, 0, FAR, FAR, FAR
                if k + tid < left:
                    k_a[u], k_b[u], k_d[u], k_h[u], k_w[u] = found(k_axis, first + k + tid, size)
                cuda.syncthreads()

            at = k_a[np.uint64(step + a_l)]
            for i in range(A_LOADS):
                a_next[i] = T(0)
                if at >= 0 and i * A_ROWS < rows_left:
                    a_next[i] = a[at + a_at + i * a_jump]
            if is_dweight:
                u = np.uint64(step + b_l)
                b_at, d, h, w = k_b[u], k_d[u], k_h[u], k_w[u]
                for j in range(B_LOADS):
                    u = np.uint64(b_j) + np.uint64(j * B_COLUMNS)
                    b_next[j] = T(0)
                    if within(h, c_h[u], H) & within(w, c_w[u], W) & (not volume or within(d, c_d[u], D)):
                        b_next[j] = b[b_at + c_b[u]]
            else:
                for j in range(B_LOADS):
                    u = np.uint64(step + b_l + j * B_DEPTH)
                    b_next[j] = T(0)
                    if within(h, k_h[u], H) & within(w, k_w[u], W) & (not volume or within(d, k_d[u], D)):
                        b_next[j] = b[b_at + k_b[u]]

            if k > 0:
                multiplied(a_tile, b_tile, last * A_LINE + y * A_GROUP, last * B_LINE + x * B_GROUP,
                           a_line, b_line, sums)
                if is_dweight and first_column == 0 and tid < ROWS:
                    for i in range(DEPTH):
                        bias_sum += a_tile[np.uint64((last + i) * A_LINE + tid)]
            for i in range(A_LOADS):
                a_tile[np.uint64((this + a_l) * A_LINE + a_i + i * A_ROWS)] = a_next[i]
            for j in range(B_LOADS):
                b_tile[np.uint64((this + b_l + j * B_DEPTH) * B_LINE + b_j + j * B_COLUMNS)] = b_next[j]
            cuda.syncthreads()
            k = np.int32(k + DEPTH)

        if is_dweight and first_column == 0 and tid < ROWS and first_row + tid < rows:
            out[cuda.blockIdx.y * out_size + rows * columns + first_row + tid] = bias_sum
        out_at = c_out[np.uint64(s)]
        # The threads' sums go through shared memory, one row of each at a time, so that a warp writes whole lines.
        for i in range(TALL):
            for j in range(WIDE):
                b_tile[np.uint64(y * B_LINE + x * B_GROUP + j // B_GROUP * B_STEP + j % B_GROUP)] = sums[j]
            for j in range(SUMS - WIDE):  # the next row moves up: a register has no index
                sums[j] = sums[j + WIDE]
            cuda.syncthreads()
            row = first_row + strip * A_GROUP + i // A_GROUP * A_STEP + i % A_GROUP
            for e in range(WIDE):
                if row < rows and column < columns:
                    shift = bias[row] if biased else T(0)
                    value = b_tile[np.uint64((strip + e * (THREADS // COLUMNS)) * B_LINE + s)]
                    out[out_at + row * out_row] = value + shift
                row += THREADS // COLUMNS * A_GROUP
            cuda.syncthreads()

    patch_product.bounds = tile.bounds
    return patch_product
