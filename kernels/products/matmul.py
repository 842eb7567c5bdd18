"""The product of two matrices, spread over the cores in tiles of the result: the dense layer and its gradients.

    out = A B + bias,    A = a or a^T,   B = b or b^T

On the CPU tiles depend on shapes only and each is one BLAS product on one thread, so results are the same bits for any
number of threads. Both axes are cut, so a batch of one sample occupies all cores too. On a GPU a tile is one block of
threads (`gpu_tiles`); operands are read with their strides, so a transposed one is not copied, nor one that repeats
over a stack.
"""

import math
from typing import Any

import numpy as np

from ..compiling.blas import gemm
from ..compiling.parallel import Kernel
from ..compiling.threads import one_blas_thread
from ..gpu.arrays.device_array import DeviceArray, empty, is_device
from ..gpu.arrays.numpy_functions import contiguous
from ..gpu.block_sums import sum_parts
from ..gpu.integer_division import divided, split
from ..gpu.launch import cuda, cuda_kernel, over
from .gpu_tiles import TILES, alignment, groups, multiply, place, plan, room_for_parts, tiles

ROWS, COLUMNS = 128, 256  # of a tile


def matmul(a, b, transpose_a=False, transpose_b=False, bias=None):
    """A B + bias for C-contiguous a and b of one dtype; bias (columns,)."""
    if is_device(a):
        return _on_device(_transposed(a) if transpose_a else a, _transposed(b) if transpose_b else b, bias)
    return _on_cores(a, b, transpose_a, transpose_b, bias)


def batched_matmul(x, y):
    """x y for stacks of matrices with the same leading axes."""
    return _on_device(x, y, None) if is_device(x) else _stacks(x, y)


_stacks = one_blas_thread(np.matmul)


