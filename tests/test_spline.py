"""The prefilter: the spline passes through the pixels; dense systems, SciPy, sampling, adjoint, gradients, messages."""

import itertools

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn.functional import grid_sample, spline_prefilter
from nanostn.kernels.sampling.conventions import half_extent, target_points
from nanostn.spline import _multiply, _solve

MODES = [("zeros", True), (0.75, True), ("border", True), ("reflection", True), ("reflection", False), ("wrap", True)]
SIZES = [(5, 7), (1, 4), (2, 3), (1, 1), (2, 2), (3, 1, 2), (4, 2, 5)]
WEIGHTS = {-1: 1 / 6, 0: 4 / 6, 1: 1 / 6}  # the cubic B-spline at the integers


def neighbour(i, n, mode, align_corners):
    """The tap that stands for i, which is -1 or n at the outside; None is outside for good."""
    if 0 <= i < n:
        return i
    if mode == "wrap":
        return i % n
    if mode == "border" or (mode == "reflection" and (not align_corners or n == 1)):
        return min(max(i, 0), n - 1)
    return {-1: 1, n: n - 2}[i] if mode == "reflection" else None


def system(size, mode, align_corners):
    """A and b of sampled = A c + b, by the sum over all taps of every pixel: a tap that is outside reads the number."""
    count = int(np.prod(size))
    A, b = np.zeros((count, count)), np.zeros(count)
    for row, pixel in enumerate(np.ndindex(*size)):
        for taps in itertools.product(WEIGHTS, repeat=len(size)):
            weight = np.prod([WEIGHTS[t] for t in taps])
            place = [neighbour(i + t, n, mode, align_corners) for i, t, n in zip(pixel, taps, size, strict=True)]
            if None in place:
                b[row] += weight * (0 if mode == "zeros" else mode)
            else:
                A[row, np.ravel_multi_index(place, size)] += weight
    return A, b


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode, align_corners", MODES)
def test_the_spline_passes_through_the_pixels(rng, mode, align_corners, size, dtype):
    U = rng.standard_normal((2, 3, *size)).astype(dtype)
    c = spline_prefilter(Tensor(U), mode, align_corners).data
    assert c.dtype == dtype and c.shape == U.shape
    A, b = system(size, mode, align_corners)
    expected = np.linalg.solve(A, (U.reshape(6, -1) - b).T).T.reshape(U.shape)
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(c, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    np.testing.assert_allclose(c.reshape(6, -1) @ A.T + b, U.reshape(6, -1), rtol=0,
                               atol=tolerance * np.abs(expected).max())


def test_by_hand():
    U = np.array([1.0, 0.0], np.float64).reshape(1, 1, 1, 2)
    # zeros: along H c = 3/2 u, along W [[4, 1], [1, 4]] / 6 c = u
    np.testing.assert_allclose(spline_prefilter(U).data.ravel(), 1.5 * np.array([1.6, -0.4]))
    # border: along H c = u, along W [[5, 1], [1, 5]] / 6;  wrap, and about centres: [[4, 2], [2, 4]] / 6
    np.testing.assert_allclose(spline_prefilter(U, "border").data.ravel(), [1.25, -0.25])
    for mode in ("wrap", "reflection"):
        np.testing.assert_allclose(spline_prefilter(U, mode).data.ravel(), [2, -1])


@pytest.mark.parametrize("mode, align_corners, theirs", [
    ("reflection", True, "mirror"), ("reflection", False, "reflect"), ("border", True, "reflect"),
    ("wrap", True, "grid-wrap")])
@pytest.mark.parametrize("size", [(23, 31), (19, 20, 22)])
def test_like_scipy(rng, mode, align_corners, theirs, size):
    """On long axes: SciPy's `reflect` is not exact, by 0.268 to the power of twice the length."""
    ndimage = pytest.importorskip("scipy.ndimage")
    U = rng.standard_normal((2, 3, *size))
    c = spline_prefilter(U, mode, align_corners).data
    for n, channel in np.ndindex(2, 3):
        np.testing.assert_allclose(c[n, channel], ndimage.spline_filter(U[n, channel], mode=theirs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("mode", ["zeros", 0.75, "border", "reflection", "wrap"])
@pytest.mark.parametrize("size", [(5, 7), (1, 4), (2, 2), (4, 3, 5), (2, 1, 3)])
def test_sampled_at_the_pixels_they_give_the_image_back(rng, size, mode, align_corners):
    U = rng.standard_normal((2, 3, *size))
    c = spline_prefilter(U, mode, align_corners)
    grid = target_points(size, align_corners)[:-1].T.reshape(1, *size, len(size))
    V = grid_sample(c, grid, mode="bspline", padding_mode=mode, align_corners=align_corners)
    np.testing.assert_allclose(V.data, U, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode, align_corners, theirs", [
    ("reflection", True, "mirror"), ("reflection", False, "reflect"), ("wrap", True, "grid-wrap"),
    ("wrap", False, "grid-wrap")])
@pytest.mark.parametrize("size", [(23, 31), (19, 20, 22)])
def test_interpolation_is_scipys(rng, mode, align_corners, theirs, size):
    """At random points, inside and up to two images away, repeated or mirrored."""
    ndimage = pytest.importorskip("scipy.ndimage")
    U = rng.standard_normal((1, 1, *size))
    grid = rng.uniform(-5, 5, (1, *[1] * (len(size) - 1), 200, len(size)))
    half = np.array([half_extent(n, align_corners) for n in size])
    pixels = grid.reshape(-1, len(size))[:, ::-1] * half + (np.array(size) - 1) / 2
    V = grid_sample(spline_prefilter(U, mode, align_corners), grid, "bspline", mode, align_corners)
    expected = ndimage.map_coordinates(U[0, 0], pixels.T, order=3, mode=theirs)
    np.testing.assert_allclose(V.data.ravel(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("mode, align_corners", MODES)
@pytest.mark.parametrize("size", [(1, 2), (4, 3), (2, 3, 2)])
def test_gradients(rng, mode, align_corners, size):
    U = Tensor(rng.standard_normal((2, 1, *size)), requires_grad=True)
    gradcheck(lambda U: spline_prefilter(U, mode, align_corners), [U], name="spline_prefilter")


@pytest.mark.parametrize("mode, align_corners", MODES)
def test_the_gradient_is_the_adjoint_in_float32(rng, mode, align_corners):
    U = Tensor(rng.standard_normal((2, 2, 9, 5)).astype(np.float32), requires_grad=True)
    dc = rng.standard_normal(U.shape).astype(np.float32)
    before = dc.copy()
    c = spline_prefilter(U, mode, align_corners)
    c.backward(dc)
    outside = spline_prefilter(np.zeros_like(U.data), mode, align_corners).data
    np.testing.assert_array_equal(dc, before)
    assert U.grad.dtype == np.float32
    assert np.vdot(dc, c.data - outside) == pytest.approx(np.vdot(U.grad, U.data), rel=1e-4)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("ends", ["zeros", "edge", "centre", "wrap"])
def test_products_with_inverses_solve_the_systems(rng, ends, transposed):
    """As on a GPU."""
    for shape in ((2, 3, 5, 4), (1, 2, 3, 1, 4), (0, 1, 2, 2)):
        U = rng.standard_normal(shape)
        np.testing.assert_allclose(_multiply(U, ends, transposed), _solve(U, ends, transposed), rtol=0, atol=1e-13)


def test_views_are_taken_and_left_alone(rng):
    U = rng.standard_normal((6, 5, 3, 2)).transpose(3, 2, 1, 0)[:, ::-1]
    before = U.copy()
    c = spline_prefilter(U, "reflection").data
    np.testing.assert_array_equal(U, before)
    np.testing.assert_array_equal(c, spline_prefilter(before, "reflection").data)
    assert c.flags.c_contiguous


def test_a_pixel_is_felt_nearby_only():
    """The coefficients fall off by 2 - sqrt(3) a pixel: rounding of a bright pixel must not reach the whole image."""
    U = np.zeros((1, 1, 1, 41), np.float32)
    U[..., 0] = 1e6
    c = spline_prefilter(U, "reflection").data.ravel()
    np.testing.assert_allclose(c[1:30] / c[:29], np.sqrt(3) - 2, rtol=1e-5)  # the other end has its own
    assert abs(c[-1]) < 1e-15


def test_nothing_to_solve():
    assert spline_prefilter(np.zeros((0, 3, 4, 5))).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("arguments, message", [
    ((np.zeros((3, 4, 5)),), r"U should be \(N, C, H, W\) or \(N, C, D, H, W\), received \(3, 4, 5\) float64"),
    ((np.zeros((1, 1, 4, 5), int),), "U should be a float32 or float64 array"),
    ((np.zeros((1, 1, 0, 5)),), "U should be images of at least one pixel"),
    ((np.zeros((1, 1, 4, 5)), "mirror"), "padding_mode should be 'zeros', 'border', 'reflection', 'wrap' or a finite"),
    ((np.zeros((1, 1, 4, 5)), np.nan), "padding_mode should be .* received nan"),
    ((np.zeros((1, 1, 4, 5)), True), "padding_mode should be .* received True"),
])
def test_messages(arguments, message):
    with pytest.raises(ValueError, match=f"spline_prefilter: {message}"):
        spline_prefilter(*arguments)
