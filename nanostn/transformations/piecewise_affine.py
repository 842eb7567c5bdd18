"""The piecewise affine family: a mesh of triangles, each with the affine map that its three vertices fix."""

from typing import Any

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.transformations.control_points import ControlPoints, Points, control_points

FLAT = 1e-6     # twice a triangle's area over its longest side squared, below which it counts as a line
ROUNDING = 1e-9  # how far below 0 a barycentric weight may be on an edge


class PiecewiseAffine(ControlPoints):
    """theta (N, 2 K) or (N, 2, K): the source positions x_1 .. x_K, y_1 .. y_K of the K vertices of a mesh.

    In a triangle with vertices a, b, c: f(p) = l_a f_a + l_b f_b + l_c f_c, with the barycentric weights l of p = l_a a
    + l_b b + l_c c, l_a + l_b + l_c = 1 (Goshtasby 1986). They are B. On an edge both triangles say the same.

    `mesh` is a number n or (rows, columns) of vertices for a regular mesh over [-1, 1]^2, row by row, each cell cut in
    two from its upper left to its lower right corner; or vertices (K, 2) as (x, y), with `triangles` (T, 3) of their
    numbers, or else triangulated after Delaunay. A point in several triangles belongs to the first; one outside of all
    to the nearest, whose map is continued.

    Raises ValueError for fewer than three vertices, numbers that name none, triangles without area, and vertices that
    no triangle has: their theta would say nothing.
    torch: none; scikit-image: PiecewiseAffineTransform
    """

    def __init__(self, mesh: Points = 3, triangles: Any = None):
        vertices, described = control_points("PiecewiseAffine", "mesh", mesh)
        if len(vertices) < 3:
            raise argument_error("PiecewiseAffine", "mesh", "three vertices or more", describe(vertices))
        regular = np.ndim(mesh) < 2
        if triangles is not None:
            self.triangles = _checked(vertices, triangles)
        else:
            self.triangles = _cells(mesh) if regular else _delaunay(vertices)
        unused = np.setdiff1d(np.arange(len(vertices)), self.triangles)
        if len(unused):
            raise argument_error("PiecewiseAffine", "mesh", "vertices that each belong to a triangle",
                                 f"vertex {unused[0]} in none", "are two of them at one place?")
        self._described = described + ("" if regular and triangles is None else f", {len(self.triangles)} triangles")
        super().__init__(vertices)

    def weights(self, p: np.ndarray) -> np.ndarray:
        """Barycentric weights, one triangle after the other, so that no more is in memory than the result."""
        B = np.zeros((len(self.points), len(p)))
        first, inverse = _frames(self.points, self.triangles)
        free = np.arange(len(p))  # the points that no triangle has claimed
        for t, triangle in enumerate(self.triangles):
            found = _barycentric(p[free], first[t], inverse[t])
            inside = found.min(axis=0) >= -ROUNDING
            B[triangle[:, None], free[inside]] = found[:, inside]
            free = free[~inside]
        nearest = _nearest(p[free], self.points[self.triangles])
        for t in np.unique(nearest):
            outside = free[nearest == t]
            B[self.triangles[t][:, None], outside] = _barycentric(p[outside], first[t], inverse[t])
        return B

    def __repr__(self) -> str:
        return f"PiecewiseAffine({self._described})"


def _frames(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first corner of each triangle (T, 2), and the inverse of the sides that start there (T, 2, 2)."""
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    return a, np.linalg.inv(np.stack([b - a, c - a], axis=-1))


def _barycentric(p: np.ndarray, first: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """The weights of points (P, 2) in one triangle: (3, P)."""
    b, c = inverse @ (p - first).T
    return np.stack([1 - b - c, b, c])


def _nearest(p: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The number of the triangle (T, 3, 2) nearest to each point (P, 2) outside; the first of several."""
    nearest, least = np.zeros(len(p), dtype=np.intp), np.full(len(p), np.inf)
    for t, triangle in enumerate(corners):
        for a, b in zip(triangle, np.roll(triangle, 1, axis=0), strict=True):
            along = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)[:, None]
            squared = ((p - (1 - along) * a - along * b) ** 2).sum(axis=1)
            nearer = squared < (1 - 1e-9) * least  # a corner shared by two triangles is as near in both
            nearest[nearer], least[nearer] = t, squared[nearer]
    return nearest


def _flatness(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Twice the area over the square of the longest side: 0 for three points on a line, 0.87 for equal sides."""
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    area = np.abs((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))
    longest = np.max([((p - q) ** 2).sum(axis=1) for p, q in ((a, b), (b, c), (c, a))], axis=0)
    return area / np.where(longest > 0, longest, 1)


def _checked(vertices: np.ndarray, triangles: Any) -> np.ndarray:
    """The user's triangles as numbers of vertices (T, 3)."""
    K = len(vertices)
    try:
        array = np.asarray(triangles)
    except ValueError:  # rows of different lengths
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 3 or len(array) < 1 or array.dtype.kind not in "iu":
        raise argument_error("PiecewiseAffine", "triangles", "integers (T, 3), numbers of vertices",
                             describe(triangles))
    if array.min() < 0 or array.max() >= K:
        raise argument_error("PiecewiseAffine", "triangles", f"numbers of vertices, 0 to {K - 1}",
                             f"{array.min()} to {array.max()}")
    flat = np.flatnonzero(_flatness(vertices, array) <= FLAT)
    if len(flat):
        raise argument_error("PiecewiseAffine", "triangles", "with an area",
                             f"triangle {flat[0]}, {array[flat[0]].tolist()}, with its corners on one line")
    return array.astype(np.intp)


def _cells(mesh: Any) -> np.ndarray:
    """The triangles of a regular mesh: two in each cell, the upper right one first."""
    rows, columns = np.broadcast_to(mesh, 2).astype(int)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, below, across = corner + 1, corner + columns, corner + columns + 1
    return np.stack([corner, right, across, corner, across, below], axis=1).reshape(-1, 3)


def _delaunay(vertices: np.ndarray) -> np.ndarray:
    """The triangulation whose circumcircles hold no vertex (Delaunay 1934), by SciPy."""
    from scipy.spatial import Delaunay, QhullError

    try:
        triangles = Delaunay(vertices).simplices
    except QhullError:
        triangles = np.empty((0, 3), dtype=np.intp)
    # Where border vertices are on a line but for rounding, Qhull finds slivers between them.
    triangles = triangles[_flatness(vertices, triangles) > FLAT].astype(np.intp)
    if not len(triangles):
        raise argument_error("PiecewiseAffine", "mesh", "three or more vertices that are not on one line",
                             describe(vertices))
    return triangles
