"""Threads: one pool at a time.

Kernels spread their work over Numba's threads, and each of these calls BLAS for products that fit its cache. BLAS has a
pool of its own; two pools that spin on the same cores cost a factor of 20 to 40, so BLAS is held to one thread for the
time of a kernel (about ten microseconds a kernel) and gets its threads back afterwards.

For the same reason OpenMP threads are told to spin for a tenth of a millisecond only while they wait, and then to
sleep, unless the environment says otherwise. That bridges the gaps between kernels; and on cores that other programs
use too, a step of a small network was four times as fast as with GNU OpenMP's own setting, thirty times as long.
"""

import functools
import importlib
import os
import threading
from collections.abc import Callable
from typing import Any

import numba
from threadpoolctl import ThreadpoolController

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read when Numba loads OpenMP, with the first kernel

_lock = threading.Lock()
_inside = 0  # kernels at work, in all threads of the program
_before: list[tuple[Any, int]] = []  # BLAS libraries and the numbers of threads they had


@functools.cache
def _blas_libraries() -> list[Any]:
    importlib.import_module("scipy.linalg.cython_blas")  # the BLAS behind np.dot in compiled code, so it must be loaded
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _set(library: Any, threads: int) -> None:
    # threadpoolctl lets one thread of a program only control BLAS, lest settings fight; here the lock sees to that.
    getattr(library, "_real_set_num_threads", library.set_num_threads)(threads)


def one_blas_thread(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Hold BLAS to one thread while `kernel` runs; of kernels that overlap, the last gives BLAS its threads back."""

    @functools.wraps(kernel)
    def limited(*args: Any, **kwargs: Any) -> Any:
        global _inside
        with _lock:
            if _inside == 0:
                _before[:] = [(library, library.get_num_threads()) for library in _blas_libraries()]
                for library, _ in _before:
                    _set(library, 1)
            _inside += 1
        try:
            return kernel(*args, **kwargs)
        finally:
            with _lock:
                _inside -= 1
                if _inside == 0:
                    for library, threads in _before:
                        _set(library, threads)

    return limited


def set_threads(n: int) -> None:
    """Use `n` threads in kernels, at most as many as Numba was started with.   torch: torch.set_num_threads(n)"""
    most = numba.config.NUMBA_NUM_THREADS
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= most:
        raise ValueError(f"set_threads: n should be an integer from 1 to {most}, received {n!r}; "
                         "the environment variable NUMBA_NUM_THREADS raises the limit, before the program starts")
    numba.set_num_threads(n)


def get_threads() -> int:
    """The number of threads that kernels use, from all of this machine's cores to one."""
    return numba.get_num_threads()
