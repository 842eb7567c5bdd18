"""The piecewise affine family: vertices, triangles, edges, what lies outside, and meshes that are none."""

import tracemalloc

import numpy as np
import pytest

from nanostn import functional as F
from nanostn.grid_generator import sampling_grid
from nanostn.transformations import Affine, PiecewiseAffine

SQUARE = [[-1, -1], [1, -1], [1, 1], [-1, 1]]
IRREGULAR = np.array([[-1, -1], [0.9, -0.8], [0, 0.1], [-0.7, 1], [1, 0.6], [-0.2, -0.6], [0.3, 0.5]])
TRIANGLES = [[0, 1, 2], [0, 2, 3]]


def spec(family, p):
    """Point by point: the first triangle that contains it, or the one whose border is nearest; 3 x 3 systems."""
    B = np.zeros((len(family.points), len(p)))
    for i, point in enumerate(p):
        candidates = []
        for triangle in family.triangles:
            corners = family.points[triangle]
            weights = np.linalg.solve(np.vstack([corners.T, np.ones(3)]), [*point, 1])
            along = np.linspace(0, 1, 2001)[:, None]
            border = np.concatenate([(1 - along) * corners[j] + along * corners[j - 1] for j in range(3)])
            distance = 0 if weights.min() >= -1e-9 else np.linalg.norm(border - point, axis=1).min()
            candidates.append((distance, weights, triangle))
        _, weights, triangle = min(candidates, key=lambda c: c[0])
        B[triangle, i] = weights
    return B


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("family", [
    PiecewiseAffine(2), PiecewiseAffine((3, 4)), PiecewiseAffine(IRREGULAR), PiecewiseAffine(SQUARE, TRIANGLES),
    PiecewiseAffine([[-0.5, -0.4], [0.6, -0.3], [0.1, 0.7]])], ids=repr)
def test_against_the_definition(family, align_corners):
    p = Affine().basis((5, 8), align_corners)[:2].T
    assert np.allclose(family.basis((5, 8), align_corners), spec(family, p), atol=1e-12)


def test_weights_by_hand():
    family = PiecewiseAffine(SQUARE, TRIANGLES)
    p = np.array([[1.0, -1], [0.5, 0], [0, 0], [-1, 0.5]])
    assert np.allclose(family.weights(p).T, [[0, 1, 0, 0], [0.25, 0.25, 0.5, 0], [0.5, 0, 0.5, 0], [0.25, 0, 0, 0.75]])


@pytest.mark.parametrize("mesh", [2, (3, 5), IRREGULAR])
def test_vertices_go_where_theta_says(rng, mesh):
    family = PiecewiseAffine(mesh)
    source = rng.normal(size=(2, len(family.points)))
    assert np.allclose(source @ family.weights(family.points), source, atol=1e-12)


def test_a_grid_on_the_vertices_is_theta(rng):
    source = rng.normal(size=(1, 2, 15))
    grid = sampling_grid(source, PiecewiseAffine((3, 5)), (3, 5)).data
    assert np.allclose(grid.reshape(15, 2), source[0].T, atol=1e-12)


def test_every_triangle_has_its_affine_map(rng):
    family = PiecewiseAffine(IRREGULAR)
    source = rng.normal(size=(2, len(IRREGULAR)))
    for triangle in family.triangles:
        corners = np.vstack([family.points[triangle].T, np.ones(3)])
        A = source[:, triangle] @ np.linalg.inv(corners)
        inside = rng.dirichlet(np.ones(3), size=20) @ family.points[triangle]
        expected = A @ np.vstack([inside.T, np.ones(20)])
        assert np.allclose(source @ family.weights(inside), expected, atol=1e-10)


def test_on_an_edge_both_triangles_agree(rng):
    source = rng.normal(size=(2, 4))
    p = np.linspace(-1, 1, 23)[:, None] * [1.0, 1.0]  # the shared edge of the two triangles
    maps = [source @ PiecewiseAffine(SQUARE, order).weights(p) for order in (TRIANGLES, TRIANGLES[::-1])]
    assert np.allclose(*maps, atol=1e-14)
    beside = [source @ PiecewiseAffine(SQUARE, TRIANGLES).weights(p + [e, -e]) for e in (1e-9, -1e-9)]
    assert np.allclose(*beside, atol=1e-7)  # continuous across it


def test_affine_sources_make_an_affine_map(rng):
    A = rng.normal(size=(3, 2, 3))
    for family in (PiecewiseAffine((4, 3)), PiecewiseAffine(IRREGULAR)):
        source = A @ np.vstack([family.points.T, np.ones(len(family.points))])
        grids = [sampling_grid(t, f, (5, 6)).data for t, f in ((source, family), (A, Affine()))]
        assert np.allclose(*grids, atol=1e-12)


