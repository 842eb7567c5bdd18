"""The one form of an error, and the check of shapes."""

import numpy as np
import pytest

from nanostn.checks import (
    argument_error,
    checked_flag,
    checked_number,
    checked_size,
    describe,
    is_float32,
    same_float,
    sizes,
)


def test_the_form():
    error = argument_error("conv2d", "stride", "a positive integer", 0, "use 1 for no stride")
    assert str(error) == "conv2d: stride should be a positive integer, received 0; use 1 for no stride"


def test_sizes_come_in_the_order_of_their_names():
    U, grid = np.zeros((2, 3, 4, 5)), np.zeros((2, 7, 2))
    assert sizes("sample", U=(U, "N C H W"), grid=(grid, "N P 2")) == [2, 3, 4, 5, 7]


@pytest.mark.parametrize("grid, message", [
    (np.zeros((3, 7, 2)), r"sample: grid should be \(N, P, 2\) with N = 2 from U, received \(3, 7, 2\) float64"),
    (np.zeros((2, 7, 3)), r"sample: grid should be \(N, P, 2\), received \(2, 7, 3\)"),
    (np.zeros((2, 7)), r"sample: grid should be \(N, P, 2\), received \(2, 7\)"),
    (5, r"sample: grid should be \(N, P, 2\), received 5"),
])
def test_wrong_shapes(grid, message):
    with pytest.raises(ValueError, match=message):
        sizes("sample", U=(np.zeros((2, 3, 4, 5)), "N C H W"), grid=(grid, "N P 2"))


def test_dtypes():
    a, b = np.zeros(2, np.float32), np.zeros(2)
    assert same_float("f", a=a, b=None) == np.float32
    with pytest.raises(ValueError, match=r"f: b should be float32 like a, received \(2,\) float64"):
        same_float("f", a=a, b=b)
    with pytest.raises(ValueError, match="f: a should be a float32 or float64 array, received .* int64"):
        same_float("f", a=np.arange(2))


def test_long_values_are_shown_short():
    assert len(describe("x" * 1000)) == 60


def test_a_value_is_shown_by_shape_only_where_it_has_a_dtype_too():
    class Shaped:
        shape = (2, 3)

        def __repr__(self):
            return "Shaped()"

    assert describe(Shaped()) == "Shaped()"
    assert describe("x" * 58) == repr("x" * 58)  # 60 with its quotes: the longest that is shown whole


@pytest.mark.parametrize("size, dims", [((1, 2), 2), ([3, np.int64(1)], 2), ((1, 2, 3), 3), ((1, 2), None),
                                        ((4, 1, 5), None)])
def test_sizes_of_an_output(size, dims):
    got = checked_size("f", size, dims)
    assert got == tuple(size) and all(type(n) is int for n in got)


@pytest.mark.parametrize("size, dims", [((0, 2), 2), ((2, -1), 2), ((True, 2), 2), ((1.0, 2), 2), ((1, 2, 3), 2),
                                        ((1, 2), 3), ((1,), None), ((1, 2, 3, 4), None), (5, 2), ("12", 2)])
def test_sizes_that_are_none(size, dims):
    with pytest.raises(ValueError, match="f: size should be .*positive integers, received"):
        checked_size("f", size, dims)


def test_numbers_that_float32_holds():
    largest = float(np.finfo(np.float32).max)
    assert all(is_float32(x) for x in (0, -3, 1.5, largest, -largest, np.float64(2), np.int8(1)))
    assert not any(is_float32(x) for x in (True, "1", None, 1j, largest * 1.001, -largest * 1.001, 10**400,
                                           float("nan"), float("inf"), np.zeros(1)))


@pytest.mark.parametrize("value, bounds, right", [
    (3, (), True), (np.float32(0.5), (0, 1), True), (np.uint8(1), (0, 1), True), (-np.inf, (), True), (1e300, (), True),
    (0, (0, 1), True), (1.0, (0, 1), True), (-1e-9, (0,), False), (1.1, (0, 1), False), (np.nan, (), False),
    (True, (), False), (np.bool_(True), (), False), ("1", (), False), (None, (), False), ([1], (), False),
    (1j, (), False), (np.ones(1), (), False), (10**400, (), False), (-(10**400), (), False), (np.inf, (0, 1), False)])
def test_numbers_are_checked_in_kind_and_range(value, bounds, right):
    if right:
        found = checked_number("op", "x", value, *bounds)
        assert type(found) is float and found == value
    else:
        words = {0: "a number", 1: "a number of 0 or more", 2: "a number from 0 to 1"}[len(bounds)]
        with pytest.raises(ValueError, match=f"^op: x should be {words}, received "):
            checked_number("op", "x", value, *bounds)


def test_nan_where_it_is_allowed():
    assert np.isnan(checked_number("op", "x", np.float32(np.nan), 0, 1, nan=True))
    for value in ("nan", None, 2, 10**400):
        with pytest.raises(ValueError, match="^op: x should be a number from 0 to 1, received "):
            checked_number("op", "x", value, 0, 1, nan=True)


def test_flags_are_true_or_false():
    assert checked_flag("op", "x", np.bool_(True)) is True and checked_flag("op", "x", False) is False
    for value in (0, 1, "False", None, np.ones(1, bool)):
        with pytest.raises(ValueError, match="^op: x should be True or False, received "):
            checked_flag("op", "x", value)


def test_none_alone_is_no_float_array():
    with pytest.raises(ValueError, match="^op: x should be a float32 or float64 array, received None"):
        same_float("op", x=None, y=None)
    assert same_float("op", x=np.ones(2, np.float32), y=None) == np.float32
