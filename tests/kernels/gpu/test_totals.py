"""Sums over any axes are as good over ten million rows as over ten."""

import numpy as np
import pytest

from nanostn import Tensor, nn
from nanostn import functional as F
from nanostn.kernels.gpu.arrays import totals


def layouts(rows):
    yield np.ones((rows, 2), np.float32), 0
    yield np.ones((2, rows), np.float32).T, 0
    yield np.ones((rows, 2), np.float32)[::-1], 0
    yield np.broadcast_to(np.ones((1, 2), np.float32), (rows, 2)), 0
    yield np.broadcast_to(np.ones(2, np.float32), (rows, 2)), None
    yield np.ones((rows, 2), np.float32), (0, 1)
    yield np.ones((2, rows // 8, 2, 4), np.float32), (0, 1, 3)


@pytest.mark.parametrize("case", range(7))
def test_2_to_the_25_ones(case):
    x, axis = list(layouts(1 << 25))[case]
    found = totals.total(x, axis)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.full(found.shape, x.size // found.size, np.float32))
    np.testing.assert_array_equal(totals.average(x, axis), np.ones(found.shape, np.float32))


def test_values_shapes_and_what_is_short_has_its_old_bits(rng):
    for shape, axes in (((3, 4, 5), (None, 0, 1, -1, (0, 2), (), (2, 1, 0))), ((0, 3), (0, 1, None)), ((), (None, ())),
                        ((1024, 3), (0,)), ((256, 4, 5, 6), ((0, 2, 3),))):
        for dtype in (np.float32, np.float64, np.int64):
            x = (100 * rng.standard_normal(shape)).astype(dtype)
            for axis in axes:
                for keepdims in (False, True):
                    found = totals.total(x, axis, keepdims)
                    np.testing.assert_array_equal(found, x.sum(axis=axis, keepdims=keepdims))
                    assert found.dtype == x.sum(axis=axis).dtype
    x = rng.random((5000, 3), dtype=np.float32)
    np.testing.assert_array_equal(totals.total(x, 0), x.sum(axis=0, dtype=np.float64).astype(np.float32))
    assert totals.total(x.astype(np.float64), 0).dtype == np.float64


def test_the_operations_use_them(rng):
    N = 1 << 20
    x = (1 + rng.random((N, 3))).astype(np.float32)
    exact = x.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(Tensor(x).mean(axis=0).data, exact, rtol=2e-7)
    np.testing.assert_allclose(Tensor(x.reshape(1024, 1024, 1, 3)).mean(axis=(0, 1, 2)).data, exact, rtol=2e-7)
    dy = x[:, :2]
    layer = nn.Dense(3, 2)
    layer(x).backward(dy)
    np.testing.assert_allclose(layer.bias.grad, dy.sum(axis=0, dtype=np.float64), rtol=2e-7)
    row = Tensor(np.ones(3, np.float32), requires_grad=True)
    (row * x).sum().backward()
    np.testing.assert_allclose(row.grad, x.sum(axis=0, dtype=np.float64), rtol=2e-7)


@pytest.mark.parametrize("mean", [0, 100])
def test_normalisation_of_a_million_rows(rng, mean):
    x = (mean + rng.standard_normal((1 << 20, 2))).astype(np.float32)
    exact = x.astype(np.float64)
    running = np.zeros(2, np.float32), np.ones(2, np.float32)
    gamma, beta = (Tensor(np.full(2, value, np.float32), requires_grad=True) for value in (1.0, 0.0))
    points = Tensor(x, requires_grad=True)
    y = F.batch_norm(points, gamma, beta, *running, training=True, momentum=1.0)
    np.testing.assert_allclose(y.data.std(axis=0, dtype=np.float64), 1, atol=1e-5)
    np.testing.assert_allclose(y.data.mean(axis=0, dtype=np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(running[0], exact.mean(axis=0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(running[1], exact.var(axis=0, ddof=1), rtol=1e-6)
    dy = rng.random(x.shape, dtype=np.float32)
    y.backward(dy)
    hat = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-5)
    np.testing.assert_allclose(beta.grad, dy.sum(axis=0, dtype=np.float64), rtol=2e-7)
    # The mean is a float32 too, and its rounding moves all rows alike.
    np.testing.assert_allclose(gamma.grad, (dy * hat).sum(axis=0), rtol=1e-5, atol=len(x) * 4e-6)