def test_outside_the_nearest_triangle_is_continued():
    family = PiecewiseAffine([[-0.5, -0.5], [0, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]], [[0, 1, 2], [1, 3, 4]])
    B = family.weights(np.array([[-0.9, 0.0], [0.8, 0.0], [0.0, 0.3]]))
    assert np.flatnonzero(B[:, 0]).tolist() == [0, 1, 2] and np.flatnonzero(B[:, 1]).tolist() == [1, 3, 4]
    assert np.allclose(B.sum(axis=0), 1)
    assert np.allclose(B.T @ family.points, [[-0.9, 0], [0.8, 0], [0, 0.3]])  # the identity out there too


def test_regular_meshes():
    family = PiecewiseAffine((2, 3))
    assert family.points.tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]
    assert family.triangles.tolist() == [[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]]
    assert PiecewiseAffine(4).parameters == 32


@pytest.mark.parametrize("rounding", [1e-15, 1e-12, 1e-9])
def test_delaunay_leaves_no_slivers_on_a_border(rng, rounding):
    """A border that is straight but for rounding: between three of its vertices is no triangle."""
    family = PiecewiseAffine(PiecewiseAffine(5).points + rounding * rng.normal(size=(25, 2)))
    assert len(family.triangles) == 32 and len(np.unique(family.triangles)) == 25
    assert np.abs(family.basis((9, 11))).max() < 1 + 1e-6


def test_the_sampler_takes_it(rng):
    U = rng.normal(size=(2, 3, 6, 7))
    family = PiecewiseAffine((3, 4))
    theta = family.identity() + 0.1 * rng.normal(size=(2, family.parameters))
    V = F.grid_sample(U, sampling_grid(theta, family, (5, 4)))
    assert np.allclose(F.spatial_transform(U, theta, family, (5, 4)).data, V.data, atol=1e-12)


def test_memory_is_that_of_the_basis():
    """512 x 512 points, 98 triangles, many of the points outside of all of them."""
    family = PiecewiseAffine(0.8 * PiecewiseAffine(8).points)
    tracemalloc.start()
    B = family.basis((512, 512))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert B.shape == (64, 512 * 512) and peak < 1.6 * B.nbytes
    assert np.allclose(B.sum(axis=0), 1)


@pytest.mark.parametrize("mesh, triangles, message", [
    (1, None, "mesh should be a regular grid of 2 or more points a side"),
    ([[0, 0], [1, 0]], None, "mesh should be three vertices or more"),
    ([[0, 0], [1, 1], [2, 2], [3, 3]], None, "three or more vertices that are not on one line"),
    ([[1, 1], [1, 1], [1, 1]], None, "three or more vertices that are not on one line"),
    ([[0, 0], [1, 0], [0, 1], [1, 0]], None, "vertices that each belong to a triangle, received vertex [13] in none"),
    ([[0, 0], [1, 0], [0, np.inf]], None, "finite points"),
    (SQUARE, [[0, 1, 4]], "triangles should be numbers of vertices, 0 to 3, received 0 to 4"),
    (SQUARE, [[0, 1, -1]], "received -1 to 1"),
    (SQUARE, [[0, 1, 2], [0, 1, 1]], r"triangles should be with an area, received triangle 1, \[0, 1, 1\]"),
    ([[0, 0], [1, 0], [2, 1e-9], [0, 1]], [[0, 1, 3], [0, 1, 2]], "with an area, received triangle 1"),
    (SQUARE, [[0, 1, 2]], "received vertex 3 in none"),
    (SQUARE, [[0, 1, 2, 3]], r"triangles should be integers \(T, 3\)"),
    (SQUARE, [[0.0, 1, 2]], r"triangles should be integers \(T, 3\)"),
    (SQUARE, [], r"triangles should be integers \(T, 3\)"),
    (SQUARE, [[0, 1, 2], [0]], r"triangles should be integers \(T, 3\)"),
])
def test_meshes_that_are_none(mesh, triangles, message):
    with pytest.raises(ValueError, match=message):
        PiecewiseAffine(mesh, triangles)


def test_names():
    assert repr(PiecewiseAffine(SQUARE, TRIANGLES)) == "PiecewiseAffine(4 points, 2 triangles)"
    assert repr(PiecewiseAffine(2, TRIANGLES[:1] + [[1, 2, 3]])) == "PiecewiseAffine(2, 2 triangles)"
