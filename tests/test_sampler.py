"""The sampler as an operation: known answers by hand, conventions, adjoints, gradients."""

import numpy as np
import pytest

from nanostn.gradcheck import GradientError, gradcheck
from nanostn.grid_generator import sampling_grid
from nanostn.sampler import SamplingKernel, grid_sample, spatial_transform
from nanostn.spline import spline_prefilter
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Affine3d, Attention, Attention3d, Projective, ThinPlateSpline, Translation

FAMILIES = [Affine(), Attention(), Translation(0.6), Projective(), ThinPlateSpline(4), ThinPlateSpline((2, 3))]
IDENTITY = np.array([1, 0, 0, 0, 1, 0], np.float32)


def identities(N, dtype=np.float32):
    return np.tile(IDENTITY, (N, 1)).astype(dtype)


def at_pixels(x, y, shape, align_corners=True):
    """A grid (1, 1, P, 2) of points given in pixels."""
    H, W = shape[2:]
    half = {n: max((n - 1) / 2, 0.5) if align_corners else n / 2 for n in (H, W)}
    points = [(np.asarray(v, float) - (n - 1) / 2) / half[n] for v, n in ((x, W), (y, H))]
    return np.stack(np.broadcast_arrays(*points), axis=-1)[None, None]


def along_a_row(values, x, mode, padding_mode="zeros", align_corners=True):
    """What a row of pixels reads as at x; three rows, all the same, are above and below."""
    U = np.tile(np.asarray(values, float), (3, 1))[None, None]
    return grid_sample(U, at_pixels(x, 1, U.shape, align_corners), mode, padding_mode, align_corners).data.ravel()


# Known answers.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "catmull-rom"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "wrap", "reflection", 0.5])
def test_identity_gives_U_bit_for_bit(rng, mode, padding_mode, align_corners, dtype):
    """Kernels that are 1 at 0 and 0 at other integers interpolate, cubic ones included."""
    for shape, families in (((2, 3, 4, 5), (Affine(), Projective())), ((1, 9, 50, 7), (Affine(),)),
                            ((3, 1, 1, 6), (Affine(), Projective())), ((1, 2, 30, 1), (Affine(),)),
                            ((2, 2, 3, 5, 4), (Affine3d(), Attention3d())), ((1, 9, 1, 4, 3), (Affine3d(),))):
        U = rng.normal(size=shape).astype(dtype)
        for family in families:
            theta = np.tile(family.identity(), (shape[0], 1)).astype(dtype)
            V = spatial_transform(U, theta, family, shape[2:], mode, padding_mode, align_corners).data
            assert V.dtype == dtype and np.array_equal(V, U)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "wrap", "reflection", 0.5])
@pytest.mark.parametrize("shape, family", [((2, 3, 4, 5), Affine()), ((1, 1, 3, 5, 4), Affine3d())])
def test_a_spline_through_the_pixels_gives_them_back(rng, shape, family, padding_mode, align_corners):
    U = rng.normal(size=shape)
    theta = np.tile(family.identity(), (shape[0], 1))
    V = spatial_transform(spline_prefilter(U, padding_mode, align_corners), theta, family, shape[2:], "bspline",
                          padding_mode, align_corners)
    np.testing.assert_allclose(V.data, U, rtol=0, atol=1e-13)


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


def test_a_turn_of_the_axes_of_a_volume(rng):
    """theta permutes the coordinates: x_s = y_t, y_s = z_t, z_s = -x_t."""
    U = rng.normal(size=(1, 2, 3, 4, 5))
    theta = np.array([[0.0, 1, 0, 0, 0, 0, 1, 0, -1, 0, 0, 0]])
    for mode in ("nearest", "bilinear", "bicubic"):
        for align_corners in (True, False):
            V = spatial_transform(U, theta, Affine3d(), (4, 5, 3), mode, "border", align_corners).data
            # V[z, y, x] = U[z_s = -x, y_s = z, x_s = y]
            np.testing.assert_allclose(V, U[:, :, ::-1].transpose(0, 1, 3, 4, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "catmull-rom"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_wrapped_a_shift_by_the_width_changes_nothing(rng, mode, align_corners):
    U = rng.normal(size=(1, 2, 4, 5))
    half = (1.5, 2.0) if align_corners else (2, 2.5)
    for right, down in ((1, 0), (-1, 2), (7, -3)):
        theta = np.array([[right * 5 / half[1] + 1e-9, down * 4 / half[0] + 1e-9]])
        V = spatial_transform(U, theta, Translation(), (4, 5), mode, "wrap", align_corners).data
        np.testing.assert_allclose(V, U, rtol=0, atol=1e-7)


@pytest.mark.parametrize("padding_mode, align_corners, expected", [
    ("border", True, [1, 1, 1, 1.75, 4, 4, 4, 4, 1]), ("wrap", True, [3, 4, 1.75, 1.75, 2.5, 1, 2, 4, 2]),
    ("reflection", True, [3, 2, 1.25, 1.75, 3.5, 3, 2, 2, 2]), ("reflection", False, [2, 1, 1, 1.75, 4, 4, 3, 1, 2]),
    ("zeros", True, [0, 0, 0.75, 1.75, 2, 0, 0, 0, 0]), (10, True, [10, 10, 3.25, 1.75, 7, 10, 10, 10, 10])])
def test_what_lies_outside_by_hand(padding_mode, align_corners, expected):
    """1 2 3 4: mirrored about centres 3 2 | 1 2 3 4 | 3 2 1 2, about edges 2 1 | 1 2 3 4 | 4 3 2 1."""
    x = [-2, -1, -0.25, 0.75, 3.5, 4, 5, 7, -7]
    found = along_a_row([1, 2, 3, 4], x, "bilinear", padding_mode, align_corners)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode, weights", [
    ("bilinear", [0, 1 / 2, 1 / 2, 0]), ("bicubic", [-3 / 32, 19 / 32, 19 / 32, -3 / 32]),
    ("catmull-rom", [-1 / 16, 9 / 16, 9 / 16, -1 / 16]), ("bspline", [1 / 48, 23 / 48, 23 / 48, 1 / 48]),
    (SamplingKernel(lambda x: 1 / (1 + abs(x)), lambda x: 0.0, 1.75), [2 / 5, 2 / 3, 2 / 3, 2 / 5])])
