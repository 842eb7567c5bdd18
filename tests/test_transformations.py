"""Families of transformations: matrices by hand, identities, the thin plate spline's properties, refusals."""

import tracemalloc

import numpy as np
import pytest

from nanostn.gradcheck import gradcheck
from nanostn.grid_generator import sampling_grid
from nanostn.kernels.sampling.conventions import target_points
from nanostn.tensor import Tensor
from nanostn.transformations import (
    Affine,
    Affine3d,
    Attention,
    Attention3d,
    PiecewiseAffine,
    Projective,
    Similarity,
    ThinPlateSpline,
    Transformation,
    Translation,
)
from nanostn.transformations.base import KEPT

FLAT = [Affine(), Attention(), Translation(), Similarity(), Projective(), ThinPlateSpline(4), ThinPlateSpline((3, 5)),
        ThinPlateSpline(4, regularisation=0.3), PiecewiseAffine(3), PiecewiseAffine((4, 2))]
SOLID = [Affine3d(), Attention3d()]
FAMILIES = FLAT + SOLID
SIZES = {2: (4, 7), 3: (3, 4, 5)}


def test_matrices_by_hand():
    assert Affine().matrix(np.array([[1.0, 2, 3, 4, 5, 6]])).data.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert Attention().matrix(np.array([[2.0, 3, 4]])).data.tolist() == [[[2, 0, 3], [0, 2, 4]]]
    assert Translation(0.5).matrix(np.array([[3.0, 4]])).data.tolist() == [[[0.5, 0, 3], [0, 0.5, 4]]]
    M = Projective().matrix(np.arange(1.0, 9)[None]).data
    assert M.tolist() == [[[1, 2, 3], [4, 5, 6], [7, 8, 1]]]
    quarter = Similarity().matrix(np.array([[2.0, np.pi / 2, 3, 4]])).data
    assert np.allclose(quarter, [[[0, -2, 3], [2, 0, 4]]], atol=1e-15)
    third = Similarity().matrix(np.array([[2.0, np.pi / 3, 0, 0]])).data
    assert np.allclose(third, [[[1, -np.sqrt(3), 0], [np.sqrt(3), 1, 0]]])
    M = Attention3d().matrix(np.array([[2.0, 3, 4, 5]])).data
    assert M.tolist() == [[[2, 0, 0, 3], [0, 2, 0, 4], [0, 0, 2, 5]]]
    assert Affine3d().matrix(np.arange(12.0)[None]).data.tolist() == np.arange(12.0).reshape(1, 3, 4).tolist()


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_the_identity_reads_every_point_where_it_is(family):
    theta = np.stack([family.identity()] * 2)
    assert theta.shape == (2, family.parameters) and theta.dtype == np.float64
    size, dims = SIZES[family.dims], family.dims
    for align in (True, False):
        grid = sampling_grid(theta, family, size, align).data
        assert grid.shape == (2, *size, dims)
        assert np.allclose(grid.reshape(2, -1, dims), target_points(size, align)[:dims].T, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_matrix_is_differentiable(rng, family):
    theta = Tensor(rng.normal(size=(2, family.parameters)), requires_grad=True)
    gradcheck(family.matrix, [theta])


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_the_parts_fit_each_other(rng, family):
    """What the sampler relies on: M (N, R, K), B (K, P), and their product is the grid, divided where R says so."""
    size, dims = SIZES[family.dims], family.dims
    theta = (family.identity() + 0.1 * rng.normal(size=(1, family.parameters))).astype(np.float32)
    M, B = family.matrix(theta).data, family.basis(size, False)
    assert family.fused and M.dtype == np.float32 and B.dtype == np.float64
    assert M.shape[0] == 1 and M.shape[1] in (dims, dims + 1) and M.shape[2] == len(B) and B.shape[1] == np.prod(size)
    if family.plane:
        assert np.array_equal(B, target_points(size, False))
    rows = M.astype(np.float64)[0] @ B
    grid = sampling_grid(theta, family, size, False).data
    assert grid.dtype == np.float32
    assert np.allclose(grid[0].reshape(-1, dims).T, rows[:dims] / rows[dims:] if len(rows) > dims else rows, atol=1e-4)


def test_a_family_of_ones_own_with_another_matrix():
    """`parameters` and `matrix` suffice; a number that stands in two places gets both gradients."""
    class Squeeze(Transformation):
        entries = np.array([[0, -1, 0], [-1, -1, -1]])
        constants = np.array([[0, 0, 0], [0, 1.0, 0.5]])

        def identity(self):
            return np.array([1.0])

    class Square(Transformation):
        parameters = 6

        def identity(self):
            return Affine().identity()

        def matrix(self, theta):
            theta = self.checked_theta(theta)
            return (theta * theta).reshape(len(theta), 2, 3)

    assert Squeeze().matrix(np.array([[2.0]])).data.tolist() == [[[2, 0, 2], [0, 1, 0.5]]]
    gradcheck(Squeeze().matrix, [Tensor(np.array([[2.0], [3.0]]), requires_grad=True)])
    theta = Tensor(np.arange(1.0, 13).reshape(2, 6), requires_grad=True)
    gradcheck(lambda theta: sampling_grid(theta, Square(), (3, 5)), [theta])
    with pytest.raises(ValueError, match=r"Square\(\): theta should be \(N, 6\), received \(2, 2, 3\)"):
        Square().matrix(np.zeros((2, 2, 3)))
    with pytest.raises(TypeError, match="should define identity"):
        Transformation().identity()


def test_a_similarity_keeps_angles_and_scales_lengths(rng):
    s, angle = 0.7, -2.1
    A = Similarity().matrix(np.array([[s, angle, 0.3, -0.4]])).data[0, :, :2]
    assert np.allclose(A @ A.T, s * s * np.eye(2)) and np.isclose(np.linalg.det(A), s * s)
    assert np.isclose(np.arctan2(*(A @ [1, 0])[::-1]), angle)


def test_natural_shapes(rng):
    theta = rng.normal(size=(4, 2, 3))
    assert np.array_equal(Affine().matrix(theta).data, theta)
    solid = rng.normal(size=(1, 3, 4))
    assert np.array_equal(Affine3d().matrix(solid).data, solid)
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


@pytest.mark.parametrize("regularisation", [0.0, 0.05, 3.0])
def test_a_spline_bends_least(rng, regularisation):
    """Against the definition: weights from the full system, solved for each theta."""
    family = ThinPlateSpline((2, 3), regularisation)
    c, s = family.points, rng.normal(size=(6, 2))

    def terms(p):
        squared = np.linalg.norm(p[:, None] - c[None], axis=2) ** 2
        return squared * np.log(np.where(squared > 0, squared, 1)), np.concatenate([np.ones((len(p), 1)), p], 1)

    radial, plane = terms(c)
    system = np.block([[radial + regularisation * np.eye(6), plane], [plane.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system, np.concatenate([s, np.zeros((3, 2))]))
    targets = Affine().basis((5, 4))[:2].T
    expected = np.concatenate(terms(targets), axis=1) @ weights
    assert np.allclose(sampling_grid(s.T[None], family, (5, 4)).data.reshape(-1, 2), expected, atol=1e-10)


def test_regularisation_trades_closeness_for_smoothness(rng):
    c, source = ThinPlateSpline(4).points, rng.normal(size=(1, 2, 16))
    missed = []
    for regularisation in (0, 1e-3, 0.1, 10, 1e6):
        met = sampling_grid(source, ThinPlateSpline(4, regularisation), (4, 4)).data.reshape(16, 2)
        missed.append(np.abs(met - source[0].T).max())
    assert missed[0] < 1e-10 and all(np.diff(missed) > 0)
    plane = np.concatenate([c, np.ones((16, 1))], axis=1)
    nearest = plane @ np.linalg.lstsq(plane, source[0].T, rcond=None)[0]
    assert np.allclose(met, nearest, atol=1e-4)  # all that is left is the affine map of least squares


@pytest.mark.parametrize("points", [4, [[-1, -1], [0.9, -0.8], [0, 0.1], [-0.7, 1], [1, 0.6]]])
def test_what_is_affine_stays_exact_under_regularisation(rng, points):
    family, A = ThinPlateSpline(points, regularisation=2.5), rng.normal(size=(1, 2, 3))
    source = A @ np.concatenate([family.points.T, np.ones((1, len(family.points)))])
    assert np.allclose(sampling_grid(source, family, (3, 7)).data, sampling_grid(A, Affine(), (3, 7)).data, atol=1e-10)


@pytest.mark.parametrize("number", [-1.0, np.nan, np.inf, "much", True, None])
def test_regularisations_that_do_not_exist(number):
    with pytest.raises(ValueError, match="ThinPlateSpline: regularisation should be a finite number, 0 or more"):
        ThinPlateSpline(4, regularisation=number)


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
    ([[0, 0], [1, 0], [0]], r"\(K, 2\)"),
    ((2.5, 4), "2 or more points a side"),
    (np.inf, "2 or more points a side"),
    ("four", "a number, "),
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
    with pytest.raises(ValueError, match=r"Affine3d\(\): theta should be \(N, 12\) or \(N, 3, 4\), received \(2, 6\)"):
        Affine3d().matrix(np.zeros((2, 6)))
    with pytest.raises(ValueError, match="theta should be a float32 or float64 array"):
        Similarity().matrix(np.zeros((2, 4), int))


def test_names():
    assert [repr(f) for f in FAMILIES] == [
        "Affine()", "Attention()", "Translation(1)", "Similarity()", "Projective()", "ThinPlateSpline(4)",
        "ThinPlateSpline((3, 5))", "ThinPlateSpline(4, regularisation=0.3)", "PiecewiseAffine(3)",
        "PiecewiseAffine((4, 2))", "Affine3d()", "Attention3d()"]
    assert repr(ThinPlateSpline([[0, 0], [1, 0], [0, 1]])) == "ThinPlateSpline(3 points)"


def test_bases_are_kept_but_not_shared():
    """Making one takes long, so the sampler's are kept, the last few; what a caller gets is the caller's own."""
    family = ThinPlateSpline(3)
    expected = family.grid(family.identity()[None], (4, 5)).data.copy()
    family.basis((4, 5))[:] = 0
    assert np.array_equal(family.grid(family.identity()[None], (4, 5)).data, expected)
    assert not np.allclose(family.basis((4, 5), True), family.basis((4, 5), False))
    M = family.matrix(family.identity()[None])
    first = family.kept_basis((4, 5), True, M)
    assert family.kept_basis((4, 5), True, M) is first
    for n in range(2, 12):
        family.kept_basis((n, 5), True, M)
    assert family.kept_basis((4, 5), True, M) is not first


def test_the_basis_of_a_spline_is_made_in_little_more_than_its_own_memory():
    family = ThinPlateSpline(6)
    tracemalloc.start()
    B = family.basis((128, 128))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * B.nbytes  # the terms, their product with the inverse, and a few rows


def test_a_matrix_that_does_not_fit_its_basis_is_refused():
    class Odd(Transformation):
        entries = np.arange(4).reshape(2, 2)

        def identity(self):
            return np.zeros(4)

    with pytest.raises(ValueError, match="M should be"):
        Odd().grid(np.zeros((1, 4)), (3, 4))


def test_the_last_bases_are_kept_and_no_more(monkeypatch):
    family, made = Affine(), []
    monkeypatch.setattr(family, "basis", lambda size, align: (made.append(size), target_points(size, align))[1],
                        raising=False)
    sizes = [(2, n + 1) for n in range(KEPT + 1)]
    for size in (*sizes[:KEPT], *sizes[:KEPT], sizes[0], sizes[KEPT], sizes[0], sizes[1]):
        family.kept_basis(size, True, np.zeros((1, 2, 3)))
    assert made == [*sizes, sizes[1]]  # the one that was not asked for the longest went
    assert len(family._kept) == KEPT
