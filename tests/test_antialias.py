"""The widened kernel: filters by hand, PyTorch's resizing, aliasing that is gone, widths at their limits, gradients."""

import numpy as np
import pytest

from nanostn.gradcheck import gradcheck
from nanostn.sampler import SamplingKernel, grid_sample, spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Affine3d, Projective, ThinPlateSpline

KERNELS = ["nearest", "bilinear", "bicubic", "catmull-rom", "bspline"]


def resized(U, size, mode="bilinear", padding_mode="border", antialias=True, align_corners=False):
    family = Affine() if U.ndim == 4 else Affine3d()
    theta = np.tile(family.identity(), (len(U), 1)).astype(U.dtype)
    return spatial_transform(U, theta, family, size, mode, padding_mode, align_corners, antialias).data


def test_half_the_size_is_a_tent_filter(rng):
    """Taps 1.5 and 0.5 pixels away, under a tent of half-width 2: 1/4 and 3/4, of a sum of 2."""
    U = rng.normal(size=(2, 3, 6, 10))
    expected = np.pad(U, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    for axis in (2, 3):
        p = np.moveaxis(expected, axis, 0)
        expected = np.moveaxis((p[:-3:2] + 3 * p[1:-2:2] + 3 * p[2:-1:2] + p[3::2]) / 8, 0, axis)
    np.testing.assert_allclose(resized(U, (3, 5)), expected, rtol=0, atol=1e-14)


def test_a_third_of_the_size_of_a_volume_is_a_mean(rng):
    """The box of nearest, 3 pixels wide."""
    U = rng.normal(size=(1, 2, 6, 9, 12))
    expected = U.reshape(1, 2, 2, 3, 3, 3, 4, 3).mean(axis=(3, 5, 7))
    np.testing.assert_allclose(resized(U, (2, 3, 4), "nearest"), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("mode", KERNELS)
def test_no_change_where_the_image_is_magnified(rng, mode, align_corners):
    U, theta = rng.normal(size=(1, 2, 4, 5)), Affine().identity()[None]
    theta[:, [2, 5]] += 0.01  # to the side of the points where rounding decides what is nearest
    for size in ((4, 5), (9, 13)):
        plain, wide = (spatial_transform(U, theta, Affine(), size, mode, "zeros", align_corners, antialias).data
                       for antialias in (False, True))
        np.testing.assert_allclose(wide, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding_mode", ["border", "wrap", "reflection", 7])
@pytest.mark.parametrize("mode", KERNELS)
def test_a_constant_image_stays_constant(mode, padding_mode):
    for shape, size in (((1, 9, 23, 17), (5, 4)), ((1, 1, 9, 13, 8), (2, 3, 5))):
        np.testing.assert_allclose(resized(np.full(shape, 7.0), size, mode, padding_mode), 7, rtol=1e-12)
    inside = resized(np.full((1, 1, 40, 40), 7.0), (8, 10), mode, "zeros")[..., 2:-2, 2:-2]
    np.testing.assert_allclose(inside, 7, rtol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "catmull-rom"])
def test_a_fine_checkerboard_becomes_grey(mode):
    U = (np.indices((48, 60)).sum(axis=0) % 2)[None, None].astype(np.float32)
    grey = resized(U, (11, 13), mode, "wrap")
    assert abs(grey - 0.5).max() < 0.02
    assert resized(U, (11, 13), mode, "wrap", antialias=False).std() > 0.1  # patterns that are not there


@pytest.mark.parametrize("mode, theirs", [("bilinear", "bilinear"), ("catmull-rom", "bicubic")])
@pytest.mark.parametrize("size", [(9, 13), (7, 24), (18, 11)])
def test_like_resizing_in_torch(rng, mode, theirs, size):
    """Away from the edges, where PyTorch leaves taps out; its kernel for this has a = -1/2."""
    torch = pytest.importorskip("torch")
    U = rng.normal(size=(2, 3, 36, 48))
    expected = torch.nn.functional.interpolate(torch.tensor(U), size, mode=theirs, antialias=True).numpy()
    np.testing.assert_allclose(resized(U, size, mode)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_width_is_the_image_at_most(rng, dtype):
    """Points 1e6 pixels apart: a tent of half-width 5 around the middle, 2, and what lies outside is 0."""
    U = rng.normal(size=(1, 2, 1, 5)).astype(dtype)
    grid = np.array([[[[-5e5, 0], [0, 0], [5e5, 0]]]], dtype)
    V = grid_sample(U, grid, align_corners=False, antialias=True).data[0, :, 0]
    np.testing.assert_allclose(V[:, 1], U[0, :, 0] @ np.array([3, 4, 5, 4, 3]) / 25, rtol=1e-5)
    assert (V[:, [0, 2]] == 0).all()


@pytest.mark.parametrize("mode", KERNELS)
def test_a_single_point_has_no_neighbour(rng, mode):
    U = rng.normal(size=(2, 3, 4, 5))
    grid = rng.uniform(-1, 1, (2, 1, 1, 2))
    np.testing.assert_allclose(grid_sample(U, grid, mode, antialias=True).data, grid_sample(U, grid, mode).data,
                               rtol=0, atol=1e-13)
    volume, grid = rng.normal(size=(1, 2, 3, 1, 2)), rng.uniform(-1, 1, (1, 1, 1, 1, 3))
    np.testing.assert_allclose(grid_sample(volume, grid, mode, antialias=True).data,
                               grid_sample(volume, grid, mode).data, rtol=0, atol=1e-13)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "wrap", "reflection", 0.5])
@pytest.mark.parametrize("mode", KERNELS)
@pytest.mark.parametrize("dims", [2, 3])
def test_hostile_grids(rng, dims, mode, padding_mode):
    size = (6, 7) if dims == 2 else (4, 3, 5)
    U = Tensor(rng.uniform(1, 2, (1, 3, *size)).astype(np.float32), requires_grad=True)
    for value in (np.nan, np.inf, -np.inf, 3e38, -1e20, 2.0 ** 31, 1e-45):
        points = rng.uniform(-0.9, 0.9, (1, *[5] * dims, dims)).astype(np.float32)
        points[(0, *[2] * dims, dims - 1)] = value
        points[(0, *[0] * dims)] = value
        grid = Tensor(points, requires_grad=True)
        V = grid_sample(U, grid, mode, padding_mode, antialias=True)
        bad = np.isnan(points).any(axis=-1)
        assert (np.isnan(V.data) == bad[:, None]).all() and (abs(V.data[~np.isnan(V.data)]) < 10).all()
        U.grad = None
        V.backward(np.ones_like(V.data))
        assert np.isfinite(U.grad).all() and np.isfinite(grid.grad).all()
        if padding_mode in ("border", "wrap", "reflection"):  # a NaN adds nothing, any other point 1
            assert U.grad.sum() == pytest.approx(3 * (~bad).sum(), rel=1e-4)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "bspline"])
