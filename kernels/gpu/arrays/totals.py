"""Sums over axes of an array of either device, whose error does not grow with the number of entries.

NumPy adds up the last axes of a float32 array in pairs, but leading ones row by row: of 2^25 ones half is lost, since
16,777,216 + 1 is 16,777,216 again. Where more than ROWS rows meet, they are added up in float64, and rounded once.
"""

import math

import numpy as np

from .device_array import is_device

ROWS = 1024  # added up one after the other in float32: an error of a few roundings


def total(x, axis=None, keepdims=False):
    """The sum over one axis, several or all."""
    if is_device(x) or x.dtype != np.float32 or x.size <= ROWS or _rows(x, axis) <= ROWS:
        return x.sum(axis=axis, keepdims=keepdims)
    return np.asarray(x.sum(axis=axis, keepdims=keepdims, dtype=np.float64)).astype(np.float32)


def average(x, axis=None, keepdims=False):
    """The mean over one axis, several or all, in the dtype of x; NaN over nothing."""
    result = total(x, axis, keepdims)
    with np.errstate(invalid="ignore"):
        return result / x.dtype.type(x.size // max(result.size, 1))


def _rows(x, axis):
    """How many sums NumPy adds up one after the other, to one entry of the result; x is not empty.

    It walks through memory, whatever the order of the axes, and adds in pairs along the innermost axes, where these are
    summed and lie without gaps.
    """
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    summed = {a % x.ndim for a in axes}
    rows, run, paired = math.prod(x.shape[a] for a in summed), None, 1
    for a in sorted(range(x.ndim), key=lambda a: (abs(x.strides[a]), -a)):
        if x.shape[a] == 1:
            continue
        if a not in summed or x.strides[a] == 0 or run not in (None, abs(x.strides[a])):
            break
        paired *= x.shape[a]
        run = abs(x.strides[a]) * x.shape[a]
    return rows // paired
