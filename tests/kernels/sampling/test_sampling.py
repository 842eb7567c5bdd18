"""The sampler's kernels against the paper's full sums: values and gradients, every kernel, padding, source and layout.

Here dU follows from linearity (eq. 6), dM, dgrid and dwidths from central differences of the sums (eq. 7).
"""

import functools

import numpy as np
import pytest

from nanostn.kernels.sampling import schedule
from nanostn.kernels.sampling.interpolation import CUSTOM, Interpolation

from .spec import (
    IMAGES,
    KERNELS,
    PADDINGS,
    VOLUMES,
    centre,
    coordinates,
    drawn,
    drawn_widths,
    given_grid,
    given_M,
    spec,
    target,
    transformations,
)


def every(test):
    return pytest.mark.parametrize("padding", PADDINGS)(pytest.mark.parametrize("kernel", KERNELS)(test))


def options(kernel, padding):
    return KERNELS[kernel][0], *PADDINGS[padding][:2]


def close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max(initial=0)))


@every
def test_values_from_M(rng, kernel, padding):
    for shape, size in IMAGES + VOLUMES:
        U, M, points = rng.normal(size=shape), transformations(rng, shape[0], shape, size), target(size)
        expected = spec(U, coordinates(M, points, shape), kernel, padding).reshape(*shape[:2], *size)
        for source in (given_M(M), given_M(M, points)):
            close(schedule.sample(U, *source, size, *options(kernel, padding)), expected, 1e-12)


@every
def test_values_from_a_projective_M(rng, kernel, padding):
    for shape, size in IMAGES:
        U, M, points = rng.normal(size=shape), transformations(rng, shape[0], shape, size, 3), target(size)
        expected = spec(U, coordinates(M, points, shape), kernel, padding).reshape(*shape[:2], *size)
        for source in (given_M(M), given_M(M, points)):
            close(schedule.sample(U, *source, size, *options(kernel, padding)), expected, 1e-12)


@every
def test_dU_where_padding_turns_back(rng, kernel, padding):
    """The pixels that are read take the gradient, at halves and wholes too: dV V = dU U."""
    x = np.arange(-10, 20) / 2
    points = np.stack(np.broadcast_arrays(x, x[:, None]), axis=-1).reshape(1, -1, 2) - [2.0, 1.5]
    U, dV = rng.normal(size=(1, 1, 4, 5)), rng.normal(size=(1, 1, 30, 30))
    given = np.empty((0, 2, 0)), np.empty((0, 0)), points, np.ones(2), (30, 30)
    V, shift = (schedule.sample(u, *given, *options(kernel, padding)) for u in (U, np.zeros_like(U)))
    dU, _ = schedule.sample_gradients(U, *given, dV, *options(kernel, padding), False, (True, False))
    close(np.vdot(dU, U), np.vdot(dV, V - shift), 1e-12)


@pytest.mark.parametrize("widened", [False, True], ids=["", "widened"])
@every
def test_values_from_a_grid(rng, kernel, padding, widened):
    for shape, size in IMAGES + VOLUMES:
        U, x = rng.normal(size=shape), drawn(rng, shape[0], int(np.prod(size)), shape)
        widths = drawn_widths(rng, x) if widened else None
        expected = spec(U, x, kernel, padding, widths).reshape(*shape[:2], *size)
        V = schedule.sample(U, *given_grid(x, shape, np.float64, widths), size, *options(kernel, padding))
        close(V, expected, 1e-12)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_values_from_a_grid_of_points_wide_along_one_axis(rng, dims, kernel):
    shape, size = (1, 2, 9, 7, 8)[:dims + 2], (2, 3, 2)[:dims]
    U, x = rng.normal(size=shape), rng.integers(64, 6 * 64, (1, int(np.prod(size)), dims)) / 64 + 1 / 128
    for axis in range(dims):
        widths = np.ones_like(x)
        widths[..., axis] = 3.5
        expected = spec(U, x, kernel, "zeros", widths).reshape(*shape[:2], *size)
        V = schedule.sample(U, *given_grid(x, shape, np.float64, widths), size, *options(kernel, "zeros"))
        close(V, expected, 1e-12)


