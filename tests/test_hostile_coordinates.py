"""Coordinates that no sampler should be given: nothing crashes, nothing is read or written outside, a NaN is seen.

PyTorch 2.13 on a CPU, for comparison: its 2D backward ends the process where the padding is "reflection" and a
coordinate is NaN, infinite or 3e38, or where it is "border" and one is NaN; in half precision its forward reads outside
images of more than 32767 pixels; and a NaN in a volume reads 0.
"""

import numpy as np
import pytest

from nanostn.sampler import SamplingKernel, grid_sample, spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Affine3d, Attention, Projective, ThinPlateSpline, Translation

HOSTILE = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, -1e10, 2.0 ** 31, -2.0 ** 31, 2.0 ** 63, 1e-45, -1e-45, -0.0]
OWN = SamplingKernel(lambda x: 1 - abs(x) / 2, lambda x: 0.5 if x < 0 else -0.5, 2)  # sums to 2
MODES = ["nearest", "bilinear", "bicubic", "catmull-rom", "bspline", OWN]
SUMS = {OWN: 2.0}
PADDINGS = ["zeros", "border", "wrap", "reflection", 1.5]
SIZES = {2: (4, 5), 3: (3, 4, 5)}


def hostile_points(dims, dtype):
    """Every hostile number on every axis, beside a tame one and beside every other: (P, dims)."""
    tame = 0.3
    alone = [[value if a == axis else tame for a in range(dims)] for value in HOSTILE for axis in range(dims)]
    pairs = [[first, second, *[tame] * (dims - 2)][::way] for first in HOSTILE for second in HOSTILE for way in (1, -1)]
    return np.array(alone + pairs + [[value] * dims for value in HOSTILE], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_grids(rng, dims, mode, padding_mode, dtype):
    points, total = hostile_points(dims, dtype), SUMS.get(mode, 1.0) ** dims
    bad = np.isnan(points).any(axis=1)
    far = ~bad & (np.abs(points) > 10).any(axis=1)
    for channels in (1, 3, 9):
        for align_corners in (True, False):
            U = Tensor(rng.uniform(1, 2, (1, channels, *SIZES[dims])).astype(dtype), requires_grad=True)
            grid = Tensor(points.reshape(1, *[1] * (dims - 1), *points.shape), requires_grad=True)
            V = grid_sample(U, grid, mode, padding_mode, align_corners)
            V.backward(np.ones_like(V.data))
            values, dgrid = V.data.reshape(channels, -1), grid.grad.reshape(points.shape)
            assert np.isnan(values[:, bad]).all() and np.isfinite(values[:, ~bad]).all()
            assert np.isfinite(U.grad).all() and np.isfinite(dgrid).all()
            assert (dgrid[bad] == 0).all()
            if padding_mode == "zeros":
                assert (values[:, far] == 0).all() and (dgrid[far] == 0).all()
            elif padding_mode == 1.5:
                np.testing.assert_allclose(values[:, far], 1.5 * total, rtol=1e-5)
            else:  # on some pixel; and a NaN adds nothing to dU, any other point its weights
                assert mode in ("bicubic", "catmull-rom") or (values[:, far] > 0.99 * total).all()
                assert (abs(values[:, far]) < 8 * total).all()
                assert U.grad.sum() == pytest.approx(channels * total * (~bad).sum(), rel=1e-4)
            if padding_mode != 1.5:
                assert (U.grad * U.data).sum() == pytest.approx(values[:, ~bad].sum(), rel=1e-4)


@pytest.mark.parametrize("mode, padding_mode", [("bilinear", "zeros"), ("bicubic", "border"), ("nearest", "wrap"),
                                                ("bilinear", "reflection"), ("bspline", 1.5)])
@pytest.mark.parametrize("family", [Affine(), Attention(), Translation(0.6), Projective(), ThinPlateSpline((2, 3)),
                                    Affine3d()], ids=repr)
def test_theta(rng, family, mode, padding_mode):
    """One image's hostile theta leaves the other image alone."""
    shape = (2, 2, *SIZES[family.dims])
    U = Tensor(rng.uniform(1, 2, shape).astype(np.float32), requires_grad=True)
    start = np.tile(family.identity(), (2, 1)).astype(np.float32)
    tame = spatial_transform(U, start, family, shape[2:], mode, padding_mode).data[1]
    for value in HOSTILE:
        for place in range(family.parameters):
            theta = Tensor(start.copy(), requires_grad=True)
            theta.data[0, place] = value
            V = spatial_transform(U, theta, family, shape[2:], mode, padding_mode)
            U.grad = None
            V.backward(np.ones_like(V.data))
            assert np.array_equal(V.data[1], tame) and np.isfinite(U.grad).all() and np.isfinite(theta.grad[1]).all()
            if np.isnan(value):
                assert np.isnan(V.data[0]).any()
            elif family.parameters != 8 or place < 6:  # a projection's denominator may be infinite, and 0 over it
                read = V.data[0][~np.isnan(V.data[0])]  # infinity times a coordinate of 0 is NaN, nothing else is
                assert abs(value) > 1e37 or read.size == V.data[0].size  # in pixels 3e38 is infinite
                assert (abs(read) < 5).all()
                assert mode in ("bicubic", "bspline") or ((read >= 0) & (read <= 2)).all()  # means of what there is


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("padding_mode", PADDINGS)
def test_axes_of_one_pixel(rng, mode, padding_mode):
    """With aligned corners all finite coordinates lead to the pixel; with edges, 0 does."""
    for size in ((1, 5), (4, 1), (1, 1), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)):
        U = Tensor(rng.uniform(1, 2, (1, 2, *size)), requires_grad=True)
        points = np.zeros((7, len(size)))
        for axis, n in enumerate(reversed(size)):
            if n == 1:
                points[:, axis] = [0, 0.7, -9, 1e12, -0.3, np.inf, np.nan]
        grid = Tensor(points.reshape(1, *[1] * (len(size) - 1), *points.shape), requires_grad=True)
        V = grid_sample(U, grid, mode, padding_mode)
        values = V.data.reshape(2, 7)
        np.testing.assert_allclose(values[:, 1:5], np.repeat(values[:, :1], 4, axis=1), rtol=0, atol=1e-9)
        assert np.isfinite(values[:, 5]).all() and np.isnan(values[:, 6]).all()
        V.backward(np.ones_like(V.data))
        assert np.isfinite(U.grad).all() and np.isfinite(grid.grad).all()
        edges = grid_sample(U, grid.data[..., :1, :], mode, padding_mode, align_corners=False).data
        np.testing.assert_allclose(edges.ravel(), values[:, 0], rtol=0, atol=1e-12)


