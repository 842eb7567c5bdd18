"""Pooling on the device like the CPU's, to the bit: overlapping windows, gaps, ties, NaN, wide windows."""

import numpy as np
import pytest

from nanostn.kernels.gpu.arrays.device_array import to_device
from nanostn.kernels.networks import pooling, pooling_gpu, rectifier

# N, C, H, W, window, stride, padding
CASES = [
    (2, 3, 4, 6, (2, 2), (2, 2), (0, 0)),
    (1, 2, 5, 7, (2, 2), (2, 2), (0, 0)),
    (1, 2, 7, 6, (3, 2), (2, 1), (1, 1)),
    (2, 1, 5, 8, (2, 3), (3, 4), (1, 0)),
    (1, 1, 17, 10, (17, 16), (3, 4), (2, 8)),
    (1, 2, 5, 4, (2, 1), (2, 1), (1, 0)),
]


def same_as_cpu(rng, T, case):
    *shape, window, stride, padding = case
    options = window, stride, padding
    x = np.round(rng.standard_normal(shape) * 2).astype(T)  # with ties
    x.flat[rng.integers(0, x.size, 2 + x.size // 8)] = np.nan
    x.flat[rng.integers(0, x.size, 2)] = np.inf, -np.inf
    y, place = pooling.max_pool(x, *options)
    dy = rng.standard_normal(y.shape).astype(T)
    expected = [y, place, pooling.max_pool_dx(dy, place, *shape[2:], *options), pooling.avg_pool(x, *options)]
    dx = pooling.avg_pool_dx(dy, *shape[2:], *options)
    x_there, dy_there = to_device(x), to_device(dy)
    runs = []
    for _ in range(2):
        y, place = pooling.max_pool(x_there, *options)
        found = [y, place, pooling.max_pool_dx(dy_there, place, *shape[2:], *options),
                 pooling.avg_pool(x_there, *options), pooling.avg_pool_dx(dy_there, *shape[2:], *options)]
        runs.append([a.numpy() for a in found])
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*runs, strict=True))
    for a, b in zip(runs[0], expected, strict=False):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(runs[0][-1], dx, rtol=1e-12 if T == np.float64 else 1e-5, atol=1e-6)  # by fma there


@pytest.mark.parametrize("case", CASES)
def test_as_on_the_cpu(rng, T, case):
    same_as_cpu(rng, T, case)


@pytest.mark.parametrize("options", [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (0, 1))])
def test_windows_that_reach_beyond_the_image(rng, options):
    x = rng.integers(-3, 3, (1, 2, 6, 7)).astype(np.float32)
    y, place = pooling.max_pool(x, *options, ceil_mode=True)
    y_there, place_there = pooling.max_pool(to_device(x), *options, ceil_mode=True)
    dx = pooling.max_pool_dx(y, place, 6, 7, *options)
    dx_there = pooling.max_pool_dx(y_there, place_there, 6, 7, *options)
    assert y.shape == (1, 2, 3, 4)
    for a, b in ((y, y_there), (place, place_there), (dx, dx_there)):
        np.testing.assert_array_equal(a, b.numpy())


def test_nan_and_the_first_of_equal_ones():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 2, 8)
    x[0, 0, 1, 2] = x[0, 0, 0, 5] = np.nan
    x[0, 0, :, 6:] = 7
    y, place = pooling.max_pool(to_device(x), (2, 2), (2, 2), (0, 0))
    np.testing.assert_array_equal(y.numpy()[0, 0, 0], [9, np.nan, np.nan, 7])
    np.testing.assert_array_equal(place.numpy()[0, 0, 0], [3, 2, 1, 0])


def test_more_planes_and_rows_than_a_grid_has(rng, monkeypatch):
    monkeypatch.setattr(pooling_gpu, "GRID", 1)
    same_as_cpu(rng, np.float32, (2, 5, 3, 2, (1, 2), (1, 1), (0, 0)))
    same_as_cpu(rng, np.float32, (1, 2, 21, 4, (2, 2), (2, 2), (0, 0)))


def test_an_empty_batch():
    x = to_device(np.ones((0, 2, 4, 5), np.float32))
    y, place = pooling.max_pool(x, (2, 2), (2, 2), (0, 0))
    assert y.shape == place.shape == (0, 2, 2, 2)
    assert pooling.max_pool_dx(y, place, 4, 5, (2, 2), (2, 2), (0, 0)).shape == x.shape


@pytest.mark.parametrize("shape", [(), (3, 5), (0, 2)])
def test_relu(rng, T, shape):
    x, dy = rng.standard_normal((2, *shape)).astype(T)
    if x.size > 4:
        x[0, :4] = 0, -0.0, np.nan, np.inf
        dy[0, 0] = np.inf
    y, positive = rectifier.relu(x)
    y_there, positive_there = rectifier.relu(to_device(np.asarray(x)))
    np.testing.assert_array_equal(y_there.numpy(), y)
    np.testing.assert_array_equal(positive_there.numpy(), positive)
    dx = rectifier.relu_dx(to_device(np.asarray(dy)), positive_there)
    np.testing.assert_array_equal(dx.numpy(), rectifier.relu_dx(dy, positive))
    assert positive_there.dtype == np.bool_ and dx.dtype == T


@pytest.mark.gpu
@pytest.mark.parametrize("case", [
    (4096, 16, 9, 7, (2, 2), (2, 2), (0, 0)),  # more planes than a grid has blocks
    (1, 3, 511, 700, (3, 3), (2, 2), (1, 1)),
    (256, 32, 28, 28, (2, 2), (2, 2), (0, 0)),
])
def test_real_sizes(rng, T, case):
    same_as_cpu(rng, T, case)


@pytest.mark.gpu
def test_relu_of_many_entries(rng, T):
    x = rng.standard_normal((5, 1 << 21)).astype(T)
    there = to_device(x)
    runs = {rectifier.relu(there)[0].numpy().tobytes() for _ in range(50)}
    assert runs == {rectifier.relu(x)[0].tobytes()}
