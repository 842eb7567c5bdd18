"""The thin plate spline: the smoothest map that takes control points where theta says (Bookstein 1989)."""

import numpy as np

from nanostn.checks import argument_error, describe, is_float32
from nanostn.transformations.control_points import ControlPoints, Points, control_points


class ThinPlateSpline(ControlPoints):
    """theta (N, 2 K) or (N, 2, K): the source positions x_1 .. x_K, y_1 .. y_K of K control points of the target.

    In between, the smoothest map that meets them: f(p) = a + A p + sum over k of w_k r_k^2 log r_k^2, r_k = |p - c_k|
    (Bookstein 1989). f is linear in theta, so B is constant: radial terms times the inverse of a (K + 3) x (K + 3)
    system, made once in float64. `points` is a number n or (rows, columns) for a regular grid over [-1, 1]^2, row by
    row (4 gives the paper's 16), or an array (K, 2) of (x, y).

    A `regularisation` above 0 trades closeness for smoothness (Wahba 1990): the points are met up to that number times
    w_k, which is added to the diagonal of the radial part. What is affine needs no bending and stays exact, the
    identity first of all; a large number leaves nothing but the affine map of least squares.

    Raises ValueError for coincident or collinear points, and a regularisation that is not a finite number from 0 on.
    torch: none; kornia: get_tps_transform and warp_image_tps, which solve the system anew for every theta
    """

    def __init__(self, points: Points = 4, regularisation: float = 0.0):
        name = "ThinPlateSpline"
        c, self._described = control_points(name, "points", points)
        K = len(c)
        apart = np.linalg.norm(c[:, None] - c, axis=-1) + np.diag(np.full(K, np.inf))
        spread = np.linalg.svd(c - c.mean(axis=0), compute_uv=False) if K > 2 else np.zeros(2)
        if K < 3 or spread[1] <= 1e-6 * spread[0]:
            raise argument_error(name, "points", "three or more that are not on one line", describe(c),
                                 "an affine part cannot be found from these")
        if apart.min() <= 1e-6 * spread[0]:
            first, second = np.unravel_index(apart.argmin(), apart.shape)
            raise argument_error(name, "points", "different from each other",
                                 f"points {first} and {second} at one place")
        if not is_float32(regularisation) or regularisation < 0:
            raise argument_error(name, "regularisation", "a finite number, 0 or more", describe(regularisation))
        super().__init__(c)
        self.regularisation = float(regularisation)
        system = np.zeros((K + 3, K + 3))
        system[:K] = self._terms(c).T
        system[:K, :K] += self.regularisation * np.eye(K)
        system[K:, :K] = system[:K, K:].T
        self._inverse = np.linalg.inv(system)[:K]

    def _terms(self, p: np.ndarray) -> np.ndarray:
        """The radial terms, x, y and 1 at points (P, 2): (K + 3, P)."""
        K = len(self.points)
        terms = np.ones((K + 3, len(p)))
        terms[K:K + 2] = p.T
        for row, (x, y) in zip(terms, self.points, strict=False):  # a row at a time: whole arrays take three times B
            squared = (p[:, 0] - x) ** 2 + (p[:, 1] - y) ** 2
            row[:] = squared * np.log(np.where(squared > 0, squared, 1.0))
        return terms

    def weights(self, p: np.ndarray) -> np.ndarray:
        return self._inverse @ self._terms(p)

    def __repr__(self) -> str:
        smooth = f", regularisation={self.regularisation:g}" if self.regularisation else ""
        return f"ThinPlateSpline({self._described}{smooth})"
