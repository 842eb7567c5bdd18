"""Spreads the items of a kernel over Numba's threads.

A function inside a `parallel=True` loop is optimised by the compiler three times more than by itself: seconds for a
large kernel, on every fresh machine. So one small loop serves all: it is handed a kernel as a function pointer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cfunc, get_num_threads, njit, prange, typeof, types


class Kernel:
    """`function(first, last, *arguments)` works on the items from first to last; `kernel(items, *arguments)` on all.

    It is compiled for the types of the arguments when it meets them, and cached on disk.
    """

    def __init__(self, function: Callable[..., None], **options: Any):
        self.function, self.options = function, {**options, "cache": True}
        self.compiled: dict[tuple, Any] = {}

    def __call__(self, items: int, *arguments: Any) -> None:
        kinds = tuple(map(typeof, arguments))
        if kinds not in self.compiled:
            signature = types.void(types.int64, types.int64, *kinds)
            self.compiled[kinds] = cfunc(signature, **self.options)(self.function)
        _spread(self.compiled[kinds], get_num_threads(), items, arguments)


@njit(cache=True, nogil=True, parallel=True)
def _spread(function, workers, items, arguments):
    for worker in prange(workers):
        w = np.int64(worker)
        function(items * w // workers, items * (w + 1) // workers, *arguments)
