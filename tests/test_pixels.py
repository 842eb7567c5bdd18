"""Matrices in pixels and theta: answers by hand, a small warp in pixels, the way back, and what cannot be said."""

import numpy as np
import pytest

from nanostn import Tensor
from nanostn import functional as F
from nanostn.transformations import (
    Affine,
    Affine3d,
    Attention,
    Displacement,
    Projective,
    Similarity,
    ThinPlateSpline,
    pixels_from_theta,
    theta_from_pixels,
)

both = pytest.mark.parametrize("align_corners", [True, False])
SHIFT = [[1.0, 0, 1], [0, 1, 0]]  # one pixel to the right


def warped(U, G, size):
    """V[y, x] = U bilinearly at G (x, y, 1), zeros outside: what a theta of the same G should give."""
    (H, W), V = U.shape, np.zeros(size)
    padded = np.pad(U, 1)
    for y, x in np.ndindex(size):
        u, v, *w = G @ [x, y, 1]
        u, v = (u / w[0], v / w[0]) if w else (u, v)
        if -1 < u < W and -1 < v < H:
            i, j = int(np.floor(v)), int(np.floor(u))
            V[y, x] = [1 - v + i, v - i] @ padded[i + 1:i + 3, j + 1:j + 3] @ [1 - u + j, u - j]
    return V


def transformed(U, theta, size, align_corners):
    family = Affine() if theta.shape[1] == 6 else Projective()
    return F.spatial_transform(U[None, None], theta, family, size, align_corners=align_corners).data[0, 0]


@both
def test_one_pixel_to_the_right(rng, align_corners):
    U = rng.standard_normal((3, 5))
    theta = theta_from_pixels(SHIFT, (3, 5), (3, 5), align_corners)
    # Read one pixel further left: 1 of 2 pixels from the centre to the coordinate 1, or of 2.5.
    np.testing.assert_allclose(theta, [[1, 0, -1 / (2 if align_corners else 2.5), 0, 1, 0]], atol=1e-14)
    assert theta.dtype == np.float64
    V = transformed(U, theta, (3, 5), align_corners)
    np.testing.assert_allclose(V[:, 1:], U[:, :-1], atol=1e-12)
    np.testing.assert_allclose(V[:, 0], 0, atol=1e-12)
    back = transformed(U, theta_from_pixels(SHIFT, (3, 5), (3, 5), align_corners, inverse=True), (3, 5), align_corners)
    np.testing.assert_allclose(back[:, :-1], U[:, 1:], atol=1e-12)


@both
def test_a_quarter_turn_is_exact_though_the_image_is_not_square(rng, align_corners):
    """Clockwise as seen: the pixel (x, y) of 3 x 5 goes to (2 - y, x) of 5 x 3."""
    U = rng.standard_normal((3, 5))
    theta = theta_from_pixels([[0, -1, 2], [1, 0, 0]], (3, 5), (5, 3), align_corners)
    np.testing.assert_allclose(transformed(U, theta, (5, 3), align_corners), np.rot90(U, -1), atol=1e-12)


@both
@pytest.mark.parametrize("size", [(2, 3), (1, 3), (2, 1), (1, 1)])
def test_a_crop(rng, align_corners, size):
    U = rng.standard_normal((5, 7))
    theta = theta_from_pixels([[1, 0, 2], [0, 1, 1]], (5, 7), size, align_corners, inverse=True)
    expected = U[1:1 + size[0], 2:2 + size[1]]
    np.testing.assert_allclose(transformed(U, theta, size, align_corners), expected, atol=1e-12)


def test_a_projective_matrix_by_hand():
    """Size 3 x 3 with aligned corners: pixels are coordinates plus 1. u = 2 x / (x + 4) from 4 x 4 numbers."""
    G = [[2.0, 0, 0], [0, 2, 0], [1, 0, 4]]
    # (x + 1) stands for x: rows (2 (x + 1), 2 (y + 1), x + 5), less the last one: (x - 3, 2 y - x - 3, x + 5).
    theta = theta_from_pixels(G, (3, 3), (3, 3), inverse=True)
    np.testing.assert_allclose(theta, np.array([[1, 0, -3, -1, 2, -3, 1, 0]]) / 5, atol=1e-14)


