"""The sampler as an operation: known answers, conventions, hostile coordinates, adjoints, gradients, errors."""

import numpy as np
import pytest

from nanostn.gradcheck import gradcheck
from nanostn.grid_generator import affine_grid, sampling_grid
from nanostn.sampler import grid_sample, spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Attention, Projective, ThinPlateSpline, Transformation, Translation

FAMILIES = [Affine(), Attention(), Translation(0.6), Projective(), ThinPlateSpline(4), ThinPlateSpline((2, 3))]
IDENTITY = np.array([1, 0, 0, 0, 1, 0], np.float32)


def identities(N, dtype=np.float32):
    return np.tile(IDENTITY, (N, 1)).astype(dtype)


def at_pixels(x, y, shape):
    """A grid (1, 1, P, 2) of points given in pixels."""
    H, W = shape[2:]
    points = [(np.asarray(v, float) - (n - 1) / 2) / max((n - 1) / 2, 0.5) for v, n in ((x, W), (y, H))]
    return np.stack(np.broadcast_arrays(*points), axis=-1)[None, None]


# Known answers.


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 9, 50, 7), (3, 1, 1, 6), (1, 2, 30, 1)])
@pytest.mark.parametrize("family", [Affine(), Projective()])
def test_identity_gives_U_bit_for_bit(rng, shape, align_corners, family):
    U = rng.normal(size=shape).astype(np.float32)
    theta = np.tile(family.identity(), (shape[0], 1)).astype(np.float32)
    assert np.array_equal(spatial_transform(U, theta, family, shape[2:], align_corners=align_corners).data, U)


@pytest.mark.parametrize("align_corners", [True, False])
def test_half_a_pixel_to_the_right_averages_neighbours(rng, align_corners):
    U = rng.normal(size=(1, 2, 4, 5))
    theta = np.array([[0.5 / (4 / 2 if align_corners else 5 / 2), 0.0]])
    V = spatial_transform(U, theta, Translation(), (4, 5), align_corners=align_corners).data
    assert np.allclose(V[..., :-1], (U[..., :-1] + U[..., 1:]) / 2)
    assert np.allclose(V[..., -1], U[..., -1] / 2)  # the other neighbour is outside


@pytest.mark.parametrize("align_corners", [True, False])
def test_a_quarter_turn_is_rot90(rng, align_corners):
    U = rng.normal(size=(1, 2, 4, 7))
    # The point above the centre of the output (y_t = -1) is read at the right of the source (x_s = 1).
    theta = np.array([[0.0, -1, 0, 1, 0, 0]])
    V = spatial_transform(U, theta, Affine(), (7, 4), align_corners=align_corners).data
    assert np.allclose(V, np.rot90(U, axes=(2, 3)), atol=1e-12)


def test_a_bright_pixel_lands_on_its_cell():
    U = np.zeros((1, 1, 5, 7))
    U[0, 0, 1, 4] = 1
    # x_s = x_t + 1 pixel of 3, y_s = y_t - 2 pixels of 2: (row 1, column 4) is read by (row 3, column 3).
    V = spatial_transform(U, np.array([[1 / 3, -1.0]]), Translation(), (5, 7)).data
    assert np.argwhere(V > 0.5).tolist() == [[0, 0, 3, 3]]


def test_nearest_rounds_half_up():
    U = np.array([10.0, 11, 12, 13]).reshape(1, 1, 1, 4)
    x = [-0.6, -0.5, 0.49, 0.5, 1.5, 2.49, 3.4, 3.5]
    V = grid_sample(U, at_pixels(x, 0, U.shape), mode="nearest").data
    assert V.ravel().tolist() == [0, 10, 10, 11, 12, 12, 13, 0]


@pytest.mark.parametrize("padding_mode, expected", [("zeros", [1, 3, 5, 7, -16]), ("border", [1, 3, 5, 7, 0])])
def test_the_derivative_at_a_pixel_is_the_right_hand_one(padding_mode, expected):
    U = np.array([0.0, 1, 4, 9, 16]).reshape(1, 1, 1, 5)
    grid = Tensor(at_pixels(np.arange(5), 0, U.shape), requires_grad=True)
    grid_sample(U, grid, padding_mode=padding_mode).sum().backward()
    assert np.allclose(grid.grad[0, 0, :, 0] / 2, expected)  # 2 pixels to the coordinate 1


