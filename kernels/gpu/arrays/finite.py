"""Whether device arrays are finite: many of them in a few launches, and one short copy back."""

from collections.abc import Sequence

import numpy as np

from ..eights import TOGETHER, chosen
from ..launch import cuda, cuda_kernel, over
from .device_array import DeviceArray, empty
from .elementwise import contiguous, fill


@cuda_kernel("uint8* int" + " T*" * TOGETHER + " int" * TOGETHER)
def _mark(T):
    """marks[first + k] = 0 where array k of eight has an entry that is infinite or no number."""
    of = chosen()

    def mark(marks, first, x, x1, x2, x3, x4, x5, x6, x7, n, n1, n2, n3, n4, n5, n6, n7):
        k = cuda.blockIdx.y
        x, n = of(k, x, x1, x2, x3, x4, x5, x6, x7), of(k, n, n1, n2, n3, n4, n5, n6, n7)
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
        for first in range(0, len(places), TOGETHER):
            some = [contiguous(arrays[i]) for i in places[first:first + TOGETHER]]
            rest = TOGETHER - len(some)
            blocks, threads = over(max(array.size for array in some))
            _mark[T]((blocks, len(some)), threads, marks, first, *some, *some[:1] * rest,
                     *(array.size for array in some), *(0,) * rest)
        found[places] = marks.numpy().astype(bool)
    return found
