"""theta from pairs of points: answers by hand, recovered thetas, least squares, and what determines nothing."""

import numpy as np
import pytest

from nanostn.transformations import (
    Affine,
    Affine3d,
    Attention,
    Attention3d,
    Displacement,
    PiecewiseAffine,
    Projective,
    Similarity,
    ThinPlateSpline,
    Transformation,
    Translation,
    theta_from_points,
)
from nanostn.transformations.fitting import _mapped

CORNERS = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
FAMILIES = [(Translation(0.7), 1), (Attention(), 2), (Similarity(), 2), (Affine(), 3), (Projective(), 4),
            (Attention3d(), 2), (Affine3d(), 4)]


def drawn_theta(rng, family, N=1):
    theta = np.ravel(family.identity()) + 0.3 * rng.uniform(-1, 1, (N, family.parameters))
    if isinstance(family, Similarity):
        theta[:, 0] += 1  # a scale below 0 is a half turn more
    return theta


def read_at(family, theta, target):
    """source = M (target, 1), for every theta and set of points."""
    homogeneous = np.concatenate([target, np.ones((*target.shape[:-1], 1))], axis=-1)
    rows = homogeneous @ family.matrix(theta).data.swapaxes(1, 2)
    return rows[..., :family.dims] / (rows[..., family.dims:] if rows.shape[-1] > family.dims else 1)


def test_maps_of_points_that_turn_them():
    points = np.array([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]])
    turn = np.array([[0.0, -1, 10], [1, 0, 20], [0, 0, 1]])
    assert _mapped(turn, points).tolist() == [[[8, 21], [6, 23]], [[4, 25], [2, 27]]]
    assert _mapped(np.stack([turn, np.eye(3)]), points).tolist() == [[[8, 21], [6, 23]], [[5, 6], [7, 8]]]


def test_an_affine_theta_by_hand():
    # (0, 0) is read at (3, 4); a step along x at (1, 0) more, a step along y at (0, 2) more.
    theta = theta_from_points([[3, 4], [4, 4], [3, 6]], [[0, 0], [1, 0], [0, 1]], Affine())
    assert theta.shape == (1, 6) and theta.dtype == np.float64
    np.testing.assert_allclose(theta, [[1, 0, 3, 0, 2, 4]], atol=1e-14)


def test_a_quarter_turn_by_hand():
    theta = theta_from_points([[0, 2], [-2, 0]], [[1, 0], [0, 1]], Similarity())
    np.testing.assert_allclose(theta, [[2, np.pi / 2, 0, 0]], atol=1e-14)


def test_a_homography_by_hand():
    # x_s = 2 x / (x + 3), y_s = 2 y / (x + 3): at x = -1 divided by 2, at x = 1 by 4.
    source = [[-1, -1], [0.5, -0.5], [0.5, 0.5], [-1, 1]]
    theta = theta_from_points(source, CORNERS, Projective())
    np.testing.assert_allclose(theta, np.array([[2, 0, 0, 0, 2, 0, 1, 0]]) / 3, atol=1e-14)


def test_pixels_where_sizes_are_given():
    """A card's corners in a photograph of 41 x 61 pixels, wanted as the corners of 21 x 31 pixels: a crop."""
    source = np.array([[10.0, 5], [40, 5], [40, 25], [10, 25]])
    target = np.array([[0.0, 0], [30, 0], [30, 20], [0, 20]])
    theta = theta_from_points(source, target, Projective(), (41, 61), (21, 31))
    # x_s = (10 + 40) / 2 = 25 at the centre, 30 being that of the photograph, and half an extent is 15 of 30.
    np.testing.assert_allclose(theta, [[0.5, 0, -5 / 30, 0, 0.5, -5 / 20, 0, 0]], atol=1e-12)
    edges = theta_from_points(source, target, Affine(), (41, 61), (21, 31), align_corners=False)
    np.testing.assert_allclose(edges, [[31 / 61, 0, -10 / 61, 0, 21 / 41, -10 / 41]], atol=1e-12)


