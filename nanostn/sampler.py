"""The sampler: V from U at the points that a grid, or M_theta B itself, names (paper, section 3.3).

Conventions, for all functions here, images and volumes alike. Coordinates are normalised, (x, y) or (x, y, z), x first.
A coordinate that is an integer in pixels has the derivative from the right: the bilinear neighbours are floor(x) and
floor(x) + 1. (The paper's printed eq. 7 is not a one-sided derivative there, and a transformer at the identity meets
integers only.) Nearest rounds as floor(x + 0.5), eq. 4, and has no gradient to the coordinates.

`mode` is the sampling kernel k, the same along every axis: "nearest", "bilinear" (trilinear in volumes), "bicubic"
(Keys with a = -0.75, as PyTorch's), "catmull-rom" (a = -0.5), "bspline" (cubic; it smooths, and gives U itself back
where U went through `spline_prefilter`), or a `SamplingKernel` of one's own.

`padding_mode` is what a tap outside reads: "zeros", a number, "border" (the last pixel), "wrap" (the image repeated),
"reflection" (mirrored about the corners' coordinates -1 and 1: pixel centres, or edges with align_corners=False).
Infinite and huge coordinates are far outside: wrapped or mirrored they end on some pixel. A NaN gives NaN in V, adds
nothing to dU, and gets the gradient 0 where dV is finite.

`antialias` widens the kernel where neighbouring points of the output lie more than a pixel apart: k((x - m) / s), its
weights divided by their sum, with s = max(1, |dx/d(target)|) along each axis of the source. The distance is the
difference of neighbouring points of the grid, and s has its gradient; where it is 1, none.
"""

import dis
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import NumbaError

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, checked_flag, checked_size, describe, is_float32, same_float, sizes
from nanostn.kernels import sampling
from nanostn.kernels.gpu.arrays.numpy_functions import constant, contiguous, is_device
from nanostn.kernels.sampling import interpolation
from nanostn.kernels.sampling.conventions import half_extent
from nanostn.tensor import Tensor, op
from nanostn.transformations import Transformation

__all__ = ["SamplingKernel", "grid_sample", "spatial_transform"]

MODES = {
    "nearest": interpolation.Interpolation(interpolation.NEAREST),
    "bilinear": interpolation.Interpolation(interpolation.BILINEAR),
    "bicubic": interpolation.Interpolation(interpolation.BICUBIC),
    "catmull-rom": interpolation.Interpolation(interpolation.CATMULL_ROM),
    "bspline": interpolation.Interpolation(interpolation.BSPLINE),
}
PADDINGS = {"zeros": interpolation.ZEROS, "border": interpolation.BORDER, "wrap": interpolation.WRAP,
            "reflection": interpolation.REFLECT_CENTRES}


class SamplingKernel(interpolation.Interpolation):
    """A kernel of one's own for `mode`: V = sum over m of U_m k(x - m), for |x - m| <= radius; paper, eq. 3.

    `k` and `slope` are plain functions of one number that Numba can compile, `slope` the derivative of `k` (from the
    right, where there is a corner); both are applied along every axis. They are compiled once in a process and dtype.

        tent = SamplingKernel(lambda x: max(0.0, 1 - abs(x)), lambda x: 1.0 if x < 0 else -1.0, radius=1)

    On a GPU a float32 sampler stays in float32 where literals are floats: write 1.0, not 1.

    They are plain arithmetic: an exception or a message cannot leave a sampler that runs on several threads. k need not
    sum to 1 over the pixels; `antialias` divides by the sum, which should not be 0 then. Raises ValueError for what is
    no such function, a missing slope, and a radius that is not above 0, up to 64.   torch: none
    """

    def __init__(self, k: Callable[[float], float], slope: Callable[[float], float] | None = None,
                 radius: float | None = None):
        for name, function in (("k", k), ("slope", slope)):
            code = getattr(getattr(function, "py_func", function), "__code__", None)
            if code is None or code.co_argcount != 1:
                hint = "a slope is not guessed from differences: its errors would be yours to find"
                raise argument_error("SamplingKernel", name, "a Python function of one number", describe(function),
                                     hint if function is None else "")
            if "print" in code.co_names or any(step.opname == "RAISE_VARARGS" for step in dis.get_instructions(code)):
                raise argument_error("SamplingKernel", name, "plain arithmetic", "one with raise, assert or print",
                                     "the sampler's threads would lose it")
        if isinstance(radius, bool) or not isinstance(radius, int | float | np.number) or not 0 < radius <= 64:
            raise argument_error("SamplingKernel", "radius", "a number above 0, up to 64", repr(radius))
        super().__init__(interpolation.CUSTOM, radius, k, slope)

    def __repr__(self) -> str:
        return f"SamplingKernel({', '.join(getattr(f, '__name__', '?') for f in self.functions)}, {self.radius:g})"


