"""The sampler's kernels against the paper's full double sum, and their results for any number of threads and parts."""

import numba
import numpy as np
import pytest

from nanostn.kernels import sampling, workers
from nanostn.kernels.sampling import BILINEAR, BORDER, NEAREST, ZEROS

SHAPES = [  # U, output: planes, lanes, lanes in two blocks; an image in bands; runs that end within a row
    ((2, 3, 4, 5), (3, 7)), ((2, 9, 5, 4), (6, 3)), ((1, 35, 3, 6), (5, 4)), ((1, 2, 70, 6), (40, 33)),
    ((1, 9, 40, 5), (33, 31)), ((2, 1, 1, 6), (4, 1)), ((2, 2, 5, 1), (1, 5)),
]


def weights(x, size, mode, padding):
    """k(x - m) for all pixels m: eq. 4 and 5, written from the paper and not from the kernel."""
    if padding == BORDER:
        x = np.clip(x, 0, size - 1)
    m = np.arange(size)
    if mode == NEAREST:
        return (np.floor(x + 0.5)[..., None] == m).astype(x.dtype)
    return np.maximum(0, 1 - np.abs(x[..., None] - m))


def spec(U, x, y, mode, padding):
    """eq. 3: V_i = sum over n, m of U_nm k(x_i - m) k(y_i - n), with x and y (N, P) in pixels."""
    H, W = U.shape[2:]
    return np.einsum("nchw,npw,nph->ncp", U, weights(x, W, mode, padding), weights(y, H, mode, padding), optimize=True)


def problem(rng, shape, size, dtype, rows=2):
    """Images, M in pixels (near the map that fits source and target), and the pixel coordinates it leads to."""
    N, _, H, W = shape
    U = rng.normal(size=shape).astype(dtype)
    M = np.zeros((N, rows, 3))
    M[:, 0, 0], M[:, 1, 1] = W / size[1], H / size[0]
    M[:, :2] += rng.normal(size=(N, 2, 3)) * [0.2, 0.2, 1]
    if rows == 3:
        M[:, 2] = rng.normal(size=(N, 3)) * [0.01, 0.01, 0] + [0, 0, 1.25]
    M = M.astype(dtype)
    i, j = np.mgrid[:size[0], :size[1]]
    points = np.stack([j - (size[1] - 1) / 2, i - (size[0] - 1) / 2, np.ones(size)]).reshape(3, -1)
    x, y, *z = (M.astype(float) @ points).transpose(1, 0, 2)
    x, y = (x / z[0], y / z[0]) if z else (x, y)
    return U, M, points.astype(dtype), x + (W - 1) / 2, y + (H - 1) / 2


def given_M(M, basis=None):
    T = M.dtype.type
    return M, np.empty((3, 0), T) if basis is None else basis, np.empty((len(M), 0, 2), T), (T(1), T(1))


def given_grid(x, y, shape, dtype):
    grid = np.stack([x - (shape[3] - 1) / 2, y - (shape[2] - 1) / 2], axis=2).astype(dtype)
    return np.empty((len(x), 2, 0), dtype), np.empty((0, 0), dtype), grid, (dtype(1), dtype(1))


@pytest.mark.parametrize("padding", [ZEROS, BORDER])
@pytest.mark.parametrize("mode", [BILINEAR, NEAREST])
@pytest.mark.parametrize("shape, size", SHAPES)
def test_values_are_the_double_sum(rng, shape, size, mode, padding):
    U, M, points, x, y = problem(rng, shape, size, np.float64)
    expected = spec(U, x, y, mode, padding).reshape(*shape[:2], *size)
    for source in (given_M(M), given_M(M, points), given_grid(x, y, shape, np.float64)):
        assert np.allclose(sampling.sample(U, *source, size, mode, padding), expected, atol=1e-12)


@pytest.mark.parametrize("shape, size", SHAPES)
def test_projective_values(rng, shape, size):
    U, M, _, x, y = problem(rng, shape, size, np.float64, rows=3)
    V = sampling.sample(U, *given_M(M), size, BILINEAR, ZEROS)
    assert np.allclose(V.reshape(*shape[:2], -1), spec(U, x, y, BILINEAR, ZEROS), atol=1e-12)


@pytest.mark.parametrize("shape, size", SHAPES[:3])
def test_single_precision(rng, shape, size):
    U, M, _, x, y = problem(rng, shape, size, np.float32)
    V = sampling.sample(U, *given_M(M), size, BILINEAR, ZEROS)
    assert V.dtype == np.float32
    assert np.allclose(V.reshape(*shape[:2], -1), spec(U, x, y, BILINEAR, ZEROS), atol=1e-4)