@every
def test_single_precision(rng, kernel, padding):
    for shape, size in IMAGES[:5] + VOLUMES[:2]:
        U, x = rng.normal(size=shape).astype(np.float32), drawn(rng, shape[0], int(np.prod(size)), shape)
        dV = rng.normal(size=(*shape[:2], *size)).astype(np.float32)
        for widths in (None, drawn_widths(rng, x)):
            expected = spec(U.astype(float), x, kernel, padding, widths).reshape(*shape[:2], *size)
            V = schedule.sample(U, *given_grid(x, shape, np.float32, widths), size, *options(kernel, padding))
            assert V.dtype == np.float32
            close(V, expected, 1e-5)
            found, exact = (schedule.sample_gradients(U.astype(T), *given_grid(x, shape, T, widths), size, dV.astype(T),
                                                      *options(kernel, padding), False, (True, True))
                            for T in (np.float32, np.float64))
            for a, b in zip(found, exact, strict=True):
                assert a.dtype == np.float32
                close(a, b, 1e-5)


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_kernel_need_not_sum_to_1(rng, monkeypatch, padding):
    """Then V far outside depends on where between the pixels a point lies."""
    box = Interpolation(CUSTOM, 0.75, lambda u: 1.0, lambda u: 0.0)  # reads one pixel or two, and adds them up
    monkeypatch.setitem(KERNELS, "box", (box, lambda u: ((u >= -0.75) & (u < 0.75)).astype(float)))
    shape, size = (2, 3, 4, 5), (3, 7)
    U, x = rng.normal(size=shape), drawn(rng, 2, 21, shape)
    expected = spec(U, x, "box", padding).reshape(2, 3, *size)
    close(schedule.sample(U, *given_grid(x, shape, np.float64), size, *options("box", padding)), expected, 1e-12)


def directional(loss, at, along):
    return (loss(at + 1e-6 * along) - loss(at - 1e-6 * along)) / 2e-6


def agree(directional_derivative, gradient, along, terms):
    """Of a sum of `terms` about as large as 1."""
    assert gradient.shape == along.shape
    assert (gradient * along).sum() == pytest.approx(directional_derivative, rel=1e-5, abs=1e-7 * terms)


def at_a_kink(x):
    """Whether a finite difference steps over a pixel."""
    return np.abs(x - np.round(x)).min() < 1e-5


@every
def test_dU_and_dM(rng, kernel, padding):
    for shape, size in IMAGES + VOLUMES:
        for rows in (2, 3) if len(size) == 2 else (3,):
            U, M, points = rng.normal(size=shape), transformations(rng, shape[0], shape, size, rows), target(size)
            while at_a_kink(coordinates(M, points, shape)):
                M = transformations(rng, shape[0], shape, size, rows)
            dV = rng.uniform(0.5, 1.5, (*shape[:2], points.shape[1]))

            def loss(U, M, points=points, shape=shape, dV=dV):
                return (spec(U, coordinates(M, points, shape), kernel, padding) * dV).sum()

            for source in (given_M(M), given_M(M, points)):
                dU, dM = schedule.sample_gradients(U, *source, size, dV.reshape(*shape[:2], *size),
                                                   *options(kernel, padding), False, (True, True))
                along = rng.normal(size=shape)
                assert (dU * along).sum() == pytest.approx(loss(along, M) - loss(0 * along, M), rel=1e-10, abs=1e-10)
                along = rng.normal(size=M.shape) * 0.1
                numeric = 0 if kernel == "nearest" else directional(lambda M, U=U: loss(U, M), M, along)
                agree(numeric, dM, along, dV.size)