def test_a_constant_image_stays_constant_inside(rng):
    theta = identities(3, float) * 0.5
    V = spatial_transform(np.full((3, 2, 5, 8), 7.0), theta, Affine(), (4, 6)).data
    assert np.allclose(V, 7)


def test_an_axis_of_one_pixel_is_read_by_all_finite_coordinates():
    U = np.array([[[[2.0, 4.0]]]])
    grid = np.array([[[[0, 5], [0, -0.3], [0, np.inf], [1, 0]]]])
    assert grid_sample(U, grid).data.ravel().tolist() == [3, 3, 0, 4]


def test_fused_equals_grid_and_sampler(rng):
    U = rng.normal(size=(2, 3, 5, 6))
    for family in FAMILIES:
        theta = family.identity() + rng.normal(size=(2, family.parameters)) * 0.1
        for align in (True, False):
            for mode in ("bilinear", "nearest"):
                options = {"mode": mode, "padding_mode": "border", "align_corners": align}
                V = spatial_transform(U, theta, family, (4, 7), **options).data
                grid = sampling_grid(theta, family, (4, 7), align)
                assert np.allclose(V, grid_sample(U, grid, **options).data, atol=1e-12)


# Hostile coordinates.


HOSTILE = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, -1e10, 2.0**31, -(2.0**31), 2.0**63, 1e-45, -1e-45, -0.0]


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("channels", [1, 3, 9])
def test_hostile_grids(rng, mode, padding_mode, channels):
    U = Tensor(rng.uniform(1, 2, (1, channels, 4, 5)).astype(np.float32), requires_grad=True)
    points = np.array([(a, b) for a in HOSTILE for b in HOSTILE] + [(a, 0.3) for a in HOSTILE], np.float32)
    grid = Tensor(points[None, None], requires_grad=True)
    V = grid_sample(U, grid, mode=mode, padding_mode=padding_mode)
    bad = np.isnan(points).any(axis=1)
    assert np.isnan(V.data[0, :, 0, bad]).all() and np.isfinite(V.data[0, :, 0, ~bad]).all()
    far = ~bad & (np.abs(points) > 10).any(axis=1)
    if padding_mode == "zeros":
        assert (V.data[0, :, 0, far] == 0).all()
    else:
        assert (V.data[0, :, 0, far] >= 1).all()
    V.backward(np.ones_like(V.data))
    assert np.isfinite(U.grad).all() and np.isfinite(grid.grad).all()
    assert (grid.grad[0, 0, bad] == 0).all()
    count = (~bad & ~far).sum() if padding_mode == "zeros" else (~bad).sum()
    assert np.allclose(U.grad.sum(), channels * count, rtol=1e-5)  # a NaN adds nothing


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("family", FAMILIES[:5])
def test_hostile_theta(rng, family, value):
    U = Tensor(rng.uniform(1, 2, (2, 2, 4, 5)).astype(np.float32), requires_grad=True)
    start = np.tile(family.identity(), (2, 1)).astype(np.float32)
    for place in range(family.parameters):
        theta = Tensor(start.copy(), requires_grad=True)
        theta.data[0, place] = value
        V = spatial_transform(U, theta, family, (3, 4))
        U.grad = None
        V.backward(np.ones_like(V.data))
        assert np.isfinite(V.data[1]).all() and np.isfinite(U.grad).all()
        if np.isnan(value):
            assert np.isnan(V.data[0]).any()
        elif family.parameters != 8 or place < 6:  # a projection's denominator may be infinite, and 0 over it
            read = V.data[0][~np.isnan(V.data[0])]  # infinity times a coordinate of 0 is NaN, nothing else is
            assert abs(value) > 1e37 or read.size == V.data[0].size  # in pixels 3e38 is infinite
            assert ((read >= 0) & (read <= 2)).all()  # means of pixels and of the zeros outside
        assert np.isfinite(theta.grad[1]).all()


