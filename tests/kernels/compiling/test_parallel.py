"""Kernel: every item once, whatever the number of workers; compiled once for each combination of types."""

import numpy as np
import pytest
from numba import cfunc, float32, float64, njit

from nanostn.kernels.compiling import caching, parallel
from nanostn.kernels.compiling.parallel import WORTH_A_THREAD, Kernel

from .passes import passes_of_the_compiler

ENOUGH = 100 * WORTH_A_THREAD


def _count_items(first, last, visits):
    for i in range(first, last):
        visits[i] += 1


@njit
def _formula(k, x):
    if k is None:
        return x + 1
    else:
        return k(x)


def _optional_items(first, last, x, k, shift, y):
    for i in range(first, last):
        if shift is None:
            y[i] = _formula(k, x[i])
        else:
            y[i] = _formula(k, x[i]) + shift[0]


@cfunc(float32(float32))
def _double(x):
    return float32(2) * x


@cfunc(float32(float32))
def _triple(x):
    return float32(3) * x


@cfunc(float64(float64))
def _half(x):
    return x / 2


count = Kernel(_count_items)
optional = Kernel(_optional_items)


@pytest.mark.parametrize("items", [0, 1, 2, 7, 1001])
@pytest.mark.parametrize("work", [0, 3 * WORTH_A_THREAD, ENOUGH])
def test_every_item_once(items, work):
    visits = np.zeros(items + 3, np.int64)
    count(items, work, visits)
    np.testing.assert_array_equal(visits, [1] * items + [0] * 3)


@pytest.mark.parametrize(("items", "work", "workers_used"), [
    (100, WORTH_A_THREAD - 1, 1), (100, 3 * WORTH_A_THREAD, 3), (2, ENOUGH, 2), (0, ENOUGH, 1), (100, ENOUGH, 4),
])
def test_workers_are_as_many_as_threads_items_and_work_allow(items, work, workers_used, monkeypatch):
    asked = []
    monkeypatch.setattr(parallel, "get_threads", lambda: 4)
    monkeypatch.setattr(parallel, "teams_may_meet", lambda: True)
    monkeypatch.setattr(parallel, "_spread", lambda loop, function, n, *rest: asked.append(n))
    count(items, work, np.zeros(items))
    assert asked == [workers_used]


@pytest.mark.parametrize("work", [0, ENOUGH])
@pytest.mark.parametrize("shift", [None, 10])
@pytest.mark.parametrize(("k", "dtype"), [(None, np.float32), (_double, np.float32), (_triple, np.float32),
                                          (None, np.float64), (_half, np.float64)])
def test_none_and_function_pointers(k, dtype, shift, work):
    """None is a type, so what it guards is left out; a cfunc is handed over as a pointer."""
    x, y = np.arange(1001, dtype=dtype), np.zeros(1001, dtype)
    optional(len(x), work, x, k, None if shift is None else np.full(1, shift, dtype), y)
    expected = x + 1 if k is None else {_double: x * 2, _triple: x * 3, _half: x / 2}[k]
    np.testing.assert_array_equal(y, expected + (shift or 0))


def test_compiled_once_for_each_combination_of_types(monkeypatch):
    kernel = Kernel(_optional_items)
    x = np.ones(5, np.float32)
    for k in (None, _double):
        kernel(5, 5, x, k, None, np.empty_like(x))
    with passes_of_the_compiler() as passes:
        for k in (None, _double, _triple):  # functions of one signature are of one type
            kernel(5, 5, np.zeros(3000, np.float32)[:5], k, None, np.empty_like(x))
    assert len(kernel.compiled) == 2 and passes == []
    monkeypatch.setattr(caching.Cache, "load_overload", lambda self, signature, target: None)
    with passes_of_the_compiler() as passes:
        Kernel(_count_items)(5, 5, np.zeros(5))
    assert passes
