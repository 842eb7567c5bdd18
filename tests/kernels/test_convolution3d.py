"""Convolution of volumes against the definition; the adjoint; several groups of slabs; bits and threads."""

import numba
import numpy as np
import pytest

from nanostn.kernels import convolution3d
from nanostn.kernels.threads import set_threads

# N, C, (D, H, W), F, window, stride, padding: windows as deep as the volume, slices that no window reaches, windows in
# the padding altogether, on both sides, and one deeper than the volume.
CASES = [
    (2, 3, (5, 7, 6), 4, (2, 3, 2), (1, 1, 1), (0, 0, 0)),
    (2, 2, (4, 3, 5), 3, (4, 3, 5), (1, 1, 1), (0, 0, 0)),
    (3, 2, (9, 6, 7), 2, (2, 3, 1), (4, 2, 3), (0, 1, 0)),
    (2, 3, (3, 5, 4), 2, (2, 2, 3), (1, 1, 2), (4, 0, 2)),
    (1, 2, (2, 5, 4), 3, (5, 1, 2), (1, 2, 1), (2, 0, 1)),
]


def draw(rng, case, dtype=np.float64):
    N, C, size, F, window, stride, padding = case
    out = map(convolution3d.output_size, size, window, stride, padding)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((N, C, *size), (F, C, *window), (F,), (N, F, *out))]


def spec(x, weight, bias, stride, padding):
    """The definition: every window of the padded volume, against every filter."""
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3, 4))
    windows = windows[:, :, ::stride[0], ::stride[1], ::stride[2]]
    return np.einsum("ncopqijk,fcijk->nfopq", windows, weight) + bias[:, None, None, None]


@pytest.fixture(params=[1, 1 << 20], ids=["a slab at a time", "all slabs"])
def groups(request, monkeypatch):
    monkeypatch.setattr(convolution3d, "SLABS", request.param)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_forward_is_the_definition(rng, groups, case, dtype):
    x, weight, bias, dy = draw(rng, case, dtype)
    y = convolution3d.convolve(x, weight, bias, *case[-2:])
    assert y.dtype == dtype and y.shape == dy.shape
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y, spec(x, weight, bias, *case[-2:]), rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_adjoint_of_the_definition(rng, groups, case):
    """<dy, y(x, weight, bias)> is linear in each argument, and its derivative is what the gradients say."""
    x, weight, bias, dy = draw(rng, case)
    options = case[-2:]
    dx = convolution3d.convolve_dx(dy, weight, x.shape[2:], *options)
    dweight, dbias = convolution3d.convolve_dweight(x, dy, weight.shape[2:], *options)
    for _ in range(3):
        u, v, b, _ = draw(rng, case)
        zero = np.zeros_like(bias)
        assert np.vdot(dx, u) == pytest.approx(np.vdot(dy, spec(u, weight, zero, *options)), rel=1e-9, abs=1e-9)
        assert np.vdot(dweight, v) == pytest.approx(np.vdot(dy, spec(x, v, zero, *options)), rel=1e-9, abs=1e-9)
        assert np.vdot(dbias, b) == pytest.approx(np.vdot(dy.sum(axis=(0, 2, 3, 4)), b), rel=1e-9, abs=1e-9)


def test_slabs_in_groups_cover_every_depth_once(monkeypatch):
    shape, window = (2, 3, 9, 5, 4), (2, 3, 3)  # a slab has 240 entries
    for entries, expected in ((1, [1] * 8), (500, [2] * 4), (720, [3, 3, 2]), (10 ** 6, [8])):
        monkeypatch.setattr(convolution3d, "SLABS", entries)
        groups = convolution3d._groups(shape, window, 8)
        assert [len(group) for group in groups] == expected
        assert [depth for group in groups for depth in group] == list(range(8))


def test_same_bits_for_any_number_of_threads(rng):
    case = (2, 5, (7, 23, 21), 6, (3, 3, 3), (1, 1, 1), (1, 1, 1))
    x, weight, bias, dy = draw(rng, case, np.float32)
    before, runs = numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            set_threads(threads)
            runs.append([convolution3d.convolve(x, weight, bias, *case[-2:]),
                         convolution3d.convolve_dx(dy, weight, x.shape[2:], *case[-2:]),
                         *convolution3d.convolve_dweight(x, dy, weight.shape[2:], *case[-2:])])
    finally:
        set_threads(before)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*runs, strict=True))


def test_an_empty_batch(rng):
    case = (0, 2, (4, 5, 6), 3, (2, 2, 3), (1, 1, 1), (0, 0, 0))
    x, weight, bias, dy = draw(rng, case, np.float32)
    assert convolution3d.convolve(x, weight, bias, *case[-2:]).shape == (0, 3, 3, 4, 4)
    assert convolution3d.convolve_dx(dy, weight, (4, 5, 6), *case[-2:]).shape == x.shape
    dweight, dbias = convolution3d.convolve_dweight(x, dy, (2, 2, 3), *case[-2:])
    assert not dweight.any() and not dbias.any()