def test_nan_pixels_do_not_spread_beyond_their_neighbours():
    U = np.ones((1, 1, 4, 5), np.float32)
    U[0, 0, 0, 0] = np.nan
    assert np.isnan(grid_sample(U, at_pixels([0.5], [0.5], U.shape).astype(np.float32)).data).all()
    outside = at_pixels([2.5, 9, -9, 3], [1.5, 0, 0, -7], U.shape).astype(np.float32)
    assert grid_sample(U, outside).data.ravel().tolist() == [1, 0, 0, 0]


# Adjoints and gradients.


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_dU_is_the_adjoint(rng, mode, padding_mode):
    U = Tensor(rng.normal(size=(2, 9, 4, 5)), requires_grad=True)
    grid = rng.uniform(-1.4, 1.4, (2, 3, 7, 2))
    dV = rng.normal(size=(2, 9, 3, 7))
    V = grid_sample(U, grid, mode=mode, padding_mode=padding_mode)
    value = (V.data * dV).sum()
    V.backward(dV)
    assert np.isclose(value, (U.data * U.grad).sum(), rtol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_gradients_against_finite_differences(rng, family, padding_mode, align_corners):
    U = Tensor(rng.normal(size=(2, 3, 4, 5)), requires_grad=True)
    theta = Tensor(family.identity() + rng.normal(size=(2, family.parameters)) * 0.1, requires_grad=True)
    gradcheck(lambda U, theta: spatial_transform(U, theta, family, (3, 7), padding_mode=padding_mode,
                                                 align_corners=align_corners), [U, theta])


def test_kinks_are_right_hand_derivatives(rng):
    U = Tensor(rng.normal(size=(1, 2, 4, 5)))
    x, y = np.meshgrid([1, 2, 3], [1, 2])
    grid = Tensor(at_pixels(x.ravel(), y.ravel(), U.shape), requires_grad=True)
    gradcheck(lambda grid: grid_sample(U, grid), [grid], kinks="right")


def test_the_coordinates_of_nearest_get_no_gradient(rng):
    grid = Tensor(rng.uniform(-1, 1, (2, 3, 4, 2)), requires_grad=True)
    grid_sample(rng.normal(size=(2, 3, 4, 5)), grid, mode="nearest").sum().backward()
    assert (grid.grad == 0).all()
    theta = Tensor(identities(2), requires_grad=True)
    spatial_transform(np.ones((2, 1, 4, 5), np.float32), theta, Affine(), (3, 4), mode="nearest").sum().backward()
    assert theta.grad.shape == (2, 6) and (theta.grad == 0).all()


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5)])
def test_empty_batches(shape):
    U = Tensor(np.zeros(shape, np.float32), requires_grad=True)
    theta = Tensor(identities(shape[0]), requires_grad=True)
    V = spatial_transform(U, theta, Affine(), (3, 7))
    assert V.shape == (*shape[:2], 3, 7)
    V.backward(np.ones_like(V.data))
    assert U.grad.shape == shape and theta.grad.shape == (shape[0], 6)


def test_arrays_of_any_layout(rng):
    """Strided, read-only and broadcast arrays are read as they are."""
    U = np.broadcast_to(rng.normal(size=(1, 3, 5, 4)), (2, 3, 5, 4)).transpose(0, 1, 3, 2)
    grid = rng.uniform(-1, 1, (2, 7, 3, 2)).transpose(0, 2, 1, 3)
    grid.flags.writeable = False
    expected = grid_sample(U.copy(), grid.copy()).data
    assert np.array_equal(grid_sample(U, grid).data, expected)


# Errors.


