"""Convolution kernels against the definition, every way; the same bits for any number of threads; the adjoint."""

import numba
import numpy as np
import pytest

from nanostn.kernels.compiling.threads import set_threads
from nanostn.kernels.convolution import convolve, direct, pointwise, spectra
from nanostn.kernels.convolution.windows import output_size
from nanostn.kernels.products import openblas

# N, C, size, F, window, stride, padding. Large enough, between them, for several parts of rows, samples together, more
# than one piece and block of tiles, tiles partly outside, images at the end of memory, windows in the padding
# altogether, columns that no window reaches; windows as deep as the volume, or deeper, slices that no window reaches.
CASES = [
    (2, 3, (7, 9), 4, (3, 2), (1, 1), (0, 0)),
    (3, 2, (5, 8), 3, (5, 8), (1, 1), (0, 0)),
    (2, 3, (7, 9), 4, (3, 2), (2, 3), (1, 2)),
    (20, 2, (6, 23), 5, (3, 3), (1, 1), (1, 1)),
    (1, 2, (90, 41), 3, (5, 3), (1, 1), (2, 0)),
    (1, 2, (61, 40), 3, (3, 4), (3, 2), (0, 3)),
    (2, 2, (6, 5), 3, (2, 2), (1, 1), (3, 4)),
    (2, 2, (9, 8), 3, (1, 1), (4, 3), (0, 0)),
    (9, 40, (12, 14), 3, (5, 5), (1, 1), (0, 0)),
    (70, 3, (8, 5), 2, (5, 4), (2, 1), (2, 1)),
    (300, 1, (5, 6), 2, (3, 3), (1, 1), (0, 0)),
    (1, 2, (26, 3), 2, (23, 2), (1, 1), (0, 1)),
    (2, 3, (5, 7, 6), 4, (2, 3, 2), (1, 1, 1), (0, 0, 0)),
    (2, 2, (4, 3, 5), 3, (4, 3, 5), (1, 1, 1), (0, 0, 0)),
    (3, 2, (9, 6, 7), 2, (2, 3, 1), (4, 2, 3), (0, 1, 0)),
    (2, 3, (3, 5, 4), 2, (2, 2, 3), (1, 1, 2), (4, 0, 2)),
    (2, 3, (3, 5, 4), 2, (2, 2, 3), (1, 1, 1), (4, 0, 2)),
    (1, 2, (2, 5, 4), 3, (5, 1, 2), (1, 2, 1), (2, 0, 1)),
    (1, 2, (2, 5, 4), 3, (1, 1, 2), (1, 1, 1), (2, 0, 1)),
    (20, 5, (7, 9), 6, (1, 1), (1, 1), (0, 0)),
    (3, 2, (31, 29), 3, (1, 1), (1, 1), (0, 0)),
    (2, 3, (4, 5), 2, (1, 1), (1, 1), (1, 2)),
    (2, 3, (4, 9, 13), 5, (1, 1, 1), (1, 1, 1), (0, 0, 0)),
]
WAYS = [(case, "direct") for case in CASES] + [(case, "spectra") for case in CASES if max(case[5]) == 1]
SINGLE = [case for case in CASES if pointwise.fits(*case[-3:])]  # whose windows are products of their own


def draw(rng, case, dtype=np.float64):
    N, C, size, F, window, stride, padding = case
    out = map(output_size, size, window, stride, padding)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((N, C, *size), (F, C, *window), (F,), (N, F, *out))]


def spec(x, weight, bias, stride, padding):
    """The definition: every window of the padded volume, against every filter."""
    if x.ndim == 4:
        return spec(x[:, :, None], weight[:, :, None], bias, (1, *stride), (0, *padding))[:, :, 0]
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3, 4))
    windows = windows[:, :, ::stride[0], ::stride[1], ::stride[2]]
    return np.einsum("ncopqijk,fcijk->nfopq", windows, weight) + bias[:, None, None, None]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case, method", WAYS)
def test_forward_is_the_definition(rng, case, method, dtype):
    x, weight, bias, dy = draw(rng, case, dtype)
    y, _ = convolve(x, weight, bias, *case[-2:], method)
    assert y.dtype == dtype and y.shape == dy.shape and y.flags.c_contiguous
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y, spec(x, weight, bias, *case[-2:]), rtol=0, atol=tolerance * 3)
    without, _ = convolve(x, weight, None, *case[-2:], method)
    np.testing.assert_allclose(without, spec(x, weight, 0 * bias, *case[-2:]), rtol=0, atol=tolerance * 3)


