"""Whether device arrays are finite: many of them in a few launches, and one short copy back."""

from collections.abc import Sequence

import numpy as np

from ..launch import TOGETHER, cuda, cuda_kernel, over
from .device_array import DeviceArray, empty
from .elementwise import contiguous, fill


@cuda_kernel(f"uint8* int T*[{TOGETHER}] int[{TOGETHER}]")
def _mark(T):
    """marks[first + k] = 0 where array k of xs has an entry that is infinite or NaN; sizes are in entries."""
    def mark(marks, first, xs, sizes):
        k = np.uint32(cuda.blockIdx.y)
        x = xs[k]
        for i in range(cuda.grid(1), sizes[k], cuda.gridsize(1)):
            if not x[i] - x[i] == T(0):
                marks[first + k] = 0  # whoever finds one writes the same
    return mark


def are_finite(arrays: Sequence[DeviceArray]) -> np.ndarray:
    """For each array whether all its entries are finite, in NumPy's memory."""
    found = np.ones(len(arrays), bool)
    for T in {array.dtype.type for array in arrays}:
        places = [i for i, array in enumerate(arrays) if array.dtype.type is T]
        marks = fill(empty((len(places),), np.uint8), 1)
        for first in range(0, len(places), TOGETHER):
            some = [contiguous(arrays[i]) for i in places[first:first + TOGETHER]]
            blocks, threads = over(max(array.size for array in some))
            eight = some + some[:1] * (TOGETHER - len(some))  # no block looks at the rest
            _mark[T]((blocks, len(some)), threads, marks, first, *eight, *(array.size for array in eight))
        found[places] = marks.numpy().astype(bool)
    return found
