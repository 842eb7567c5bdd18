"""Dropout: random numbers made from a key and a number of the entry, so that no mask is kept, on either device.

Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011) turns a counter of four words and a key of two into four random
words of 32 bits. An array of n entries is cut into four runs of Q = ceil(n / 4): counter i decides on the entries i,
Q + i, 2Q + i and 3Q + i, one word each. A word's top 24 bits are a number in [0, 1) that float32 holds exactly; below
`rate` the entry is dropped. Both devices drop the same entries, and the backward pass finds them again from the key.
"""

import math

import numba as nb
import numpy as np

from .device_array import empty, is_device
from .device_functions import contiguous
from .launch import cuda, cuda_kernel, over


def dropout(x, rate, key):
    """x / (1 - rate), or 0 with probability `rate`; `key` has 64 bits. Of dy it gives dx."""
    threshold, scale, quarter = math.ceil(rate * (1 << 24)), 1 / (1 - rate), -(-x.size // 4)
    if is_device(x):
        y = empty(x.shape, x.dtype)
        _dropout_device[x.dtype.type](*over(quarter), contiguous(x), y, x.size, quarter, np.uint64(key), threshold,
                                      scale)
        return y
    y = np.empty(x.shape, x.dtype)
    _dropout(x.reshape(-1), y.reshape(-1), quarter, np.uint64(key), threshold, x.dtype.type(scale))
    return y


@nb.njit(inline="always")
def _round(a, b, c, d, k, m):
    """One round on the words a b c d with the round's key k, m: words are uint64 below 2^32."""
    low = nb.uint64(0xFFFFFFFF)
    shift = nb.uint64(32)
    first, second = nb.uint64(0xD2511F53) * a, nb.uint64(0xCD9E8D57) * c
    return (second >> shift) ^ b ^ k, second & low, (first >> shift) ^ d ^ m, first & low