@pytest.mark.parametrize("shape, size", [((2, 3, 4, 5), (3, 7)), ((1, 2, 4, 3, 5), (2, 4, 3))])
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_a_denominator_of_1_changes_nothing(rng, shape, size, kernel):
    """And its own gradient is - x dx, summed with the target points."""
    U, M, points = rng.normal(size=shape), transformations(rng, shape[0], shape, size), target(size)
    last = np.tile([0.0] * len(size) + [1.0], (shape[0], 1, 1))
    dV = rng.normal(size=(*shape[:2], *size))
    way = options(kernel, "zeros")
    for basis in (None, points):
        affine, projective = given_M(M, basis), given_M(np.concatenate([M, last], axis=1), basis)
        close(schedule.sample(U, *projective, size, *way), schedule.sample(U, *affine, size, *way), 1e-13)
        found, expected = (schedule.sample_gradients(U, *source, size, dV, *way, False, (True, True))
                           for source in (projective, affine))
        close(found[0], expected[0], 1e-13)
        close(found[1][:, :-1], expected[1], 1e-12)
        x = coordinates(M, points, shape)
        _, dx = schedule.sample_gradients(U, *given_grid(x, shape, np.float64), size, dV, *way, False, (True, True))
        flow = dx / given_grid(x, shape, np.float64)[3] * (x - centre(shape))
        close(found[1][:, -1], -flow.sum(axis=2) @ points.T, 1e-12)


@pytest.mark.parametrize("shape, size", [((2, 3, 4, 5), (3, 7)), ((1, 2, 4, 3, 5), (2, 4, 3))])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_nothing_flows_from_a_horizon(rng, shape, size, padding):
    """Where the denominator is 0: all is as if dV were 0 there, whose column is the one of x_t = -1."""
    U, M, points = rng.normal(size=shape), transformations(rng, shape[0], shape, size), target(size)
    last = np.tile([1.0] + [0.0] * (len(size) - 1) + [1.0], (shape[0], 1, 1))
    dV, way = rng.normal(size=(*shape[:2], *size)), options("bilinear", padding)
    left = np.where((points[0] == -1).reshape(size), 0, dV)
    assert (left != dV).any()
    for basis in (None, points):
        source = given_M(np.concatenate([M, last], axis=1), basis)
        (_, found), (_, expected), (_, nothing) = (
            schedule.sample_gradients(U, *source, size, d, *way, False, (True, True)) for d in (dV, left, 0 * dV))
        close(found, expected, 1e-13)
        assert not nothing.any()


@every
def test_dU_and_dgrid(rng, kernel, padding):
    for shape, size in IMAGES + VOLUMES:
        U, x = rng.normal(size=shape), drawn(rng, shape[0], int(np.prod(size)), shape)
        dV = rng.uniform(0.5, 1.5, (*shape[:2], x.shape[1]))
        for widths in (None, drawn_widths(rng, x)):
            source = given_grid(x, shape, np.float64, widths)
            dU, dgrid = schedule.sample_gradients(U, *source, size, dV.reshape(*shape[:2], *size),
                                                  *options(kernel, padding), False, (True, True))

            def loss(U, x, widths, dV=dV):
                return (spec(U, x, kernel, padding, widths) * dV).sum()

            along = rng.normal(size=shape)
            difference = loss(along, x, widths) - loss(0 * along, x, widths)
            assert (dU * along).sum() == pytest.approx(difference, rel=1e-10, abs=1e-10)
            assert dgrid.shape == source[2].shape
            dims, along = x.shape[2], rng.normal(size=x.shape)
            numeric = directional(functools.partial(loss, U, widths=widths), x, along)
            agree(numeric, dgrid[..., :dims] / source[3], along, dV.size)
            if widths is not None and kernel != "nearest":
                inside = np.where((widths > 1) & (widths < np.array(shape[:1:-1])), along, 0)
                numeric = directional(functools.partial(loss, U, x), widths, inside)
                agree(numeric, dgrid[..., dims:], inside, dV.size)


