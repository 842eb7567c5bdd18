"""Convolution kernels against the definition; the same bits for any number of threads; the adjoint."""

import numba
import numpy as np
import pytest

from nanostn.kernels import convolution
from nanostn.kernels.threads import set_threads

# N, C, H, W, F, window, stride, padding. Large enough, between them, for several tiles, tiles across samples, parts
# of a sample, images at the end of memory, windows in the padding altogether, columns that no window reaches.
CASES = [
    (2, 3, 7, 9, 4, (3, 2), (1, 1), (0, 0)),
    (3, 2, 5, 8, 3, (5, 8), (1, 1), (0, 0)),
    (2, 3, 7, 9, 4, (3, 2), (2, 3), (1, 2)),
    (20, 2, 6, 23, 5, (3, 3), (1, 1), (1, 1)),
    (1, 2, 90, 41, 3, (5, 3), (1, 1), (2, 0)),
    (1, 2, 61, 40, 3, (3, 4), (3, 2), (0, 3)),
    (2, 2, 6, 5, 3, (2, 2), (1, 1), (3, 4)),
    (2, 2, 9, 8, 3, (1, 1), (4, 3), (0, 0)),
    (9, 40, 12, 14, 3, (5, 5), (1, 1), (0, 0)),
]


def test_rows_of_a_tile(monkeypatch):
    """As many as the buffer holds, but no fewer than have so many windows, and no more than there are."""
    monkeypatch.setattr(convolution, "TILE", 1000)
    monkeypatch.setattr(convolution, "WINDOWS", 12)
    found = [convolution._rows_per_tile(*numbers) for numbers in
             ((10, 20, 99), (10, 20, 3), (500, 5, 99), (500, 20, 99), (500, 0, 99), (0, 5, 99), (10, 20, 0))]
    assert found == [5, 3, 3, 1, 99, 99, 1]


def draw(rng, case, dtype=np.float64):
    N, C, H, W, F, window, stride, padding = case
    H_out, W_out = map(convolution.output_size, (H, W), window, stride, padding)
    shapes = (N, C, H, W), (F, C, *window), (F,), (N, F, H_out, W_out)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def spec(x, weight, bias, stride, padding):
    """The definition: a sum over i, j and c for every output."""
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    y = 0
    kH, kW = weight.shape[2:]
    H_out, W_out = map(convolution.output_size, x.shape[2:], (kH, kW), stride, padding)
    for i in range(kH):
        for j in range(kW):
            part = padded[:, :, i:i + H_out * stride[0]:stride[0], j:j + W_out * stride[1]:stride[1]]
            y = y + np.einsum("fc,nchw->nfhw", weight[:, :, i, j], part[:, :, :H_out, :W_out])
    return y + bias[:, None, None]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_forward_is_the_definition(rng, case, dtype):
    x, weight, bias, _ = draw(rng, case, dtype)
    y = convolution.convolve(x, weight, bias, *case[-2:])
    assert y.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y, spec(x, weight, bias, *case[-2:]), rtol=0, atol=tolerance * 50)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_adjoint_of_the_definition(rng, case):
    """<dy, y(x, weight, bias)> is linear in each argument, and its derivative is what the gradients say."""
    x, weight, bias, dy = draw(rng, case)
    options = case[-2:]
    dx = convolution.convolve_dx(dy, weight, x.shape[2:], *options)
    dweight, dbias = convolution.convolve_dweight(x, dy, weight.shape[2:], *options)
    for _ in range(3):
        u, v, b, _ = draw(rng, case)
        zero = np.zeros_like(bias)
        assert np.vdot(dx, u) == pytest.approx(np.vdot(dy, spec(u, weight, zero, *options)), rel=1e-9, abs=1e-9)
        assert np.vdot(dweight, v) == pytest.approx(np.vdot(dy, spec(x, v, zero, *options)), rel=1e-9, abs=1e-9)
        assert np.vdot(dbias, b) == pytest.approx(np.vdot(dy.sum(axis=(0, 2, 3)), b), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("case", CASES[3:5])
def test_same_bits_for_any_number_of_threads(rng, case):
    x, weight, bias, dy = draw(rng, case, np.float32)
    before = numba.get_num_threads()
    runs = []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS, 1):
            set_threads(threads)
            runs.append([convolution.convolve(x, weight, bias, *case[-2:]),
                         convolution.convolve_dx(dy, weight, x.shape[2:], *case[-2:]),
                         *convolution.convolve_dweight(x, dy, weight.shape[2:], *case[-2:])])
    finally:
        set_threads(before)
    for first, *others in zip(*runs, strict=True):
        assert all(first.tobytes() == other.tobytes() for other in others)


def test_a_batch_is_its_samples(rng):
    """Tiles run from one sample into the next; no sample may see its neighbour."""
    case = CASES[3]
    x, weight, bias, dy = draw(rng, case, np.float64)
    whole = convolution.convolve(x, weight, bias, *case[-2:])
    for n in range(len(x)):
        alone = convolution.convolve(x[n:n + 1], weight, bias, *case[-2:])
        np.testing.assert_allclose(alone[0], whole[n], rtol=1e-12, atol=1e-12)


def test_an_empty_batch(rng):
    x, weight, bias, dy = draw(rng, (0, 2, 5, 6, 3, (2, 3), (1, 1), (0, 0)), np.float32)
    assert convolution.convolve(x, weight, bias, (1, 1), (0, 0)).shape == (0, 3, 4, 4)
    assert convolution.convolve_dx(dy, weight, (5, 6), (1, 1), (0, 0)).shape == x.shape
    dweight, dbias = convolution.convolve_dweight(x, dy, (2, 3), (1, 1), (0, 0))
    assert not dweight.any() and not dbias.any()
