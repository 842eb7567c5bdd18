"""Choices, reductions, arrangements and options of cross_entropy on the device: ties, NaNs, extremes, refusals.

The rows of the verification table run in test_operations.py; here is what they leave out.
"""

import numpy as np
import pytest

from nanostn import Tensor
from nanostn import functional as F
from nanostn.kernels.gpu.arrays.device_array import is_device, to_device

NAN, INF = np.nan, np.inf


def on_both(function, *arrays):
    """The value and the gradients on the CPU and on the device, in pairs."""
    runs = []
    for copy in (lambda x: x, to_device):
        xs = [Tensor(copy(x), requires_grad=x.dtype.kind == "f") for x in arrays]
        y = function(*xs)
        if y.requires_grad:
            y.backward(copy(np.arange(1, y.size + 1, dtype=y.dtype).reshape(y.shape)))
        runs.append([y.data, *(x.grad for x in xs if x.requires_grad and y.requires_grad)])
    assert all(map(is_device, runs[1]))
    return [(here, there.numpy()) for here, there in zip(*runs, strict=True)]


def same(pairs, tolerance=0.0):
    for here, there in pairs:
        assert (here.shape, here.dtype) == (there.shape, there.dtype)
        np.testing.assert_allclose(there, here, rtol=tolerance, atol=tolerance)


def test_ties_and_nans(T):
    x, y = np.array([2, 0, NAN, 1, NAN, INF, -1], T), np.array([2, -0.0, 1, NAN, NAN, INF, 3], T)
    for function in (F.maximum, F.minimum, lambda x, y: F.clip(x, 0, 2) + F.abs(y), lambda x, y: F.maximum(2, x) + y,
                     lambda x, y: F.where(x.data > y.data, x, y), lambda x, y: F.where(x.data == x.data, x, 0.0) + y):
        same(on_both(function, x, y))


def test_turns(rng, T):
    same(on_both(lambda x: F.sin(x) * F.cos(x), (rng.standard_normal((3, 5)) * 20).astype(T)),
         1e-5 if T == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8])
def test_where_of_integers(dtype):
    a, b, which = np.array([[1, 0, 1]], dtype), np.array([[0], [1]], dtype), np.array([[True], [False]])
    found = F.where(to_device(which), to_device(a), to_device(b))
    np.testing.assert_array_equal(found.data.numpy(), np.where(which, a, b))
    assert found.dtype == dtype


@pytest.mark.parametrize("name", ["max", "min", "var", "std", "norm"])
@pytest.mark.parametrize("axis", [(-1, 0), ()])
def test_reductions(rng, T, name, axis):
    x = rng.integers(-2, 3, (2, 1, 3)).astype(T)  # with equal ones
    same(on_both(lambda x: getattr(F, name)(x, axis), x), 1e-6 if T == np.float32 else 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32, np.uint8, np.bool_])
def test_extremes_and_their_places(rng, dtype):
    x = rng.integers(0, 3, (2, 4)).astype(dtype)
    for axis in (None, 0, -1):
        for function in (F.argmax, F.max, F.min):
            found = function(to_device(x), axis=axis, keepdims=True)
            np.testing.assert_array_equal(found.data.numpy(), function(x, axis=axis, keepdims=True).data)
        assert F.argmax(to_device(x), axis).dtype == np.int64


def test_the_first_nan(T):
    x = np.array([[1, NAN, NAN], [INF, -INF, NAN]], T)
    for function in (F.max, F.min, lambda x: F.max(x, axis=0), lambda x: F.min(x, axis=1), F.argmax):
        same(on_both(function, x))


def test_of_nothing():
    x = np.zeros((0, 3), np.float32)
    for function in (lambda x: F.max(x, axis=1), lambda x: F.min(x, axis=1, keepdims=True), lambda x: F.var(x, axis=1),
                     lambda x: F.norm(x, axis=0), lambda x: F.argmax(x, axis=1), F.flip, F.abs,
                     lambda x: F.pad(x, 1, value=3), lambda x: F.clip(x, 0, 1), lambda x: F.softmax(x, axis=0),
                     lambda x: F.log_softmax(x, axis=1), lambda x: F.softmax(x.reshape(3, 0), axis=1)):
        same(on_both(function, x))
    for function in (F.max, F.min, F.argmax, F.var):
        with pytest.raises(ValueError, match="x should be "):
            function(to_device(x), axis=0)