def grid_sample(U: Any, grid: Any, mode: str | SamplingKernel = "bilinear", padding_mode: str | float = "zeros",
                align_corners: bool = True, antialias: bool = False, flatten_depth: bool = False) -> Tensor:
    """V_i = sum over n, m of U_nm k(x_i - m) k(y_i - n), the kernel k of `mode`; paper, eq. 3 to 7.

    U (N, C, H, W), grid (N, H', W', 2) as (x, y) -> V (N, C, H', W'); or U (N, C, D, H, W), grid (N, D', H', W', 3)
    as (x, y, z) -> V (N, C, D', H', W'), of which `flatten_depth` gives the sum over D', (N, C, H', W'), without V in
    memory. N of U or of the grid may be 1: one image for all grids, one grid for all images, neither copied.
    Raises ValueError for other shapes, dtypes and options.
    torch: grid_sample(U, grid, mode, padding_mode, align_corners=True); PyTorch's own default is False
    """
    U, grid = (a if isinstance(a, Tensor) else Tensor(a) for a in (U, grid))
    checked_flag("grid_sample", "align_corners", align_corners)
    checked_flag("grid_sample", "antialias", antialias)
    volume = U.ndim == 5
    N = sizes("grid_sample", U=(U, "N C D H W" if volume else "N C H W"))[0]
    one = grid.ndim > 0 and 1 in (N, len(grid)) and N != len(grid)
    sizes("grid_sample", U=(U, "N C D H W" if volume else "N C H W"),
          grid=(grid, ("N' " if one else "N ") + ("D' H' W' 3" if volume else "H' W' 2")))
    same_float("grid_sample", U=U, grid=grid)
    if antialias:
        grid = _with_widths(grid, shape=U.shape, align_corners=align_corners)
    return _grid_sample(U, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners,
                        flatten_depth=flatten_depth)


def spatial_transform(U: Any, theta: Any, transformation: Transformation, size: tuple[int, ...],
                      mode: str | SamplingKernel = "bilinear", padding_mode: str | float = "zeros",
                      align_corners: bool = True, antialias: bool = False, flatten_depth: bool = False) -> Tensor:
    """V = U sampled at T_theta(G) = M_theta B; the grid is never in memory, and d theta is reduced where it arises.

    U (N, C, H, W), theta (N, parameters) of `transformation`, `size` = (H', W') -> V (N, C, H', W'); U (N, C, D, H, W)
    and (D', H', W') for a family in 3D. N of U or of theta may be 1. Options and errors as in `grid_sample`.
    `antialias` and families without a constant basis (learned basis, displacements) do make the grid.
    d theta jumps where a point crosses a pixel (eq. 7), and float32 knows a place 5,000 pixels out to 0.0005: where M
    puts whole rows of points onto pixels of a large noisy image, rounding chooses their sides. float64 knows better.
    torch: grid_sample(U, affine_grid(theta, (N, C, H', W')), ...), for the affine families
    """
    name = "spatial_transform"
    if not isinstance(transformation, Transformation):
        raise argument_error(name, "transformation", "a family such as Affine()", repr(transformation))
    U = U if isinstance(U, Tensor) else Tensor(U)
    size = checked_size(name, size, transformation.dims)
    if U.ndim != 2 + transformation.dims:
        raise argument_error(name, "U", "(N, C, H, W)" if transformation.dims == 2 else "(N, C, D, H, W)", describe(U),
                             f"{transformation!r} works in {transformation.dims} dimensions")
    checked_flag(name, "align_corners", align_corners)
    if checked_flag(name, "antialias", antialias) or not transformation.fused:
        grid = transformation.grid(theta, size, align_corners)
        _check_batches(name, "theta", U, grid)
        return grid_sample(U, grid, mode, padding_mode, align_corners, antialias, flatten_depth)
    M = transformation.matrix(theta)
    _check_batches(name, "theta", U, M)
    basis = None if transformation.plane else transformation.kept_basis(size, align_corners, M)
    return _transform(U, M, basis=basis, size=size, mode=mode, padding_mode=padding_mode, align_corners=align_corners,
                      flatten_depth=flatten_depth)