@pytest.mark.parametrize("family", [Affine(), Projective(), ThinPlateSpline(3)], ids=repr)
def test_gradients(rng, family, mode):
    U = Tensor(rng.normal(size=(2, 2, 7, 9)), requires_grad=True)
    theta = Tensor(family.identity() + rng.normal(size=(2, family.parameters)) * 0.05, requires_grad=True)
    gradcheck(lambda U, theta: spatial_transform(U, theta, family, (3, 4), mode, "border", antialias=True), [U, theta])


@pytest.mark.parametrize("shape, size", [((2, 2, 7, 9), (3, 4)), ((1, 1, 8, 5), (2, 1)), ((1, 2, 5, 7, 6), (2, 3, 2))])
def test_gradients_of_a_grid(rng, shape, size):
    """Widths on both sides of 1 and of the image's size, and their derivatives."""
    grid = Tensor(rng.uniform(-0.9, 0.9, (shape[0], *size, len(size))), requires_grad=True)
    U = Tensor(rng.normal(size=shape), requires_grad=True)
    gradcheck(lambda U, grid: grid_sample(U, grid, "bspline", "reflection", antialias=True), [U, grid])


def test_a_volume_under_a_turn(rng):
    U = Tensor(rng.normal(size=(1, 1, 4, 5, 6)), requires_grad=True)
    theta = Tensor(Affine3d().identity()[None] + rng.normal(size=(1, 12)) * 0.1, requires_grad=True)
    gradcheck(lambda U, theta: spatial_transform(U, theta, Affine3d(), (2, 3, 2), "catmull-rom", "wrap",
                                                 antialias=True, flatten_depth=True), [U, theta])


