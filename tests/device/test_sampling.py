"""The sampler on the device against the sampler on the CPU: the same functions, the same arguments.

The CPU's is tested against the paper's sums in `tests/kernels`; what differs here is who does the work, and in what
order. In the simulator sizes are as small as they can be and still have several blocks.
"""

import sys

import numpy as np
import pytest

from nanostn.kernels.gpu import fixed_point
from nanostn.kernels.gpu.arrays.device_array import DeviceArray, to_device
from nanostn.kernels.sampling import forward_gpu, gradients_gpu, schedule
from nanostn.kernels.sampling.interpolation import BILINEAR, CUSTOM, NEAREST, ZEROS, Interpolation

from ..kernels.sampling.spec import (
    KERNELS,
    PADDINGS,
    drawn,
    drawn_widths,
    given_grid,
    given_M,
    target,
    transformations,
)

WIDE = Interpolation(CUSTOM, 3.5, lambda u: 0.25 - 0.125 * abs(u), lambda u: 0.125 if u < 0.0 else -0.125)
IMAGE, VOLUME = ((2, 3, 4, 5), (3, 7)), ((2, 2, 3, 2, 4), (2, 3, 4))
# Each kernel, padding, number of dimensions and source of points with each other kind, not all with all.
TABLE = [
    ("bilinear", "zeros", IMAGE, "plane"), ("bilinear", "zeros", VOLUME, "plane"),
    ("bilinear", "number", IMAGE, "grid"), ("bilinear", "border", IMAGE, "basis"),
    ("bilinear", "border", VOLUME, "grid"),
    ("bilinear", "centres", IMAGE, "plane"), ("bilinear", "centres", VOLUME, "basis"),
    ("bilinear", "edges", IMAGE, "grid"), ("bilinear", "edges", VOLUME, "plane"),
    ("bilinear", "wrap", IMAGE, "plane"), ("bilinear", "wrap", VOLUME, "grid"),
    ("bilinear", "zeros", IMAGE, "projective"), ("bilinear", "zeros", VOLUME, "projective"),
    ("bilinear", "edges", IMAGE, "projective basis"), ("bilinear", "centres", IMAGE, "widths"),
    ("bilinear", "number", VOLUME, "widths"),
    ("nearest", "zeros", IMAGE, "plane"), ("nearest", "number", VOLUME, "grid"), ("nearest", "border", IMAGE, "basis"),
    ("nearest", "wrap", IMAGE, "grid"), ("nearest", "centres", VOLUME, "plane"), ("nearest", "edges", IMAGE, "widths"),
    ("bicubic", "zeros", IMAGE, "plane"), ("bicubic", "wrap", VOLUME, "plane"), ("bicubic", "number", IMAGE, "widths"),
    ("bicubic", "edges", IMAGE, "projective"), ("catmull-rom", "border", IMAGE, "basis"),
    ("catmull-rom", "centres", VOLUME, "grid"), ("catmull-rom", "wrap", VOLUME, "widths"),
    ("bspline", "number", IMAGE, "grid"), ("bspline", "border", VOLUME, "basis"), ("bspline", "zeros", IMAGE, "widths"),
    ("lopsided", "number", IMAGE, "plane"), ("lopsided", "edges", VOLUME, "plane"),
    ("lopsided", "centres", IMAGE, "widths"), ("wide", "wrap", IMAGE, "plane"), ("wide", "number", IMAGE, "basis"),
    ("wide", "border", ((1, 1, 3, 2, 4), (2, 1, 3)), "grid"),
]


@pytest.fixture(autouse=True)
def few_blocks(monkeypatch, on_gpu):
    if not on_gpu:
        blocks_to_aim_at(2, monkeypatch)


def blocks_to_aim_at(count, monkeypatch):
    for module in (forward_gpu, gradients_gpu):
        monkeypatch.setattr(module, "BLOCKS", count)


def options(kernel, padding):
    return WIDE if kernel == "wide" else KERNELS[kernel][0], *PADDINGS[padding][:2]


