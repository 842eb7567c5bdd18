"""BLAS is held to one thread inside kernels and gets its threads back, also after an error and from several threads."""

import re
import threading
from pathlib import Path

import numba
import pytest

from nanostn.kernels.compiling import threads


def blas_threads():
    return [library.get_num_threads() for library in threads.blas_libraries()]


def test_blas_has_one_thread_inside_and_its_own_number_after():
    before = blas_threads()
    inner = threads.one_blas_thread(blas_threads)
    assert threads.one_blas_thread(lambda: (inner(), blas_threads()))() == ([1] * len(before), [1] * len(before))
    with pytest.raises(ZeroDivisionError):
        threads.one_blas_thread(lambda: 1 / 0)()
    assert blas_threads() == before


def test_kernels_that_overlap_in_two_threads():
    before, seen = blas_threads(), []
    inside, leave = threading.Event(), threading.Event()

    def first():
        inside.set()
        leave.wait(10)

    worker = threading.Thread(target=threads.one_blas_thread(first))
    worker.start()
    inside.wait(10)
    threads.one_blas_thread(lambda: seen.append(blas_threads()))()
    seen.append(blas_threads())  # the other kernel is still at work
    leave.set()
    worker.join()
    assert seen == [[1] * len(before)] * 2 and blas_threads() == before


def test_blas_is_held_whichever_thread_controls_it_and_is_controlled_by_none_afterwards():
    """threadpoolctl 3.8 silently ignores settings of other threads than the one that set something first."""
    before, seen = blas_threads(), []
    set_, done = threading.Event(), threading.Event()

    def controls():
        for library, number in zip(threads.blas_libraries(), before, strict=True):
            library.set_num_threads(number)
        set_.set()
        done.wait(10)

    controlling = threading.Thread(target=controls)
    controlling.start()
    set_.wait(10)
    try:
        seen.append(threads.one_blas_thread(blas_threads)())
        seen.append(blas_threads())
        user = threading.Thread(target=lambda: [library.set_num_threads(1) for library in threads.blas_libraries()])
        user.start()
        user.join()
        seen.append(blas_threads())
    finally:
        done.set()
        controlling.join()
        threads._set(list(zip(threads.blas_libraries(), before, strict=True)))
    assert seen == [[1] * len(before), before, [1] * len(before)]


def test_no_private_name_of_a_library_is_used():
    source = Path(threads.__file__).read_text(encoding="utf-8")
    assert not re.findall(r"""\w\._\w+|["']_\w+["']""", source)


def test_set_threads():
    before = numba.get_num_threads()
    try:
        threads.set_threads(1)
        assert threads.get_threads() == 1
    finally:
        threads.set_threads(before)
    for wrong in (0, -1, 1.0, True, numba.config.NUMBA_NUM_THREADS + 1):
        with pytest.raises(ValueError, match="set_threads: n should be an integer from 1 to"):
            threads.set_threads(wrong)