def test_weights_between_two_pixels(mode, weights):
    U = np.eye(6)[:, None, None]  # each pixel by itself
    grid = np.tile(at_pixels([2.5], [0], (1, 1, 1, 6)), (6, 1, 1, 1))
    found = grid_sample(U, grid, mode, "border").data.ravel()
    row = 2 if isinstance(mode, SamplingKernel) else 1  # of one pixel, repeated: 1/2 + 1 + 1/2
    np.testing.assert_allclose(found, row * np.array([0, *weights, 0]), rtol=0, atol=1e-15)


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


@pytest.mark.parametrize("padding_mode, expected", [
    ("zeros", [1, 3, 5, 7, -16]), ("border", [1, 3, 5, 7, 0]), ("wrap", [1, 3, 5, 7, -16]),
    ("reflection", [1, 3, 5, 7, -7]), (4, [1, 3, 5, 7, -12])])
def test_the_derivative_at_a_pixel_is_the_right_hand_one(padding_mode, expected):
    U = np.array([0.0, 1, 4, 9, 16]).reshape(1, 1, 1, 5)
    grid = Tensor(at_pixels(np.arange(5), 0, U.shape), requires_grad=True)
    grid_sample(U, grid, padding_mode=padding_mode).sum().backward()
    assert np.allclose(grid.grad[0, 0, :, 0] / 2, expected)  # 2 pixels to the coordinate 1


def test_a_constant_image_stays_constant_inside(rng):
    theta = identities(3, float) * 0.5
    V = spatial_transform(np.full((3, 2, 5, 8), 7.0), theta, Affine(), (4, 6)).data
    assert np.allclose(V, 7)


def test_fused_equals_grid_and_sampler(rng):
    U = rng.normal(size=(2, 3, 5, 6))
    for family in FAMILIES:
        theta = family.identity() + rng.normal(size=(2, family.parameters)) * 0.1
        for align in (True, False):
            for mode, padding_mode in (("bilinear", "border"), ("nearest", "zeros"), ("bspline", "reflection")):
                options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align}
                V = spatial_transform(U, theta, family, (4, 7), **options).data
                grid = sampling_grid(theta, family, (4, 7), align)
                assert np.allclose(V, grid_sample(U, grid, **options).data, atol=1e-12)


# Adjoints and gradients.


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "wrap", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic", "catmull-rom", "bspline"])
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


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "catmull-rom", "bspline"])
@pytest.mark.parametrize("padding_mode", ["wrap", "reflection", 0.5])
def test_gradients_of_kernels(rng, mode, padding_mode):
    for family, shape, size in ((Affine(), (2, 3, 4, 5), (3, 7)), (Projective(), (2, 9, 5, 3), (2, 4)),
                                (ThinPlateSpline(3), (1, 2, 4, 5), (4, 3)), (Affine3d(), (1, 2, 3, 4, 5), (2, 4, 3))):
        U = Tensor(rng.normal(size=shape), requires_grad=True)
        theta = Tensor(family.identity() + rng.normal(size=(shape[0], family.parameters)) * 0.1, requires_grad=True)
        for align_corners in (True, False):
            gradcheck(lambda U, theta, f=family, s=size, a=align_corners: spatial_transform(
                U, theta, f, s, mode, padding_mode, a), [U, theta], full=False)


def test_gradients_of_a_kernel_of_ones_own(rng):
    """A wrong slope is found."""
    U = Tensor(rng.normal(size=(2, 2, 4, 5)), requires_grad=True)
    grid = Tensor(rng.uniform(-1, 1, (2, 3, 4, 2)), requires_grad=True)
    parabola = SamplingKernel(lambda x: (1 - x * x) ** 2, lambda x: -4 * x * (1 - x * x), 1)
    gradcheck(lambda U, grid: grid_sample(U, grid, parabola), [U, grid])
    wrong = SamplingKernel(lambda x: (1 - x * x) ** 2, lambda x: -4.01 * x * (1 - x * x), 1)
    with pytest.raises(GradientError):
        gradcheck(lambda U, grid: grid_sample(U, grid, wrong), [U, grid])


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




def test_arrays_of_any_layout(rng):
    """Strided, read-only and broadcast arrays are read as they are."""
    U = np.broadcast_to(rng.normal(size=(1, 3, 5, 4)), (2, 3, 5, 4)).transpose(0, 1, 3, 2)
    grid = rng.uniform(-1, 1, (2, 7, 3, 2)).transpose(0, 2, 1, 3)
    grid.flags.writeable = False
    expected = grid_sample(U.copy(), grid.copy()).data
    assert np.array_equal(grid_sample(U, grid).data, expected)
