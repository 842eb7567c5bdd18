"""Whole division of numbers that are not negative, as cheap as their size allows: a GPU divides 64 bits slowly."""

import numpy as np
from numba import njit


@njit(inline="always")
def split(i, n):
    """i // n and i % n of numbers below 2^32."""
    quotient = np.uint32(i) // np.uint32(n)
    return np.int64(quotient), np.int64(np.uint32(i) - quotient * np.uint32(n))


@njit(inline="always")
def divided(i, n):
    """i // n of any: unsigned, where the GPU takes 32 bits if these suffice."""
    return np.int64(np.uint64(i) // np.uint64(n))


def check_count(name, count, shape):
    """An error for more entries than `split` can number."""
    if count >= 2**32:
        raise ValueError(f"{name}: the entries should be fewer than 2^32 on the device, received {tuple(shape)}")
