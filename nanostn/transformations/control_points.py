"""Families whose theta says where K points of the target are read, and that fill in what lies between.

Both of them, smooth and piecewise, are linear in theta: M is theta itself, (N, 2, K), and B (K, P) says how much each
control point counts at each target point. B depends on the output's size alone and is made once for each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.kernels.sampling.conventions import target_points
from nanostn.transformations.base import Transformation

Points = int | tuple[int, int] | Sequence[Sequence[float]] | np.ndarray


class ControlPoints(Transformation):
    """theta (N, 2 K) or (N, 2, K): the source positions x_1 .. x_K, y_1 .. y_K of K `points` (K, 2) of the target.

    A family defines `weights(p)`, which adds up to 1 and gives back `p` for the sources `points` themselves: that is
    the identity.
    """

    plane = False
    points: np.ndarray

    def __init__(self, points: np.ndarray):
        self.points = points
        self.entries = np.arange(2 * len(points)).reshape(2, -1)

    def weights(self, p: np.ndarray) -> np.ndarray:
        """How much each control point counts at the target points p (P, 2): (K, P)."""
        raise TypeError(f"{type(self).__name__}: a family of control points should define weights(), received none")

    def identity(self) -> np.ndarray:
        return self.points.T.ravel().copy()

    def basis(self, size: tuple[int, ...], align_corners: bool = True) -> np.ndarray:
        return self.weights(target_points(size, align_corners)[:2].T)


def numbers(value: Any) -> np.ndarray:
    """Real numbers as float64, or an empty array where these are none: text, objects, rows of different lengths."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.empty(0)
    return array.astype(np.float64) if array.dtype.kind in "fiu" else np.empty(0)


def control_points(name: str, argument: str, points: Any) -> tuple[np.ndarray, str]:
    """(K, 2), and how `repr` names them, from a number, (rows, columns), or the points themselves.

    A number n or (rows, columns) is a regular grid over [-1, 1]^2, row by row, its outer points on the border.
    """
    array = numbers(points)
    if array.shape in ((), (2,)):
        if not (np.isfinite(array) & (array >= 2) & (array == np.floor(array))).all():
            raise argument_error(name, argument, "a regular grid of 2 or more points a side", describe(points))
        rows, columns = np.broadcast_to(array, 2).astype(int)
        return target_points((rows, columns), align_corners=True)[:2].T.copy(), f"{points}"
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise argument_error(name, argument, "a number, (rows, columns), or finite points (K, 2)", describe(points))
    return array, f"{len(array)} points"