@pytest.mark.parametrize("case, method", WAYS)
def test_gradients_are_the_adjoint_of_the_definition(rng, case, method):
    """<dy, y(x, weight, bias)> is linear in each argument, and its derivative is what the gradients say."""
    x, weight, bias, dy = draw(rng, case)
    options = case[-2:]
    y, gradients = convolve(x, weight, bias, *options, method)
    dx, dweight, dbias = gradients(dy, True, True)
    assert dx.shape == x.shape and dweight.shape == weight.shape and dbias.shape == bias.shape
    assert dx.flags.c_contiguous and dweight.flags.c_contiguous and dbias.flags.c_contiguous
    for _ in range(3):
        u, v, b, _ = draw(rng, case)
        zero = np.zeros_like(bias)
        assert np.vdot(dx, u) == pytest.approx(np.vdot(dy, spec(u, weight, zero, *options)), rel=1e-9, abs=1e-9)
        assert np.vdot(dweight, v) == pytest.approx(np.vdot(dy, spec(x, v, zero, *options)), rel=1e-9, abs=1e-9)
        assert np.vdot(dbias, b) == pytest.approx(np.vdot(dy.sum(axis=(0, *range(2, dy.ndim))), b), rel=1e-9, abs=1e-9)
    again = [gradients(dy, True, False)[0], *gradients(dy, False, True)[1:]]
    assert all(one.tobytes() == other.tobytes() for one, other in zip(again, (dx, dweight, dbias), strict=True))
    assert gradients(dy, True, False)[1:] == (None, None) and gradients(dy, False, True)[0] is None


@pytest.mark.parametrize("case, method", [*((CASES[i], "direct") for i in (3, 4, 9, 12)),
                                          *((case, "direct") for case in SINGLE),
                                          *((CASES[i], "spectra") for i in (3, 4, 10, 12))])
def test_same_bits_for_any_number_of_threads(rng, case, method):
    x, weight, bias, dy = draw(rng, case, np.float32)
    before, runs = numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS, 1):
            set_threads(threads)
            y, gradients = convolve(x, weight, bias, *case[-2:], method)
            runs.append([y, *gradients(dy, True, True)])
    finally:
        set_threads(before)
    for first, *others in zip(*runs, strict=True):
        assert all(first.tobytes() == other.tobytes() for other in others)


@pytest.mark.parametrize("case, method", [(CASES[3], "direct"), (CASES[9], "direct"), (CASES[3], "spectra")])
def test_a_batch_is_its_samples(rng, case, method):
    """Samples are worked on together; none may see its neighbour."""
    x, weight, bias, dy = draw(rng, case, np.float64)
    whole, _ = convolve(x, weight, bias, *case[-2:], method)
    for n in range(len(x)):
        alone, _ = convolve(x[n:n + 1], weight, bias, *case[-2:], method)
        np.testing.assert_allclose(alone[0], whole[n], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["auto", "direct", "spectra"])
@pytest.mark.parametrize("case", [(0, 2, (5, 6), 3, (2, 3), (1, 1), (0, 0)), (2, 0, (5, 6), 3, (2, 3), (1, 1), (0, 0)),
                                  (0, 2, (4, 5, 6), 3, (2, 2, 3), (1, 1, 1), (0, 0, 0)),
                                  (0, 2, (5, 6), 3, (1, 1), (1, 1), (0, 0)), (2, 0, (5, 6), 3, (1, 1), (1, 1), (0, 0))])
def test_nothing_to_sum(rng, case, method):
    """An empty batch, and images without channels, of which y is the bias."""
    x, weight, bias, dy = draw(rng, case, np.float32)
    y, gradients = convolve(x, weight, bias, *case[-2:], method)
    dx, dweight, dbias = gradients(dy, True, True)
    assert y.shape == dy.shape and dx.shape == x.shape and dweight.shape == weight.shape
    assert not dweight.any()
    np.testing.assert_array_equal(y, np.broadcast_to(bias[:, None, None] if y.ndim == 4 else 0, y.shape))
    np.testing.assert_allclose(dbias, dy.sum(axis=(0, *range(2, dy.ndim))), atol=1e-5)


def test_single_entries_are_their_own_products(rng):
    assert len(SINGLE) == 3 and not pointwise.fits((1, 1, 1), (1, 2, 1), (0, 0, 0))
    assert pointwise._parts(1, 2000) == 8 and pointwise._parts(3, 899) == 3 and pointwise._parts(20, 63) == 1
    assert pointwise._parts(1, 100) == 1 and pointwise._parts(0, 9) == 1


