"""The prefilter of cubic B-spline interpolation: the coefficients that make the spline pass through the pixels.

The cubic B-spline k(0) = 2/3, k(+-1) = 1/6 is no interpolating kernel: pixels sampled with it come out blurred.
Sampled from the coefficients instead, they come out as they are (Unser 1999, "Splines: a perfect fit for signal and
image processing"). Libraries that offer the spline and leave the prefilter out, as MONAI does, blur every image.
"""

import functools
from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, checked_flag, describe, is_float32, same_float
from nanostn.kernels.gpu.arrays.numpy_functions import constant, contiguous, is_device
from nanostn.kernels.products.matmul import matmul
from nanostn.tensor import Array, Tensor, op

PADDINGS = ("zeros", "border", "reflection", "wrap")


def spline_prefilter(U: Any, padding_mode: str | float = "zeros", align_corners: bool = True) -> Tensor:
    """The coefficients c whose cubic B-spline has the values U at the pixels; along every axis of the image

        c[i - 1] / 6 + 4 c[i] / 6 + c[i + 1] / 6 = u[i]

    U (N, C, H, W) or (N, C, D, H, W) -> c, of the same shape. Beyond the ends c goes on as the sampler's taps do: with
    0 ("zeros"), with a number, with the last one ("border"), mirrored ("reflection": about the centre of the last pixel
    where `align_corners`, about its edge otherwise) or from the other end ("wrap"). Solved in the dtype of U, by one
    tridiagonal system for each axis. Raises ValueError for other shapes, dtypes and options.
    torch: none; scipy.ndimage.spline_filter is the same for its modes mirror, reflect and grid-wrap
    """
    name = "spline_prefilter"
    if getattr(U, "ndim", 0) not in (4, 5):
        raise argument_error(name, "U", "(N, C, H, W) or (N, C, D, H, W)", describe(U))
    same_float(name, U=U)
    if min(U.shape[2:]) < 1:
        raise argument_error(name, "U", "images of at least one pixel", describe(U))
    checked_flag(name, "align_corners", align_corners)
    if isinstance(padding_mode, str) and padding_mode in PADDINGS:
        mirror = "centre" if align_corners else "edge"
        ends = {"border": "edge", "reflection": mirror}.get(padding_mode, padding_mode)
        return _prefilter(U, ends=ends)
    if not is_float32(padding_mode):
        raise argument_error(name, "padding_mode", f"{', '.join(map(repr, PADDINGS))} or a finite number",
                             describe(padding_mode))
    # The weights of the taps add up to 1, so what exceeds the number everywhere has zeros outside. (One axis after the
    # other would not do with the number itself: later axes see coefficients, and the corners see it twice.)
    outside = U.dtype.type(padding_mode)
    return _prefilter(U - outside, ends="zeros") + outside


@op
def _prefilter(U: Array, *, ends: str) -> tuple[Array, Gradients]:
    solve = _multiply if is_device(U) else _solve
    return solve(U, ends), (lambda dc: solve(dc, ends, transposed=True),)


def _multiply(u: Array, ends: str, transposed: bool = False) -> Array:
    """`_solve` on the GPU, where a system's recursion is slow and a product with the inverse is not."""
    for axis in range(2, u.ndim if u.size else 0):
        inverse = constant(_inverse(u.shape[axis], ends, transposed).astype(u.dtype), u)
        lines = contiguous(np.moveaxis(u, axis, -1))
        product = matmul(lines.reshape(-1, lines.shape[-1]), inverse)
        u = np.moveaxis(product.reshape(lines.shape), -1, axis)
    return contiguous(u)


@functools.lru_cache(maxsize=32)
def _inverse(n: int, ends: str, transposed: bool) -> Array:
    """The inverse of the system along an axis of n pixels, its columns being solved for; rows are pixels of u."""
    return _solve(np.eye(n).reshape(n, 1, n), ends, transposed).reshape(n, n)


def _solve(u: Array, ends: str, transposed: bool = False) -> Array:
    """The systems along all axes after the first two, or the transposed systems.

    They are tridiagonal, symmetric and positive but for two things. Mirrored about a centre, an end weighs its
    neighbour twice: the system is symmetric once its first and last row are halved. Wrapped, it has corners: it is
    S + v v^T / 6 with S tridiagonal and v one at both ends, which is solved by the formula of Sherman and Morrison.
    """
    from scipy.linalg import solveh_banded  # slow to import, and few need it

    T = u.dtype.type
    for axis in range(2, u.ndim if u.size else 0):
        n = u.shape[axis]
        if n == 1:  # LAPACK wants two; with its own value on both sides a pixel is its coefficient
            u = u * T(1.5) if ends == "zeros" else u
            continue
        end = {"zeros": 4 / 6, "edge": 5 / 6, "centre": 2 / 6, "wrap": 3 / 6}[ends]
        diagonal, corners = np.full(n, 4 / 6, u.dtype), np.zeros(n, u.dtype)
        diagonal[[0, -1]], corners[[0, -1]] = end, 1
        bands = np.stack([diagonal, np.full(n, 1 / 6, u.dtype)])
        lines = np.array(np.moveaxis(u, axis, -1), order="C")
        columns = lines.reshape(-1, n).T  # as LAPACK wants them, so that it works in place
        if ends == "centre" and not transposed:
            columns[[0, -1]] *= T(0.5)
        columns = solveh_banded(bands, columns, overwrite_b=True, lower=True, check_finite=False)
        if ends == "centre" and transposed:
            columns[[0, -1]] *= T(0.5)
        if ends == "wrap":
            share = solveh_banded(bands, corners, lower=True)
            columns -= np.outer(share / (6 + share[0] + share[-1]), columns[0] + columns[-1])
        u = np.moveaxis(columns.T.reshape(lines.shape), -1, axis)
    return np.ascontiguousarray(u)
