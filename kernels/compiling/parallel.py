"""Spreads the items of a kernel over Numba's threads: the one loop of this folder that runs on several.

A function inside a `parallel=True` loop is optimised by the compiler three times more than by itself: seconds for a
large kernel, on every fresh machine. So one small loop serves all: it is handed the address of a kernel, and the place
where its arguments lie.

A kernel takes its arguments one by one and gives them names in its first lines (`Points`, `Reading`), for its own
functions: a class in the signature of a kernel on disk would have to be found under its name by every later version.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import int64, prange, typeof, types

from .blas import call_address, enclosed
from .caching import c_function, compiled
from .threads import get_threads, one_team, teams_may_meet

WORTH_A_THREAD = 4096  # entries; to wake a thread costs about as much as to sample so many


class Kernel:
    """`function(first, last, *arguments)` works on the items from first to last.

    `kernel(items, work, *arguments)` works on all of them, with as many threads as `work`, the number of entries that
    are read and written, is worth. It is compiled for the types of the arguments when it meets them, and
    cached on disk.
    """

    def __init__(self, function: Callable[..., None], **options: Any):
        self.function, self.options = function, options
        self.compiled: dict[tuple, Any] = {}  # by Numba's types
        self.known: dict[tuple, int] = {}  # addresses, by what tells those types apart in a tenth of the time

    def __call__(self, items: int, work: int, *arguments: Any) -> None:
        key = tuple(map(_kind, arguments))
        if key not in self.known:
            kinds = tuple(map(typeof, arguments))
            if kinds not in self.compiled:
                signature = types.void(types.int64, types.int64, *kinds)
                self.compiled[kinds] = c_function(self.function, signature, **self.options)
            self.known[key] = self.compiled[kinds].address
        # An exception in compiled code of this kind is printed and lost, so kernels must not raise any.
        workers = max(1, min(items, work // WORTH_A_THREAD))
        if workers > 1:  # else nobody needs to know, which takes a microsecond
            workers = min(workers, get_threads())
        loop = _loop().address if workers > 1 else 0
        if workers == 1 or teams_may_meet():
            _spread(loop, self.known[key], workers, items, arguments)
        else:
            with one_team:
                _spread(loop, self.known[key], workers, items, arguments)


def even(count: int, most: int) -> int:
    """The size of parts of about the same size, and at most that."""
    return -(-count // -(-count // most))


_NUMBERS = frozenset({int, float, bool, type(None)})


def _kind(argument: Any) -> Any:
    """As much of an argument as decides its type for Numba."""
    kind = type(argument)
    if kind is np.ndarray:
        return argument.dtype, argument.ndim, argument.flags.num
    return kind if kind in _NUMBERS or isinstance(argument, np.generic) else typeof(argument)


def _loop_over_workers(workers, items, entry, where):
    for worker in prange(workers):
        w = np.int64(worker)
        call_address(entry, items * w // workers, items * (w + 1) // workers, (where,))


@functools.cache
def _loop() -> Any:
    return c_function(_loop_over_workers, types.void(int64, int64, int64, int64), parallel=True)


@compiled(nogil=True, no_cfunc_wrapper=True)
def _spread(loop, address, workers, items, arguments):
    if workers == 1:
        call_address(address, 0, items, arguments)
    else:
        call_address(loop, workers, items, enclosed(address, arguments))
