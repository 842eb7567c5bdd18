"""Spreads the items of a kernel over Numba's threads.

A function inside a `parallel=True` loop is optimised by the compiler three times more than by itself: seconds for a
large kernel, on every fresh machine. So one small loop serves all: it is handed a kernel as a function pointer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cfunc, get_num_threads, njit, prange, typeof, types

WORTH_A_THREAD = 4096  # entries; to wake a thread costs about as much as to sample so many


class Kernel:
    """`function(first, last, *arguments)` works on the items from first to last.

    `kernel(items, work, *arguments)` works on all of them, with as many threads as `work`, the number of entries that
    are read and written, is worth. It is compiled for the types of the arguments when it meets them, and
    cached on disk.
    """

    def __init__(self, function: Callable[..., None], **options: Any):
        self.function, self.options = function, {**options, "cache": True}
        self.compiled: dict[tuple, Any] = {}  # by Numba's types
        self.known: dict[tuple, Any] = {}  # by what tells those apart in a tenth of the time

    def __call__(self, items: int, work: int, *arguments: Any) -> None:
        key = tuple(map(_kind, arguments))
        if key not in self.known:
            kinds = tuple(map(typeof, arguments))
            if kinds not in self.compiled:
                signature = types.void(types.int64, types.int64, *kinds)
                self.compiled[kinds] = cfunc(signature, **self.options)(self.function)
            self.known[key] = self.compiled[kinds]
        # An exception in compiled code of this kind is printed and lost, so kernels must not raise any.
        workers = max(1, min(get_num_threads(), items, work // WORTH_A_THREAD))
        _spread(self.known[key], workers, items, arguments)


def _kind(argument: Any) -> Any:
    """As much of an argument as decides its type for Numba."""
    if isinstance(argument, np.ndarray):
        return argument.dtype, argument.ndim, argument.flags.num
    return type(argument) if argument is None or isinstance(argument, int | float | np.generic) else typeof(argument)


@njit(cache=True, nogil=True, parallel=True)
def _spread(function, workers, items, arguments):
    if workers == 1:
        function(0, items, *arguments)
        return
    for worker in prange(workers):
        w = np.int64(worker)
        function(items * w // workers, items * (w + 1) // workers, *arguments)