def source(rng, kind, N, shape, size, T):
    rows = len(size) + ("projective" in kind)
    if "basis" in kind:
        M, basis = transformations(rng, N, shape, size, rows), target(size)
        more = rng.normal(size=(2, basis.shape[1]))  # a longer one than the plane
        M = np.concatenate([M, 0.3 * rng.normal(size=(N, rows, 2)) * (np.arange(rows) < len(size))[:, None]], axis=2)
        return (M.astype(T), np.concatenate([basis, more]).astype(T), np.empty((0, 0, len(size)), T),
                np.ones(len(size), T))
    if kind in ("plane", "projective"):
        return given_M(transformations(rng, N, shape, size, rows).astype(T))
    x = drawn(rng, N, int(np.prod(size)), shape)
    return given_grid(x, shape, T, drawn_widths(rng, x) if kind == "widths" else None)


def there(arrays):
    """Arrays with entries are copied to the device; scales, the last, are numbers."""
    M, basis, grid, scale = arrays
    return *(to_device(a) if a.size else a for a in (M, basis, grid)), scale


def results(U, points, size, dV, options, flatten=False):
    """V, dU and dpoints, of either device, as NumPy arrays."""
    V = schedule.sample(U, *points, size, *options, flatten)
    found = V, *schedule.sample_gradients(U, *points, size, dV, *options, flatten, (True, True))
    return [a.numpy() if isinstance(a, DeviceArray) else a for a in found]


def both(U, points, size, dV, options, flatten=False):
    return (results(to_device(U), there(points), size, to_device(dV), options, flatten),
            results(U, points, size, dV, options, flatten))


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        tolerance = 2e-5 if b.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max(initial=0, where=b == b)))


@pytest.mark.parametrize("row", range(len(TABLE)), ids=lambda row: " ".join(map(str, TABLE[row])))
def test_the_same_as_on_the_cpu(rng, row):
    kernel, padding, (shape, size), kind = TABLE[row]
    T = (np.float32, np.float64)[row % 2]
    points = source(rng, kind, shape[0], shape, size, T)
    U, dV = rng.normal(size=shape).astype(T), rng.normal(size=(*shape[:2], *size)).astype(T)
    close(*both(U, points, size, dV, options(kernel, padding)))


@pytest.mark.parametrize("shape, size", [((1, 1, 1, 6), (4, 1)), ((3, 9, 2, 1), (1, 5)), ((1, 2, 1, 1), (1, 1)),
                                         ((1, 40, 3, 2), (2, 2)), ((2, 1, 1, 3, 1), (1, 1, 4)),
                                         ((1, 2, 9, 8), (12, 13))])
def test_odd_shapes(rng, monkeypatch, on_gpu, shape, size):
    """Axes of one pixel, many channels, more points than a block has threads; and work in several shares."""
    if not on_gpu:
        blocks_to_aim_at(6, monkeypatch)
        monkeypatch.setattr(fixed_point, "parts_of", lambda rows, count, *_: 3 if count > 3 else 1)
    U, dV = rng.normal(size=shape), rng.normal(size=(*shape[:2], *size))
    for kind, padding in (("plane", "zeros"), ("basis", "centres"), ("grid", "zeros")):
        points = source(rng, kind, shape[0], shape, size, np.float64)
        close(*both(U, points, size, dV, options("bilinear", padding)))


@pytest.mark.parametrize("kind", ["plane", "basis", "grid", "widths"])
@pytest.mark.parametrize("kernel, padding", [("bilinear", "number"), ("nearest", "zeros"), ("bicubic", "border")])
def test_flattening(rng, kernel, padding, kind):
    shape, size, T = (1, 2, 3, 2, 4), (3, 2, 3), np.float64
    U = rng.normal(size=shape)
    points = source(rng, kind, shape[0], shape, size, T)
    dV = rng.normal(size=(*shape[:2], *size[1:])).astype(T)
    close(*both(U, points, size, dV, options(kernel, padding), True))