@pytest.mark.parametrize("padding", [ZEROS, BORDER])
@pytest.mark.parametrize("rows", [2, 3])
@pytest.mark.parametrize("shape, size", SHAPES)
def test_gradients_are_those_of_the_double_sum(rng, shape, size, rows, padding):
    """dU by linearity in U (eq. 6), dM by central differences of the spec along a random direction (eq. 7)."""
    U, M, points, x, y = problem(rng, shape, size, np.float64, rows)
    dV = rng.uniform(0.5, 1.5, (*shape[:2], *size))
    dU, dM = sampling.sample_gradients(U, *given_M(M), dV, BILINEAR, padding, True, True)
    expected = np.einsum("ncp,npw,nph->nchw", dV.reshape(*shape[:2], -1), weights(x, shape[3], BILINEAR, padding),
                         weights(y, shape[2], BILINEAR, padding), optimize=True)
    assert np.allclose(dU, expected, atol=1e-11)

    def loss(M):
        x, y, *z = (M @ points).transpose(1, 0, 2)
        x, y = (x / z[0], y / z[0]) if z else (x, y)
        V = spec(U, x + (shape[3] - 1) / 2, y + (shape[2] - 1) / 2, BILINEAR, padding)
        return (V * dV.reshape(V.shape)).sum()

    direction = rng.normal(size=M.shape) * 1e-6
    assert np.isclose((loss(M + direction) - loss(M - direction)) / 2, (dM * direction).sum(), rtol=1e-4, atol=1e-9)
    if rows == 2:
        _, same = sampling.sample_gradients(U, *given_M(M, points), dV, BILINEAR, padding, True, True)
        assert np.allclose(same, dM, atol=1e-9)
        _, dgrid = sampling.sample_gradients(U, *given_grid(x, y, shape, np.float64), dV, BILINEAR, padding, True, True)
        assert np.allclose(np.einsum("npr,kp->nrk", dgrid, points), dM, atol=1e-9)


@pytest.mark.parametrize("shape, size", SHAPES)
def test_a_gradient_alone_is_the_same(rng, shape, size):
    U, M, _, _, _ = problem(rng, shape, size, np.float64)
    dV = rng.normal(size=(*shape[:2], *size))
    both = sampling.sample_gradients(U, *given_M(M), dV, BILINEAR, ZEROS, True, True)
    dU, nothing = sampling.sample_gradients(U, *given_M(M), dV, BILINEAR, ZEROS, True, False)
    assert nothing is None and np.array_equal(dU, both[0])
    nothing, dM = sampling.sample_gradients(U, *given_M(M), dV, BILINEAR, ZEROS, False, True)
    assert nothing is None and np.allclose(dM, both[1], atol=1e-10)


@pytest.mark.parametrize("shape, size", SHAPES)
def test_same_bits_for_any_number_of_threads(rng, monkeypatch, shape, size):
    monkeypatch.setattr(workers, "WORTH_A_THREAD", 1)
    U, M, _, _, _ = problem(rng, shape, size, np.float32)
    dV = rng.normal(size=(*shape[:2], *size)).astype(np.float32)
    results = []
    before = numba.get_num_threads()
    try:
        for threads in (1, 2, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            results.append((sampling.sample(U, *given_M(M), size, BILINEAR, ZEROS),
                            *sampling.sample_gradients(U, *given_M(M), dV, BILINEAR, ZEROS, True, True)))
    finally:
        numba.set_num_threads(before)
    for result in results[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("mode", [BILINEAR, NEAREST])
def test_bands_own_their_rows(rng, monkeypatch, mode):
    """dU is the same to the bit in any number of bands: each cell meets its points in the same order."""
    U, M, _, _, _ = problem(rng, (2, 3, 67, 9), (33, 31), np.float64)
    dV = rng.normal(size=(2, 3, 33, 31))
    found = []
    for items in (1, 6, 100):
        monkeypatch.setattr(sampling, "ITEMS", items)
        found.append(sampling.sample_gradients(U, *given_M(M), dV, mode, ZEROS, True, True))
    for dU, dM in found[1:]:
        assert dU.tobytes() == found[0][0].tobytes()
        np.testing.assert_allclose(dM, found[0][1], rtol=1e-9, atol=1e-9)
