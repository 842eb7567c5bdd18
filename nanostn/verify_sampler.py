"""The sampler's rows of `nanostn verify`: every family x kernel x padding x corners x dimension, generic and at kinks.

    grid_sample         every kernel, padding, corner convention and dimension, antialiased or not: entry by entry, in U
                        and in the grid; where depth is summed as well, along random directions
    spatial_transform   every family with every one of these (but antialiased or depth summed): along random directions
                        in U, theta and a trained B at once; one row in 19 entry by entry, which meets every family and
                        every value of every option
    shapes              one image for many thetas, one theta for many images, nine channels (vectors to the kernels),
                        and an image that is divided into bands for an output that is divided into parts
    kinks               coordinates that are pixels, or stand at the seams of a padding, where the derivative is the one
                        from the right; and widths of exactly 1, where it is that of smaller ones

Images are of a few pixels, and half of the points lie outside of them. Generic points keep away from multiples of half
a pixel, where bilinear sampling has its kinks and the nearest pixel changes. They are drawn once and for all.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, product
from typing import Any

import numpy as np

from nanostn import functional as F
from nanostn import transformations as tr
from nanostn.gradcheck import Case
from nanostn.kernels.sampling.conventions import half_extent, target_points
from nanostn.sampler import SamplingKernel
from nanostn.tensor import Tensor

PADDINGS = ("zeros", 0.5, "border", "wrap", "reflection")
CORNERS = {True: "corners", False: "edges"}
SOURCE = {2: (4, 5), 3: (3, 4, 5)}
OUTPUT = {2: (2, 3), 3: (2, 2, 3)}

# Coordinates that are exactly pixels, or halves: the half extents are powers of two.
EXACT = {(2, True): (3, 5), (2, False): (2, 4), (3, True): (2, 3, 5), (3, False): (4, 2, 4)}


def quadratic(x: float) -> float:
    """The quadratic B-spline, of radius 1.5."""
    return 0.75 - x * x if abs(x) < 0.5 else 0.5 * (1.5 - abs(x)) ** 2


def quadratic_slope(x: float) -> float:
    return -2 * x if abs(x) < 0.5 else x - 1.5 if x > 0 else x + 1.5


def skew(x: float) -> float:
    """A kernel that is not symmetric, and does not sum to 1."""
    return (1 - x * x) ** 2 * (1 + 0.5 * x)


def skew_slope(x: float) -> float:
    return (1 - x * x) * (0.5 - 4 * x - 2.5 * x * x)


def tent(x: float) -> float:
    return max(0.0, 1 - abs(x))


def tent_slope(x: float) -> float:
    return 1.0 if x < 0 else -1.0


KERNELS: dict[str, str | SamplingKernel] = {
    "nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic", "catmull-rom": "catmull-rom",
    "bspline": "bspline", "quadratic": SamplingKernel(quadratic, quadratic_slope, 1.5),
    "skew": SamplingKernel(skew, skew_slope, 1)}
TENT = SamplingKernel(tent, tent_slope, 1)


def families(dims: int, size: tuple[int, ...], align_corners: bool = True) -> list[Any]:
    """One of each kind, for outputs of `size`."""
    learned = tr.LearnedBasis(size, dims + 2, None, np.random.default_rng(6), align_corners, np.float64)
    fields = [learned, tr.Displacement(size), tr.Displacement(size, unit="pixels")]
    if dims == 3:
        return [tr.Affine3d(), tr.Attention3d(), *fields]
    return [tr.Affine(), tr.Attention(), tr.Translation(0.7), tr.Similarity(), tr.Projective(), tr.ThinPlateSpline(4),
            tr.ThinPlateSpline(3, regularisation=0.1), tr.PiecewiseAffine(3), *fields]


def sampler_cases() -> Iterator[Case]:
    yield from _grids()
    yield from _every_family()
    yield from _shapes()
    for rows, dims, align in product((_pixels, _shifts, _widths_of_1), SOURCE, CORNERS):
        yield from rows(dims, align)


def _options(dims: int, kernels: Any = tuple(KERNELS), corners: Any = tuple(CORNERS)) -> Iterator[dict[str, Any]]:
    depths = (False, True) if dims == 3 else (False,)
    for mode, padding, align, antialias, flat in product(kernels, PADDINGS, corners, (False, True), depths):
        yield {"mode": mode, "padding_mode": padding, "align_corners": align, "antialias": antialias,
               "flatten_depth": flat}


def _case(group: str, fn: Callable[..., Tensor], inputs: list[Any], options: dict[str, Any], family: Any = None,
          **others: Any) -> Case:
    """A row that is named after its group, its family and its options."""
    words = [group] if family is None or repr(family) in group else [group, repr(family)]
    words += [options["mode"], str(options["padding_mode"]), CORNERS[options["align_corners"]]]
    words += [option for option in ("antialias", "flatten_depth") if options.get(option)]
    trained = [family.B] if isinstance(family, tr.LearnedBasis) and "kinks" not in others else []
    options = options | {"mode": KERNELS.get(options["mode"], TENT)}
    return Case(", ".join(words), partial(fn, **options), inputs, group=group, parameters=trained, **others)


def _generic(centre: np.ndarray, spread: float, grid: Callable[[np.ndarray], np.ndarray], source: tuple[int, ...],
             align_corners: bool) -> np.ndarray:
    """The first draw around `centre` whose points are 1/500 of a pixel from kinks, and not too far outside."""
    size = np.array(source[::-1])
    half = np.array([half_extent(n, align_corners) for n in size])
    for seed in count():
        drawn = centre + spread * np.random.default_rng(seed).standard_normal(centre.shape)
        halves = 2 * (half * grid(drawn) + (size - 1) / 2)
        if np.abs(halves - np.round(halves)).min() > 4e-3 and (np.abs(halves) < 8 * size).all():
            break
    return drawn


def _thetas(family: Any, n: int, source: tuple[int, ...], size: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """Thetas that look into the image and out of it by turns."""
    identity = np.ravel(family.identity())
    return _generic(np.resize([0.8, 1.7], (n, 1)) * identity, 0.15 if identity.any() else 0.6,
                    lambda theta: family.grid(theta, size, align_corners).data, source, align_corners)


def _grids() -> Iterator[Case]:
    for dims, align in product(SOURCE, CORNERS):
        yield Case(f"affine_grid, {dims}D, {CORNERS[align]}",
                   partial(F.affine_grid, size=(2, 3, *OUTPUT[dims]), align_corners=align), [(2, dims, dims + 1)])
    for dims, size in OUTPUT.items():
        n = 4 - dims
        grids = {}
        for align in CORNERS:
            points = target_points(size, align)[:dims].T.reshape(*size, dims)
            zoom = np.resize([1.2, 1.7], (n, *[1] * (dims + 1)))
            grids[align] = _generic(zoom * points, 0.15, lambda grid: grid, SOURCE[dims], align)
        for options in _options(dims):
            yield _case(f"grid_sample, {dims}D", F.grid_sample,
                        [(n, 1, *SOURCE[dims]), grids[options["align_corners"]]], options,
                        full=not options["flatten_depth"])


def _every_family() -> Iterator[Case]:
    number = count()
    for dims, size in OUTPUT.items():
        source = SOURCE[dims]
        for both in zip(families(dims, size, True), families(dims, size, False), strict=True):
            for align, family in zip(CORNERS, both, strict=True):
                theta = _thetas(family, 2, source, size, align)
                fn = partial(F.spatial_transform, transformation=family, size=size)
                for options in _options(dims, corners=[align]):
                    if options["antialias"] and options["flatten_depth"]:
                        continue  # by way of the grid, which is sampled so among the rows of grid_sample
                    yield _case(f"spatial_transform, {family!r}", fn, [(2, 1, *source), theta], options, family,
                                full=next(number) % 19 == 0)


def _shapes() -> Iterator[Case]:
    """The two ways to name points, M and a grid, in the arrangements that the kernels know."""
    for dims in SOURCE:
        small, large = OUTPUT[dims], (2, 17, 33) if dims == 3 else (32, 33)
        tall = (17, *SOURCE[dims][1:])
        for name, U, n, size in (("one image", (1, 2, *SOURCE[dims]), 3, small),
                                 ("one theta", (3, 2, *SOURCE[dims]), 1, small),
                                 ("nine channels", (2, 9, *SOURCE[dims]), 2, small),
                                 ("bands and parts", (1, 1, *tall), 1, large)):
            for family in (tr.Affine() if dims == 2 else tr.Affine3d(), tr.Displacement(size)):
                theta = np.ravel(family.identity()) + 0.3 * np.random.default_rng(1).standard_normal(
                    (n, family.parameters))
                for options in _options(dims, ("bilinear", "bicubic", "skew"), [False]):
                    yield _case(f"spatial_transform, {dims}D, {name}",
                                partial(F.spatial_transform, transformation=family, size=size), [U, theta], options,
                                family, full=False)


def _signed(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape)


def _beside(fn: Callable[..., Tensor], U: np.ndarray, points: Tensor, **options: Any) -> Tensor:
    """`fn` of a constant U, in the dtype and on the device of the points."""
    return fn(Tensor(U.astype(points.dtype)).to(points.device), points, **options)


def _pixels(dims: int, align: bool) -> Iterator[Case]:
    """Points that go along each axis in steps of half a pixel, from an image before to an image behind it.

    Their other coordinates are pixels of the image, and halves between these.
    """
    source, rng = EXACT[dims, align], np.random.default_rng(3)
    size = np.array(source[::-1])
    pixels = np.concatenate([np.where(np.arange(dims) == a, np.arange(-2 * n, 4 * n + 1)[:, None],
                                      rng.integers(0, 2 * size - 1, (6 * n + 1, dims)))
                             for a, n in enumerate(size)]) / 2
    grid = (pixels - (size - 1) / 2) / [half_extent(n, align) for n in size]
    grid = grid.reshape(1, dims, *[1] * (dims - 2), -1, dims)
    U = _signed(1, 2, *source)
    for mode, padding, flat in product(("bilinear", "tent"), PADDINGS, (False, True)[: dims - 1]):
        options = {"mode": mode, "padding_mode": padding, "align_corners": align, "flatten_depth": flat}
        yield _case(f"grid_sample at pixels and seams, {dims}D", partial(_beside, F.grid_sample, U), [grid], options,
                    kinks="right")


def _shifts(dims: int, align: bool) -> Iterator[Case]:
    """Every family, its points on pixels, moved along each axis as a whole; with widened kernels, on every other pixel.

    The points of a thin plate spline are pixels to rounding; they stand a thousandth of a step to the right of them.
    """
    source = EXACT[dims, align]
    U = _signed(1, 2, *source)
    for family in families(dims, source, align):
        if isinstance(family, tr.Translation):
            family = tr.Translation(1.0)
        pixel = 1 / np.array([half_extent(n, align) for n in source[::-1]])
        if isinstance(family, tr.Displacement) and family.unit == "pixels":
            pixel[:] = 1
        start = pixel + 1e-9 if isinstance(family, tr.ThinPlateSpline) else pixel
        for scale, padding, flat in product((1, 2), PADDINGS, (False, True)[: dims - 1]):
            if scale == 2 and not isinstance(family, tr.Attention | tr.Attention3d):
                continue
            options = {"mode": "bilinear", "padding_mode": padding, "align_corners": align, "antialias": scale == 2,
                       "flatten_depth": flat}
            yield _case(f"spatial_transform at pixels, {dims}D", partial(_moved, U, family, scale, source),
                        [start[None]], options, family, kinks="right")


def _moved(U: np.ndarray, family: Any, scale: int, size: tuple[int, ...], t: Tensor, **options: Any) -> Tensor:
    """U at the identity, enlarged, all points of which are moved by t (1, dims)."""
    dims, theta = len(size), np.ravel(family.identity())
    move = np.zeros((dims, len(theta)))
    if isinstance(family, tr.Similarity):
        move[:, 2:] = np.eye(2)
    else:
        every = isinstance(family, tr.Displacement | tr.ThinPlateSpline | tr.PiecewiseAffine)
        numbers = np.arange(len(theta)).reshape(dims, -1) if every else family.entries[:dims, dims:dims + 1]
        move[np.arange(dims)[:, None], numbers] = 1
    if isinstance(family, tr.LearnedBasis):
        family.to(t.device)
    step, start = (Tensor(a.astype(t.dtype)).to(t.device) for a in (move, scale * theta))
    moved = F.matmul(t, step) + start
    return _beside(F.spatial_transform, U, moved, transformation=family, size=size, **options)


def _widths_of_1(dims: int, align: bool) -> Iterator[Case]:
    """Points that are a pixel apart: the kernel widens for a larger scale, and is as it is for a smaller one."""
    source = EXACT[dims, align]
    for family in (tr.Affine(), tr.Attention()) if dims == 2 else (tr.Affine3d(), tr.Attention3d()):
        theta = family.identity()
        theta[family.entries[:, -1]] = 0.25 / np.array([half_extent(n, align) for n in source[::-1]])
        for mode, padding in product(("nearest", "bilinear", "bspline", "skew"), PADDINGS):
            options = {"mode": mode, "padding_mode": padding, "align_corners": align, "antialias": True}
            yield _case(f"antialias with widths of 1, {dims}D",
                        partial(_beside, F.spatial_transform, _signed(1, 2, *source), transformation=family,
                                size=source), [theta[None]], options, family, kinks="left")
