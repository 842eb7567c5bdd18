"""theta and the matrices in pixels that OpenCV, scikit-image and SciPy's users have.

A matrix in pixels takes (x, y), pixel centres at integers, x first, from 0 to W - 1 and from 0 to H - 1. theta leads
from the target to the source in normalised coordinates. With S and T the maps from normalised coordinates to pixels of
the source and of the target,

    theta = S^-1 G T,        G from target pixels to source pixels

All of it is float64 on the CPU, and has no gradient: this is where data comes in, not a part of a network.
"""

from typing import Any

import numpy as np

from nanostn.checks import argument_error, checked_flag, checked_size, describe
from nanostn.kernels.sampling.conventions import half_extent
from nanostn.tensor import Tensor
from nanostn.transformations.base import Transformation
from nanostn.transformations.control_points import numbers

SINGULAR = 1e-12  # beside the largest number of a matrix between normalised coordinates, which is about 1


def theta_from_pixels(matrix: Any, source_size: tuple[int, int], target_size: tuple[int, int],
                      align_corners: bool = True, inverse: bool = False) -> np.ndarray:
    """theta of the warp that a matrix in pixels says: (N, 6) of `Affine` for 2 x 3, (N, 8) of `Projective` for 3 x 3.

    `matrix` (2, 3) or (3, 3), or a batch (N, 2, 3) or (N, 3, 3); sizes are (H, W) as everywhere here, where OpenCV's
    `dsize` is (W, H). People write such a matrix in two directions, and nothing in it tells which:

        inverse=False    target pixel ~ matrix (source pixel, 1): where things go. cv2.warpAffine and warpPerspective
                         without a flag, cv2.getRotationMatrix2D, getAffineTransform and getPerspectiveTransform(src,
                         dst), estimate() of scikit-image
        inverse=True     source pixel ~ matrix (target pixel, 1): where things are read. flags=cv2.WARP_INVERSE_MAP,
                         skimage.transform.warp(image, matrix)

    A projective theta ends in 1, so it is divided by its last number. Raises ValueError where that is 0 (the centre of
    the target is read at infinity), for a matrix to be inverted that cannot be, and for a source of one pixel along an
    axis with aligned corners, where -1 and 1 are the same pixel. float64, no gradient.
    torch: none; kornia: normalize_homography, for inverse=False and align_corners=True
    """
    name = "theta_from_pixels"
    matrix = real_array(name, "matrix", matrix, "finite numbers (2, 3), (3, 3), (N, 2, 3) or (N, 3, 3)")
    if matrix.shape[-2:] not in ((2, 3), (3, 3)) or matrix.ndim not in (2, 3):
        raise argument_error(name, "matrix", "(2, 3), (3, 3), (N, 2, 3) or (N, 3, 3)", describe(matrix))
    S, T = frames(name, source_size, target_size, align_corners)
    checked_flag(name, "inverse", inverse)
    G = square(matrix.reshape(-1, *matrix.shape[-2:]))
    theta = np.linalg.inv(S) @ G @ T if inverse else _inverted(name, "matrix", np.linalg.inv(T) @ G @ S)
    if matrix.shape[-2] == 2:
        return theta[:, :2].reshape(-1, 6)
    return ended_in_one(name, "matrix", theta)