@both
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [2, 3])
def test_theta_warps_as_the_matrix_does_in_pixels(rng, align_corners, inverse, dtype, rows):
    source, target = (5, 8), (7, 4)
    U = rng.standard_normal(source)
    for _ in range(5):
        G = np.array([[1.0, 0, 1], [0, 1, -1], [0, 0, 1]])
        G[:2] += 0.4 * rng.uniform(-1, 1, (2, 3))
        if rows == 3:
            G = (G + np.array([[0, 0, 0], [0, 0, 0], [0.02, -0.03, 0]])) * rng.uniform(0.5, 2)
        G = G.astype(dtype)
        # G leads from target to source; who has the other direction hands over its inverse.
        given = G if inverse else np.linalg.inv(G.astype(np.float64))
        theta = theta_from_pixels(given[:rows], source, target, align_corners, inverse)
        assert theta.shape == (1, 6 if rows == 2 else 8)
        V = transformed(U.astype(dtype), theta.astype(dtype), target, align_corners)
        np.testing.assert_allclose(V, warped(U, G[:rows].astype(np.float64), target),
                                   atol=1e-9 if dtype == np.float64 else 2e-5)


@both
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("rows", [2, 3])
@pytest.mark.parametrize("target", [(4, 6), (1, 6)])
def test_there_and_back(rng, align_corners, inverse, rows, target):
    family = Affine() if rows == 2 else Projective()
    matrix = np.eye(3)[:rows] + 0.1 * rng.uniform(-1, 1, (3, rows, 3))
    if rows == 3:
        matrix[:, 2] = [0.01, 0.02, 1]
    theta = theta_from_pixels(matrix, (9, 5), target, align_corners, inverse)
    back = pixels_from_theta(theta, family, (9, 5), target, align_corners, inverse)
    assert back.shape == matrix.shape and back.dtype == np.float64
    np.testing.assert_allclose(back, matrix, rtol=1e-9, atol=1e-9)
    theta = family.identity() + 0.1 * rng.uniform(-1, 1, (3, family.parameters))
    matrix = pixels_from_theta(theta, family, (9, 5), target, align_corners, inverse)
    np.testing.assert_allclose(theta_from_pixels(matrix, (9, 5), target, align_corners, inverse), theta, atol=1e-9)


def test_matrices_of_other_families():
    theta = np.array([[0.5, 0.25, -0.5]], np.float32)  # half the size, 3 x 5 pixels read from 5 x 9
    G = pixels_from_theta(Tensor(theta, requires_grad=True), Attention(), (5, 9), (3, 5), inverse=True)
    # x_s = 4 + 4 (0.5 (x - 2) / 2 + 0.25), y_s = 2 + 2 (0.5 (y - 1) - 0.5)
    np.testing.assert_allclose(G, [[[1, 0, 3], [0, 1, 0]]], atol=1e-14)
    turned = pixels_from_theta([[1.0, np.pi / 2, 0, 0]], Similarity(), (5, 5), (5, 5))
    np.testing.assert_allclose(turned, [[[0, 1, 0], [-1, 0, 4]]], atol=1e-14)


def test_a_matrix_that_ends_in_zero_stays_homogeneous():
    """The first pixel of the target is read at infinity; the centre is not, so there is a theta."""
    G = np.array([[1.0, 0, 1], [0, 1, 1], [1, 1, 0]])
    theta = theta_from_pixels(G, (4, 4), (4, 4), inverse=True)
    back = pixels_from_theta(theta, Projective(), (4, 4), (4, 4), inverse=True)[0]
    np.testing.assert_allclose(back / back[0, 0], G, atol=1e-12)
    # It is left as it is found: at the centre, (1.5, 1.5), the last row of G gives 3, and that of theta 1.
    np.testing.assert_allclose(back, G / 3, atol=1e-12)