@pytest.mark.parametrize("images, count", [(1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("kind", ["plane", "projective basis", "grid", "widths"])
def test_one_image_or_one_set_of_points_for_many(rng, kind, images, count):
    shape, size = (images, 3, 4, 5), (3, 7)
    points = source(rng, kind, count, shape, size, np.float64)
    U, dV = rng.normal(size=shape), rng.normal(size=(max(images, count), 3, *size))
    for kernel in ("bilinear", "lopsided"):
        close(*both(U, points, size, dV, options(kernel, "number")))


@pytest.mark.parametrize("kernel, padding, kind", [("bilinear", "zeros", "plane"), ("bspline", "border", "grid"),
                                                   ("nearest", "wrap", "basis")])
def test_a_gradient_alone_is_the_same(rng, kernel, padding, kind):
    shape, size = IMAGE
    points = there(source(rng, kind, 2, shape, size, np.float64))
    U, dV = to_device(rng.normal(size=shape)), to_device(rng.normal(size=(*shape[:2], *size)))

    def gradients(*wanted):
        found = schedule.sample_gradients(U, *points, size, dV, *options(kernel, padding), False, wanted)
        return [None if a is None else a.numpy().tobytes() for a in found]

    dU, dpoints = gradients(True, True)
    assert gradients(True, False) == [dU, None] and gradients(False, True) == [None, dpoints]
    assert gradients(False, False) == [None, None]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic"])
def test_coordinates_at_kinks(rng, kernel, padding):
    """Halves of a pixel, in and around the image: where neighbours change, and where padding turns back."""
    points = np.stack([np.arange(-12, 24) / 2, np.arange(-18, 18)[::-1] / 2], axis=1)[None]
    U, dV = rng.normal(size=(1, 1, 4, 5)), rng.normal(size=(1, 1, 1, 36))
    grid = np.empty((0, 2, 0)), np.empty((0, 0)), points - [2.0, 1.5], np.ones(2)
    close(*both(U, grid, (1, 36), dV, options(kernel, padding)))


HOSTILE = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, -1e10, 2.0 ** 31, -2.0 ** 31, 2.0 ** 63, 1e-45, -0.0]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("kernel, T", [("nearest", np.float32), ("bilinear", np.float32), ("bilinear", np.float64),
                                       ("bicubic", np.float64), ("lopsided", np.float32)])
def test_hostile_coordinates(rng, kernel, padding, T):
    """In the simulator an access outside an array raises."""
    with np.errstate(all="ignore"):
        points = np.array([[a, 0.3] for a in HOSTILE] + [[0.3, a] for a in HOSTILE]
                          + [[a, HOSTILE[-1 - i]] for i, a in enumerate(HOSTILE)], T)[None]
    U = rng.uniform(1, 2, (1, 2, 4, 5)).astype(T)
    dV = np.ones((1, 2, 1, points.shape[1]), T)
    empty = np.empty((0, 2, 0), T), np.empty((0, 0), T)
    scale = np.array([2.0, 1.5], T)
    found, expected = both(U, (*empty, points, scale), dV.shape[2:], dV, options(kernel, padding))
    close(found, expected)
    bad = np.isnan(points).any(axis=2)[0]
    assert np.isnan(found[0][..., bad]).all() and np.isfinite(found[0][..., ~bad]).all()
    assert np.isfinite(found[1]).all() and (found[2][0, bad] == 0).all() and np.isfinite(found[2]).all()
    if padding not in ("number", "edges"):
        return
    wide = np.concatenate([points, points[..., ::-1]], axis=2)
    close(*both(U, (*empty, wide, scale), dV.shape[2:], dV, options(kernel, padding)))


@pytest.mark.parametrize("kernel, padding, kind", [("bilinear", "centres", "plane"), ("bicubic", "wrap", "projective"),
                                                   ("bilinear", "zeros", "basis")])
def test_hostile_M(rng, kernel, padding, kind):
    """The other image is left alone."""
    (shape, size), T = IMAGE, np.float32
    M, *rest = source(rng, kind, 2, shape, size, T)
    U, dV = rng.normal(size=shape).astype(T), rng.normal(size=(*shape[:2], *size)).astype(T)
    tame = results(to_device(U), there((M, *rest)), size, to_device(dV), options(kernel, padding))
    for value in (np.nan, -np.inf, 3e38):
        given = M.copy()
        given[0, 0, 1] = value
        found = results(to_device(U), there((given, *rest)), size, to_device(dV), options(kernel, padding))
        for a, b in zip(found, tame, strict=True):
            assert a[1].tobytes() == b[1].tobytes()
        assert np.isfinite(found[1]).all()


def test_nan_pixels_do_not_spread_beyond_their_neighbours():
    U = np.ones((1, 1, 4, 5), np.float32)
    U[0, 0, 0, 0] = U[0, 0, 3, 4] = np.nan
    points = np.array([[[0.5, 0.5], [2.5, 1.5], [9.0, 0.0], [-9.0, 0.0], [1.0, 9.0], [2.0, -9.0]]], np.float32)
    scale, shift = np.ones(2, np.float32), np.array([2.0, 1.5], np.float32)
    for kernel in ("bilinear", "bicubic"):
        grid = np.empty((0, 2, 0), np.float32), np.empty((0, 0), np.float32), to_device(points - shift), scale
        V = schedule.sample(to_device(U), *grid, (1, 6), *options(kernel, "zeros")).numpy().ravel()
        assert np.isnan(V[0]) and V[2:].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kernel", ["bilinear", "nearest", "bicubic"])
def test_all_points_to_one_pixel(rng, T, kernel, on_gpu):
    """A zoom: every thread adds to the same few sums."""
    size = (300, 500) if on_gpu else (9, 11)
    shape, P = (1, 2, 3, 4), size[0] * size[1]
    x = np.full((1, P, 2), 1.25) + rng.uniform(-0.05, 0.05, (1, P, 2))
    U, dV = rng.normal(size=shape).astype(T), rng.normal(size=(1, 2, *size)).astype(T)
    (_, dU, _), expected = both(U, given_grid(x, shape, T), size, dV, options(kernel, "zeros"))
    tolerance = P * np.finfo(T).eps  # the CPU rounds each sum, the device none
    np.testing.assert_allclose(dU, expected[1], rtol=0, atol=tolerance)


@pytest.mark.parametrize("scale", [1e-38, 1e-44, 3e37, 0.0])
def test_gradients_of_any_size(rng, scale):
    """The quantum of the sums follows the largest |dV| of an image, from denormal numbers to the largest ones."""
    shape, size = IMAGE
    points = source(rng, "plane", 2, shape, size, np.float32)
    U, dV = rng.normal(size=shape).astype(np.float32), rng.uniform(-1, 1, (*shape[:2], *size))
    dV[1] *= 1e-30
    small = (dV * scale).astype(np.float32)
    dU = results(to_device(U), there(points), size, to_device(small), options("bilinear", "border"))[1]
    points = tuple(a.astype(float) for a in points)
    exact = results(U.astype(float), points, size, small.astype(float), options("bilinear", "border"))[1]
    for n in range(2):
        rounding = 2e-5 * np.abs(small[n]).max() + np.finfo(np.float32).smallest_subnormal
        np.testing.assert_allclose(dU[n], exact[n], rtol=0, atol=rounding)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_nan_in_all_of_its_image(rng, value):
    shape, size = IMAGE
    points = there(source(rng, "plane", 2, shape, size, np.float32))
    U, dV = (rng.normal(size=s).astype(np.float32) for s in (shape, (*shape[:2], *size)))
    U = to_device(U)
    expected = results(U, points, size, to_device(dV), options("bilinear", "border"))[1]
    dV[0, 1, 2, 3] = value
    dU = results(U, points, size, to_device(dV), options("bilinear", "border"))[1]
    assert np.isnan(dU[0]).all() and dU[1].tobytes() == expected[1].tobytes()


@pytest.mark.parametrize("kernel, padding, kind", [("bilinear", "border", "plane"), ("wide", "number", "basis"),
                                                   ("lopsided", "wrap", "widths"), ("bilinear", "zeros", "grid")])
def test_the_same_bits_in_any_order(rng, kernel, padding, kind):
    """The simulator's threads take turns at random here; a sum that depends on their order would show."""
    shape, size = (1, 2, 3, 4), (5, 7)
    points = there(source(rng, kind, 1, shape, size, np.float32))
    U, dV = (to_device(rng.normal(size=s).astype(np.float32)) for s in (shape, (1, 2, *size)))
    expected, before = None, sys.getswitchinterval()
    try:
        for interval in (before, 1e-6, 1e-5):
            sys.setswitchinterval(interval)
            found = [a.tobytes() for a in results(U, points, size, dV, options(kernel, padding))]
            assert expected is None or found == expected
            expected = found
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("shape, size, count", [((0, 3, 4, 5), (3, 7), 0), ((2, 0, 4, 5), (3, 7), 2),
                                                ((0, 3, 4, 5), (3, 7), 1), ((1, 2, 4, 5), (3, 7), 0)])
def test_nothing_to_sample(rng, shape, size, count):
    T, N = np.float32, 0 if 0 in (shape[0], count) else max(shape[0], count)
    for kind in ("plane", "grid"):
        M, basis, grid, scale = source(rng, kind, count, shape, size, T)
        U, points = to_device(np.zeros(shape, T)), (to_device(M), basis, to_device(grid), scale)
        V, dU, dpoints = results(U, points, size, to_device(np.zeros((N, shape[1], *size), T)),
                                 options("bilinear", "zeros"))
        assert V.shape == (N, shape[1], *size) and dU.shape == shape
        assert dpoints.shape == (M if kind == "plane" else grid).shape and not dU.any() and not dpoints.any()


def test_too_many_points_for_a_thread_to_count():
    U, M = np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 2, 3), np.float32)
    with pytest.raises(ValueError, match="sampler: size should be of less than 2\\^31 points on a GPU, received"):
        schedule.sample(to_device(U), *there(given_M(M)), (2 ** 16, 2 ** 15), Interpolation(BILINEAR), ZEROS)