def pixels_from_theta(theta: Any, transformation: Transformation, source_size: tuple[int, int],
                      target_size: tuple[int, int], align_corners: bool = True, inverse: bool = False) -> np.ndarray:
    """The matrices in pixels of the theta of a family over the plane: (N, 2, 3), or (N, 3, 3) for `Projective`.

    The way back from `theta_from_pixels`, with the same `inverse`: with False the matrices are for
    cv2.warpAffine(image, matrix, (W, H)), with True for the same with flags=cv2.WARP_INVERSE_MAP. A 3 x 3 one is scaled
    to end in 1, unless that number is 0. `transformation` may be any whose M acts on (x, y, 1): what an Attention has
    found is a matrix too. Raises ValueError for other families, and for a theta to be inverted that cannot be.
    float64, no gradient.
    torch: none; kornia: denormalize_homography
    """
    name = "pixels_from_theta"
    if not isinstance(transformation, Transformation) or transformation.dims != 2 or not transformation.plane:
        raise argument_error(name, "transformation", "a family over the plane such as Affine()",
                             describe(transformation))
    S, T = frames(name, source_size, target_size, align_corners)
    checked_flag(name, "inverse", inverse)
    theta = theta.numpy() if isinstance(theta, Tensor) else theta
    M = transformation.matrix(real_array(name, "theta", theta, "finite numbers")).numpy()
    G = S @ square(M) @ np.linalg.inv(T) if inverse else T @ _inverted(name, "theta", square(M)) @ np.linalg.inv(S)
    if M.shape[1] == 2:
        return G[:, :2]
    last, largest = G[:, 2:, 2:], np.abs(G).max(axis=(1, 2), keepdims=True)
    return G / np.where(np.abs(last) > SINGULAR * largest, last, 1)


def real_array(op: str, argument: str, value: Any, expected: str) -> np.ndarray:
    """Finite real numbers as float64, or an error."""
    found = numbers(value)
    if np.shape(found) == (0,) or not np.isfinite(found).all():
        raise argument_error(op, argument, expected, describe(value))
    return found


def frames(op: str, source_size: Any, target_size: Any, align_corners: Any) -> tuple[np.ndarray, np.ndarray]:
    """S and T: from normalised coordinates to pixels, of source and target, (3, 3)."""
    checked_flag(op, "align_corners", align_corners)
    for argument, size in (("source_size", source_size), ("target_size", target_size)):
        try:
            checked_size(op, size)
        except ValueError:
            raise argument_error(op, argument, "(H, W), two positive integers", describe(size)) from None
    if align_corners and min(source_size) == 1:
        raise argument_error(op, "source_size", "two pixels or more along each axis with align_corners=True",
                             describe(source_size), "-1 and 1 are the same pixel there")
    return frame(source_size, align_corners), frame(target_size, align_corners)


def frame(size: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """From normalised coordinates to pixels of an image or volume of this size."""
    dims = len(size)
    matrix = np.eye(dims + 1)
    for axis, n in enumerate(reversed(size)):  # an axis of one has its target at 0, so that any extent will do
        matrix[axis, axis], matrix[axis, dims] = max(half_extent(n, align_corners), 0.5), (n - 1) / 2
    return matrix


def square(M: np.ndarray) -> np.ndarray:
    """(N, 2, 3) with the row (0, 0, 1) below."""
    return M if M.shape[1] == 3 else np.concatenate([M, np.broadcast_to([[[0.0, 0, 1]]], (len(M), 1, 3))], axis=1)


def _inverted(op: str, argument: str, M: np.ndarray) -> np.ndarray:
    """The inverse of matrices between normalised coordinates."""
    values = np.linalg.svd(M, compute_uv=False)
    flat = np.flatnonzero(values[:, -1] <= SINGULAR * values[:, 0])
    if len(flat):
        raise argument_error(op, argument, "a map that can be turned back", f"one that cannot, number {flat[0]}",
                             "it presses the image into a line or a point; a matrix from target to source needs "
                             "inverse=True and no turning back")
    return np.linalg.inv(M)


def ended_in_one(op: str, argument: str, M: np.ndarray) -> np.ndarray:
    """Projective matrices (N, 3, 3) between normalised coordinates as theta (N, 8), their last number being 1."""
    last = M[:, 2:, 2:]
    lost = np.flatnonzero(np.abs(last)[:, 0, 0] <= SINGULAR * np.abs(M).max(axis=(1, 2)))
    if len(lost):
        raise argument_error(op, argument, "one that reads the centre of the target at a finite place",
                             f"one that reads it at infinity, number {lost[0]}", "the last number of theta is 1, not 0")
    return (M / last).reshape(-1, 9)[:, :8]
