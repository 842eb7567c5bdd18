"""Pooling kernels against the definition; ties, NaN, and the same bits for any number of threads."""

import numba
import numpy as np
import pytest

from nanostn.kernels.compiling.threads import set_threads
from nanostn.kernels.networks import pooling

# N, C, H, W, window, stride, padding; windows that overlap, that leave gaps, and one of more than 256 entries.
CASES = [
    (2, 3, 4, 6, (2, 2), (2, 2), (0, 0)),
    (2, 3, 7, 5, (2, 2), (2, 2), (0, 0)),
    (1, 2, 9, 8, (3, 2), (2, 1), (1, 1)),
    (3, 1, 8, 11, (2, 3), (3, 4), (1, 0)),
    (1, 2, 23, 20, (17, 16), (3, 2), (2, 8)),
]


def draw(rng, case, dtype=np.float64):
    N, C, *size = case[:4]
    shape = N, C, *map(pooling.output_size, size, *case[4:])
    return rng.standard_normal(case[:4]).astype(dtype), rng.standard_normal(shape).astype(dtype)


def windows(shape, window, stride, padding):
    """For every output (p, q): the rows and columns of its window inside the image."""
    H, W = shape[2:]
    for p in range(pooling.output_size(H, window[0], stride[0], padding[0])):
        for q in range(pooling.output_size(W, window[1], stride[1], padding[1])):
            top, left = p * stride[0] - padding[0], q * stride[1] - padding[1]
            yield p, q, slice(max(0, top), top + window[0]), slice(max(0, left), left + window[1])


@pytest.mark.parametrize("case", CASES)
def test_max_pool(rng, case):
    x, dy = draw(rng, case)
    x = np.round(x)  # many ties: the first entry of a window takes the gradient
    y, place = pooling.max_pool(x, *case[4:])
    dx = pooling.max_pool_dx(dy, place, *x.shape[2:], *case[4:])
    expected = np.zeros_like(x)
    for p, q, rows, columns in windows(x.shape, *case[4:]):
        for n, c in np.ndindex(x.shape[:2]):
            inside = x[n, c, rows, columns]
            assert y[n, c, p, q] == inside.max()
            i, j = np.unravel_index(np.argmax(inside), inside.shape)
            expected[n, c, rows.start + i, columns.start + j] += dy[n, c, p, q]
    np.testing.assert_allclose(dx, expected, rtol=1e-13, atol=1e-13)
    assert place.dtype == (np.uint8 if case[4][0] * case[4][1] <= 256 else np.int32)


@pytest.mark.parametrize("case", CASES)
def test_avg_pool(rng, case):
    x, dy = draw(rng, case)
    y = pooling.avg_pool(x, *case[4:])
    dx = pooling.avg_pool_dx(dy, *x.shape[2:], *case[4:])
    size = case[4][0] * case[4][1]
    expected = np.zeros_like(x)
    for p, q, rows, columns in windows(x.shape, *case[4:]):
        np.testing.assert_allclose(y[:, :, p, q], x[:, :, rows, columns].sum(axis=(2, 3)) / size, atol=1e-13)
        expected[:, :, rows, columns] += dy[:, :, p, q, None, None] / size
    np.testing.assert_allclose(dx, expected, rtol=1e-12, atol=1e-13)


def test_nan_is_not_lost(rng):
    """A diverged network must be seen: the maximum of a window with a NaN is NaN, and the gradient goes there."""
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 2, 8)
    x[0, 0, 1, 2] = x[0, 0, 0, 5] = np.nan
    y, place = pooling.max_pool(x, (2, 2), (2, 2), (0, 0))
    np.testing.assert_array_equal(y[0, 0, 0], [9, np.nan, np.nan, 15])
    np.testing.assert_array_equal(place[0, 0, 0], [3, 2, 1, 3])


@pytest.mark.parametrize("case", CASES[1:4])
def test_same_bits_for_any_number_of_threads(rng, case):
    x, dy = draw(rng, case, np.float32)
    before, runs = numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            set_threads(threads)
            y, place = pooling.max_pool(x, *case[4:])
            runs.append([y, place, pooling.max_pool_dx(dy, place, *x.shape[2:], *case[4:]),
                         pooling.avg_pool(x, *case[4:]), pooling.avg_pool_dx(dy, *x.shape[2:], *case[4:])])
    finally:
        set_threads(before)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*runs, strict=True))