def exact(points):
    """Rounded, so that each coordinate is an odd multiple of 1/64 in single precision too, and never at a kink.

    A grid is so already. Of M the last column of (x_t, y_t, 1) is one, the others are multiples of 1/16, and x_t and
    y_t of 1/2; what a basis has beyond them is a multiple of 1/8, its columns of M are of 1/4.
    """
    M, basis, grid, scale = points
    dims, M = len(scale), M.copy()
    if M.size:
        M[:, :, :dims] = np.round(M[:, :, :dims] * 16) / 16
        M[:, :, dims] = np.round(M[:, :, dims] * 32) / 32 + 1 / 64
        M[:, :, dims + 1:] = np.round(M[:, :, dims + 1:] * 4) / 4
        basis = np.concatenate([basis[:dims + 1], np.round(basis[dims + 1:] * 8) / 8])
    return M, basis.astype(M.dtype), grid, scale


@pytest.mark.parametrize("shape, size", [
    IMAGE, *(pytest.param(*sizes, marks=pytest.mark.gpu) for sizes in (
        ((1, 3, 517, 333), (401, 523)), ((4096, 1, 28, 28), (28, 28)), ((32, 64, 31, 33), (33, 31)),
        ((2, 2, 40, 50, 60), (30, 45, 64)), ((70000, 1, 4, 5), (3, 2)), ((1, 1, 1, 70000), (1, 90000))))])
