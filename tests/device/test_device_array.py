"""Device arrays against NumPy: the same expressions of the same arrays; and what is refused."""

import numpy as np
import pytest

from nanostn.kernels.gpu.arrays.device_array import allocator, empty, to_device
from nanostn.kernels.gpu.arrays.finite import are_finite
from nanostn.kernels.gpu.arrays.numpy_functions import constant, contiguous, device_of, is_device, move
from nanostn.kernels.gpu.arrays.reductions import PART
from nanostn.kernels.networks.clutter import paste_brightest


def same(found, expected, tolerance=1e-5):
    assert is_device(found)
    expected = np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance)


EXPRESSIONS = {
    "arithmetic": lambda x, y: (x + y) * x - y / (x * x + 1),
    "numbers on both sides": lambda x, y: 1 - x * 2 + 3 / (y * y + 1),
    "broadcast both ways": lambda x, y: x[:, :, :1] * y[:, :, None].T,
    "five axes": lambda x, y: x[:, None, :, :, None] * y.reshape(1, 5, 1, 1, 1),
    "six axes apart": lambda x, y: (x[:, None, :, None, :, None] * np.transpose(x)[None, :, None, :, None, :])[1],
    "functions": lambda x, y: np.exp(-np.absolute(x)) + np.tanh(x) * np.sqrt(np.square(y)) + np.log(x * x + 1),
    "turns": lambda x, y: np.sin(x) - np.cos(y),
    "signs": lambda x, y: np.sign(np.maximum(x, 0) * x - np.maximum(-x, 0.5)) + np.sign(x * 0),
    "flipped": lambda x, y: np.flip(x, (0, -1)) - np.flip(x),
    "logaddexp": lambda x, y: np.logaddexp(x, y),
    "power": lambda x, y: np.absolute(x) ** 1.5,
    "extremes": lambda x, y: np.maximum(x, y) - np.minimum(x, 0),
    "choice": lambda x, y: np.where(x > y, x, 0),
    "comparisons": lambda x, y: (x <= y) & (x != 0.5),
    "clip": lambda x, y: np.clip(x, -0.5, 0.5),
    "transposed": lambda x, y: x.transpose(2, 0, 1) + 1,
    "strided slices": lambda x, y: x[1:, ::2, 0] * 2,
    "a reshape of what has gaps": lambda x, y: x.swapaxes(0, 2).reshape(5, -1),
    "a moved axis": lambda x, y: np.moveaxis(x, 0, -1) - 1,
    "entries by number": lambda x, y: x[[2, 0, 2], :, 1],
    "several entries": lambda x, y: x[[2, 0], [1, -1]],
    "entries of axes apart": lambda x, y: x[[2, 0], :, [1, 1]],
    "entries by a mask": lambda x, y: x[:, np.array([True, False, False, True, True])],
    "sum": lambda x, y: x.sum(),
    "sum over outer axes": lambda x, y: x.sum(axis=(0, 1)),
    "sum over the middle": lambda x, y: x.sum(axis=1, keepdims=True),
    "sum of a transposed one": lambda x, y: x.transpose(1, 2, 0).sum(axis=(0, 2)),
    "sum of a broadcast one": lambda x, y: np.broadcast_to(y, (3, 5, 2)).sum(axis=(0, 2)),
    "mean": lambda x, y: x.mean(axis=(0, 2)),
    "max": lambda x, y: x.max(axis=-1),
    "min": lambda x, y: x.min(axis=(0, 2), keepdims=True),
    "argmax": lambda x, y: x.argmax(axis=1),
    "argmax of all": lambda x, y: np.argmax(x),
    "concatenated": lambda x, y: np.concatenate([x, x[:, :2]], axis=1),
    "stacked": lambda x, y: np.stack([x, -x], axis=-1),
    "expanded": lambda x, y: np.expand_dims(x, (0, 2)) + 0,
    "zeros and ones": lambda x, y: np.zeros_like(x) + np.ones((5, 2), x.dtype, like=x),
    "cast": lambda x, y: (x > 0).astype(np.float64) + x.astype(np.float64),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions(rng, T, name):
    x, y = rng.normal(size=(3, 5, 2)).astype(T), rng.normal(size=(5, 1)).astype(T)
    same(EXPRESSIONS[name](to_device(x), to_device(y)), EXPRESSIONS[name](x, y))


def test_writing_through_views(rng, T):
    x = rng.normal(size=(4, 5)).astype(T)
    X = to_device(x.copy())
    for array in (x, X):
        array[0] -= array[1]
        array[1:, ::2] = 7
        array[:, 1:] += array[:, :-1]  # the operands overlap
        array[2] = array[3]
    same(X, x)


def test_adding_to_entries_that_are_named_twice(rng, T):
    x, d = np.ones((3, 4, 2), T), rng.normal(size=(3, 5, 2)).astype(T)
    X = to_device(x)
    index = (slice(None), [1, 0, 1, 3, 1])
    np.add.at(x, index, d)
    np.add.at(X, index, to_device(d))
    same(X, x)
    first = X.numpy()
    again = to_device(np.ones((3, 4, 2), T))
    np.add.at(again, index, to_device(d))
    assert np.array_equal(again.numpy(), first)


def test_what_is_not_a_number(T):
    x = np.array([[1, np.nan, 3, np.inf], [-np.inf, 2, 2, 2]], T)
    X = to_device(x)
    same(np.maximum(X, 2), np.maximum(x, 2))
    same(X.max(axis=1), x.max(axis=1))
    same(X.argmax(axis=1), x.argmax(axis=1))
    same(np.isfinite(X), np.isfinite(x))
    assert not np.isfinite(X).all() and bool(np.isfinite(X[1, 1:]).all())
    assert are_finite([X, to_device(np.zeros(3, T)), X[1, 1:]]).tolist() == [False, True, True]


def test_finite_in_many_arrays_of_two_types(T):
    arrays = [to_device(np.full(3 + i, i, [np.float32, np.float64][i % 2])) for i in range(19)]
    arrays[13][5] = np.inf
    assert np.flatnonzero(~are_finite(arrays)).tolist() == [13]


def test_sums_of_many(rng, T):
    x = rng.normal(size=(2, PART + 13)).astype(T)  # in two parts
    same(to_device(x).sum(axis=1), x.sum(axis=1), 1e-3 if T is np.float32 else 1e-10)
    assert np.count_nonzero(to_device(x > 0)).item() == np.count_nonzero(x > 0)


def test_nothing_at_all(T):
    nothing = to_device(np.zeros((0, 3), T))
    same(nothing + 1, np.zeros((0, 3)).astype(T))
    same(nothing.sum(axis=0), np.zeros(3, T))
    same(nothing.sum(axis=1), np.zeros(0, T))
    same(np.concatenate([nothing, nothing]), np.zeros((0, 3), T))
    with pytest.raises(ValueError, match="max: the array should have entries along axis 0"):
        nothing.max(axis=0)


def test_moves(rng, T):
    x = rng.normal(size=(3, 4)).astype(T)
    X = move(x, "cuda")
    assert (device_of(X), device_of(x)) == ("cuda", "cpu") and move(X, "cuda") is X and move(x, "cpu") is x
    assert np.array_equal(move(X.T, "cpu"), x.T)
    assert contiguous(X) is X and contiguous(X.T).contiguous
    assert constant(x, X) is constant(x.copy(), X) and constant(x, x) is x
    assert float(X[0, 0]) == x[0, 0] and len(X) == 3 and "DeviceArray" in repr(X)


def test_pieces_where_the_brighter_stays(rng, T):
    images, pieces = rng.random((3, 7, 9)).astype(T), rng.random((3, 4, 2, 3)).astype(T)
    tops, lefts = rng.integers(6, size=(3, 4)), rng.integers(7, size=(3, 4))
    there = to_device(images)
    paste_brightest(there, *map(to_device, (pieces, tops, lefts)))
    before = images.copy()
    paste_brightest(images, pieces, tops, lefts)
    assert np.array_equal(there.numpy(), images) and (images != before).any()


@pytest.mark.parametrize("call, message", [
    (lambda X: X + np.ones(3), "add: both arrays should be on one device, received a NumPy array"),
    (lambda X: np.asarray(X), "the array should be in the processor's memory, received a device array"),
    (lambda X: np.linalg.inv(X), "inv: the arrays should be NumPy's, received a device array"),
    (lambda X: np.median(X), "this function has no kernel for the device"),
    (lambda X: np.sum(X, dtype=np.float64), "sum: options should be those that its kernel for the device has"),
    (lambda X: np.add.reduce(X), "add.reduce: the arrays should be NumPy's"),
    (lambda X: X[X > 0], "the index should be numbers, slices or NumPy arrays, received a device array"),
    (lambda X: X.__setitem__(0, np.ones(4)), "the value should be on the device, received a NumPy array"),
    (lambda X: X.__setitem__([0, 1], 1.0), "entries should be set by slices and numbers on the device"),
    (lambda X: np.exp(X.astype(np.int64)), "exp: the arrays should be float32 or float64 on the device"),
])
def test_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call(to_device(np.ones((3, 4), np.float32)))


@pytest.mark.parametrize("index", [3, -4, (0, 0, 0), [5], (slice(None), [-5])])
def test_places_that_are_not_there(index):
    with pytest.raises(IndexError, match="indexing: "):
        to_device(np.ones((3, 4), np.float32))[index]


def test_memory_comes_back(T):
    before = allocator.lent
    array = empty((3, 5), T)
    part = array[1:]
    del array
    assert allocator.lent > before  # a view holds what it looks at
    del part
    assert allocator.lent == before