def test_an_axis_of_one_pixel_by_hand():
    U = np.array([[[[2.0, 4.0]]]])
    grid = np.array([[[[0, 5], [0, -0.3], [0, np.inf], [1, 0]]]])
    assert grid_sample(U, grid).data.ravel().tolist() == [3, 3, 0, 4]


@pytest.mark.parametrize("mode, padding_mode", [("bilinear", "zeros"), ("bicubic", "wrap"), ("nearest", "reflection")])
@pytest.mark.parametrize("shape, points", [((0, 3, 4, 5), 0), ((2, 0, 4, 5), 2), ((0, 2, 3, 4, 5), 0),
                                           ((1, 0, 3, 4, 5), 1), ((1, 0, 4, 5), 3), ((1, 3, 4, 5), 0),
                                           ((0, 3, 4, 5), 1)])
def test_nothing_to_sample(shape, points, mode, padding_mode):
    """No images, no channels, no grids."""
    dims = len(shape) - 2
    N = 0 if 0 in (shape[0], points) else max(shape[0], points)
    family, size = (Affine(), (3, 7)) if dims == 2 else (Affine3d(), (2, 3, 4))
    U = Tensor(np.zeros(shape, np.float32), requires_grad=True)
    grid = Tensor(np.zeros((points, *size, dims), np.float32), requires_grad=True)
    theta = Tensor(np.tile(family.identity(), (points, 1)).astype(np.float32), requires_grad=True)
    for V, given in ((grid_sample(U, grid, mode, padding_mode), grid),
                     (grid_sample(U, grid, mode, padding_mode, antialias=True), grid),
                     (spatial_transform(U, theta, family, size, mode, padding_mode), theta)):
        U.grad = given.grad = None
        assert V.shape == (N, shape[1], *size)
        V.backward(np.ones_like(V.data))
        assert U.grad.shape == shape and given.grad.shape == given.shape
        assert not U.grad.any() and not given.grad.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding_mode", ["border", "wrap", "reflection", 1])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "bspline"])
def test_planes_of_more_than_32767_pixels(rng, mode, padding_mode, dtype):
    """Ones everywhere are ones; and a place is counted in more than 16 bits."""
    for size in ((1, 40000), (40000, 1), (200, 300), (40, 30, 50)):
        grid = rng.uniform(-1.2, 1.2, (1, *[1] * (len(size) - 1), 400, len(size))).astype(dtype)
        V = grid_sample(np.ones((1, 1, *size), dtype), grid, mode, padding_mode)
        np.testing.assert_allclose(V.data, 1, rtol=1e-5)
    U = np.arange(60000, dtype=dtype).reshape(1, 1, 200, 300)
    y, x = (rng.integers(2, n - 2, 50) for n in (200, 300))
    grid = np.stack([(x - 149.5) / 149.5, (y - 99.5) / 99.5], axis=-1).astype(dtype)[None, None]
    expected = y * 300.0 + x  # a plane, which all of these kernels give back
    np.testing.assert_allclose(grid_sample(U, grid, mode, padding_mode).data.ravel(), expected, rtol=0,
                               atol=1e-6 if dtype == np.float64 else 0.5 if mode == "nearest" else 0.1)


def test_nan_pixels_do_not_spread_beyond_their_neighbours():
    U = np.ones((1, 1, 4, 5), np.float32)
    U[0, 0, 0, 0] = np.nan
    inside = np.array([[[[-0.75, -2 / 3]]]], np.float32)  # half a pixel to the right, half a pixel down
    assert np.isnan(grid_sample(U, inside).data).all()
    others = np.array([[[[0.25, 0], [3.5, -1], [-5.5, -1], [0.5, -17 / 3]]]], np.float32)
    assert grid_sample(U, others).data.ravel().tolist() == [1, 0, 0, 0]


def test_one_output_point_and_a_huge_theta():
    U = np.ones((1, 1, 5, 6), np.float32)
    theta = np.array([[1, 0, 0, 1e9, 1, 0]], np.float32)  # y_s = 1e9 x_t + y_t, at x_t = 0
    assert spatial_transform(U, theta, Affine(), (3, 1)).data.tolist() == [[[[1], [1], [1]]]]
