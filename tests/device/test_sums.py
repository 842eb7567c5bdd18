"""Sums on the device that do not depend on the order of their terms."""

import numpy as np
import pytest

from nanostn.kernels.gpu import block_sums, fixed_point
from nanostn.kernels.gpu.arrays.device_array import empty, to_device


@pytest.mark.parametrize("parts", [1, 3])
def test_the_largest_wherever_it_stands(rng, monkeypatch, T, parts):
    monkeypatch.setattr(fixed_point, "parts_of", lambda rows, count, *_: parts if count > 3 else 1)
    for at, value in ((0, -7.5), (31, 8.0), (46, -9.0), (69, 1e30), (5, np.nan), (40, np.inf), (69, np.nan)):
        x, into = rng.uniform(-1, 1, (2, 70)).astype(T), empty((2, 50), np.int64)
        x[1, at] = value
        found = fixed_point.largest(to_device(x), 2, into).numpy().ravel()
        np.testing.assert_array_equal(found, np.abs(x).max(axis=1))
        assert not into.numpy().any()


@pytest.mark.parametrize("rows, parts, count", [(2, 5, 3), (1, 40, 3), (3, 17, 40), (1, 1, 70)])
def test_parts_in_their_order(rng, T, rows, parts, count):
    x = rng.normal(size=(rows, parts, count)).astype(T)
    y = block_sums.sum_parts(to_device(x), parts, empty((rows, count), T), rows).numpy()
    np.testing.assert_allclose(y, x.sum(axis=1), rtol=0, atol=1e-5 if T == np.float32 else 1e-14)


@pytest.mark.parametrize("terms", [1, 5, 2 ** 20, 2 ** 31 - 1])
@pytest.mark.parametrize("largest", [1.0, 1.999, 3e-39, 2.5e38])
def test_as_many_terms_as_there_may_be_fit(T, terms, largest):
    """The sum of the largest terms is written by hand here, as the kernel that adds them would have left it."""
    x = np.array([[largest, 0], [0, 0]], T)
    scatter = fixed_point.Scatter((2, 1), 2, to_device(x), terms)
    _, exponent = np.frexp(x[0, 0])
    term = int(np.ldexp(float(x[0, 0]), scatter.bits - int(exponent)))
    assert terms * term < 2 ** 63
    scatter.sums = to_device(np.array([[term], [0]]))
    np.testing.assert_allclose(scatter.total().numpy(), x[:, :1], rtol=1e-6, atol=0)
