"""Dropout's entries: the same on both devices, to the bit."""

import numpy as np
import pytest

from nanostn.kernels.gpu.arrays.device_array import to_device
from nanostn.kernels.networks.dropout import dropout


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 7), (2, 3, 4), (), (0, 3)])
@pytest.mark.parametrize("key", [0, 0xFEDCBA9876543210])
def test_as_on_the_cpu(rng, T, shape, key):
    x = rng.standard_normal(shape).astype(T)
    np.testing.assert_array_equal(dropout(to_device(x), 0.4, key).numpy(), dropout(x, 0.4, key))


def test_nothing_is_read_beyond_the_end():
    for n in (1, 2, 3, 5, 6, 9):
        dropout(to_device(np.ones(128, np.float32)).view((n,), (1,), 128 - n), 0.5, 3)  # at the end of its memory


def test_what_is_dropped_is_zero_whatever_it_was():
    x = np.full(64, np.nan, np.float32)
    y = dropout(to_device(x), 0.5, 7).numpy()
    assert 16 < (y == 0).sum() < 48 and np.isnan(y[y != 0]).all()


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(4096, 1001), (1, 3), (257, 32, 28, 27)])
def test_real_sizes(rng, T, shape):
    x = rng.standard_normal(shape).astype(T)
    there = to_device(x)
    assert {dropout(there, 0.3, 12345).numpy().tobytes() for _ in range(50 if x.size < 1e6 else 5)} == {
        dropout(x, 0.3, 12345).tobytes()}
