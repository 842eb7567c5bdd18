"""Families of transformations: each is T_theta(G) = M_theta B (paper, section 3.2).

A family is a small class:

    parameters                   how many numbers theta has
    identity()                   the theta that moves nothing
    matrix(theta)                theta (N, parameters), or its natural shape, -> M (N, 2 or 3, K), with its gradient
    basis(size, align_corners)   B (K, H' W') over the target points, float64; None stands for (x_t, y_t, 1)

Three rows of M mean: divide the first two by the third. Everything else, the grid, the sampling and the gradients, is
the same for all of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.tensor import Tensor, op


def target_points(size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """The normalised coordinates of the points of an output (H', W'), row by row: (2, H' W') as x, y, float64."""
    def axis(n: int) -> np.ndarray:
        reach = 1.0 if align_corners else 1 - 1 / n
        return np.linspace(-reach, reach, n) if n > 1 else np.zeros(n)

    return np.stack([a.ravel() for a in np.meshgrid(axis(size[1]), axis(size[0]))])


@op
def _place(theta, *, entries, constants):
    """M filled with entries of theta (by their number) and with constants (where the number is -1)."""
    chosen = entries >= 0
    M = np.broadcast_to(constants.astype(theta.dtype), (len(theta), *entries.shape)).copy()
    M[:, chosen] = theta[:, entries[chosen]]

    def dtheta(dM):
        out = np.zeros((len(dM), theta_size), dM.dtype)
        for place, number in zip(np.argwhere(chosen), entries[chosen], strict=True):
            out[:, number] += dM[:, place[0], place[1]]
        return out

    theta_size = theta.shape[1]
    return M, (dtheta,)


class Transformation:
    """What the families share: the check of theta, and M as theta's numbers put into their places.

    `entries` says which number of theta stands where in M, -1 that `constants` does.
    """

    entries: np.ndarray
    constants: np.ndarray

    @property
    def parameters(self) -> int:
        return int(self.entries.max()) + 1

    def identity(self) -> np.ndarray:
        raise TypeError(f"{type(self).__name__}: a transformation should define identity(), received none")

    def matrix(self, theta: Tensor) -> Tensor:
        natural = self.entries.shape if (self.entries >= 0).all() else None
        if theta.ndim == 3 and theta.shape[1:] == natural:
            theta = theta.reshape(len(theta), self.parameters)
        if theta.ndim != 2 or theta.shape[1] != self.parameters:
            also = f" or (N, {natural[0]}, {natural[1]})" if natural else ""
            raise argument_error(repr(self), "theta", f"(N, {self.parameters}){also}", describe(theta))
        return _place(theta, entries=self.entries, constants=self.constants)

    def basis(self, size: tuple[int, int], align_corners: bool) -> np.ndarray | None:
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Affine(Transformation):
    """theta (N, 6) or (N, 2, 3): x_s = theta_11 x_t + theta_12 y_t + theta_13, y_s likewise; paper, eq. 1."""

    entries = np.array([[0, 1, 2], [3, 4, 5]])
    constants = np.zeros((2, 3))

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0, 0, 1, 0])


class Attention(Transformation):
    """theta (N, 3) = (s, t_x, t_y): M = [[s, 0, t_x], [0, s, t_y]]; cropping, translation, one scale; paper, eq. 2."""

    entries = np.array([[0, -1, 1], [-1, 0, 2]])
    constants = np.zeros((2, 3))

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0])


class Translation(Transformation):
    """theta (N, 2) = (t_x, t_y): attention at a fixed `scale`, as the paper's birds have it (A.6, scale 0.5)."""

    entries = np.array([[-1, -1, 0], [-1, -1, 1]])

    def __init__(self, scale: float = 1.0):
        self.scale = float(scale)
        self.constants = np.array([[self.scale, 0, 0], [0, self.scale, 0]])

    def identity(self) -> np.ndarray:
        """No translation; the picture is the same only at scale 1."""
        return np.zeros(2)

    def __repr__(self) -> str:
        return f"Translation({self.scale:g})"


class Projective(Transformation):
    """theta (N, 8): (x_s, y_s, 1) ~ [[1, 2, 3], [4, 5, 6], [7, 8, and 1 fixed]] (x_t, y_t, 1), a plane homography."""

    entries = np.array([[0, 1, 2], [3, 4, 5], [6, 7, -1]])
    constants = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 1]])

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0, 0, 1, 0, 0, 0])


class ThinPlateSpline(Transformation):
    """theta (N, 2 K) or (N, 2, K): the source positions x_1 .. x_K, y_1 .. y_K of K control points of the target.

    In between, the smoothest map that meets them: f(p) = a + A p + sum over k of w_k r_k^2 log r_k^2, r_k = |p - c_k|
    (Bookstein 1989). f is linear in theta, so B is constant: the radial terms times the inverse of the (K + 3) x (K + 3)
    system, made once in float64. `points` is a number n or (rows, columns) for a regular grid over [-1, 1]^2, row by
    row (4 gives the paper's 16), or an array (K, 2) of (x, y). Raises ValueError for coincident or collinear points.
    """

    def __init__(self, points: int | tuple[int, int] | Sequence[Sequence[float]] | np.ndarray = 4):
        self._described = f"{points}" if np.ndim(points) < 2 else f"{len(np.asarray(points))} points"
        if np.ndim(points) < 2:
            rows, columns = (points, points) if isinstance(points, int) else tuple(points)
            if min(rows, columns) < 2:
                raise argument_error("ThinPlateSpline", "points", "a regular grid of 2 or more points a side", points)
            points = target_points((rows, columns), align_corners=True).T
        self.points = np.asarray(points, dtype=np.float64)
        if self.points.ndim != 2 or self.points.shape[1] != 2 or not np.isfinite(self.points).all():
            raise argument_error("ThinPlateSpline", "points", "finite positions (K, 2)", describe(self.points))
        K = len(self.points)
        apart = np.linalg.norm(self.points[:, None] - self.points, axis=-1)
        if K > 1 and apart[~np.eye(K, dtype=bool)].min() < 1e-6:
            raise argument_error("ThinPlateSpline", "points", "different from each other", "two that coincide")
        if K < 3 or np.linalg.svd(self.points - self.points.mean(axis=0), compute_uv=False)[1] < 1e-6:
            raise argument_error("ThinPlateSpline", "points", "three or more that are not on one line",
                                 describe(self.points), "an affine part cannot be found from these")
        self.entries = np.arange(2 * K).reshape(2, K)
        self.constants = np.zeros((2, K))
        system = np.zeros((K + 3, K + 3))
        system[:K] = self._terms(self.points).T
        system[K:, :K] = system[:K, K:].T
        self._inverse = np.linalg.inv(system)[:K]
        self._bases: dict[tuple, np.ndarray] = {}

    def _terms(self, p: np.ndarray) -> np.ndarray:
        """The radial terms, 1, x and y at points (P, 2): (K + 3, P)."""
        squared = ((p[None] - self.points[:, None]) ** 2).sum(axis=-1)
        radial = squared * np.log(np.where(squared > 0, squared, 1.0))
        return np.concatenate([radial, np.ones((1, len(p))), p.T])

    def identity(self) -> np.ndarray:
        return self.points.T.ravel().copy()

    def basis(self, size: tuple[int, int], align_corners: bool) -> np.ndarray:
        key = (*size, align_corners)
        if key not in self._bases:
            self._bases[key] = self._inverse @ self._terms(target_points(size, align_corners).T)
        return self._bases[key]

    def __repr__(self) -> str:
        return f"ThinPlateSpline({self._described})"
