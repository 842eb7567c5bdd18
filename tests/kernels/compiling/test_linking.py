"""Functions that are linked into kernels: what their callers get, and what they do not cost."""

import gc

import numpy as np
import pytest
from numba import float64, njit, types
from numba.core import config
from numba.core.errors import TypingError

from nanostn.kernels.compiling import caching, threads
from nanostn.kernels.compiling.linking import Linked, linked

from .passes import passes_of_the_compiler


@linked(error_model="numpy")
def _inverse(x, shift=1):
    """One over x, and a shift, which has a default."""
    return 1 / x + shift


@linked()
def _sum(values, power):
    total = values.dtype.type(0)
    for value in values:
        total += value if power is None else value**power
    return total


@linked()
def _twice(x):
    return _inverse(x) + _inverse(x, shift=x)


@njit(error_model="numpy")
def _caller(x, values):
    return _twice(x), _inverse(x, 0.5), _sum(values, None), _sum(values, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_caller_gets_what_python_gets(dtype):
    values = np.arange(5, dtype=dtype)
    assert _caller(4.0, values) == (5.5, 0.75, 10.0, 30.0)
    assert (_twice(4.0), _inverse(4.0, 0.5), _sum(values, None), _sum(values, 2)) == (5.5, 0.75, 10.0, 30.0)
    assert _caller(0.0, values)[1] == np.inf  # its own error model, which divides by zero


def test_functions_of_the_same_types_are_told_apart():
    one, two = Linked(lambda x: x + 1), Linked(lambda x: x + 2)
    assert njit(lambda x: (one(x), two(x)))(10.0) == (11.0, 12.0)


def test_it_has_no_machine_code_of_its_own_until_python_calls_it():
    @linked()
    def alone(x):
        return 3 * x

    assert njit(lambda x: alone(x))(5) == 15
    assert len(alone._forms) == 1 and not alone.overloads
    assert alone(5) == 15 and len(alone.overloads) == 1


def test_a_constant_is_no_type_of_its_own():
    @linked()
    def chosen(x, twice, shift):
        return (2 if twice else 1) * x + shift

    assert njit(lambda x, flag, n: (chosen(x, True, 3), chosen(x, flag, n), chosen(x, False, n)))(5.0, True, 4) == (
        13.0, 14.0, 9.0)
    assert len(chosen._forms) == 1


def test_an_error_of_types_names_the_function():
    @linked()
    def wrong(x):
        return x.no_such_thing

    with pytest.raises(TypingError, match="no_such_thing"):
        njit(lambda x: wrong(x))(np.ones(3))


def test_an_index_is_checked_where_it_should_be():
    @linked(boundscheck=True)
    def read(x, i):
        return x[i]

    with pytest.raises(IndexError):
        njit(lambda x, i: read(x, i))(np.ones(3), 5)


def _items(x):
    return _twice(x) + _inverse(x)


@pytest.mark.parametrize("on", [True, False])
def test_garbage_is_not_collected_while_a_kernel_is_compiled(monkeypatch, on):
    """And is afterwards, if it was before; after an error, too."""
    class Lock:  # that a fork waits for: a child that was forked amid would never collect garbage again
        def __enter__(self):
            outside.append(gc.isenabled())

        def __exit__(self, *_):
            outside.append(gc.isenabled())

    monkeypatch.setattr(threads, "global_compiler_lock", Lock())
    monkeypatch.setattr(caching.CFunc, "compile", lambda self: inside.append(gc.isenabled()) or 1 / len(self._pyfunc()))
    inside, outside = [], []
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        caching.c_function(lambda: "one", types.void())
        with pytest.raises(ZeroDivisionError):
            caching.c_function(lambda: "", types.void())
        assert inside == [False, False] and outside == [on] * 4 and gc.isenabled() == on
    finally:
        (gc.enable if before else gc.disable)()


def test_a_kernel_has_what_it_calls(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    with passes_of_the_compiler() as passes:
        first = caching.c_function(_items, float64(float64), error_model="numpy")
        assert passes
        passes.clear()
        second = caching.c_function(_items, float64(float64), error_model="numpy")
        assert not passes  # found on disk, whole
    assert first.ctypes(4.0) == second.ctypes(4.0) == 6.75
