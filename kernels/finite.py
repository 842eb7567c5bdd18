"""Whether device arrays are finite: many of them in a few launches, and one short copy back."""

from collections.abc import Sequence

import numpy as np

from .device_array import DeviceArray, empty
from .launch import cuda, cuda_kernel, over
from .mapping import contiguous, fill

AT_ONCE = 8


@cuda_kernel("uint8* int" + " T*" * AT_ONCE + " int" * AT_ONCE)
def _mark(T):
    """marks[first + k] = 0 where array k of eight has an entry that is infinite or no number."""
    def mark(marks, first, x0, x1, x2, x3, x4, x5, x6, x7, n0, n1, n2, n3, n4, n5, n6, n7):
        k = cuda.blockIdx.y
        x, n = x0, n0
        if k == 1:
            x, n = x1, n1
        elif k == 2:
            x, n = x2, n2
        elif k == 3:
            x, n = x3, n3
        elif k == 4:
            x, n = x4, n4
        elif k == 5:
            x, n = x5, n5
        elif k == 6:
            x, n = x6, n6
        elif k == 7:
            x, n = x7, n7
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            if not x[i] - x[i] == T(0):
                marks[first + k] = 0  # whoever finds one writes the same
    return mark


def are_finite(arrays: Sequence[DeviceArray]) -> np.ndarray:
    """For each array whether all its entries are finite, in NumPy's memory."""
    found = np.ones(len(arrays), bool)
    for T in {array.dtype.type for array in arrays}:
        places = [i for i, array in enumerate(arrays) if array.dtype.type is T]
        marks = fill(empty((len(places),), np.uint8), 1)
        for first in range(0, len(places), AT_ONCE):
            some = [contiguous(arrays[i]) for i in places[first:first + AT_ONCE]]
            rest = AT_ONCE - len(some)
            blocks, threads = over(max(array.size for array in some))
            _mark[T]((blocks, len(some)), threads, marks, first, *some, *some[:1] * rest,
                     *(array.size for array in some), *(0,) * rest)
        found[places] = marks.numpy().astype(bool)
    return found
