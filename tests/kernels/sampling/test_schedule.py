"""How the sampler's work is divided: the same bits whoever does it, in whatever order; bands; work for both cores."""

import numba
import numpy as np
import pytest
from numba import njit

from nanostn.kernels.compiling import parallel
from nanostn.kernels.compiling.blas import call_address
from nanostn.kernels.sampling import schedule

from .spec import (
    IMAGES,
    KERNELS,
    PADDINGS,
    VOLUMES,
    coordinates,
    drawn,
    drawn_widths,
    given_grid,
    given_M,
    spec,
    target,
    transformations,
)

# In place or in tiles, as the channels are few or many; and two through tables.
WAYS = [("bilinear", "zeros"), ("nearest", "border"), ("bilinear", "wrap"), ("bicubic", "number")]
EVERY = IMAGES[:1] + IMAGES[3:5] + IMAGES[-1:] + VOLUMES[:2] + VOLUMES[-1:]


def options(kernel, padding):
    return KERNELS[kernel][0], *PADDINGS[padding][:2]


def everything(U, source, size, dV, kernel, padding):
    """All results of the kernels: V, and the gradients together and each alone."""
    found = [schedule.sample(U, *source, size, *options(kernel, padding))]
    for wanted in ((True, True), (True, False), (False, True)):
        found += schedule.sample_gradients(U, *source, size, dV, *options(kernel, padding), False, wanted)
    return [a.tobytes() for a in found if a is not None]


def problems(rng, shape, size):
    """M, a grid, widths, all points at one place, and one image, theta or grid for several."""
    P, T = int(np.prod(size)), np.float32
    N = 19 if P < 100 else 3
    U, many = rng.normal(size=shape).astype(T), rng.normal(size=(N, *shape[1:])).astype(T)
    M = transformations(rng, N, shape, size).astype(T)
    x = drawn(rng, N, P, shape)
    same = np.broadcast_to(np.float64(0.515625), x.shape)
    for images, count in ((U, len(U)), (U[:1], N), (many, 1)):
        dV = rng.normal(size=(max(len(images), count), shape[1], *size)).astype(T)
        yield images, given_M(M[:count]), dV
        yield images, given_M(0 * M[:count]), dV
        for points, widths in ((x, None), (same, None), (x, drawn_widths(rng, x))):
            widths = None if widths is None else widths[:count]
            yield images, given_grid(points[:count], shape, T, widths), dV


@njit
def _one_by_one_from_the_last(loop, address, workers, items, arguments):
    for item in range(items - 1, -1, -1):
        call_address(address, item, item + 1, arguments)


@pytest.mark.parametrize("kernel, padding", WAYS)
@pytest.mark.parametrize("shape, size", EVERY)
def test_same_bits_for_any_number_of_threads(rng, monkeypatch, shape, size, kernel, padding):
    monkeypatch.setattr(parallel, "WORTH_A_THREAD", 1)
    before, most = numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS
    for U, source, dV in problems(rng, shape, size):
        found = []
        try:
            for threads in (1, min(2, most), most, most):
                numba.set_num_threads(threads)
                found.append(everything(U, source, size, dV, kernel, padding))
        finally:
            numba.set_num_threads(before)
        assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize("kernel, padding", WAYS)
def test_same_bits_whoever_takes_an_item_and_when(rng, monkeypatch, kernel, padding):
    """Each item by itself, the last first: no item needs what another leaves behind, on machines of any size."""
    for shape, size in EVERY:
        for U, source, dV in problems(rng, shape, size):
            with monkeypatch.context() as patch:
                expected = everything(U, source, size, dV, kernel, padding)
                patch.setattr(parallel, "_spread", _one_by_one_from_the_last)
                assert everything(U, source, size, dV, kernel, padding) == expected


@pytest.mark.parametrize("kernel, padding", WAYS)
@pytest.mark.parametrize("shape, size", [((2, 3, 67, 9), (33, 31)), ((1, 9, 64, 5), (9, 70)),
                                         ((1, 1, 300, 7), (20, 31)), ((1, 2, 65, 3, 4), (12, 11, 7))])