def test_extremes_of_float32_and_entries_far_from_zero(rng):
    for scale in (1e30, 1e-30, 1.0, 0.0):
        x = (np.array([[3, 4, 0], [0, 0, 2]]) * scale).astype(np.float32)
        same(on_both(lambda x: F.norm(x, axis=1), x), 1e-6)
    x = (1e6 + rng.standard_normal((40, 3))).astype(np.float32)
    found = F.var(to_device(x), axis=0).data.numpy()
    np.testing.assert_allclose(found, x.astype(np.float64).var(axis=0), rtol=2e-6)
    same(on_both(F.std, np.full((3, 2), 0.5, np.float32)))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, np.bool_])
def test_arrangements(rng, dtype):
    x = rng.integers(0, 2, (2, 3, 4)).astype(dtype)
    for function in (F.flip, lambda x: F.flip(x, (0, 2)), lambda x: F.pad(x, [(1, 0), (0, 2), (2, 3)], value=1),
                     lambda x: F.pad(x, 1, "edge"), lambda x: F.pad(x, (4, 2), "reflect")):
        same(on_both(function, x))


def test_a_flipped_array_goes_on(rng):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    same(on_both(lambda x: F.relu(F.flip(x, 2) * 2 + F.flip(x.transpose(0, 2, 1), 0).transpose(0, 2, 1)), x))


@pytest.mark.parametrize("options", [
    {}, {"ignore_index": 1}, {"class_weights": [0.5, 2.0, 0.0, 1.0]}, {"label_smoothing": 0.2}, {"reduction": "none"},
    {"ignore_index": 1, "class_weights": [0.5, 2.0, 0.0, 1.0], "label_smoothing": 0.3, "reduction": "sum"}])
def test_cross_entropy(rng, T, options):
    labels = np.array([1, 3, 0, 1, 2])
    same(on_both(lambda x: F.cross_entropy(x, to_device(labels) if x.device == "cuda" else labels, **options),
                 rng.standard_normal((5, 4)).astype(T)), 2e-5 if T == np.float32 else 1e-13)


@pytest.mark.parametrize("options", [{"ignore_index": 0}, {"class_weights": [1.0, 2.0, 3.0]}, {"label_smoothing": 0.2},
                                     {"reduction": "none"}])
def test_labels_that_are_no_classes_give_nan_in_every_option(options):
    for wrong in (-1, 3, 1 << 40):
        logits = Tensor(to_device(np.zeros((4, 3), np.float32)), requires_grad=True)
        loss = F.cross_entropy(logits, to_device(np.array([0, 1, wrong, 2])), **options)
        loss.sum().backward()
        assert np.isnan(loss.data.numpy()).sum() == 1
        np.testing.assert_array_equal(np.isnan(logits.grad.numpy()).all(axis=1), [False, False, True, False])
    logits = to_device(np.zeros((2, 3), np.float32))
    loss = F.cross_entropy(logits, to_device(np.array([-7, 2])), ignore_index=-7)
    np.testing.assert_allclose(loss.numpy(), np.log(3), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero)")
def test_where_no_sample_counts():
    logits = Tensor(to_device(np.ones((2, 3), np.float32)), requires_grad=True)
    loss = F.cross_entropy(logits, to_device(np.array([-1, -1])), ignore_index=-1)
    loss.backward()
    assert np.isnan(loss.item())
    np.testing.assert_array_equal(logits.grad.numpy(), np.zeros((2, 3)))


X = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize("call, message", [
    (lambda x: F.where(X > 0, x, x), "where: every input should be on one device"),
    (lambda x: F.where(x > 0, X, x), "where: every input should be on one device"),
    (lambda x: F.maximum(x, X), "maximum: every input should be on one device"),
    (lambda x: F.where(x, x, x), "where: condition should be an array of truth values"),
    (lambda x: F.maximum(x, None), "maximum: y should be a number, received None"),
    (lambda x: F.minimum(x > 0, x > 0), "minimum: x should be a float32 or float64 array"),
    (lambda x: F.max(x, axis=2), "max: axis should be of an array with 2 axes"),
    (lambda x: F.flip(x, axis="a"), "flip: axis should be of an array with 2 axes"),
    (lambda x: F.softmax(x, axis=None), "softmax: axis should be an axis of x"),
    (lambda x: F.cross_entropy(x, to_device(np.array([0, 1])), class_weights=np.ones(3, np.float32)),
     "cross_entropy: class_weights should be on cuda like logits, received on cpu"),
    (lambda x: F.cross_entropy(X, np.array([0, 1]), class_weights=to_device(np.ones(3, np.float32))),
     "cross_entropy: class_weights should be on cpu like logits, received on cuda"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(to_device(X))
