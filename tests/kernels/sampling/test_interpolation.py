"""The formulas of sampling kernels and of padding: closed forms, slopes from the right, sums, what they reproduce."""

import math

import numpy as np
import pytest
from numba import njit

from nanostn.kernels.sampling import interpolation as it

FORMULAS = {  # k, its slope, their further arguments, and the radius
    "hat": (it.hat, it.hat_slope, (), 1), "bicubic": (it.keys, it.keys_slope, (-0.75,), 2),
    "catmull-rom": (it.keys, it.keys_slope, (-0.5,), 2), "bspline": (it.b_spline, it.b_spline_slope, (), 2),
}


@njit
def _apply(k, x, arguments):
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = k(x[i], *arguments)
    return y


def apply(k, x, arguments=()):
    """A formula, compiled in the dtype of x."""
    x = np.asarray(x)
    y = _apply(k, x.ravel(), tuple(x.dtype.type(a) for a in arguments)).reshape(x.shape)
    assert y.dtype == x.dtype
    return y


def cubic_b_spline(x):
    """The fourth difference of cubes (Unser 1999, eq. 3): sum over j of (-1)^j C(4, j) max(0, x + 2 - j)^3 / 6."""
    return sum((-1) ** j * math.comb(4, j) * np.maximum(0, x + 2 - j) ** 3 for j in range(5)) / 6