def test_nothing_outside_an_image_is_read(rng):
    """It lies between NaNs; what windows see beyond its first and last pixel is zero."""
    for window, padding in ((3, 1), (5, 2)):
        room = np.full(2000, np.nan, np.float32)
        x = room[500:500 + 2 * 3 * 11 * 19].reshape(2, 3, 11, 19)
        x[...] = rng.standard_normal(x.shape)
        weight = rng.standard_normal((4, 3, window, window)).astype(np.float32)
        for method in ("direct", "spectra"):
            y, gradients = convolve(x, weight, None, (1, 1), (padding, padding), method)
            dx, dweight, _ = gradients(y, True, True)
            assert np.isfinite(y).all() and np.isfinite(dx).all() and np.isfinite(dweight).all()


def test_how_sums_over_windows_are_divided(monkeypatch):
    """(together, groups, rows, parts): rows for the cache, but no fewer than make a product worth its call; samples
    together where images are small; and rows of few samples in parts, for all cores."""
    divide = direct.divide
    monkeypatch.setattr(direct, "small", lambda: 0)
    assert divide(16, 1, 64 * 9, 7, 32, 32, 3, 1) == (1, 16, 5, 7)
    assert divide(16, 1, 10**5, 7, 32, 32, 3, 1) == (1, 16, 4, 8)
    assert divide(16, 1, 10**5, 7, 32, 32, 3, 2) == (1, 16, 4, 8)
    assert divide(256, 1, 9, 7, 5, 5, 3, 1) == (6, 43, 5, 1)
    assert divide(16, 1, 9, 7, 5, 5, 3, 1) == (2, 8, 5, 1)
    assert divide(2, 1, 9, 7, 100, 100, 3, 1) == (1, 2, 25, 4)
    assert divide(2, 4, 9, 7, 100, 100, 3, 1) == (1, 2, 100, 1)
    assert divide(0, 1, 9, 7, 5, 5, 3, 1).groups == 0 and divide(3, 1, 0, 7, 5, 5, 3, 1).groups == 3
    assert divide(64, 1, 15, 48, 64, 64, 5, 1) == (1, 64, 64, 1)


def test_rows_whose_products_are_not_copied(monkeypatch):
    """Even parts of them, unless too many rows would be seen by two parts; others stay as they are."""
    divide = direct.divide
    monkeypatch.setattr(direct, "small", lambda: 10**6)
    assert divide(64, 1, 15, 48, 64, 64, 5, 1) == (1, 64, 16, 4)  # 21 would do, which leaves a last row alone
    assert divide(64, 1, 15, 120, 64, 64, 5, 1) == (1, 64, 64, 1)  # 8
    assert divide(16, 1, 64 * 9, 7, 32, 32, 3, 1) == (1, 16, 5, 7)
    assert divide(256, 1, 9, 7, 5, 5, 3, 1) == (6, 43, 5, 1)
    assert divide(2, 1, 9, 7, 100, 100, 3, 1) == (1, 2, 25, 4)
    assert divide(0, 1, 9, 7, 5, 5, 3, 1).groups == 0 and divide(3, 1, 0, 7, 5, 5, 3, 1).groups == 3


def test_parts_of_products(monkeypatch):
    """Each is one that BLAS does not copy, or they are the whole."""
    monkeypatch.setattr(openblas, "small", lambda: 10**6)
    assert openblas.parts(64, 256, 64, False) == (64, 192)
    assert openblas.parts(128, 256, 128, False) == (64, 64)
    assert openblas.parts(7, 5, 3, False) == (7, 47616)
    assert openblas.parts(384, 128, 320, False) == (48, 64)
    assert openblas.parts(384, 128, 2000, False) == (384, 128)
    assert openblas.parts(64, 64, 256, True) == (32, 32)
    assert openblas.parts(64, 64, 95, True) == openblas.parts(64, 64, 977, True) == (64, 64)
    monkeypatch.setattr(openblas, "small", lambda: 0)
    assert openblas.parts(128, 256, 128, False) == (128, 256) and openblas.parts(64, 64, 256, True) == (64, 64)


@pytest.mark.parametrize("small", [0, 10**5, 2 * 10**5, 10**6])
@pytest.mark.parametrize("case", [(100, 21, (6, 5), 18, (3, 2), (1, 1), (0, 1)),
                                  (33, 70, (4, 5), 45, (2, 3), (1, 1), (1, 0)),
                                  (13, 9, (3, 4, 5), 37, (2, 2, 3), (1, 1, 1), (1, 0, 1))])