def test_real_sizes(rng, T, shape, size):
    """Against the CPU in double precision."""
    for kernel, padding in (("bilinear", "border"), ("bicubic", "zeros"), ("nearest", "centres"), ("lopsided", "wrap")):
        for kind in ("plane", "basis", "grid"):
            points = exact(source(rng, kind, shape[0], shape, size, T))
            U, dV = rng.normal(size=shape).astype(T), rng.normal(size=(*shape[:2], *size)).astype(T)
            found = results(to_device(U), there(points), size, to_device(dV), options(kernel, padding))
            points = tuple(a.astype(float) for a in points)
            expected = results(U.astype(float), points, size, dV.astype(float), options(kernel, padding))
            close(found, [a.astype(T) for a in expected])


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("shape, size", [((1, 3, 300, 200), (256, 320)), ((4096, 1, 28, 28), (28, 28)),
                                         ((8, 32, 64, 64), (64, 64))])
def test_fifty_times_the_same_bits(rng, shape, size, kernel):
    U, dV = (to_device(rng.normal(size=s).astype(np.float32)) for s in (shape, (*shape[:2], *size)))
    for kind in ("plane", "basis", "grid"):
        points = there(source(rng, kind, shape[0], shape, size, np.float32))
        found = [[a.tobytes() for a in results(U, points, size, dV, options(kernel, "border"))] for _ in range(50)]
        assert all(each == found[0] for each in found)


def test_nearest_has_no_gradient_to_points(rng):
    shape, size = IMAGE
    points = there(source(rng, "plane", 2, shape, size, np.float32))
    U, dV = (to_device(rng.normal(size=s).astype(np.float32)) for s in (shape, (*shape[:2], *size)))
    dM = schedule.sample_gradients(U, *points, size, dV, Interpolation(NEAREST), ZEROS, 0.0, False, (False, True))[1]
    assert dM.shape == (2, 2, 3) and not dM.numpy().any()