def test_a_horizon_in_view_sends_no_nan_to_theta(rng):
    """A column of the output has the denominator 0: infinitely far, and without a gradient; on a grid as without."""
    theta = np.array([[1.0, 0, 0.3, 0, 1, 0.1, 1, 0]])
    U, found = rng.normal(size=(1, 2, 6, 5)), []
    for sample in (lambda U, t: spatial_transform(U, t, Projective(), (5, 5)),
                   lambda U, t: grid_sample(U, Projective().grid(t, (5, 5))),
                   lambda U, t: spatial_transform(U, t, Projective(), (5, 5), antialias=True)):
        inputs = Tensor(U, requires_grad=True), Tensor(theta, requires_grad=True)
        V = sample(*inputs)
        V.backward(np.ones_like(V.data))
        found.append(inputs[1].grad)
    assert np.allclose(found[0], found[1], rtol=1e-9, atol=1e-9) and np.isfinite(found[2]).all()


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.7, 2.3])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_is_not_asked_beyond_its_radius(rng, radius, antialias, dtype):
    """Nor where the distance of a pixel at the radius itself is rounded up; 1.7 in float32 is beyond 1.7."""
    limit = float(radius)
    kernel = SamplingKernel(lambda x: 1.0 if abs(x) <= limit else np.nan,
                            lambda x: 0.0 if abs(x) <= limit else np.nan, radius)
    for n in (7, 33, 1000, 5000):
        x = (rng.integers(0, 10 * n, 300) / 10).round(1)  # many of them `radius` from a pixel, nearly
        grid = np.zeros((1, 2, 300, 2))
        grid[..., 0] = x / ((n - 1) / 2) - 1
        U, points = Tensor(np.ones((1, 1, 2, n), dtype), True), Tensor(grid.astype(dtype), True)
        V = grid_sample(U, points, kernel, antialias=antialias)
        V.backward(np.ones(V.shape, dtype))
        assert np.isfinite(V.data).all() and np.isfinite(U.grad).all() and np.isfinite(points.grad).all()


@pytest.mark.parametrize("radius", [0.5, 0.75])
@pytest.mark.parametrize("step", [2, 4])
def test_a_point_does_not_depend_on_the_widths_beside_it(rng, radius, step):
    """Its last tap lies at the edge of the kernel or, by a rounding, just beyond; another image has wider kernels."""
    mode = "nearest" if radius == 0.5 else SamplingKernel(lambda x: 1.0 if abs(x) <= 0.75 else 0.0, lambda x: 0.0, 0.75)
    U = np.tile(rng.normal(size=(1, 1, 2, 33)).astype(np.float32), (2, 1, 1, 1))
    for ulps in range(-4, 5):
        for first in range(3):
            x = (np.arange(6) * step + first + (-radius * step) % 1).astype(np.float32)  # x + radius step is whole
            x = (x.view(np.int32) + ulps).view(np.float32)
            grid = np.zeros((2, 1, 6, 2), np.float32)
            grid[..., 0] = (x - 16) / 16 * [[[1]], [[3]]]
            alone, beside = (grid_sample(U[:n], grid[:n], mode, antialias=True).data[0] for n in (1, 2))
            np.testing.assert_array_equal(beside, alone)