def test_none_is_none():
    for rows, family in ((2, Affine()), (3, Projective())):
        theta = theta_from_pixels(np.zeros((0, rows, 3)), (4, 5), (4, 5))
        assert theta.shape == (0, family.parameters)
        assert pixels_from_theta(theta, family, (4, 5), (4, 5)).shape == (0, rows, 3)


@pytest.mark.parametrize("matrix, options, message", [
    (np.eye(4), {}, r"matrix should be \(2, 3\), \(3, 3\), \(N, 2, 3\) or \(N, 3, 3\), received \(4, 4\) float64"),
    (np.zeros((1, 1, 2, 3)), {}, "matrix should be"),
    (None, {}, "matrix should be finite numbers"),
    ("eye", {}, "matrix should be finite numbers"),
    ([[1, 0], [0]], {}, "matrix should be finite numbers"),
    (np.eye(3) * np.nan, {}, "matrix should be finite numbers"),
    (np.eye(3) * 1j, {}, "matrix should be finite numbers"),
    (np.eye(3, dtype=bool), {}, "matrix should be finite numbers"),
    ([[1, 2, 3], [2, 4, 6]], {}, "matrix should be a map that can be turned back, received one that cannot, number 0"),
    ([np.eye(3), np.zeros((3, 3))], {}, "that cannot, number 1"),
    ([[1e7, 0, 0], [0, 1e-6, 0]], {}, "that cannot, number 0"),
    (np.zeros((3, 3)), {"inverse": True}, "reads the centre of the target at a finite place"),
    ([[1, 0, 0], [0, 1, 0], [1, 0, -2]], {"inverse": True}, "reads it at infinity"),  # 0 at x = 2, the centre of 5
    (SHIFT, {"source_size": (1, 5)}, "source_size should be two pixels or more"),
    (SHIFT, {"source_size": 5}, "source_size should be"),
    (SHIFT, {"target_size": (4, 5.0)}, "target_size should be"),
    (SHIFT, {"target_size": (4, 0)}, "target_size should be"),
    (SHIFT, {"target_size": [[4], [5, 6]]}, "target_size should be"),
    (SHIFT, {"align_corners": "False"}, "align_corners should be True or False"),
    (SHIFT, {"inverse": 1}, "inverse should be True or False"),
])
def test_what_is_no_warp_is_refused(matrix, options, message):
    with pytest.raises(ValueError, match=f"^theta_from_pixels: .*{message}"):
        theta_from_pixels(matrix, **{"source_size": (4, 5), "target_size": (4, 5), **options})


@pytest.mark.parametrize("theta, family, message", [
    (np.zeros((1, 6)), Affine(), "theta should be a map that can be turned back"),
    (np.zeros((1, 12)), Affine3d(), "transformation should be a family over the plane"),
    (np.zeros((1, 18)), ThinPlateSpline(3), "transformation should be a family over the plane"),
    (np.zeros((1, 8)), Displacement((2, 2)), "transformation should be a family over the plane"),
    (np.zeros((1, 6)), Affine, "transformation should be a family over the plane"),
    ([[1, "a"]], Affine(), "theta should be finite numbers"),
])
def test_what_has_no_matrix_is_refused(theta, family, message):
    with pytest.raises(ValueError, match=f"^pixels_from_theta: .*{message}"):
        pixels_from_theta(theta, family, (4, 5), (4, 5))


def test_a_theta_of_another_family_is_refused():
    with pytest.raises(ValueError, match=r"Affine\(\): theta should be"):
        pixels_from_theta(np.zeros((1, 8)), Affine(), (4, 5), (4, 5))


def test_a_source_of_one_row_has_pixels_at_its_edges(rng):
    U = rng.standard_normal((1, 6))
    theta = theta_from_pixels([[1, 0, -2], [0, 1, 0]], (1, 6), (1, 3), align_corners=False)
    np.testing.assert_allclose(transformed(U, theta, (1, 3), False), U[:, 2:5], atol=1e-12)
