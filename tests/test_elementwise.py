"""Choices, limits, magnitude and turns: values against NumPy, gradients against PyTorch and by hand, errors."""

import numpy as np
import pytest

from nanostn import Tensor
from nanostn import functional as F

NAN, INF = np.nan, np.inf


def gradient(function, *arrays, dV=None):
    """The value and the gradients of all arrays."""
    xs = [Tensor(x, requires_grad=True) for x in arrays]
    y = function(*xs)
    y.backward(np.ones(y.shape, y.dtype) if dV is None else dV)
    return y.data, *(x.grad for x in xs)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def T(request):
    return request.param


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_larger_and_smaller_as_numpy(rng, T, name):
    x, y = rng.standard_normal((3, 1, 5)).astype(T), rng.standard_normal((2, 1)).astype(T)
    value, dx, dy = gradient(getattr(F, name), x, y)
    np.testing.assert_array_equal(value, getattr(np, name)(x, y))
    assert value.dtype == dx.dtype == dy.dtype == T and dx.shape == x.shape and dy.shape == y.shape
    chosen = value == x
    np.testing.assert_array_equal(dx, chosen.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(dy, (~chosen).sum(axis=(0, 2)).reshape(2, 1))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_of_equal_ones_the_first_takes_the_gradient_and_a_nan_takes_its_own(name):
    x, y = np.array([2.0, 0.0, NAN, 1.0, NAN, INF]), np.array([2.0, -0.0, 1.0, NAN, NAN, INF])
    value, dx, dy = gradient(getattr(F, name), x, y)
    np.testing.assert_array_equal(value, [2, 0, NAN, NAN, NAN, INF])
    np.testing.assert_array_equal(dx, [1, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(dy, 1 - dx)


def test_numbers_take_part():
    x = np.array([-1.0, 0.5, 3.0], np.float32)
    value, dx = gradient(lambda x: F.maximum(F.minimum(2, x), 0.0), x)
    np.testing.assert_array_equal(value, np.array([0, 0.5, 2], np.float32))
    np.testing.assert_array_equal(dx, [0, 1, 0])
    assert value.dtype == np.float32
    np.testing.assert_array_equal(F.where(x > 0, x, -INF).data, [-INF, 0.5, 3])
    np.testing.assert_array_equal(F.where(x > 0, NAN, x).data, [-1, NAN, NAN])


def test_where_broadcasts_three_and_lets_nothing_leak(T):
    condition = np.array([[True], [False]])
    x, y = np.array([NAN, 1.0, 2.0], T), np.array([[[5.0]], [[6.0]]], T)
    dV = np.arange(12, dtype=T).reshape(2, 2, 3)
    dV[:, 1] = [[INF, 9, 10], [11, 12, 13]]
    value, dx, dy = gradient(lambda x, y: F.where(condition, x, y), x, y, dV=dV)
    np.testing.assert_array_equal(value, np.where(condition, x, y))
    np.testing.assert_array_equal(dx, [6, 8, 10])  # rows 0 of dV
    np.testing.assert_array_equal(dy.ravel(), [INF, 36])
    assert value.dtype == dx.dtype == dy.dtype == T


def test_where_chooses_integers_and_truth_values_too():
    ints = F.where(np.array([True, False]), np.array([1, 2]), np.array([3, 4]))
    assert ints.dtype == np.int64 and ints.data.tolist() == [1, 4] and not ints.requires_grad
    assert F.where(Tensor(np.array(True)), np.float32(1) * np.ones(2, np.float32), 0.0).data.tolist() == [1, 1]


def test_clip_by_hand(T):
    x = np.array([-INF, -2.0, -1.0, 0.3, 0.5, 0.7, INF, NAN], T)
    for limits, value, slope in [
            ((-1, 0.5), [-1, -1, -1, 0.3, 0.5, 0.5, 0.5, NAN], [0, 0, 1, 1, 1, 0, 0, 0]),
            ((None, 0.5), [-INF, -2, -1, 0.3, 0.5, 0.5, 0.5, NAN], [1, 1, 1, 1, 1, 0, 0, 0]),
            ((-1, None), [-1, -1, -1, 0.3, 0.5, 0.7, INF, NAN], [0, 0, 1, 1, 1, 1, 1, 0])]:
        clipped, dx = gradient(lambda x, limits=limits: F.clip(x, *limits), x)
        np.testing.assert_array_equal(clipped, np.array(value, T))
        np.testing.assert_array_equal(dx, slope)
        assert clipped.dtype == dx.dtype == T


def test_a_limit_beyond_float32_is_none():
    x = np.array([1.0, 3e38], np.float32)
    np.testing.assert_array_equal(F.clip(x, -1e300, 1e300).data, x)


def test_abs_has_no_slope_at_zero(T):
    value, dx = gradient(F.abs, np.array([-2.0, -0.0, 0.0, 3.0, -INF], T))
    np.testing.assert_array_equal(value, [2, 0, 0, 3, INF])
    np.testing.assert_array_equal(dx, [-1, 0, 0, 1, -1])


def test_turns(rng, T):
    x, dV = (rng.standard_normal((2, 3, 5)) * 10).astype(T)
    tolerance = 1e-6 if T == np.float32 else 1e-13
    for function, expected, slope in ((F.sin, np.sin(x), np.cos(x)), (F.cos, np.cos(x), -np.sin(x))):
        value, dx = gradient(function, x, dV=dV)
        np.testing.assert_allclose(value, expected, rtol=tolerance)
        np.testing.assert_allclose(dx, dV * slope, rtol=tolerance)


def test_against_torch(rng, T):
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((2, 3, 5)).astype(T), rng.standard_normal((3, 1)).astype(T)
    dV = rng.standard_normal((2, 3, 5)).astype(T)
    for ours, theirs in [
            (F.maximum, torch.maximum), (F.minimum, torch.minimum),
            (lambda x, y: F.where(x.data > 0, x, y), lambda x, y: torch.where(x > 0, x, y)),
            (lambda x, y: F.clip(x, -0.5, 0.7) + y, lambda x, y: torch.clamp(x, -0.5, 0.7) + y),
            (lambda x, y: F.abs(x) * F.sin(y), lambda x, y: torch.abs(x) * torch.sin(y)),
            (lambda x, y: F.cos(x) - F.abs(y), lambda x, y: torch.cos(x) - torch.abs(y))]:
        a, b = (torch.tensor(each, requires_grad=True) for each in (x, y))
        expected = theirs(a, b)
        expected.backward(torch.tensor(dV))
        for found, right in zip(gradient(ours, x, y, dV=dV), (expected, a.grad, b.grad), strict=True):
            np.testing.assert_allclose(found, right.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,)])
def test_numbers_alone_and_nothing(shape):
    x = np.full(shape, 0.25)
    for function in (F.abs, F.sin, F.cos, lambda x: F.clip(x, 0, 1), lambda x: F.maximum(x, 0.1),
                     lambda x: F.minimum(0.5, x), lambda x: F.where(x.data > 0, x, 0.0)):
        value, dx = gradient(function, x)
        assert value.shape == dx.shape == shape


X = Tensor(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("call, message", [
    (lambda: F.where(X, X, X), r"where: condition should be an array of truth values, received \(2, 3\) float32"),
    (lambda: F.where(None, X, X), "where: condition should be an array of truth values"),
    (lambda: F.where([[True], [True, False]], X, X), "where: condition should be an array of numbers, all rows of"),
    (lambda: F.where(np.ones(4, bool), X, X), r"where: condition should be of a shape that broadcasts with x and y "),
    (lambda: F.where(X.data > 0, 1.0, 0.0), "where: x or y should be an array or a tensor, received 1.0 and 0.0"),
    (lambda: F.where(X.data > 0, X, None), "where: y should be a number, received None"),
    (lambda: F.maximum("2", X), "maximum: x should be a number, received '2'"),
    (lambda: F.maximum(X, 10**400), "maximum: y should be a number, received 1000"),
    (lambda: F.minimum(X, True), "minimum: y should be a number, received True"),
    (lambda: F.minimum(X, X.data.astype(np.float64)), "minimum: y should be float32 like x"),
    (lambda: F.minimum(X.data.astype(int), X.data.astype(int)), "minimum: x should be a float32 or float64 array"),
    (lambda: F.maximum(X, np.zeros(2, np.float32)), "maximum: y should be of a shape that broadcasts with x"),
    (lambda: F.clip(X, None, None), "clip: low or high should be a number, received None for both"),
    (lambda: F.clip(X, 1, 0), "clip: low should be at most high = 0, received 1"),
    (lambda: F.clip(X, NAN, 1), "clip: low should be a number, received nan"),
    (lambda: F.clip(X, 0, "1"), "clip: high should be a number, received '1'"),
    (lambda: F.clip(X, X, 1), r"clip: low should be a number, received \(2, 3\) float32"),
    (lambda: F.clip(X, 0, 10**400), "clip: high should be a number, received 1000"),
    (lambda: F.clip(X.data.astype(int), 0, 1), "clip: x should be a float32 or float64 array"),
    (lambda: F.abs([1.0]), r"abs: every input should be a tensor or an array, received \[1.0\]"),
    (lambda: F.sin(None), "sin: every input should be a tensor or an array, received None"),
    (lambda: F.cos(np.array(["a"])), "cos: x should be a float32 or float64 array"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
