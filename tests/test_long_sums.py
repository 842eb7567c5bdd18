"""Gradients that are sums over very many points or images: their error does not grow with how many there are."""

import numpy as np
import pytest

from nanostn.functional import grid_sample, log_softmax, softmax, spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Affine

THETA = np.array([[0.93, 0.21, 0.013, -0.17, 0.88, -0.023]], np.float32)


def gradients(f, *arrays, dV):
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    f(*tensors).backward(dV)
    return [t.grad for t in tensors]


def single_and_double(f, *arrays, dV):
    return (gradients(f, *arrays, dV=dV),
            gradients(f, *(a.astype(np.float64) for a in arrays), dV=dV.astype(np.float64)))


def check(single, double, tolerance):
    for found, exact in zip(single, double, strict=True):
        assert found.dtype == np.float32 and found.shape == exact.shape
        assert abs(found - exact).max() < tolerance * abs(exact).max()


@pytest.mark.parametrize("channels, mode", [(1, "bilinear"), (2, "bicubic"), (1, "nearest"), (9, "bilinear")])
def test_pixels_that_millions_of_points_read(channels, mode):
    """With padding_mode="border" all that lies outside reads one corner: its gradient is the sum of dV."""
    size = (1024, 2048) if channels < 9 else (512, 512)
    U = np.ones((1, channels, 3, 2), np.float32)
    grid = np.full((1, *size, 2), -9, np.float32)
    dV = np.full((1, channels, *size), 0.1, np.float32)
    [dU] = gradients(lambda U: grid_sample(U, Tensor(grid), mode, padding_mode="border"), U, dV=dV)
    np.testing.assert_allclose(dU[..., 0, 0], np.float64(np.float32(0.1)) * np.prod(size), rtol=2e-5)
    assert not dU[..., 1:, :].any() and not dU[..., 1].any()


def test_a_volume_that_millions_of_points_read():
    grid = np.full((1, 64, 128, 256, 3), 1.5, np.float32)
    dV = np.full((1, 1, 64, 128, 256), 0.1, np.float32)
    [dU] = gradients(lambda U: grid_sample(U, Tensor(grid), padding_mode="border"),
                     np.ones((1, 1, 2, 3, 2), np.float32), dV=dV)
    np.testing.assert_allclose(dU[0, 0, -1, -1, -1], np.float64(np.float32(0.1)) * 2**21, rtol=2e-5)
    assert np.count_nonzero(dU) == 1


def test_theta_of_a_large_image(rng):
    """A smooth one: on noise dV/dx jumps at every pixel, and the rounding of x decides on which side a point is."""
    n = 2500
    U = (0.3 * np.arange(n)[:, None] + 0.7 * np.arange(n))[None, None].astype(np.float32) / n
    dV = rng.random((1, 1, n, n), np.float32)
    check(*single_and_double(lambda theta: spatial_transform(
        Tensor(U.astype(theta.dtype)), theta, Affine(), size=(n, n)), THETA, dV=dV), 1e-7)


@pytest.mark.parametrize("shared", ["theta", "grid", "U"])
def test_what_is_shared_by_many_images(rng, shared):
    N, U = 300_000, rng.random((1, 1, 3, 4), np.float32)
    grid = rng.uniform(-1, 1, (1, 3, 4, 2)).astype(np.float32)
    images, dV = rng.random((N, 1, 3, 4), np.float32), rng.random((N, 1, 3, 4), np.float32)
    if shared == "theta":
        check(*single_and_double(lambda theta: spatial_transform(
            Tensor(images.astype(theta.dtype)), theta, Affine(), size=(3, 4)), THETA, dV=dV), 1e-7)
    elif shared == "grid":
        check(*single_and_double(lambda grid: grid_sample(Tensor(images.astype(grid.dtype)), grid), grid, dV=dV), 2e-7)
    else:
        check(*single_and_double(lambda U: spatial_transform(
            U, Tensor(np.repeat(THETA, N, axis=0).astype(U.dtype)), Affine(), size=(3, 4)), U, dV=dV), 5e-7)


@pytest.mark.parametrize("log", [False, True])
def test_softmax_over_very_many_rows(rng, log):
    """Rows lie behind each other in memory: NumPy alone would add them up one by one."""
    x = rng.normal(size=(2**20, 2)).astype(np.float32)
    dy = rng.random(x.shape, np.float32) + np.float32(1)
    f = log_softmax if log else softmax
    (single, double), exact = single_and_double(lambda x: f(x, axis=0), x, dV=dy), f(x.astype(np.float64), axis=0).data
    check(single, double, 2e-6)
    np.testing.assert_allclose(f(x, axis=0).data, exact, rtol=2e-6)
