"""Dropout: random numbers made from a key and a number of the entry, so that no mask is kept, on either device.

Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011) turns a counter of four words and a key of two into four random
words of 32 bits. An array of n entries is cut into four runs of Q = ceil(n / 4): counter i decides on the entries i,
Q + i, 2Q + i and 3Q + i, one word each. A word's top 24 bits are a number in [0, 1) that float32 holds exactly; below
`rate` the entry is dropped. Both devices drop the same entries, and the backward pass finds them again from the key.
"""

import math

import numba as nb
import numpy as np

from ..compiling.parallel import Kernel
from ..gpu.arrays.device_array import empty, is_device
from ..gpu.arrays.numpy_functions import contiguous
from ..gpu.launch import cuda, cuda_kernel, over

PART = 1024  # counters that a worker takes at once


def dropout(x, rate, key):
    """x / (1 - rate), or 0 with probability `rate`; `key` has 64 bits. Of dy it gives dx."""
    threshold, scale, quarter = math.ceil(rate * (1 << 24)), 1 / (1 - rate), -(-x.size // 4)
    y = (empty if is_device(x) else np.empty)(x.shape, x.dtype)
    if is_device(x):
        _dropout_device[x.dtype.type](*over(quarter), contiguous(x), y, x.size, quarter, np.uint64(key), threshold,
                                      scale)
    else:
        _dropout(-(-quarter // PART), 8 * x.size, x.reshape(-1), y.reshape(-1), quarter, np.uint64(key), threshold,
                 x.dtype.type(scale))
    return y


@nb.njit(inline="always")
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words from a counter and a key, in words of 32 bits: ten rounds, each with a key of its own."""
    for _ in range(10):
        first, second = np.uint64(c0) * np.uint64(0xD2511F53), np.uint64(c2) * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (np.uint32(second >> np.uint64(32)) ^ c1 ^ k0, np.uint32(second),
                          np.uint32(first >> np.uint64(32)) ^ c3 ^ k1, np.uint32(first))
        k0, k1 = np.uint32(k0 + np.uint32(0x9E3779B9)), np.uint32(k1 + np.uint32(0xBB67AE85))
    return c0, c1, c2, c3


@nb.njit(inline="always")
def _kept(counter, key, threshold):
    """Whether the four entries of a counter stay."""
    word, bits, eight = np.uint64(counter), np.uint64(key), np.uint32(8)
    a, b, c, d = philox(np.uint32(word), np.uint32(word >> np.uint64(32)), np.uint32(0), np.uint32(0),
                        np.uint32(bits), np.uint32(bits >> np.uint64(32)))
    least = np.uint32(threshold)
    return a >> eight >= least, b >> eight >= least, c >> eight >= least, d >> eight >= least


def _dropout_parts(first_part, last_part, x, y, quarter, key, threshold, scale):
    """A part is PART entries of each quarter of x: four numbers come from one call of the generator."""
    zero = x.dtype.type(0)
    kept = np.empty((4, PART), np.bool_)
    for part in range(first_part, last_part):
        begin = part * PART
        for i in range(min(PART, quarter - begin)):  # without a branch, so that it becomes vectors
            a, b, c, d = _kept(np.uint64(begin + i), key, threshold)
            kept[0, i], kept[1, i], kept[2, i], kept[3, i] = a, b, c, d
        for k in range(4):
            first = k * quarter + begin
            for i in range(min(PART, quarter - begin, x.size - first)):
                y[np.uint64(first + i)] = x[np.uint64(first + i)] * scale if kept[k, i] else zero


_dropout = Kernel(_dropout_parts)


@cuda_kernel("T* T* int int uint64 int T")
def _dropout_device(T):
    """A thread decides on an entry of each quarter of x, n entries."""
    def dropout(x, y, n, quarter, key, threshold, scale):
        for i in range(cuda.grid(1), quarter, cuda.gridsize(1)):
            a, b, c, d = _kept(i, key, threshold)
            y[i] = x[i] * scale if a else T(0)
            if quarter + i < n:
                y[quarter + i] = x[quarter + i] * scale if b else T(0)
            if 2 * quarter + i < n:
                y[2 * quarter + i] = x[2 * quarter + i] * scale if c else T(0)
            if 3 * quarter + i < n:
                y[3 * quarter + i] = x[3 * quarter + i] * scale if d else T(0)
    return dropout