@pytest.mark.parametrize("padding", ["zeros", "number", "wrap"])
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("shape, size", VOLUMES)
def test_flattening_is_the_sum_over_the_depth(rng, shape, size, kernel, padding):
    U, M, x = rng.normal(size=shape), transformations(rng, shape[0], shape, size), drawn(
        rng, shape[0], int(np.prod(size)), shape)
    dV = rng.normal(size=(*shape[:2], *size[1:]))
    copies = np.ascontiguousarray(np.broadcast_to(dV[:, :, None], (*shape[:2], *size)))
    for source in (given_M(M), given_M(M, target(size)), given_grid(x, shape, np.float64)):
        V = schedule.sample(U, *source, size, *options(kernel, padding))
        flat = schedule.sample(U, *source, size, *options(kernel, padding), flatten=True)
        assert flat.shape == dV.shape
        close(flat, V.sum(axis=2), 1e-13)
        found = schedule.sample_gradients(U, *source, size, dV, *options(kernel, padding), True, (True, True))
        expected = schedule.sample_gradients(U, *source, size, copies, *options(kernel, padding), False, (True, True))
        for a, b in zip(found, expected, strict=True):
            close(a, b, 1e-12)


@pytest.mark.parametrize("padding", ["zeros", "number", "edges"])
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bspline"])
@pytest.mark.parametrize("shape, size", IMAGES[:5] + IMAGES[-1:] + VOLUMES)
def test_a_gradient_alone_is_the_same(rng, shape, size, kernel, padding):
    U, M, x = rng.normal(size=shape), transformations(rng, shape[0], shape, size), drawn(
        rng, shape[0], int(np.prod(size)), shape)
    dV = rng.normal(size=(*shape[:2], *size))
    for source in (given_M(M), given_grid(x, shape, np.float64)):
        def gradients(*wanted, source=source):
            return schedule.sample_gradients(U, *source, size, dV, *options(kernel, padding), False, wanted)

        both, (dU, no_points), (no_U, dpoints) = gradients(True, True), gradients(True, False), gradients(False, True)
        assert no_points is None and no_U is None and gradients(False, False) == (None, None)
        assert dU.tobytes() == both[0].tobytes()
        close(dpoints, both[1], 1e-12)


@pytest.mark.parametrize("kernel, padding", [("bilinear", "zeros"), ("nearest", "border"), ("bicubic", "number")])
@pytest.mark.parametrize("shape, size", IMAGES + VOLUMES)
def test_one_image_or_one_transformation_for_all(rng, shape, size, kernel, padding):
    """The same bits as N copies of it; its gradient is the sum of theirs. 19 are more than there are groups."""
    N, P = 19 if np.prod(size) < 100 else 3, int(np.prod(size))
    U, M = rng.normal(size=(N, *shape[1:])), transformations(rng, N, shape, size)
    x, dV = drawn(rng, N, P, shape), rng.normal(size=(N, shape[1], *size))
    given = {"M": lambda n: given_M(M[:n]), "grid": lambda n: given_grid(x[:n], shape, np.float64),
             "widths": lambda n: given_grid(x[:n], shape, np.float64, abs(x[:n]) % 3)}
    for images, points in ((1, N), (N, 1)):
        for source in given.values():
            few, many = source(points), source(1 if points == 1 else N)
            many = tuple(np.repeat(a, N, axis=0) if len(a) == 1 and a.ndim == 3 else a for a in many)
            copies = np.repeat(U[:1], N, axis=0) if images == 1 else U
            V = schedule.sample(U[:images], *few, size, *options(kernel, padding))
            assert V.tobytes() == schedule.sample(copies, *many, size, *options(kernel, padding)).tobytes()
            same = size, dV, *options(kernel, padding), False, (True, True)
            found = schedule.sample_gradients(U[:images], *few, *same)
            expected = schedule.sample_gradients(copies, *many, *same)
            close(found[0], expected[0].sum(axis=0, keepdims=True) if images == 1 else expected[0], 1e-12)
            close(found[1], expected[1].sum(axis=0, keepdims=True) if points == 1 else expected[1], 1e-12)
