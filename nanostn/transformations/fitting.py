"""theta from pairs of points: where things are in the source, and where they are wanted in the target.

The families are linear in theta, source = M_theta (target, 1), so that theta is a least squares solution, exact for as
many pairs as theta needs. A projective M is known up to its scale, and is the direction that the equations leave free.
"""

from itertools import combinations
from typing import Any

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.transformations.base import Transformation
from nanostn.transformations.pixels import ended_in_one, frames, real_array
from nanostn.transformations.plane import Projective, Similarity

FLAT = 1e-7  # beside the largest singular value: points from float32 that are on one line are so but for its rounding
SIMILARITY = np.array([[[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0]],   # M = [[a, -b, t_x], [b, a, t_y]] of (a, b, t)
                       [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]], dtype=np.float64)


def theta_from_points(source: Any, target: Any, transformation: Transformation,
                      source_size: tuple[int, int] | None = None, target_size: tuple[int, int] | None = None,
                      align_corners: bool = True) -> np.ndarray:
    """The theta (N, parameters) that reads the target's points at the source's: `source` = T_theta(`target`).

    Points (P, 2) or (N, P, 2) as (x, y), (x, y, z) for `Affine3d` and `Attention3d`; one of the two may be single. They
    are normalised coordinates, or pixels (centres at integers) where the sizes (H, W) of both images are given.

        Translation   from 1 pair on    Similarity, Attention   from 2    Affine       from 3
        Projective    from 4 on         Attention3d             from 2    Affine3d     from 4

    More pairs than needed are met by least squares: of the distances in the source, in normalised coordinates, for
    all but `Projective`; there of the algebraic error, by the normalised direct linear transform (Hartley 1997), which
    is close to the distances but does not minimise them. float64, no gradient.

    Raises ValueError for too few pairs and for points that do not determine theta: at one place, on one line, three of
    a homography's four on one line.   torch: none; OpenCV: getAffineTransform(target, source), findHomography
    """
    name = "theta_from_points"
    equations = _equations(name, transformation)
    dims = transformation.dims
    expected = f"finite points (P, {dims}) or (N, P, {dims}), as many in source as in target"
    pairs = [real_array(name, argument, points, expected) for argument, points in (("source", source),
                                                                                    ("target", target))]
    for argument, points in zip(("source", "target"), pairs, strict=True):
        if points.ndim not in (2, 3) or points.shape[-1] != dims:
            raise argument_error(name, argument, expected, describe(points))
    s, t = (points.reshape(-1, *points.shape[-2:]) for points in pairs)
    if s.shape[1] != t.shape[1] or (len(s) != len(t) and 1 not in (len(s), len(t))):
        raise argument_error(name, "target", f"as many points as source, {describe(pairs[0])}", describe(pairs[1]))
    least = -(-transformation.parameters // dims)
    if s.shape[1] < least:
        raise argument_error(name, "source and target", f"{least} pairs of points or more for {transformation!r}",
                             s.shape[1])
    if source_size is not None or target_size is not None:
        if dims != 2:
            raise argument_error(name, "source_size", f"None for {transformation!r}", describe(source_size),
                                 "pixels are those of images; volumes take normalised points")
        S, T = frames(name, source_size, target_size, align_corners)
        s, t = _mapped(np.linalg.inv(S), s), _mapped(np.linalg.inv(T), t)
    N = len(t) if len(s) == 1 else len(s)
    s, t = (np.broadcast_to(points, (N, *points.shape[1:])) for points in (s, t))
    if isinstance(transformation, Projective):
        return _homography(name, s, t)
    E, constants = equations
    ones = np.concatenate([t, np.ones((*t.shape[:2], 1))], axis=2)
    A = np.einsum("npk,rkj->nprj", ones, E).reshape(N, dims * s.shape[1], E.shape[2])
    b = (s - ones @ constants.T).reshape(A.shape[:2])
    theta = _least_squares(name, A, b, t)
    if isinstance(transformation, Similarity):
        a, b = theta[:, 0], theta[:, 1]
        theta = np.stack([np.hypot(a, b), np.arctan2(b, a), theta[:, 2], theta[:, 3]], axis=1)
    return theta


def _equations(op: str, transformation: Any) -> tuple[np.ndarray, np.ndarray]:
    """How theta stands in M: E (R, K, parameters) and what M holds beside, (R, K)."""
    if isinstance(transformation, Similarity):
        return SIMILARITY, np.zeros((2, 3))
    entries = getattr(transformation, "entries", None)
    dims = getattr(transformation, "dims", 0)
    if not (isinstance(transformation, Transformation) and transformation.plane and entries is not None) or (
            entries.shape != (dims, dims + 1) and not isinstance(transformation, Projective)):
        raise argument_error(op, "transformation", "a family such as Affine() or Projective()",
                             describe(transformation),
                             "the sources of a spline's or a mesh's control points are its theta as they are")
    E = (entries[..., None] == np.arange(transformation.parameters)).astype(np.float64)
    return E, np.where(entries < 0, transformation.constants, 0.0)


def _least_squares(op: str, A: np.ndarray, b: np.ndarray, target: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(A, axis=1, keepdims=True)
    U, values, V = np.linalg.svd(A / np.where(length > 0, length, 1), full_matrices=False)
    flat = np.flatnonzero(values[:, -1] <= FLAT * values[:, 0])
    if len(flat):
        raise argument_error(op, "target", "points that determine theta", _cause(target[flat[0]]) or "others",
                             f"set {flat[0]}")
    theta = (V.swapaxes(1, 2) @ ((U.swapaxes(1, 2) @ b[..., None]) / values[..., None]))[..., 0]
    return theta / length[:, 0]


def _homography(op: str, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Two equations a pair, x_s (m_3 t) = m_1 t and y_s (m_3 t) = m_2 t, of which M is the least singular vector.

    Both sets are moved to their centre and scaled to a mean distance of sqrt(2) before: without that the columns differ
    in size and the vector is badly determined (Hartley 1997, "In defence of the 8-point algorithm").
    """
    S, T = _centred(op, "source", s), _centred(op, "target", t)
    s, t_ = _mapped(S, s), _mapped(T, t)
    one = np.concatenate([t_, np.ones((*t_.shape[:2], 1))], axis=2)
    zero = np.zeros_like(one)
    x, y = s[..., :1], s[..., 1:]
    A = np.concatenate([np.concatenate([one, zero, -x * one], axis=2),
                        np.concatenate([zero, one, -y * one], axis=2),
                        zero[:, :1].repeat(3, axis=2)], axis=1)  # nine rows also for four pairs, so that V has nine
    values, V = np.linalg.svd(A, full_matrices=False)[1:]
    M = V[:, 8].reshape(-1, 3, 3)
    spread = np.linalg.svd(M, compute_uv=False)
    for n in np.flatnonzero((values[:, 7] <= FLAT * values[:, 0]) | (spread[:, 2] <= FLAT * spread[:, 0])):
        for argument, points in (("target", t[n]), ("source", s[n])):
            if cause := _cause(points):
                raise argument_error(op, argument, "points that determine theta", cause, f"set {n}")
        raise argument_error(op, "source and target", "points that determine theta", f"set {n}, which does not",
                             "all but one of them on one line, or pairs that contradict each other")
    return ended_in_one(op, "source and target", np.linalg.inv(S) @ M @ T)


def _centred(op: str, argument: str, points: np.ndarray) -> np.ndarray:
    """The map (N, 3, 3) that brings points to their centre and to a mean distance of sqrt(2)."""
    centre = points.mean(axis=1)
    distance = np.linalg.norm(points - centre[:, None], axis=2).mean(axis=1)
    if len(distance) and distance.min() == 0:
        raise argument_error(op, argument, "points that determine theta", "all of them at one place",
                             f"set {distance.argmin()}")
    scale = np.sqrt(2) / distance
    matrix = np.zeros((len(points), 3, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :2, 2], matrix[:, 2, 2] = -scale[:, None] * centre, 1
    return matrix


def _mapped(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Affine maps, one or (N, 3, 3), of points (N, P, 2)."""
    return points @ matrix[..., :2, :2].swapaxes(-1, -2) + matrix[..., None, :2, 2]


def _cause(points: np.ndarray) -> str:
    """Why points (P, dims) determine too little, in words; "" where nothing is seen."""
    P, dims = points.shape
    if _extent(points) == 0:
        return "all of them at one place"
    if P <= dims + 2:  # no more than needed
        for i, j in combinations(range(P), 2):
            if np.abs(points[i] - points[j]).max() <= FLAT * np.abs(points).max():
                return f"points {i} and {j} at one place"
    if _extent(points) < 2:
        return "all of them on one line"
    if dims == 3:
        return "all of them in one plane" if _extent(points) < 3 else ""
    for chosen in combinations(range(P), 3) if P <= dims + 2 else ():
        if _extent(points[list(chosen)]) < 2:
            return "points {}, {} and {} on one line".format(*chosen)
    return ""


def _extent(points: np.ndarray) -> int:
    """0 for points at one place, 1 on a line, 2 in a plane, 3 for more."""
    values = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return int((values > FLAT * max(values[0], 1e-300)).sum())
