"""Extremes, places, spread and length over all axes, one or several: NumPy's values, PyTorch's gradients, hard data."""

from itertools import product

import numpy as np
import pytest

from nanostn import Tensor
from nanostn import functional as F

NAN, INF = np.nan, np.inf
AXES = [None, 0, 1, -1, (0,), (0, 2), (-1, 0), (2, 1, 0), ()]


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def T(request):
    return request.param


def gradient(function, x, dV=None):
    x = Tensor(x, requires_grad=True)
    y = function(x)
    y.backward(np.ones(y.shape, y.dtype) if dV is None else dV)
    return y.data, x.grad


def length(x, axis, keepdims):
    return np.sqrt((x.astype(np.float64) ** 2).sum(axis=axis, keepdims=keepdims)).astype(x.dtype)


@pytest.mark.parametrize("axis, keepdims", [*product(AXES, (False, True))])
@pytest.mark.parametrize("name", ["max", "min", "var", "std", "norm"])
def test_every_axis_as_numpy(rng, T, name, axis, keepdims):
    x = rng.standard_normal((3, 4, 5)).astype(T)
    expected = {"norm": length}.get(name, getattr(np, name, None))(x, axis=axis, keepdims=keepdims)
    found, dx = gradient(lambda x: getattr(F, name)(x, axis, keepdims), x)
    np.testing.assert_allclose(found, expected, rtol=2e-6 if T == np.float32 else 1e-14, atol=1e-30)
    assert found.shape == np.shape(expected) and found.dtype == dx.dtype == T and dx.shape == x.shape


@pytest.mark.parametrize("axis, keepdims", [*product(AXES[:8], (False, True))])
def test_gradients_against_torch(rng, T, axis, keepdims):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((3, 4, 5)).astype(T)
    dims = (0, 1, 2) if axis is None else axis
    for ours, theirs in [
            (F.max, torch.amax), (F.min, torch.amin),
            (F.var, lambda x, **words: torch.var(x, correction=0, **words)),
            (lambda x, *words: F.var(x, *words, correction=1), torch.var),
            (F.std, lambda x, **words: torch.std(x, correction=0, **words)),
            (lambda x, *words: F.std(x, *words, correction=1.5),
             lambda x, **words: torch.std(x, correction=1.5, **words)),
            (F.norm, lambda x, **words: torch.linalg.vector_norm(x, **words))]:
        a = torch.tensor(x, requires_grad=True)
        expected = theirs(a, dim=dims, keepdim=keepdims)
        dV = rng.standard_normal(tuple(expected.shape)).astype(T)
        expected.backward(torch.tensor(dV))
        found, dx = gradient(lambda x, ours=ours: ours(x, axis, keepdims), x, dV)
        tolerance = 1e-5 if T == np.float32 else 1e-12
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=tolerance)
        np.testing.assert_allclose(dx, a.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("axis, keepdims", [*product([None, 0, 1, -1], (False, True))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_])
def test_argmax_as_numpy(rng, dtype, axis, keepdims):
    x = rng.integers(0, 3, (3, 4, 5)).astype(dtype)  # with many equal ones
    found = F.argmax(Tensor(x, requires_grad=dtype in (np.float32, np.float64)), axis, keepdims)
    np.testing.assert_array_equal(found.data, np.argmax(x, axis=axis, keepdims=keepdims))
    assert found.dtype == np.int64 and not found.requires_grad and found.shape == np.argmax(
        x, axis=axis, keepdims=keepdims).shape


def test_the_first_of_equal_ones_and_the_first_nan():
    for function, x, value, slope in [
            (F.max, [[1.0, 3.0], [3.0, 3.0]], 3, [[0, 1], [0, 0]]),
            (F.min, [[3.0, 1.0], [1.0, 1.0]], 1, [[0, 1], [0, 0]]),
            (F.max, [[1.0, NAN], [NAN, INF]], NAN, [[0, 1], [0, 0]]),
            (F.min, [[1.0, NAN], [NAN, -INF]], NAN, [[0, 1], [0, 0]]),
            (F.max, [[-INF, -INF]], -INF, [[1, 0]]), (F.min, [[INF, INF]], INF, [[1, 0]])]:
        found, dx = gradient(function, np.array(x))
        np.testing.assert_array_equal(found, value)
        np.testing.assert_array_equal(dx, slope)
    assert F.argmax(np.array([1.0, NAN, NAN, INF])).item() == 1


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.bool_])
def test_extremes_of_integers(dtype):
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    assert F.max(x).dtype == F.min(x, axis=0).dtype == dtype
    assert F.min(x, axis=0).data.tolist() == [0, 0, 1] and F.max(x, axis=(0, 1)).item() == 1


