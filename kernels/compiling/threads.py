"""Threads: one pool at a time.

Kernels spread their work over Numba's threads, and each of these calls BLAS for products that fit its cache. BLAS has a
pool of its own; two pools that spin on the same cores cost a factor of 20 to 40, so BLAS is held to one thread for the
time of a kernel (about ten microseconds a kernel) and gets its threads back afterwards.

For the same reason OpenMP threads are told to spin for a tenth of a millisecond only while they wait, and then to
sleep, unless the environment says otherwise. That bridges the gaps between kernels; and on cores that other programs
use too, a step of a small network was four times as fast as with GNU OpenMP's own setting, thirty times as long.

A forked process has none of its parent's threads, and GNU OpenMP ends it, or waits for them for good, when they are
called. There kernels work on the one thread that is left, and give the same bits.
"""

import functools
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock
from threadpoolctl import ThreadpoolController

from .blas import load_blas

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read when Numba loads OpenMP, with the first kernel

_lock = threading.RLock()
_inside: list[int] = []  # the threads of the program in which kernels are at work
_before: list[tuple[Any, int]] = []  # BLAS libraries and the numbers of threads they had
_forked = False  # from a process that had started Numba's threads

one_team = threading.Lock()  # where two threads of the program must not have kernels on several threads at once


@functools.cache
def teams_may_meet() -> bool:
    """Whether they may: Numba's own pool ends the process, OpenMP's and TBB's do not. Asked when there is a pool."""
    return numba.threading_layer() != "workqueue"


@functools.cache
def blas_libraries() -> list[Any]:
    """All of this process, among them the one that compiled code calls."""
    load_blas()
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _set(numbers: list[tuple[Any, int]]) -> None:
    for library, threads in numbers:
        # From threadpoolctl 3.8 on one thread of a program controls OpenBLAS, lest settings fight: the lock does that.
        clear = getattr(library, "clear_controlling_thread", lambda force: None)
        clear(force=True)
        library.set_num_threads(threads)
        clear(force=True)  # not this thread for good: the user's own settings would be ignored


def one_blas_thread(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Hold BLAS to one thread while `kernel` runs; of kernels that overlap, the last gives BLAS its threads back."""

    @functools.wraps(kernel)
    def limited(*args: Any, **kwargs: Any) -> Any:
        with _lock:
            if not _inside:
                _before[:] = [(library, library.get_num_threads()) for library in blas_libraries()]
                _set([(library, 1) for library, _ in _before])
            _inside.append(threading.get_ident())
        try:
            return kernel(*args, **kwargs)
        finally:
            with _lock:
                _inside.remove(threading.get_ident())
                if not _inside:
                    _set(_before)

    return limited


@contextmanager
def compiling() -> Iterator[None]:
    """Nobody else compiles, no process is forked, and garbage stays: the compiler makes objects by the million, and to
    search them for cycles again and again takes a tenth of its time."""
    with global_compiler_lock:
        on = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if on:
                gc.enable()


def _before_fork() -> None:
    """Wait until no other thread holds what the child would wait for: nobody would let go of it there."""
    global_compiler_lock.acquire()
    _lock.acquire()


def _after_fork() -> None:
    _lock.release()
    global_compiler_lock.release()


def _in_child() -> None:
    global _forked
    try:
        numba.threading_layer()
        _forked = True
    except ValueError:  # none was started: this process may start its own
        pass
    elsewhere = [thread for thread in _inside if thread != threading.get_ident()]
    if elsewhere:
        _inside[:] = [thread for thread in _inside if thread not in elsewhere]
        if not _inside:
            _set(_before)
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def set_threads(n: int) -> None:
    """Use `n` threads in kernels, at most as many as Numba was started with.   torch: torch.set_num_threads(n)

    At most one in a process that was forked from one in which kernels had run.
    """
    most = 1 if _forked else numba.config.NUMBA_NUM_THREADS
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= most:
        raise ValueError(f"set_threads: n should be an integer from 1 to {most}, received {n!r}; " + (
            "this process was forked after kernels had run, and threads are not inherited: start it by spawn or "
            "forkserver" if _forked else
            "the environment variable NUMBA_NUM_THREADS raises the limit, before the program starts"))
    numba.set_num_threads(n)


def get_threads() -> int:
    """The number of threads that kernels use, from all of this machine's cores to one."""
    return 1 if _forked else numba.get_num_threads()
