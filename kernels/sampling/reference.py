"""The sampler as the paper writes it, eq. 1 and 3 to 7, in NumPy: nothing is left out, and nothing is fast.

The axes of an image are y, x and of a volume z, y, x, as in U; d is 2 or 3, P the number of points of the output.

    U        (N, C, H, W) or (N, C, D, H, W)   the input
    theta    (N, d, d + 1)                     an affine transformation; other families have other matrices M_theta
    B        (d + 1, P)                        x_t, y_t(, z_t), 1 of each target point
    points   (N, d, P)                         x_s, y_s(, z_s) of each source point, normalised: U lies from -1 to 1
    V        (N, C, P)                         the output; P may be reshaped to (H', W')

What lies outside of U counts as 0. The kernels beside this file compute the same for all families and paddings.
"""

from collections.abc import Callable, Sequence

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def hat(x: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - abs(x))                                       # eq. 5: k(x - m), bilinear


def hat_slope(x: np.ndarray) -> np.ndarray:
    """k'(x), from the right where k has a corner: 1 on [-1, 0), -1 on [0, 1)."""
    return ((-1 <= x) & (x < 0)).astype(x.dtype) - ((0 <= x) & (x < 1))    # eq. 7: its three cases


def target_points(size: Sequence[int], align_corners: bool = True) -> np.ndarray:
    """B: the points of an output of this size, (H', W') or (D', H', W'), in C order."""
    def axis(n: int) -> np.ndarray:
        return np.linspace(-1, 1, n) if align_corners else (2 * np.arange(n) + 1) / n - 1

    *others, x = np.meshgrid(*map(axis, size), indexing="ij")
    return np.stack([x.ravel(), *(y.ravel() for y in reversed(others)), np.ones(x.size)])


def source_points(theta: np.ndarray, B: np.ndarray) -> np.ndarray:
    return theta @ B                                                       # eq. 1


def source_points_gradient(dpoints: np.ndarray, B: np.ndarray) -> np.ndarray:
    return dpoints @ B.T                                                   # dtheta


def pixels_per_unit(n: int, align_corners: bool) -> float:
    """-1 and 1 are the centres of the first and last of n pixels, or their outer edges."""
    return ((n - 1) if align_corners else n) / 2


def at_pixels(f: Function, points: np.ndarray, size: Sequence[int], align_corners: bool) -> list[np.ndarray]:
    """f(x - m) for every point and every pixel m along an axis, (N, P, pixels), an array for each axis of U."""
    return [f((x * pixels_per_unit(n, align_corners) + (n - 1) / 2)[..., None] - np.arange(n))
            for x, n in zip(points.swapaxes(0, 1)[::-1], size, strict=True)]


# Letters of the products below: n image, c channel, p point; an image is nchw, and its factors are nph and npw.
IMAGE, VOLUME = ("hw", "nph,npw"), ("dhw", "npd,nph,npw")


def sample(U: np.ndarray, points: np.ndarray, k: Function = hat, align_corners: bool = True) -> np.ndarray:
    """V_i = sum over all pixels (n, m) of U_nm k(x_i - m) k(y_i - n)."""
    axes, factors = IMAGE if U.ndim == 4 else VOLUME
    K = at_pixels(k, points, U.shape[2:], align_corners)
    return np.einsum(f"nc{axes},{factors}->ncp", U, *K, optimize=True)     # eq. 3


def sample_gradients(U: np.ndarray, points: np.ndarray, dV: np.ndarray, k: Function = hat, slope: Function = hat_slope,
                     align_corners: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """dU, as U, and dpoints (N, d, P), from dV (N, C, P).

    dV_i / dU_nm = k(x_i - m) k(y_i - n)                                   and, with x_i in pixels,
    dV_i / dx_i  = sum over all pixels of U_nm k'(x_i - m) k(y_i - n)
    """
    size, (axes, factors) = U.shape[2:], IMAGE if U.ndim == 4 else VOLUME
    K, S = (at_pixels(f, points, size, align_corners) for f in (k, slope))
    dU = np.einsum(f"ncp,{factors}->nc{axes}", dV, *K, optimize=True)      # eq. 6
    dpoints = [pixels_per_unit(size[a], align_corners)
               * np.einsum(f"ncp,nc{axes},{factors}->np", dV, U, *K[:a], S[a], *K[a + 1:], optimize=True)  # eq. 7
               for a in reversed(range(len(size)))]
    return dU, np.stack(dpoints, axis=1)