def _check_batches(name: str, argument: str, U: Any, points: Any) -> None:
    if len(points) != len(U) and 1 not in (len(points), len(U)):
        raise argument_error(name, argument, f"of as many transformations as U has images, {len(U)}, or one",
                             len(points))


def _half_extents(size: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """Pixels, in x, y (and z), from the centre of an image of `size` to the coordinate 1."""
    return np.array([half_extent(n, align_corners) for n in reversed(size)])


def _plain(array: np.ndarray) -> np.ndarray:
    """Contiguous and writeable: for other arrays the kernels would be compiled once more."""
    return contiguous(array) if is_device(array) else np.require(array, requirements=("C", "W"))


def _reading(name: str, U: np.ndarray, mode: Any, padding_mode: Any, align_corners: bool,
             flatten_depth: bool) -> tuple[Any, int, float, bool]:
    """The options as the kernels take them: kernel, padding, the value outside, whether depth is summed."""
    if min(U.shape[2:]) < 1:
        raise argument_error(name, "U", "images of at least one pixel", describe(U))
    kernel, padding, outside = checked_options(name, U.ndim - 2, mode, padding_mode, align_corners, flatten_depth)
    if isinstance(kernel, SamplingKernel) and not is_device(U):
        try:
            kernel.pointers(U.dtype)
        except NumbaError as error:
            expected = f"functions from {U.dtype} to {U.dtype}"
            raise argument_error("SamplingKernel", "k and slope", expected, repr(kernel),
                                 "Numba cannot compile them as such; its own error is above") from error
    return kernel, padding, outside, flatten_depth


def checked_options(name: str, dims: int, mode: Any, padding_mode: Any, align_corners: bool,
                    flatten_depth: bool) -> tuple[Any, int, float]:
    """The kernel, the padding, and the value outside that options mean in so many dimensions, or an error."""
    checked_flag(name, "align_corners", align_corners)
    if checked_flag(name, "flatten_depth", flatten_depth) and dims != 3:
        raise argument_error(name, "flatten_depth", "False for images", flatten_depth, "only a volume has a depth")
    kernel = mode if isinstance(mode, SamplingKernel) else MODES.get(mode) if isinstance(mode, str) else None
    if kernel is None:
        raise argument_error(name, "mode", ", ".join(map(repr, MODES)) + " or a SamplingKernel", repr(mode))
    if isinstance(padding_mode, str) and padding_mode in PADDINGS:
        padding = PADDINGS[padding_mode]
        if padding_mode == "reflection" and not align_corners:
            padding = interpolation.REFLECT_EDGES
        return kernel, padding, 0.0
    if not is_float32(padding_mode):
        raise argument_error(name, "padding_mode", ", ".join(map(repr, PADDINGS)) + " or a number",
                             describe(padding_mode))
    return kernel, interpolation.ZEROS, float(padding_mode)


@op
def _with_widths(grid: np.ndarray, *, shape: tuple[int, ...], align_corners: bool) -> tuple[np.ndarray, Gradients]:
    """The grid (N, ..., dims) with a width in pixels behind each coordinate, (N, ..., 2 dims), for images of `shape`.

    A width is the length of a column of the Jacobian: differences of the grid along its axes, central ones but at the
    ends. It is 1 at least and the image's size at most: a wider kernel would see nothing more.
    """
    dims = grid.ndim - 2
    pixels = constant(_half_extents(shape[2:], align_corners).astype(grid.dtype), grid)
    widest = constant(np.array(shape[:1:-1], grid.dtype), grid)
    axes = [axis for axis in range(1, grid.ndim - 1) if grid.shape[axis] > 1]
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN have their meaning
        differences = [_differences(grid, axis) * pixels for axis in axes]
        length = np.sqrt(sum((d * d for d in differences), np.zeros_like(grid)))
        width = np.minimum(np.maximum(length, 1), widest)
        wide = (width == length) & (length > 1)

    def gradients(d: np.ndarray) -> np.ndarray:
        dgrid = d[..., :dims].copy()
        dlength = np.where(wide, d[..., dims:], 0) / np.where(wide, length, 1) * pixels
        for axis, difference in zip(axes, differences, strict=True):
            moved = np.moveaxis(dgrid, axis, 0)
            slope = np.moveaxis(dlength * np.where(wide, difference, 0), axis, 0)
            moved[0] -= slope[0]  # the adjoint of `_differences`
            moved[1] += slope[0]
            moved[-1] += slope[-1]
            moved[-2] -= slope[-1]
            moved[2:] += slope[1:-1] / 2
            moved[:-2] -= slope[1:-1] / 2
        return dgrid

    return np.concatenate([grid, width], axis=-1), (gradients,)


def _differences(grid: np.ndarray, axis: int) -> np.ndarray:
    """Central differences along an axis, and those of neighbours at the ends: np.gradient."""
    moved = np.moveaxis(grid, axis, 0)
    parts = [moved[1:2] - moved[:1], (moved[2:] - moved[:-2]) / 2, moved[-1:] - moved[-2:-1]]
    return np.moveaxis(np.concatenate(parts), 0, axis)


@op
def _grid_sample(U: np.ndarray, grid: np.ndarray, *, mode: Any, padding_mode: Any, align_corners: bool,
                 flatten_depth: bool) -> tuple[np.ndarray, Gradients]:
    dims, dtype = U.ndim - 2, U.dtype
    reading = _reading("grid_sample", U, mode, padding_mode, align_corners, flatten_depth)
    size = grid.shape[1:-1]
    scale = _half_extents(U.shape[2:], align_corners).astype(dtype)
    U, points = _plain(U), _plain(grid).reshape(len(grid), int(np.prod(size)), grid.shape[-1])
    nothing = np.empty((0, dims, 0), dtype, like=U), np.empty((0, 0), dtype, like=U)
    V = sampling.sample(U, *nothing, points, scale, size, *reading)

    def gradients(dV: np.ndarray, wanted: tuple[bool, ...]) -> tuple:
        dU, dpoints = sampling.sample_gradients(U, *nothing, points, scale, size, _plain(dV), *reading, wanted)
        return dU, None if dpoints is None else dpoints.reshape(grid.shape)

    return V, gradients


@op
def _transform(U: np.ndarray, M: np.ndarray, *, basis: np.ndarray | None, size: tuple[int, ...], mode: Any,
               padding_mode: Any, align_corners: bool, flatten_depth: bool) -> tuple[np.ndarray, Gradients]:
    name = "spatial_transform"
    dims = U.ndim - 2
    rows, K = sizes(name, theta=(M, "N rows K"))[1:]
    dtype = same_float(name, U=U, theta=M)
    reading = _reading(name, U, mode, padding_mode, align_corners, flatten_depth)
    P = int(np.prod(size))
    if rows not in (dims, dims + 1) or (K != dims + 1 if basis is None else basis.shape != (K, P)):
        raise argument_error(name, "transformation", f"one with M (N, {dims} or {dims + 1}, K) and a basis (K, {P})",
                             f"M {M.shape} and basis {'(x, y, 1)' if basis is None else basis.shape}",
                             "a family with another basis than (x, y, 1) sets plane = False")
    # The kernel counts in pixels from the centres of source and target. A quotient of half extents is exactly 1 for
    # equal sizes, so that the identity gives U back bit for bit.
    to_pixels = np.ones((rows, K))
    to_pixels[:dims] = _half_extents(U.shape[2:], align_corners)[:, None]
    if basis is None:
        to_pixels[:, :dims] /= np.maximum(_half_extents(size, align_corners), 0.5)  # one point: its x_t is 0 anyway
    to_pixels = constant(to_pixels.astype(dtype), M)
    basis = np.empty((K, 0), dtype, like=U) if basis is None else _plain(basis)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN have their meaning
        U, M = _plain(U), _plain(M * to_pixels)
    source = M, basis, np.empty((0, 0, dims), dtype, like=U), np.ones(dims, dtype)
    V = sampling.sample(U, *source, size, *reading)

    def gradients(dV: np.ndarray, wanted: tuple[bool, ...]) -> tuple:
        dU, dM = sampling.sample_gradients(U, *source, size, _plain(dV), *reading, wanted)
        return dU, None if dM is None else dM * to_pixels

    return V, gradients
