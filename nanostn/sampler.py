"""The sampler: V from U at the points that a grid, or M_theta B itself, names (paper, section 3.3).

Conventions, for all functions here. Coordinates are normalised, (x, y), x first. A coordinate that is an integer in
pixels has the derivative from the right: its neighbours are floor(x) and floor(x) + 1. (The paper's printed eq. 7 is
not a one-sided derivative there, and a transformer at the identity meets integers only.) Nearest rounds as floor(x +
0.5), eq. 4, and has no gradient to the coordinates. Outside the image, `zeros` reads 0 and `border` clamps the
coordinate, which then has the derivative 0. Infinite and huge coordinates are far outside. A NaN gives NaN in V, adds
nothing to dU, and gets the gradient 0 where dV is finite.
"""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, describe, same_float, sizes
from nanostn.grid_generator import checked_size, sampling_grid
from nanostn.kernels import sampling
from nanostn.kernels.coordinates import half_extent
from nanostn.tensor import Tensor, op
from nanostn.transformations import Transformation

__all__ = ["grid_sample", "sampling_grid", "spatial_transform"]

MODES = {"nearest": sampling.NEAREST, "bilinear": sampling.BILINEAR}
PADDINGS = {"zeros": sampling.ZEROS, "border": sampling.BORDER}


def grid_sample(U: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool = True) -> Tensor:
    """V_i = sum over n, m of U_nm k(x_i - m) k(y_i - n), the kernel k of `mode`; paper, eq. 3 to 7.

    U (N, C, H, W), grid (N, H', W', 2) as (x, y) -> V (N, C, H', W'). `mode` is "bilinear" or "nearest",
    `padding_mode` "zeros" or "border". Raises ValueError for other shapes, dtypes and options.
    torch: grid_sample(U, grid, mode, padding_mode, align_corners=True); PyTorch's own default is False
    """
    return _grid_sample(U, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)


def spatial_transform(U: Any, theta: Any, transformation: Transformation, size: tuple[int, int], mode: str = "bilinear",
                      padding_mode: str = "zeros", align_corners: bool = True) -> Tensor:
    """V = U sampled at T_theta(G) = M_theta B; the grid is never in memory, and d theta is reduced where it arises.

    U (N, C, H, W), theta (N, parameters) of `transformation`, `size` = (H', W') -> V (N, C, H', W'). Options and errors
    as in `grid_sample`.
    torch: grid_sample(U, affine_grid(theta, (N, C, H', W')), ...), for the affine family
    """
    size = checked_size("spatial_transform", size)
    if not isinstance(transformation, Transformation):
        raise argument_error("spatial_transform", "transformation", "a family such as Affine()", repr(transformation))
    M = transformation.matrix(theta)
    if len(M) != len(U):
        raise argument_error("spatial_transform", "theta", f"of as many transformations as U has images, {len(U)}",
                             len(M))
    basis = None if transformation.plane else transformation.basis(size, align_corners)
    return _transform(U, M, basis=basis, size=size, mode=mode, padding_mode=padding_mode, align_corners=align_corners)


def _half_extents(size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """Pixels, in x and y, from the centre of an image (H, W) to the coordinate 1."""
    return np.array([half_extent(n, align_corners) for n in reversed(size)])


def _plain(array: np.ndarray) -> np.ndarray:
    """Contiguous and writeable: for other arrays the kernels would be compiled once more."""
    return np.require(array, requirements=("C", "W"))


def _options(name: str, mode: str, padding_mode: str) -> tuple[int, int]:
    for argument, value, known in (("mode", mode, MODES), ("padding_mode", padding_mode, PADDINGS)):
        if value not in known:
            raise argument_error(name, argument, " or ".join(map(repr, known)), repr(value))
    return MODES[mode], PADDINGS[padding_mode]


def _check_image(name: str, U: np.ndarray) -> None:
    if min(U.shape[2:]) < 1:
        raise argument_error(name, "U", "images of at least one pixel", describe(U))
    if sampling.tile_entries(U.shape) >= 2**31:
        raise argument_error(name, "U", "images with fewer than 2^31 entries in 32 channels", describe(U))


@op
def _grid_sample(U: np.ndarray, grid: np.ndarray, *, mode: str, padding_mode: str,
                 align_corners: bool) -> tuple[np.ndarray, Gradients]:
    name = "grid_sample"
    N, C, H, W, H_out, W_out = sizes(name, U=(U, "N C H W"), grid=(grid, "N H' W' 2"))
    dtype = same_float(name, U=U, grid=grid)
    _check_image(name, U)
    options = _options(name, mode, padding_mode)
    U, points = _plain(U), _plain(grid).reshape(N, H_out * W_out, 2)
    scale = tuple(dtype.type(h) for h in _half_extents((H, W), align_corners))
    nothing = np.zeros((N, 2, 0), dtype), np.zeros((0, 0), dtype)
    V = sampling.sample(U, *nothing, points, scale, (H_out, W_out), *options)

    def gradients(dV: np.ndarray, wanted: tuple[bool, ...]) -> tuple:
        dU, dpoints = sampling.sample_gradients(U, *nothing, points, scale, _plain(dV), *options, *wanted)
        return dU, None if dpoints is None else dpoints.reshape(N, H_out, W_out, 2)

    return V, gradients


@op
def _transform(U: np.ndarray, M: np.ndarray, *, basis: np.ndarray | None, size: tuple[int, int], mode: str,
               padding_mode: str, align_corners: bool) -> tuple[np.ndarray, Gradients]:
    name = "spatial_transform"
    N, C, H, W, rows, K = sizes(name, U=(U, "N C H W"), theta=(M, "N rows K"))
    dtype = same_float(name, U=U, theta=M)
    _check_image(name, U)
    if rows not in (2, 3) or (K != 3 if basis is None else np.shape(basis) != (K, size[0] * size[1])):
        raise argument_error(name, "transformation", f"one with M (N, 2 or 3, K) and a basis (K, {size[0] * size[1]})",
                             f"M {M.shape} and basis {'(x, y, 1)' if basis is None else np.shape(basis)}",
                             "a family with another basis than (x, y, 1) sets plane = False")
    options = _options(name, mode, padding_mode)
    # The kernel counts in pixels from the centres of source and target. A quotient of half extents is exactly 1 for
    # equal sizes, so that the identity gives U back bit for bit.
    to_pixels = np.ones((rows, K))
    to_pixels[:2] = _half_extents((H, W), align_corners)[:, None]
    if basis is None:
        to_pixels[:, :2] /= np.maximum(_half_extents(size, align_corners), 0.5)  # one point: its x_t is 0 anyway
    to_pixels = to_pixels.astype(dtype)
    basis = np.zeros((K, 0), dtype) if basis is None else _plain(basis.astype(dtype))
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN have their meaning
        U, M = _plain(U), M * to_pixels
    one, no_grid = (dtype.type(1), dtype.type(1)), np.zeros((N, 0, 2), dtype)
    V = sampling.sample(U, M, basis, no_grid, one, size, *options)

    def gradients(dV: np.ndarray, wanted: tuple[bool, ...]) -> tuple:
        dU, dM = sampling.sample_gradients(U, M, basis, no_grid, one, _plain(dV), *options, *wanted)
        return dU, None if dM is None else dM * to_pixels

    return V, gradients