def test_bands_own_their_slices(rng, monkeypatch, shape, size, kernel, padding):
    """dU is the same to the bit in any number of bands: each cell meets its points in the same order.

    (Bands have shorter runs of points than whole images, and the two sides of a volume's points come one after the
    other in a run: there a single band is another order.)
    """
    U, x = rng.normal(size=shape), drawn(rng, shape[0], int(np.prod(size)), shape)
    dV, M = rng.normal(size=(*shape[:2], *size)), transformations(rng, shape[0], shape, size)
    for source in (given_M(M), given_grid(x, shape, np.float64), given_grid(x, shape, np.float64, abs(x) / 8)):
        found = []
        for items in (1, 6, 100):
            monkeypatch.setattr(schedule, "ITEMS", items)
            found.append(schedule.sample_gradients(U, *source, size, dV, *options(kernel, padding), False,
                                                   (True, True)))
        for dU, dpoints in found:
            assert dU.tobytes() == found[-1][0].tobytes() or (len(size) == 3 and dU is found[0][0])
            np.testing.assert_allclose(dU, found[0][0], rtol=0, atol=1e-11)
            np.testing.assert_allclose(dpoints, found[0][1], rtol=1e-9, atol=1e-9)


def test_a_tile_larger_than_a_cache_is_read_in_bands(rng, monkeypatch):
    monkeypatch.setattr(schedule, "TILE", 64)
    monkeypatch.setattr(schedule, "ITEMS", 1)
    shape, size = (2, 3, 50, 5), (7, 6)
    U, M, dV = rng.normal(size=shape), transformations(rng, 2, shape, size), rng.normal(size=(2, 3, *size))
    assert schedule._bands(6, 50, 1000) == 6  # of eight slices at least
    dU, _ = schedule.sample_gradients(U, *given_M(M), size, dV, *options("bspline", "centres"), False, (True, True))
    x = coordinates(M, target(size), shape)
    along = rng.normal(size=shape)
    value = (spec(along, x, "bspline", "centres") * dV.reshape(2, 3, -1)).sum()
    assert (dU * along).sum() == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize("kernel, padding", WAYS)
@pytest.mark.parametrize("shape, size", [((1, 1, 64, 64), (64, 64)), ((1, 9, 64, 64), (64, 64)),
                                         ((1, 1, 32, 16, 16), (32, 16, 16))])
def test_one_image_is_work_for_many_cores(rng, monkeypatch, shape, size, kernel, padding):
    items, M = [], transformations(rng, 1, shape, size)
    U, dV = rng.normal(size=shape), rng.normal(size=shape)
    x = drawn(rng, 1, int(np.prod(size)), shape)
    for name in ("_forward", "_backward", "_forward_in_place", "_backward_in_place"):
        compiled = getattr(schedule, name)

        def recorded(count, work, *arguments, run=compiled):
            items.append(count)
            assert work >= 2 * parallel.WORTH_A_THREAD
            run(count, work, *arguments)

        monkeypatch.setattr(schedule, name, recorded)
    for source in (given_M(M), given_grid(x, shape, np.float64)):
        everything(U, source, size, dV, kernel, padding)
    assert len(items) >= 6 and min(items) >= 4


def test_how_work_is_divided(monkeypatch):
    """Eight pieces or more where the batch has fewer, of 512 points or 8 slices at least; tiles that fit a cache."""
    monkeypatch.setattr(schedule, "ITEMS", 8)
    monkeypatch.setattr(schedule, "TILE", 1000)
    monkeypatch.setattr(schedule, "TABLE", 4096)
    assert [schedule._shares(images, 10**6) for images in (0, 1, 3, 8, 100)] == [8, 8, 3, 1, 1]
    assert [schedule._shares(1, P) for P in (0, 1023, 1024, 2047)] == [1, 1, 2, 3]
    assert [schedule._bands(images, 640, 1) for images in (0, 1, 3, 8, 100)] == [8, 8, 3, 1, 1]
    assert [schedule._bands(8, slices, 20_001) for slices in (0, 15, 16, 160, 168, 640)] == [1, 1, 2, 20, 21, 21]
    assert [schedule._run(2048, taps) for taps in (0, 1, 2, 3, 4096, 5000)] == [2048, 2048, 2048, 1365, 1, 1]
