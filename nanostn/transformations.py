"""Families of transformations: each is T_theta(G) = M_theta B (paper, section 3.2).

A family is a small class:

    parameters                   how many numbers theta has
    identity()                   the theta that moves nothing
    matrix(theta)                theta (N, parameters), or its natural shape, -> M (N, 2 or 3, K), with its gradient
    basis(size, align_corners)   B (K, H' W') over the target points, row by row, float64
    plane                        whether B is (x_t, y_t, 1), which the sampler makes by itself

Three rows of M mean: divide the first two by the third. Everything else, the grid, the sampling and the gradients, is
the same for all of them. Coordinates are normalised, and theta leads from *target to source*: it says where each point
of the output is read, so a scale of 2 makes things look half as large.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanostn.checks import argument_error, describe, same_float
from nanostn.kernels.coordinates import target_points
from nanostn.tensor import Tensor, op


@op
def _place(theta, *, entries, constants):
    """M filled with entries of theta (by their number) and with constants (where the number is -1)."""
    chosen = entries >= 0
    parameters = theta.shape[1]
    M = np.broadcast_to(constants.astype(theta.dtype), (len(theta), *entries.shape)).copy()
    M[:, chosen] = theta[:, entries[chosen]]

    def dtheta(dM):
        out = np.zeros((len(dM), parameters), dM.dtype)
        for place, number in zip(np.argwhere(chosen), entries[chosen], strict=True):
            out[:, number] += dM[:, place[0], place[1]]
        return out

    return M, (dtheta,)


class Transformation:
    """What the families share: the check of theta, and M as theta's numbers put into their places.

    A family of one's own sets `entries` (R, K), which number of theta stands where in M, -1 for that of `constants`;
    it defines `identity`, and `basis` with `plane = False` if that is another one.
    """

    entries: np.ndarray
    constants: np.ndarray
    plane = True

    @property
    def parameters(self) -> int:
        return int(self.entries.max()) + 1

    def identity(self) -> np.ndarray:
        raise TypeError(f"{type(self).__name__}: a transformation should define identity(), received none")

    def matrix(self, theta: Any) -> Tensor:
        """M (N, R, K) of theta (N, parameters); or of theta as M itself, where it has no constants."""
        theta = theta if isinstance(theta, Tensor) else Tensor(theta)
        same_float(repr(self), theta=theta)
        natural = self.entries.shape if (self.entries >= 0).all() else None
        if theta.ndim == 3 and theta.shape[1:] == natural:
            theta = theta.reshape(len(theta), self.parameters)
        if theta.ndim != 2 or theta.shape[1] != self.parameters:
            also = f" or (N, {natural[0]}, {natural[1]})" if natural else ""
            raise argument_error(repr(self), "theta", f"(N, {self.parameters}){also}", describe(theta),
                                 "a localisation network ends in as many outputs as theta has numbers")
        return _place(theta, entries=self.entries, constants=self.constants)

    def basis(self, size: tuple[int, int], align_corners: bool = True) -> np.ndarray:
        return target_points(size, align_corners)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Affine(Transformation):
    """theta (N, 6) or (N, 2, 3): x_s = theta_11 x_t + theta_12 y_t + theta_13, y_s likewise; paper, eq. 1.

    torch: affine_grid(theta, size, align_corners=True)
    """

    entries = np.array([[0, 1, 2], [3, 4, 5]])
    constants = np.zeros((2, 3))

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0, 0, 1, 0])


class Attention(Transformation):
    """theta (N, 3) = (s, t_x, t_y): M = [[s, 0, t_x], [0, s, t_y]]; cropping, translation, one scale; paper, eq. 2.

    torch: affine_grid of such an M
    """

    entries = np.array([[0, -1, 1], [-1, 0, 2]])
    constants = np.zeros((2, 3))

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0])


class Translation(Transformation):
    """theta (N, 2) = (t_x, t_y): attention at a fixed `scale`, as the paper's birds have it (A.6, scale 0.5).

    torch: affine_grid of [[scale, 0, t_x], [0, scale, t_y]]
    """

    entries = np.array([[-1, -1, 0], [-1, -1, 1]])

    def __init__(self, scale: float = 1.0):
        if isinstance(scale, bool) or not isinstance(scale, int | float | np.number) or not 0 < scale < np.inf:
            raise argument_error("Translation", "scale", "a positive number", repr(scale))
        self.scale = float(scale)
        self.constants = np.array([[self.scale, 0, 0], [0, self.scale, 0]])

    def identity(self) -> np.ndarray:
        """No translation; the picture is the same only at scale 1."""
        return np.zeros(2)

    def __repr__(self) -> str:
        return f"Translation({self.scale:g})"


class Projective(Transformation):
    """theta (N, 8): (x_s, y_s, 1) ~ [[1, 2, 3], [4, 5, 6], [7, 8, and 1 fixed]] (x_t, y_t, 1), a plane homography.

    Points where the denominator is 0 lie at infinity, outside the image; where a numerator is 0 too, V is NaN.
    torch: none; kornia: homography_warp
    """

    entries = np.array([[0, 1, 2], [3, 4, 5], [6, 7, -1]])
    constants = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 1]])

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0, 0, 1, 0, 0, 0])


class ThinPlateSpline(Transformation):
    """theta (N, 2 K) or (N, 2, K): the source positions x_1 .. x_K, y_1 .. y_K of K control points of the target.

    In between, the smoothest map that meets them: f(p) = a + A p + sum over k of w_k r_k^2 log r_k^2, r_k = |p - c_k|
    (Bookstein 1989). f is linear in theta, so B is constant: radial terms times the inverse of a (K + 3) x (K + 3)
    system, made once in float64. `points` is a number n or (rows, columns) for a regular grid over [-1, 1]^2, row by
    row (4 gives the paper's 16), or an array (K, 2) of (x, y). Raises ValueError for coincident or collinear points.
    torch: none; kornia: get_tps_transform and warp_image_tps, which solve the system anew for every theta
    """

    plane = False

    def __init__(self, points: int | tuple[int, int] | Sequence[Sequence[float]] | np.ndarray = 4):
        self.points = _control_points(points)
        K = len(self.points)
        self._described = f"{K} points" if np.ndim(points) == 2 else f"{points}"
        apart = np.linalg.norm(self.points[:, None] - self.points, axis=-1) + np.diag(np.full(K, np.inf))
        spread = np.linalg.svd(self.points - self.points.mean(axis=0), compute_uv=False) if K > 2 else np.zeros(2)
        if K < 3 or spread[1] <= 1e-6 * spread[0]:
            raise argument_error("ThinPlateSpline", "points", "three or more that are not on one line",
                                 describe(self.points), "an affine part cannot be found from these")
        if apart.min() <= 1e-6 * spread[0]:
            first, second = np.unravel_index(apart.argmin(), apart.shape)
            raise argument_error("ThinPlateSpline", "points", "different from each other",
                                 f"points {first} and {second} at one place")
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
        return np.concatenate([radial, p.T, np.ones((1, len(p)))])

    def identity(self) -> np.ndarray:
        return self.points.T.ravel().copy()

    def basis(self, size: tuple[int, int], align_corners: bool = True) -> np.ndarray:
        key = (*size, align_corners)
        if key not in self._bases:
            self._bases[key] = self._inverse @ self._terms(target_points(size, align_corners)[:2].T)
        return self._bases[key]

    def __repr__(self) -> str:
        return f"ThinPlateSpline({self._described})"


def _control_points(points: Any) -> np.ndarray:
    """(K, 2) from a number, (rows, columns), or the points themselves."""
    if isinstance(points, int | np.integer):
        points = (points, points)
    if np.ndim(points) == 1 and len(points) == 2:
        if min(points) < 2 or any(n != int(n) for n in points):
            raise argument_error("ThinPlateSpline", "points", "a regular grid of 2 or more points a side", points)
        return target_points(tuple(int(n) for n in points), align_corners=True)[:2].T.copy()
    array = np.array(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise argument_error("ThinPlateSpline", "points", "a number, (rows, columns), or finite points (K, 2)",
                             describe(array))
    return array
