"""Blocks of entries that change from channels first to channels last, and back."""

import numpy as np
import pytest

from nanostn.kernels.sampling.tiles import turned


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows, columns", [(16, 16), (16, 17), (33, 16), (40, 47), (15, 40), (40, 3), (1, 9), (9, 1)])
def test_every_entry_is_turned_and_nothing_else_written(rng, rows, columns, dtype):
    source = rng.normal(size=(rows + 2, columns + 5)).astype(dtype)
    target = np.full((columns + 1, rows + 3), 7, dtype)
    turned(source.reshape(-1), columns + 5 + 2, columns + 5, rows, columns, target.reshape(-1), 1, rows + 3)
    expected = np.full_like(target, 7)
    expected[:columns, 1:1 + rows] = source[1:1 + rows, 2:2 + columns].T
    np.testing.assert_array_equal(target, expected)


def test_planes_are_copied(rng):
    source, target = rng.normal(size=20), np.zeros(20)
    turned(source, 3, 100, 1, 9, target, 2, 1)
    np.testing.assert_array_equal(target[2:11], source[3:12])
    turned(source, 5, 1, 9, 1, target, 11, 100)
    np.testing.assert_array_equal(target, [0, 0, *source[3:12], *source[5:14]])
