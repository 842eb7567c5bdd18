"""Images of more entries than 32-bit integers count. The real ones need 18 GB: NANOSTN_LARGE=1 pytest ..."""

import os

import numpy as np
import pytest

from nanostn.functional import grid_sample
from nanostn.kernels.sampling import schedule
from nanostn.kernels.sampling.interpolation import BILINEAR, NEAREST, ZEROS, Interpolation
from nanostn.tensor import Tensor


def test_an_image_with_too_many_places_goes_through_tables(rng, monkeypatch):
    U, grid = Tensor(rng.normal(size=(2, 3, 9, 7)), requires_grad=True), Tensor(rng.uniform(-1.2, 1.2, (2, 4, 5, 2)),
                                                                               requires_grad=True)
    dV, found = rng.normal(size=(2, 3, 4, 5)), []
    for places in (2**31, 1000):
        monkeypatch.setattr(schedule, "PLACES", places)
        U.grad = grid.grad = None
        V = grid_sample(U, grid)
        V.backward(dV)
        found.append((V.data, U.grad, grid.grad))
    for first, second in zip(*found, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-12)


@pytest.mark.parametrize("shape, kind", [((1, 16, 8189, 1, 16381), BILINEAR), ((1, 9, 29, 2**20 - 3, 1), BILINEAR),
                                         ((1, 16, 2**15, 1, 2**16), NEAREST), ((1, 3, 2**15, 1, 2**16), BILINEAR),
                                         ((1, 1, 2**12, 2**10, 2**9), BILINEAR)])
def test_places_are_counted_with_lanes_and_margins(shape, kind):
    """(slices + 3) (rows + 3, in a volume) (columns + 3) times 16 lanes, or the pixels of an image in place: 2^31."""
    volume, kernel = shape[3] > 1, Interpolation(kind)
    for more in (0, 1):
        U = np.broadcast_to(np.float32(0), (*shape[:2], shape[2] - 1 + more, *shape[3:]))
        k = schedule._way(U, volume, np.empty((0, 0, 3 if volume else 2)), kernel, ZEROS)[1]
        assert (k is None) == (more == 0)


@pytest.mark.skipif("NANOSTN_LARGE" not in os.environ, reason="18 GB of memory; set NANOSTN_LARGE=1")
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_the_last_pixels_of_more_than_2_to_the_31(rng, mode):
    """What lies in the last corner is read, and given its gradient, as in a small image."""
    n, m = 46400, 40
    U, corner = np.zeros((1, 1, n, n), np.float32), np.zeros((1, 1, m, m))
    corner[0, 0, -12:, -12:] = rng.normal(size=(12, 12))
    U[0, 0, -m:, -m:] = corner[0, 0]
    points = rng.uniform(n - 12, n - 1, (1, 1, 7, 2)).round(2)
    grid = ((points - (n - 1) / 2) / ((n - 1) / 2)).astype(np.float32)
    in_corner = grid.astype(float) * ((n - 1) / 2) + (n - 1) / 2 - (n - m)  # as float32 has rounded them
    large, small = Tensor(U, requires_grad=True), Tensor(corner, requires_grad=True)
    V = grid_sample(large, grid, mode)
    expected = grid_sample(small, (in_corner - (m - 1) / 2) / ((m - 1) / 2), mode)
    V.backward(np.ones_like(V.data))
    expected.backward(np.ones_like(expected.data))
    # float32 tells places at 46,400 pixels apart by 0.004
    np.testing.assert_allclose(V.data, expected.data, atol=0.05)
    np.testing.assert_allclose(large.grad[0, 0, -m:, -m:], small.grad[0, 0], atol=0.05)
    assert not large.grad[0, 0, :-m].any()