@pytest.mark.parametrize("change, message", [
    ({"mode": "bicubic"}, "mode should be 'nearest' or 'bilinear', received 'bicubic'"),
    ({"padding_mode": "wrap"}, "padding_mode should be 'zeros' or 'border', received 'wrap'"),
    ({"U": np.zeros((2, 3, 4))}, r"U should be \(N, C, H, W\), received \(2, 3, 4\)"),
    ({"U": np.zeros((2, 3, 0, 4))}, "U should be images of at least one pixel"),
    ({"U": np.zeros((2, 3, 4, 5), int)}, "U should be a float32 or float64 array"),
    ({"U": np.zeros((2, 3, 4, 5), np.float32)}, "float32 like U"),
    ({"theta": np.zeros((2, 5))}, r"theta should be \(N, 6\) or \(N, 2, 3\), received \(2, 5\)"),
    ({"theta": np.zeros((3, 6))}, "as many transformations as U has images, 2, received 3"),
    ({"size": (3, 0)}, "size should be .* two positive integers, received"),
    ({"size": 5}, "size should be"),
    ({"size": (3.0, 4)}, "size should be"),
])
def test_errors(change, message):
    arguments = {"U": np.zeros((2, 3, 4, 5)), "theta": np.zeros((2, 6)), "transformation": Affine(), "size": (3, 7)}
    with pytest.raises(ValueError, match=message):
        spatial_transform(**{**arguments, **change})


def test_grid_errors():
    with pytest.raises(ValueError, match=r"grid_sample: grid should be .* with N = 2 from U, received \(3, 4, 5, 2\)"):
        grid_sample(np.zeros((2, 3, 4, 5)), np.zeros((3, 4, 5, 2)))


# The same numbers as PyTorch's, where that is installed.


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_against_torch(rng, padding_mode, align_corners):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    U, dV = rng.normal(size=(2, 9, 5, 6)), rng.normal(size=(2, 9, 4, 7))
    theta = rng.normal(size=(2, 2, 3)) * 0.7
    ours = [Tensor(a, requires_grad=True) for a in (U, theta)]
    V = spatial_transform(*ours, Affine(), (4, 7), padding_mode=padding_mode, align_corners=align_corners)
    V.backward(dV)
    theirs = [torch.tensor(a, requires_grad=True) for a in (U, theta)]
    grid = functional.affine_grid(theirs[1], (2, 9, 4, 7), align_corners=align_corners)
    expected = functional.grid_sample(theirs[0], grid, padding_mode=padding_mode, align_corners=align_corners)
    expected.backward(torch.tensor(dV))
    assert np.allclose(V.data, expected.detach().numpy(), atol=1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        assert np.allclose(mine.grad, other.grad.numpy(), atol=1e-10)


def test_one_output_point_and_a_huge_theta():
    U = np.ones((1, 1, 5, 6), np.float32)
    theta = np.array([[1, 0, 0, 1e9, 1, 0]], np.float32)  # y_s = 1e9 x_t + y_t, at x_t = 0
    assert spatial_transform(U, theta, Affine(), (3, 1)).data.tolist() == [[[[1], [1], [1]]]]


def test_no_channels():
    U = Tensor(np.zeros((2, 0, 4, 5)), requires_grad=True)
    grid = Tensor(np.zeros((2, 3, 3, 2)), requires_grad=True)
    V = grid_sample(U, grid)
    V.backward(np.zeros(V.shape))
    assert V.shape == (2, 0, 3, 3) and U.grad.shape == U.shape
    np.testing.assert_array_equal(grid.grad, 0)


@pytest.mark.parametrize("plane, K", [(True, 2), (False, 3)])
def test_a_family_whose_parts_do_not_fit_is_refused(plane, K):
    class Odd(Transformation):
        entries, constants = np.arange(2 * K).reshape(2, K), np.zeros((2, K))

        def basis(self, size, align_corners=True):
            return np.ones((K, 1))

    Odd.plane = plane
    with pytest.raises(ValueError, match="transformation should be one with M"):
        spatial_transform(np.ones((1, 1, 4, 5)), np.ones((1, 2 * K)), Odd(), (2, 3))


def test_integers_are_no_theta():
    with pytest.raises(ValueError, match="theta should be a float32 or float64 array"):
        affine_grid(np.array([[[1, 0, 0], [0, 1, 0]]]), (1, 1, 3, 5))


def test_images_beyond_32_bit_places_are_refused():
    U = np.broadcast_to(np.float32(0), (1, 32, 8192, 8192))  # no memory behind it
    with pytest.raises(ValueError, match="fewer than 2\\^31 entries"):
        grid_sample(U, np.zeros((1, 1, 1, 2), np.float32))