def cubic_convolution(x, a):
    """Keys by the conditions that define it: pieces that meet in value and slope, at 1 with the slope a."""
    r = abs(x)
    inner = np.linalg.solve([[1, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [0, 1, 2, 3]], [1, 0, 0, a])
    outer = np.linalg.solve([[1, 1, 1, 1], [1, 2, 4, 8], [0, 1, 2, 3], [0, 1, 4, 12]], [0, 0, a, 0])
    return np.where(r < 1, np.polyval(inner[::-1], r), np.where(r < 2, np.polyval(outer[::-1], r), 0))


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_closed_forms(dtype, tolerance):
    x = np.linspace(-2.5, 2.5, 401).astype(dtype)
    for k, arguments, expected in [
            (it.hat, (), np.interp(x, [-1, 0, 1], [0, 1, 0])), (it.b_spline, (), cubic_b_spline(x.astype(float))),
            (it.keys, (-0.75,), cubic_convolution(x, -0.75)), (it.keys, (-0.5,), cubic_convolution(x, -0.5))]:
        np.testing.assert_allclose(apply(k, x, arguments), expected, rtol=0, atol=tolerance)


def test_knots():
    x = np.arange(-3.0, 4)
    np.testing.assert_allclose(apply(it.b_spline, x), [0, 0, 1 / 6, 2 / 3, 1 / 6, 0, 0], rtol=0, atol=1e-15)
    np.testing.assert_allclose(apply(it.b_spline_slope, x), [0, 0, 0.5, 0, -0.5, 0, 0], rtol=0, atol=1e-15)
    for a in (-0.75, -0.5):
        assert apply(it.keys, x, (a,)).tolist() == [0, 0, 0, 1, 0, 0, 0]  # it interpolates
        assert apply(it.keys_slope, x, (a,)).tolist() == [0, 0, -a, 0, a, 0, 0]
    assert apply(it.hat, x).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert apply(it.hat_slope, x).tolist() == [0, 0, 1, -1, 0, 0, 0]  # from the right: at -1 up, at 0 down, at 1 flat


@pytest.mark.parametrize("kind, k, slope, arguments", [
    (it.BILINEAR, it.hat, it.hat_slope, ()), (it.BICUBIC, it.keys, it.keys_slope, (-0.75,)),
    (it.CATMULL_ROM, it.keys, it.keys_slope, (-0.5,)), (it.BSPLINE, it.b_spline, it.b_spline_slope, ())])
def test_a_kind_has_its_weight_and_its_slope(kind, k, slope, arguments):
    for x in np.linspace(-1.9, 1.9, 20):
        assert it.weight(x, kind) == (apply(k, [x], arguments)[0], apply(slope, [x], arguments)[0])
    assert it.weight(0.3, it.NEAREST) == (1, 0)


@pytest.mark.parametrize("name", FORMULAS)
def test_slopes(name):
    k, slope, arguments, radius = FORMULAS[name]
    x, h = np.linspace(-radius, radius, 64 * radius + 1)[:-1] + 1 / 128, 1e-6
    numeric = (apply(k, x + h, arguments) - apply(k, x - h, arguments)) / (2 * h)
    np.testing.assert_allclose(apply(slope, x, arguments), numeric, rtol=0, atol=1e-8)
    knots = np.arange(-radius - 1.0, radius + 2)
    right = (apply(k, knots + h, arguments) - apply(k, knots, arguments)) / h
    np.testing.assert_allclose(apply(slope, knots, arguments), right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_weights_sum_to_1_and_slopes_to_0(name):
    k, slope, arguments, _ = FORMULAS[name]
    taps = np.linspace(0, 1, 33)[:, None] - np.arange(-3, 5)
    np.testing.assert_allclose(apply(k, taps, arguments).sum(axis=1), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(apply(slope, taps, arguments).sum(axis=1), 0, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name, degree", [("hat", 1), ("bicubic", 0), ("catmull-rom", 2)])
def test_polynomials_that_are_reproduced(name, degree):
    k, _, arguments, _ = FORMULAS[name]
    x, m = np.linspace(0, 1, 33)[:, None], np.arange(-3, 5)
    w = apply(k, x - m, arguments)
    for power in range(degree + 1):
        np.testing.assert_allclose((w * m ** power).sum(axis=1), x[:, 0] ** power, rtol=0, atol=1e-14)
    assert abs((w * m ** (degree + 1)).sum(axis=1) - x[:, 0] ** (degree + 1)).max() > 1e-2


@pytest.mark.parametrize("padding, mode", [
    (it.ZEROS, {"mode": "constant", "constant_values": -1}), (it.BORDER, {"mode": "edge"}), (it.WRAP, {"mode": "wrap"}),
    (it.REFLECT_CENTRES, {"mode": "reflect"}), (it.REFLECT_EDGES, {"mode": "symmetric"})])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_padding_is_that_of_numpy(size, padding, mode):
    expected = np.pad(np.arange(size), 40, **mode)
    assert [it.padded(m, size, padding) for m in range(-40, size + 40)] == expected.tolist()


@pytest.mark.parametrize("size", [1, 2, 5, 40000])
def test_padding_far_outside(size):
    """Places as large as a clamped coordinate has: the image repeats, so they read what the remainder reads."""
    period = 2 * size * (size - 1) if size > 1 else 2  # of wrapping and of both mirrors
    for m in (10 ** 9, -10 ** 9, 2 ** 31 + 7, -2 ** 31 - 7, 2 ** 62, -2 ** 62):
        assert it.padded(m, size, it.ZEROS) == -1
        assert it.padded(m, size, it.BORDER) == (0 if m < 0 else size - 1)
        for padding in (it.WRAP, it.REFLECT_CENTRES, it.REFLECT_EDGES):
            found = it.padded(m, size, padding)
            assert 0 <= found < size and found == it.padded(m % period, size, padding)


def test_what_an_interpolation_holds():
    assert [it.Interpolation(kind).radius for kind in range(5)] == [0.5, 1, 2, 2, 2]
    user = it.Interpolation(it.CUSTOM, 1.5, lambda x: 1 - x / 2, lambda x: -0.5)
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        k, slope = user.pointers(dtype)
        assert user.pointers(dtype)[0] is k  # compiled once
        assert k.ctypes(0.5) == 0.75 and slope.ctypes(0.5) == -0.5
        known = [it.Interpolation(kind).pointers(dtype)[0] for kind in range(5)]
        assert {type(k) for k in known} == {type(k)}  # of one type, so that one sampler is compiled for all