def test_products_in_parts(rng, monkeypatch, case, small):
    """Rows, columns, both or none are cut, of dweight or of y and dx; the last parts are smaller."""
    monkeypatch.setattr(openblas, "small", lambda: small)
    x, weight, bias, dy = draw(rng, case)
    results = []
    for method in ("direct", "spectra"):
        y, gradients = convolve(x, weight, bias, *case[-2:], method)
        results.append([y, *gradients(dy, True, True)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * len(x))


def test_where_spectra_are_worth_it():
    paper = spectra.plan((256, 64, 1, 17, 17), (64, 64, 1, 7, 7), (1, 1, 1), (0, 0, 0))
    assert paper == ((17, 17), (11, 11), (1, 1))
    assert spectra.plan((16, 48, 1, 32, 32), (64, 48, 1, 5, 5), (1, 1, 1), (0, 2, 2)).tiles == (2, 3)
    assert spectra.plan((8, 96, 1, 14, 14), (128, 96, 1, 3, 3), (1, 1, 1), (0, 1, 1)) is None  # small windows
    assert spectra.plan((256, 1, 1, 42, 42), (64, 1, 1, 9, 9), (1, 1, 1), (0, 0, 0)) is None  # few channels
    assert spectra.plan((256, 64, 1, 17, 17), (64, 64, 1, 1, 1), (1, 1, 1), (0, 0, 0)) is None
    assert spectra.plan((256, 64, 1, 17, 17), (64, 64, 1, 7, 7), (1, 2, 1), (0, 0, 0)) is None  # a stride
    assert spectra.plan((1, 64, 1, 17, 17), (64, 64, 1, 7, 7), (1, 1, 1), (0, 0, 0)) is None  # spectra of the weights
    assert spectra.plan((1, 32, 4, 12, 12), (32, 32, 3, 3, 3), (1, 1, 1), (0, 1, 1)) is None
    assert spectra.plan((1, 32, 4, 12, 12), (32, 32, 3, 3, 3), (1, 1, 1), (2, 1, 1), True).tile == (6, 5)
    assert spectra.plan((4, 32, 4, 16, 16), (32, 32, 3, 5, 5), (1, 1, 1), (2, 2, 2)).tile == (12, 20)
    assert spectra.plan((0, 64, 1, 17, 17), (64, 64, 1, 7, 7), (1, 1, 1), (0, 0, 0), True) is None


def test_the_environment_leaves_spectra_alone(rng, monkeypatch):
    x, weight, bias, _ = draw(rng, (32, 64, (9, 9), 64, (5, 5), (1, 1), (0, 0)), np.float32)
    direct, through = (convolve(x, weight, bias, (1, 1), (0, 0), method)[0] for method in ("direct", "spectra"))
    assert direct.tobytes() != through.tobytes()
    assert convolve(x, weight, bias, (1, 1), (0, 0))[0].tobytes() == through.tobytes()
    monkeypatch.setenv("NANOSTN_SPECTRA", "0")
    assert convolve(x, weight, bias, (1, 1), (0, 0))[0].tobytes() == direct.tobytes()


def test_what_spectra_mean_for_strange_numbers(rng):
    """A NaN makes its tile NaN, in its own image only; errors follow the largest pixel of a tile; and of an image of
    zeros come zeros."""
    x, weight, bias, _ = draw(rng, (3, 4, (40, 20), 5, (5, 5), (1, 1), (0, 0)), np.float32)
    cut = spectra.plan((3, 4, 1, 40, 20), (5, 4, 1, 5, 5), (1, 1, 1), (0, 0, 0), True)
    assert cut.tiles[0] > 1 and cut.tile[0] + cut.step[0] < 40
    expected, _ = convolve(x, weight, bias, (1, 1), (0, 0), "direct")
    x[1, 2, 0, 0] = np.nan
    y, _ = convolve(x, weight, bias, (1, 1), (0, 0), "spectra")
    lost = np.isnan(y)
    assert lost[1, :, :cut.step[0], :cut.step[1]].all() and lost.sum() == 5 * cut.step[0] * cut.step[1]
    x[1, 2, 0, 0] = 1e6
    y, _ = convolve(x, weight, bias, (1, 1), (0, 0), "spectra")
    error = np.abs(y - expected)[1, :, 5:, 5:]  # outputs that do not see that pixel
    assert 1e-3 < error[:, :cut.step[0] - 5].max() < 1
    assert error[:, cut.step[0] - 5:].max() < 1e-4
    assert not convolve(0 * x, weight, None, (1, 1), (0, 0), "spectra")[0].any()


@pytest.mark.parametrize("method", ["direct", "spectra"])
def test_errors_beside_float64(rng, method):
    """Of the paper's second layer, rms over rms."""
    case = (8, 64, (17, 17), 64, (7, 7), (1, 1), (0, 0))
    given = draw(rng, case)
    results = []
    for dtype in (np.float32, np.float64):
        x, weight, bias, dy = (array.astype(np.float32).astype(dtype) for array in given)
        y, gradients = convolve(x, weight, 0 * bias, (1, 1), (0, 0), method if dtype == np.float32 else "direct")
        results.append([y, *gradients(dy, True, True)])
    for found, expected in zip(*results, strict=True):
        assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected ** 2)) < 6e-7
