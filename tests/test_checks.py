"""The one form of an error, and the check of shapes."""

import numpy as np
import pytest

from nanostn.checks import argument_error, describe, same_float, sizes


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
