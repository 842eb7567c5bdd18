"""Families of transformations: matrices by hand, identities, the thin plate spline's properties, refusals."""

import numpy as np
import pytest

from nanostn.gradcheck import gradcheck
from nanostn.grid_generator import sampling_grid
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Attention, Projective, ThinPlateSpline, Translation

FAMILIES = [Affine(), Attention(), Translation(), Projective(), ThinPlateSpline(4), ThinPlateSpline((3, 5))]


def test_matrices_by_hand():
    assert Affine().matrix(np.array([[1.0, 2, 3, 4, 5, 6]])).data.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert Attention().matrix(np.array([[2.0, 3, 4]])).data.tolist() == [[[2, 0, 3], [0, 2, 4]]]
    assert Translation(0.5).matrix(np.array([[3.0, 4]])).data.tolist() == [[[0.5, 0, 3], [0, 0.5, 4]]]
    M = Projective().matrix(np.arange(1.0, 9)[None]).data
    assert M.tolist() == [[[1, 2, 3], [4, 5, 6], [7, 8, 1]]]


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_the_identity_reads_every_point_where_it_is(family):
    theta = np.stack([family.identity()] * 2)
    assert theta.shape == (2, family.parameters)
    for align in (True, False):
        grid = sampling_grid(theta, family, (4, 7), align).data
        x, y, _ = family.basis((4, 7), align) if family.plane else Affine().basis((4, 7), align)
        assert np.allclose(grid.reshape(2, -1, 2), np.stack([x, y], axis=1), atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_matrix_is_differentiable(rng, family):
    theta = Tensor(rng.normal(size=(2, family.parameters)), requires_grad=True)
    gradcheck(family.matrix, [theta])


def test_natural_shapes(rng):
    theta = rng.normal(size=(4, 2, 3))
    assert np.array_equal(Affine().matrix(theta).data, theta)
    points = rng.normal(size=(4, 2, 16))
    assert np.array_equal(ThinPlateSpline(4).matrix(points).data, points)
    assert np.array_equal(ThinPlateSpline(4).matrix(points.reshape(4, 32)).data, points)  # all x, then all y


def test_a_spline_meets_its_control_points(rng):
    """Targets on the control points of a 4 x 5 grid are the points of a 4 x 5 output."""
    family = ThinPlateSpline((4, 5))
    source = rng.normal(size=(3, 2, 20))
    grid = sampling_grid(source, family, (4, 5)).data.reshape(3, 20, 2)
    assert np.allclose(grid, source.transpose(0, 2, 1), atol=1e-10)


@pytest.mark.parametrize("points", [4, (2, 3), np.array([[-1, -1], [0.9, -0.8], [0, 0.1], [-0.7, 1], [1, 0.6]])])
def test_a_spline_with_affine_sources_is_affine(rng, points):
    family = ThinPlateSpline(points)
    A = rng.normal(size=(2, 2, 3))
    source = A @ np.concatenate([family.points.T, np.ones((1, len(family.points)))])
    assert np.allclose(sampling_grid(source, family, (3, 7)).data, sampling_grid(A, Affine(), (3, 7)).data, atol=1e-10)


def test_a_spline_bends_least(rng):
    """Against the definition: weights from the full system, solved for each theta."""
    family = ThinPlateSpline((2, 3))
    c, s = family.points, rng.normal(size=(6, 2))

    def terms(p):
        r = np.linalg.norm(p[:, None] - c[None], axis=2)
        return np.where(r > 0, r**2 * np.log(np.where(r > 0, r, 1)), 0), np.concatenate([np.ones((len(p), 1)), p], 1)

    radial, plane = terms(c)
    system = np.block([[radial, plane], [plane.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system, np.concatenate([s, np.zeros((3, 2))]))
    targets = Affine().basis((5, 4))[:2].T
    expected = np.concatenate(terms(targets), axis=1) @ weights
    assert np.allclose(sampling_grid(s.T[None], family, (5, 4)).data.reshape(-1, 2), expected, atol=1e-10)


def test_a_projection_with_a_zero_last_row_is_affine(rng):
    theta = rng.normal(size=(2, 6))
    projective = np.concatenate([theta, np.zeros((2, 2))], axis=1)
    grids = [sampling_grid(t, f, (3, 7)).data for t, f in ((theta, Affine()), (projective, Projective()))]
    assert np.allclose(*grids)


@pytest.mark.parametrize("points, message", [
    ([[0, 0], [1, 1], [2, 2], [3, 3]], "three or more that are not on one line"),
    ([[0, 0], [1, 0]], "three or more"),
    ([[0, 0], [1, 0], [0, 1], [1, 0]], "points 1 and 3 at one place"),
    ([[0, 0], [1, 0], [0, np.nan]], "finite points"),
    ((1, 4), "2 or more points a side"),
    (1, "2 or more points a side"),
    (np.zeros((4, 3)), r"\(K, 2\)"),
])
def test_splines_that_do_not_exist(points, message):
    with pytest.raises(ValueError, match=message):
        ThinPlateSpline(points)


@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf, "half"])
def test_scales_that_do_not_exist(scale):
    with pytest.raises(ValueError, match="Translation: scale should be a positive number"):
        Translation(scale)


def test_wrong_theta():
    with pytest.raises(ValueError, match=r"Attention\(\): theta should be \(N, 3\), received \(2, 6\)"):
        Attention().matrix(np.zeros((2, 6)))


def test_names():
    assert [repr(f) for f in FAMILIES] == ["Affine()", "Attention()", "Translation(1)", "Projective()",
                                           "ThinPlateSpline(4)", "ThinPlateSpline((3, 5))"]
    assert repr(ThinPlateSpline([[0, 0], [1, 0], [0, 1]])) == "ThinPlateSpline(3 points)"
