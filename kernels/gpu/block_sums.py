"""Sums and extremes over the threads of a block, and over blocks, in an order of their own: the same on every run."""

import numpy as np
from numba import njit

from .integer_division import divided
from .launch import block, cuda, cuda_kernel, numba_cuda

LANES = 16  # threads that share the parts of a sum, where these are many
THREADS = 512  # of a block that adds parts


def tree(T, threads, join=lambda a, b: a + b):
    """A device function (value, begin, t, width): over the `width` threads of a block from number `begin` on, a power
    of two. The calling thread is the t-th of them; each receives the result. All threads of the block should call it.
    `join` makes one value of two.
    """
    join = njit(join)

    def over_threads(value, begin, t, width):
        shared = cuda.shared.array(threads, T)
        shared[begin + t] = value
        cuda.syncthreads()
        half = width // 2
        while half > 0:
            if t < half:
                shared[begin + t] = join(shared[begin + t], shared[begin + t + half])
            cuda.syncthreads()
            half //= 2
        result = shared[begin]
        cuda.syncthreads()
        return result

    return numba_cuda(over_threads).jit(device=True)(over_threads)


@cuda_kernel("T* T* T* int int int int bool int int", offered=[(np.float32, THREADS), (np.float64, THREADS)])
def _sum_parts(T, threads):
    def sum_parts(x, bias, y, size, count, parts, lanes, biased, run, period):
        """`sum_parts` of x (rows, parts, count) for y of `size` entries; `lanes` threads share the parts of one."""
        t = cuda.threadIdx.x
        entries = threads // lanes
        lane, entry = t // entries, np.int64(cuda.blockIdx.x) * entries + t % entries
        found = cuda.shared.array(threads, T)
        total = T(0)
        if entry < size:
            first = entry + divided(entry, count) * (parts - 1) * count
            for part in range(lane, parts, lanes):
                total += x[first + part * count]
        found[t] = total
        cuda.syncthreads()
        if lane == 0 and entry < size:
            for other in range(1, lanes):
                total += found[other * entries + t]
            if biased:
                line = divided(entry, run)
                total += bias[line - divided(line, period) * period]
            y[entry] = total

    return sum_parts


def sum_parts(x, parts, y, rows=1, bias=None, run=1, period=1):
    """y = x (rows, parts, y.size / rows) summed over its parts, in a fixed order, + bias[entry // run % period]."""
    T, threads = y.dtype.type, block(THREADS)
    lanes = 1 if parts <= LANES else LANES
    _sum_parts[T, threads](-(-y.size // (threads // lanes)), threads, x, y if bias is None else bias, y, y.size,
                           y.size // rows, parts, lanes, bias is not None, run, period)
    return y