@pytest.mark.parametrize("family, least", FAMILIES, ids=repr)
@pytest.mark.parametrize("more", [0, 5])
def test_theta_is_recovered(rng, family, least, more):
    theta = drawn_theta(rng, family, N=3)
    target = rng.uniform(-1, 1, (3, least + more, family.dims))
    found = theta_from_points(read_at(family, theta, target), target, family)
    np.testing.assert_allclose(found, theta, atol=1e-7)
    one = target[:1]
    np.testing.assert_allclose(theta_from_points(read_at(family, theta, one), one[0], family), theta, atol=1e-7)


@pytest.mark.parametrize("family", [f for f, _ in FAMILIES if not isinstance(f, Projective)], ids=repr)
def test_more_pairs_are_met_by_least_squares(rng, family):
    """At the least sum of squares no small change of theta makes it smaller."""
    target = rng.uniform(-1, 1, (1, 9, family.dims))
    source = read_at(family, drawn_theta(rng, family), target) + 0.1 * rng.standard_normal(target.shape)
    theta = theta_from_points(source, target, family)

    def missed(theta):
        return ((read_at(family, theta, target) - source) ** 2).sum()

    for step in np.concatenate([np.eye(family.parameters), -np.eye(family.parameters)]):
        assert missed(theta + 1e-4 * step) > missed(theta)


def test_a_homography_of_noisy_points_is_near_the_true_one(rng):
    theta = drawn_theta(rng, Projective())
    target = rng.uniform(-1, 1, (1, 400, 2))
    source = read_at(Projective(), theta, target) + 0.01 * rng.standard_normal(target.shape)
    np.testing.assert_allclose(theta_from_points(source, target, Projective()), theta, atol=0.01)


def test_points_in_hundreds_of_pixels_are_no_worse(rng):
    """What the normalisation is for: numbers of a photograph, left as they are."""
    theta = np.array([[1.1, 0.2, -300, 0.1, 0.9, 200, 1e-4, -2e-4]])
    target = rng.uniform(0, 4000, (1, 4, 2))
    found = theta_from_points(read_at(Projective(), theta, target), target, Projective())
    np.testing.assert_allclose(found, theta, rtol=1e-8)


def test_a_family_of_ones_own_and_float32(rng):
    class Squeeze(Transformation):
        entries = np.array([[0, -1, 1], [-1, -1, -1]])
        constants = np.array([[0, 0, 0], [0, 1.0, 0.5]])

        def identity(self):
            return np.array([1.0, 0])

    target = rng.uniform(-1, 1, (1, 2, 2)).astype(np.float32)
    theta = theta_from_points(read_at(Squeeze(), np.array([[2.0, 0.25]]), target.astype(np.float64)), target, Squeeze())
    np.testing.assert_allclose(theta, [[2, 0.25]], atol=1e-12)


def test_no_sets_of_points_are_no_thetas():
    for family, least in FAMILIES:
        none = np.zeros((0, least, family.dims))
        assert theta_from_points(none, none, family).shape == (0, family.parameters)


LINE = [[0, 0], [1, 1], [2, 2]]
THIRD = np.array([[0.1, 0.3], [0.2, 0.6], [0.3, 0.9]], np.float32)  # on a line but for float32's rounding