@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_of_nothing(name):
    function = getattr(F, name)
    found, dx = gradient(lambda x: function(x, axis=1), np.zeros((0, 3)))
    assert found.shape == (0,) and dx.shape == (0, 3)
    assert function(np.zeros((3, 0)), axis=0, keepdims=True).shape == (1, 0)
    assert F.argmax(np.zeros((0, 3)), axis=1).shape == (0,)
    for axis in (0, None, (0, 1)):
        with pytest.raises(ValueError, match=rf"{name}: x should be an array with entries along .*, received \("):
            function(np.zeros((0, 3)), axis=axis)
    with pytest.raises(ValueError, match="argmax: x should be an array with entries along the axis"):
        F.argmax(np.zeros((0, 3)), axis=0)


def test_spread_and_length_of_nothing():
    for function in (F.var, F.std):
        assert function(np.zeros((0, 3)), axis=1).shape == (0,)
        with pytest.raises(ValueError, match="x should be more than correction = 0 entries to a result, received "):
            function(np.zeros((0, 3)), axis=0)
    found, dx = gradient(lambda x: F.norm(x, axis=0), np.zeros((0, 3), np.float32))
    np.testing.assert_array_equal(found, np.zeros(3, np.float32))
    assert dx.shape == (0, 3)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_single_number(shape):
    x = np.full(shape, -3.0)
    for function, value, slope in ((F.max, -3, 1), (F.min, -3, 1), (F.var, 0, 0), (F.std, 0, 0), (F.norm, 3, -1)):
        found, dx = gradient(function, x)
        assert found.shape == () and dx.shape == shape and found == value and (dx == slope).all()
    assert F.argmax(x).item() == 0


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e6])
@pytest.mark.parametrize("axis", [0, 1])
def test_variance_far_from_zero(rng, offset, axis):
    x = (offset + rng.standard_normal((1000, 7))).astype(np.float32)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(F.var(x, axis).data, exact.var(axis), rtol=3e-6)
    np.testing.assert_allclose(F.std(x, axis, correction=1).data, exact.std(axis, ddof=1), rtol=3e-6)


def test_variance_where_the_mean_is_no_float32():
    """From 2^24 on only even numbers are float32: a mean of 2^24 + 1.5 is rounded, and one centring leaves a bias."""
    x = np.repeat(np.float32([2**24, 2**24 + 2]), [1, 3])
    assert F.var(x).item() == 0.75 and F.std(x, correction=1).item() == pytest.approx(1, rel=2e-7)
    assert F.var(-x[:, None], axis=0).data == [0.75]


def test_variance_over_a_million_rows(rng):
    """As exact as the sum of the squares is, which is `Tensor.sum`'s."""
    x = (100 + rng.standard_normal((10**6, 2))).astype(np.float32)
    exact = x.astype(np.float64)
    for found, squares, expected in ((F.var(x, 0).data, (exact - exact.mean(0)) ** 2, exact.var(0)),
                                     (F.norm(x, 0).data ** 2, exact ** 2, (exact ** 2).sum(0))):
        summed = Tensor(squares.astype(np.float32)).sum(axis=0).data / squares.sum(axis=0)
        np.testing.assert_array_less(abs(found / expected - 1), 2 * abs(summed - 1) + 2e-6)


