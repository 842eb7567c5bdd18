"""The page of equations against the sampler that is used, against differences, and against numbers by hand."""

import numpy as np
import pytest

from nanostn import Tensor, functional
from nanostn.kernels.sampling import reference
from nanostn.transformations import Affine, Affine3d

from .spec import KERNELS, lopsided_slope

CASES = [((3, 5), (4, 6), Affine), ((4, 3, 5), (2, 5, 3), Affine3d)]


def drawn(size, rng):
    """U, and theta near the identity, of which a part of the points is outside."""
    d = len(size)
    theta = np.eye(d, d + 1) + 0.4 * rng.standard_normal((2, d, d + 1))
    return rng.standard_normal((2, 3, *size)), theta


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("size", "out", "family"), CASES)
def test_it_is_what_the_sampler_computes(size, out, family, align_corners):
    rng = np.random.default_rng(0)
    U, theta = drawn(size, rng)
    B = reference.target_points(out, align_corners)
    points = reference.source_points(theta, B)
    V = reference.sample(U, points, align_corners=align_corners)
    dV = rng.standard_normal(V.shape)
    dU, dpoints = reference.sample_gradients(U, points, dV, align_corners=align_corners)
    dtheta = reference.source_points_gradient(dpoints, B)
    ours = [Tensor(U, requires_grad=True), Tensor(theta.reshape(2, -1), requires_grad=True)]
    found = functional.spatial_transform(*ours, family(), out, align_corners=align_corners)
    (found * Tensor(dV.reshape(found.shape))).sum().backward()
    np.testing.assert_allclose(V.reshape(found.shape), found.numpy(), atol=1e-12)
    np.testing.assert_allclose(dU, ours[0].grad, atol=1e-12)
    np.testing.assert_allclose(dtheta.reshape(2, -1), ours[1].grad, atol=1e-11)


def test_whole_pixels_have_the_derivative_from_the_right():
    """U = 0, 1, 4 and 9 along x: the slope at a pixel is the step to the next one, behind the last to zero."""
    U = np.array([0.0, 1, 4, 9]).reshape(1, 1, 1, 4)
    points = np.stack([np.linspace(-1, 1, 4), np.zeros(4)])[None]
    np.testing.assert_allclose(reference.sample(U, points)[0, 0], [0, 1, 4, 9], atol=1e-14)
    _, (found,) = reference.sample_gradients(U, points, np.ones((1, 1, 4)))
    np.testing.assert_allclose(found[0], 1.5 * np.array([1.0, 3, 5, -9]), atol=1e-12)  # 1.5 pixels in a unit
    np.testing.assert_allclose(found[1], 0)  # an image of one row: all of it is at y = 0
    x = np.array([-1.0, -0.5, 0, 0.5, 1])
    np.testing.assert_array_equal(reference.hat_slope(x), [1, 1, -1, -1, 0])


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lopsided"])
def test_gradients_are_those_of_differences(name):
    rng = np.random.default_rng(1)
    U, theta = drawn((4, 5), rng)
    points = reference.source_points(theta, reference.target_points((3, 3)))
    k = KERNELS[name][1]
    slope = {"bilinear": reference.hat_slope, "lopsided": np.vectorize(lopsided_slope, otypes=[float]),
             "bicubic": lambda x: (k(x + 1e-6) - k(x - 1e-6)) / 2e-6}[name]
    dV = rng.standard_normal((2, 3, 9))
    dU, dpoints = reference.sample_gradients(U, points, dV, k, slope)

    def difference(array, at):
        values = []
        for step in (1e-6, -1e-6):
            array[at] += step
            values.append((reference.sample(U, points, k) * dV).sum())
            array[at] -= step
        return (values[0] - values[1]) / 2e-6

    for array, gradient in ((U, dU), (points, dpoints)):
        for at in map(tuple, rng.integers(0, array.shape, (12, array.ndim))):
            assert gradient[at] == pytest.approx(difference(array, at), abs=1e-6)


def test_target_points_by_hand():
    np.testing.assert_allclose(reference.target_points((2, 3)), [[-1, 0, 1] * 2, [-1] * 3 + [1] * 3, [1] * 6])
    np.testing.assert_allclose(reference.target_points((1, 2), align_corners=False), [[-0.5, 0.5], [0, 0], [1, 1]])
    x, y, z, one = reference.target_points((2, 3, 4))
    assert x[:4].tolist() == np.linspace(-1, 1, 4).tolist() and (z[:12] == -1).all() and (one == 1).all()
    assert y[:12:4].tolist() == [-1, 0, 1]