@one_blas_thread
def _on_cores(a, b, transpose_a, transpose_b, bias):
    rows = a.shape[1] if transpose_a else a.shape[0]
    columns = b.shape[0] if transpose_b else b.shape[1]
    out = np.empty((rows, columns), a.dtype)
    if a.size == 0 or b.size == 0:
        out[...] = 0 if bias is None else bias
    else:
        _matmul(-(-rows // ROWS) * -(-columns // COLUMNS), out.size * (a.size // rows), a, b, transpose_a, transpose_b,
                np.zeros(columns, a.dtype) if bias is None else bias, out)
    return out


def _matmul_tiles(first, last, a, b, transpose_a, transpose_b, bias, out):
    """A tile is ROWS x COLUMNS of out (rows, columns): one product on one thread."""
    rows, columns = out.shape
    inner = a.shape[0] if transpose_a else a.shape[1]
    across = (columns + COLUMNS - 1) // COLUMNS
    for tile in range(first, last):
        i, j = tile // across * ROWS, tile % across * COLUMNS
        i_end, j_end = min(rows, i + ROWS), min(columns, j + COLUMNS)
        for r in range(i, i_end):
            for c in range(j, j_end):
                out[r, c] = bias[c]
        gemm(i_end - i, j_end - j, inner, a, i if transpose_a else i * inner, a.shape[1], transpose_a,
             b, j * inner if transpose_b else j, b.shape[1], transpose_b, out, i * columns + j, columns, True)


_matmul = Kernel(_matmul_tiles)


FEW = 8  # rows or columns of matrices in a stack, so small that tiles would be mostly empty


def _on_device(a: DeviceArray, b: DeviceArray, bias: DeviceArray | None) -> DeviceArray:
    """A B + bias of two matrices, or of two stacks of them."""
    lead, (rows, inner), columns = a.shape[:-2], a.shape[-2:], b.shape[-1]
    (a, a_step), (b, b_step) = _stack(a), _stack(b)
    batch = math.prod(lead)
    out = empty((*lead, rows, columns), a.dtype)
    if out.size == 0:
        return out
    T: Any = out.dtype.type
    biased = bias is not None
    a_strides, b_strides = a.strides[-2:], b.strides[-2:]
    if batch > 1 and min(rows, columns) <= FEW and inner <= 8 * FEW:
        _entries[T](*over(out.size), a, b, bias if biased else out, out, out.size, rows, columns, inner,
                    a_step, *a_strides, b_step, *b_strides, biased)
        return out
    tile, parts, part = plan(rows, columns, inner, T, batch)
    target = room_for_parts(parts, out)
    kernel = _product[T, tile, a_strides[1] <= a_strides[0], b_strides[0] < b_strides[1]]
    kernel((batch * tiles(tile, rows, columns), parts), tile.threads, a, b, bias if biased else out, target,
           batch, rows, columns, inner, part, a_step, *a_strides, b_step, *b_strides, biased and parts == 1)
    if parts > 1:
        sum_parts(target, parts, out, bias=bias, period=columns)
    return out


def _transposed(x: DeviceArray) -> DeviceArray:
    return x.view(x.shape[::-1], x.strides[::-1])


def _stack(x: DeviceArray) -> tuple[DeviceArray, int]:
    """x, copied if need be, so that its matrices stand at even distances; and that distance."""
    axes = [(n, stride) for n, stride in zip(x.shape[:-2], x.strides[:-2], strict=True) if n != 1]
    if any(stride != n * inner for (_, stride), (n, inner) in zip(axes, axes[1:], strict=False)):
        x = contiguous(x)
        return x, x.shape[-2] * x.shape[-1]
    return x, axes[-1][1] if axes else 0


@cuda_kernel("T~ T~ T* T* int int int int int[3] int[3] bool")
def _entries(T):
    """A thread for each entry of a stack of small matrices. Steps: entries from a matrix, row and column on."""
    def entries(a, b, bias, out, size, rows, columns, inner, a_steps, b_steps, biased):
        (a_step, a_row, a_k), (b_step, b_k, b_column) = a_steps, b_steps
        for entry in range(cuda.grid(1), size, cuda.gridsize(1)):
            line = divided(entry, columns)
            column = entry - line * columns
            n = divided(line, rows)
            at_a, at_b = n * a_step + (line - n * rows) * a_row, n * b_step + column * b_column
            total = bias[column] if biased else T(0)
            for k in range(inner):
                total += a[at_a + k * a_k] * b[at_b + k * b_k]
            out[entry] = total

    return entries


@cuda_kernel("T~ T~ T* T* int int int int int int[3] int[3] bool", offered=[
    (*tile, a_along, b_along) for tile in TILES for a_along in (True, False) for b_along in (True, False)])
def _product(T, tile, a_along, b_along):
    """out[part, n] = a[n] b[n] + bias over a part of k. What is `along` k has its neighbours in memory there.

    Steps: entries from a matrix, row and column to the next."""
    ROWS, COLUMNS, DEPTH, TALL, WIDE = tile
    THREADS, (A_LINE, B_LINE), (A_LOADS, B_LOADS) = tile.threads, tile.lines, tile.loads
    A_SIZE, B_SIZE, SUMS = 2 * DEPTH * A_LINE, 2 * DEPTH * B_LINE, TALL * WIDE
    A_ROWS, A_DEPTH = (THREADS // DEPTH, 0) if a_along else (0, THREADS // ROWS)
    B_COLUMNS, B_DEPTH = (THREADS // DEPTH, 0) if b_along else (0, THREADS // COLUMNS)
    (A_GROUP, A_STEP), (B_GROUP, B_STEP) = groups(tile)
    ALIGNMENT = alignment()
    placed, multiplied = place(tile), multiply(tile)

    def product(a, b, bias, out, batch, rows, columns, inner, part, a_steps, b_steps, biased):
        (a_step, a_row, a_k), (b_step, b_k, b_column) = a_steps, b_steps
        a_tile = cuda.shared.array(A_SIZE, T, ALIGNMENT)
        b_tile = cuda.shared.array(B_SIZE, T, ALIGNMENT)
        a_next = cuda.local.array(A_LOADS, T)
        b_next = cuda.local.array(B_LOADS, T)
        a_line = cuda.local.array(TALL, T)
        b_line = cuda.local.array(WIDE, T)
        sums = cuda.local.array(SUMS, T)
        for i in range(SUMS):
            sums[i] = T(0)

        tid = cuda.threadIdx.x
        y, x = placed(tid)
        down, across = (rows + ROWS - 1) // ROWS, (columns + COLUMNS - 1) // COLUMNS
        line = divided(cuda.blockIdx.x, down)
        first_row = (cuda.blockIdx.x - line * down) * ROWS
        n = divided(line, across)
        first_column = (line - n * across) * COLUMNS
        first = cuda.blockIdx.y * part
        left = np.int32(min(inner - first, part))

        # The thread's first entry of a step of each operand, and how far on the next one is.
        a_i, a_l = split(tid, DEPTH) if a_along else split(tid, ROWS)[::-1]
        b_j, b_l = split(tid, DEPTH) if b_along else split(tid, COLUMNS)[::-1]
        a_jump = A_ROWS * a_row + A_DEPTH * a_k
        b_jump = B_COLUMNS * b_column + B_DEPTH * b_k
        at_a = n * a_step + (first_row + a_i) * a_row + (first + a_l) * a_k
        at_b = n * b_step + (first_column + b_j) * b_column + (first + b_l) * b_k
        inside = first_row + ROWS <= rows and first_column + COLUMNS <= columns
        rows_left = np.int32(min(rows - first_row, ROWS) - a_i)
        columns_left = np.int32(min(columns - first_column, COLUMNS) - b_j)
        k = np.int32(0)
        while k < left + DEPTH:
            this = k & DEPTH  # the first line of this step's copy, and of the last one's
            last = DEPTH - this
            if inside and k + DEPTH <= left:
                for i in range(A_LOADS):
                    a_next[i] = a[at_a + i * a_jump]
                for j in range(B_LOADS):
                    b_next[j] = b[at_b + j * b_jump]
            else:
                for i in range(A_LOADS):
                    a_next[i] = T(0)
                    if i * A_ROWS < rows_left and k + a_l + i * A_DEPTH < left:
                        a_next[i] = a[at_a + i * a_jump]
                for j in range(B_LOADS):
                    b_next[j] = T(0)
                    if j * B_COLUMNS < columns_left and k + b_l + j * B_DEPTH < left:
                        b_next[j] = b[at_b + j * b_jump]
            at_a += DEPTH * a_k
            at_b += DEPTH * b_k
            if k > 0:
                multiplied(a_tile, b_tile, last * A_LINE + y * A_GROUP, last * B_LINE + x * B_GROUP,
                           a_line, b_line, sums)
            for i in range(A_LOADS):
                a_tile[np.uint64((this + a_l + i * A_DEPTH) * A_LINE + a_i + i * A_ROWS)] = a_next[i]
            for j in range(B_LOADS):
                b_tile[np.uint64((this + b_l + j * B_DEPTH) * B_LINE + b_j + j * B_COLUMNS)] = b_next[j]
            cuda.syncthreads()
            k = np.int32(k + DEPTH)

        # The threads' sums go through shared memory, one row of each at a time, so that a warp writes whole lines.
        strip, s = split(tid, COLUMNS)
        column = first_column + s
        shift = bias[column] if biased and column < columns else T(0)
        for i in range(TALL):
            for j in range(WIDE):
                b_tile[np.uint64(y * B_LINE + x * B_GROUP + j // B_GROUP * B_STEP + j % B_GROUP)] = sums[j]
            for j in range(SUMS - WIDE):  # the next row moves up: a register has no index
                sums[j] = sums[j + WIDE]
            cuda.syncthreads()
            row = first_row + strip * A_GROUP + i // A_GROUP * A_STEP + i % A_GROUP
            at = ((np.int64(cuda.blockIdx.y) * batch + n) * rows + row) * columns + column
            for e in range(WIDE):
                if row < rows and column < columns:
                    out[at] = b_tile[np.uint64((strip + e * (THREADS // COLUMNS)) * B_LINE + s)] + shift
                row += THREADS // COLUMNS * A_GROUP
                at += THREADS // COLUMNS * A_GROUP * columns
            cuda.syncthreads()

    product.bounds = tile.bounds
    return product