def test_std_has_no_slope_where_it_is_zero(T):
    for value in (0.0, 0.1, -7.3e5):
        for n in (1, 3, 4, 10, 49):
            x = np.full((n, 2), value, T)
            x[:, 1] = np.arange(n)
            found, dx = gradient(lambda x: F.std(x, axis=0), x)
            assert found[0] <= 1e-12 * abs(value) and np.isfinite(dx).all()
    np.testing.assert_array_equal(gradient(F.std, np.full((3, 2), 0.5, T))[1], 0)


def test_length_neither_overflows_nor_vanishes():
    for scale in (1e30, 1e-30, 1e38, 1e-38, 1.0):
        x = (np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]]) * scale / 4).astype(np.float32)
        with np.errstate(all="raise"):
            found, dx = gradient(lambda x: F.norm(x, axis=1), x)
        np.testing.assert_allclose(found, np.array([5, 2]) / 4 * scale, rtol=3e-7)
        np.testing.assert_allclose(dx, [[0.6, 0.8, 0], [0, 0, 1]], rtol=3e-7)
    x = np.array([1e-45, 0], np.float32)  # the smallest number there is
    assert F.norm(x).item() == x[0] and (gradient(F.norm, x)[1] == [1, 0]).all()
    assert F.norm(np.array([1e200, 1e200])).item() == pytest.approx(np.sqrt(2) * 1e200, rel=1e-15)


def test_spread_neither_overflows_nor_vanishes():
    for scale in (1e30, 1e-30):
        x = (np.array([1.0, 2.0, 3.0]) * scale).astype(np.float32)
        assert F.std(x, correction=1).item() == pytest.approx(scale, rel=1e-6)


def test_length_at_the_zero_vector_and_beside_infinity(T):
    with np.errstate(all="raise"):
        found, dx = gradient(lambda x: F.norm(x, axis=1), np.array([[0.0, -0.0], [3.0, -4.0]], T))
    np.testing.assert_array_equal(found, np.array([0, 5], T))
    np.testing.assert_allclose(dx, np.array([[0, 0], [0.6, -0.8]], T), rtol=1e-6)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(F.norm(np.array([[INF, 1], [NAN, 1], [-INF, NAN]], T), axis=1).data,
                                      np.array([INF, NAN, NAN], T))


X = np.zeros((2, 3))


@pytest.mark.parametrize("name", ["max", "min", "argmax", "var", "std", "norm"])
@pytest.mark.parametrize("options, message", [
    ({"axis": 2}, "axis should be of an array with 2 axes, each once, received 2"),
    ({"axis": -3}, "axis should be of an array"), ({"axis": 1.0}, "axis should be of an array"),
    ({"axis": "0"}, "axis should be of an array"), ({"axis": [0]}, "axis should be of an array"),
    ({"axis": 10**400}, "axis should be of an array"), ({"axis": np.array([0, 1])}, "axis should be of an array"),
    ({"keepdims": "False"}, "keepdims should be True or False, received 'False'"),
    ({"keepdims": None}, "keepdims should be True or False, received None"),
])
def test_errors(name, options, message):
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        getattr(F, name)(X, **options)


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("correction", [-1, NAN, "1", None, True, 10**400])
def test_corrections_are_checked(name, correction):
    with pytest.raises(ValueError, match=f"{name}: correction should be a number of 0 or more, received "):
        getattr(F, name)(X, correction=correction)


@pytest.mark.parametrize("call, message", [
    (lambda: F.max(X, axis=(0, 0)), "max: axis should be of an array with 2 axes, each once"),
    (lambda: F.argmax(X, axis=(0, 1)), r"argmax: axis should be one axis, or None for all, received \(0, 1\)"),
    (lambda: F.var(X, axis=0, correction=2), "var: x should be more than correction = 2 entries to a result"),
    (lambda: F.std(X, correction=INF), "std: x should be more than correction = inf entries"),
    (lambda: F.norm(X.astype(int)), "norm: x should be a float32 or float64 array"),
    (lambda: F.var(X.astype(int)), "var: x should be a float32 or float64 array"),
    (lambda: F.min("a"), "Tensor: data should be"),
])
def test_errors_of_one(call, message):
    with pytest.raises(ValueError, match=message):
        call()