@pytest.mark.parametrize("source, target, family, message", [
    (LINE, LINE, Affine(), "target should be points that determine theta, received all of them on one line"),
    (THIRD, THIRD, Affine(), "all of them on one line"),
    ([*LINE, [5, 5]], [*LINE, [5, 5]], Affine(), "all of them on one line"),
    ([[0, 0], [1, 0], [0, 1]], [[0, 0], [1, 0], [1, 0]], Affine(), "points 1 and 2 at one place"),
    ([[0, 0], [1, 0]], [[2, 3], [2, 3]], Similarity(), "target should be .* all of them at one place"),
    ([[0, 0], [1, 0]], [[2, 3], [2, 3]], Attention(), "all of them at one place"),
    (CORNERS, [*LINE, [0, 1]], Projective(), "target should be .* points 0, 1 and 2 on one line; set 0"),
    ([*LINE, [0, 1]], CORNERS, Projective(), "source should be .* points 0, 1 and 2 on one line"),
    ([*LINE, [0, 1]], [*LINE, [0, 1]], Projective(), "points 0, 1 and 2 on one line"),
    (CORNERS, CORNERS[[0, 1, 2, 1]], Projective(), "points 1 and 3 at one place"),
    (np.ones((4, 2)), CORNERS, Projective(), "source should be .* all of them at one place"),
    (np.c_[np.arange(6), np.arange(6)], np.c_[np.arange(6), np.arange(6)], Projective(), "all of them on one line"),
    ([*LINE, [3, 3], [0, 1]], [*LINE, [3, 3], [0, 1]], Projective(), "all but one of them on one line"),
    (np.zeros((4, 3)), [[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]], Affine3d(), "all of them in one plane"),
    # The centre of the corners is read where the diagonals meet; here they are parallel.
    ([[-1, -1], [1, -1], [-1, -2], [1, -2]], CORNERS, Projective(), "reads it at infinity"),
    (CORNERS[:2], CORNERS[:2], Affine(), r"3 pairs of points or more for Affine\(\), received 2"),
    (CORNERS[:3], CORNERS[:3], Projective(), r"4 pairs of points or more for Projective\(\), received 3"),
    (CORNERS, CORNERS[:3], Affine(), r"target should be as many points as source, \(4, 2\) float64"),
    (np.zeros((2, 3, 2)), np.zeros((3, 3, 2)), Affine(), "as many points as source"),
    (np.zeros((4, 3)), np.zeros((4, 3)), Affine(), r"source should be finite points \(P, 2\) or \(N, P, 2\)"),
    (CORNERS, CORNERS * np.nan, Affine(), "target should be finite points"),
    ([[0, 1], [2]], CORNERS, Affine(), "source should be finite points"),
    (CORNERS * 1j, CORNERS, Affine(), "source should be finite points"),
    ("abc", CORNERS, Affine(), "source should be finite points"),
    (None, CORNERS, Affine(), "source should be finite points"),
    ([[10**400, 0]] * 3, CORNERS, Affine(), "source should be finite points"),
    (CORNERS, CORNERS, ThinPlateSpline(3), "transformation should be a family such as"),
    (CORNERS, CORNERS, PiecewiseAffine(3), "transformation should be a family such as"),
    (CORNERS, CORNERS, Displacement((2, 2)), "transformation should be a family such as"),
    (CORNERS, CORNERS, Affine, "transformation should be a family such as"),
    (CORNERS, CORNERS, Transformation(), "transformation should be a family such as"),
])
def test_what_determines_nothing_is_refused(source, target, family, message):
    with pytest.raises(ValueError, match=f"^theta_from_points: .*{message}"):
        theta_from_points(source, target, family)


@pytest.mark.parametrize("sizes, message", [
    (((4, 5), None), "target_size should be"), ((None, (4, 5)), "source_size should be"),
    (((4, 5), (4, 5, 6)), "target_size should be"), (((4, 5), (4.0, 5)), "target_size should be"),
    (((1, 5), (4, 5)), "source_size should be two pixels or more along each axis"),
    (((4, 5), (4, 5), "no"), "align_corners should be True or False, received 'no'"),
])
def test_sizes_that_do_not_exist(sizes, message):
    with pytest.raises(ValueError, match=f"theta_from_points: {message}"):
        theta_from_points(CORNERS, CORNERS, Affine(), *sizes)


def test_volumes_take_no_pixels():
    points = np.random.default_rng(0).standard_normal((4, 3))
    with pytest.raises(ValueError, match="source_size should be None for Affine3d"):
        theta_from_points(points, points, Affine3d(), (3, 4, 5), (3, 4, 5))
