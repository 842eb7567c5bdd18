"""Whole division as kernels do it: the same numbers as Python's, up to the last that each function takes."""

import pytest

from nanostn.kernels.gpu.integer_division import check_count, divided, split


@pytest.mark.parametrize("i, n", [(0, 1), (6, 7), (7, 7), (23, 5), (2**31, 3), (2**32 - 1, 1), (2**32 - 1, 2**32 - 1)])
def test_quotient_and_rest(i, n):
    assert split(i, n) == divmod(i, n)
    assert divided(i, n) == i // n


@pytest.mark.parametrize("i, n", [(2**32, 3), (2**62 + 1, 2**31), (2**63 - 1, 2)])
def test_quotients_of_large_numbers(i, n):
    assert divided(i, n) == i // n


def test_more_entries_than_can_be_numbered():
    check_count("f", 2**32 - 1, (2**32 - 1,))
    with pytest.raises(ValueError, match=r"f: the entries should be fewer than 2\^32 on the device, received"):
        check_count("f", 2**32, (65536, 65536))
