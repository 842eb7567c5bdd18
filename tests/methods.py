"""The table of what a Tensor can do: operators and methods, by their names there."""

import operator

import numpy as np

from nanostn import Tensor

from .arguments import AXES, LARGE, Operation, inf, nan


def _pair(d, low=-2.0):
    shape = d.sizes(0, 3)
    one, other = ([d.pick(1, n) for n in shape] for _ in range(2))
    return [d.array(*one), d.array(*other[int(d.rng.integers(len(shape) + 1)):], low=low)], {}


def binary(name, low=-2.0):
    call = getattr(operator, name)
    odd = [None, "2", b"2", 1j, object(), {}, [[1.0], [1.0, 2.0]], LARGE, "text", ["a"], len]

    def reflected(x, y):
        return call(x if isinstance(x, Tensor) else Tensor(x), y)

    also = {f"x {name} {shown!r}": lambda shown=shown: call(Tensor(np.ones((2, 3))), shown) for shown in odd}
    also |= {f"{shown!r} {name} x": lambda shown=shown: call(shown, Tensor(np.ones((2, 3)))) for shown in odd}
    also["shapes"] = lambda: call(Tensor(np.ones((2, 3))), np.ones((2, 4)))
    return Operation(reflected, lambda d: _pair(d, low), lambda T, x, y: call(x, y), call, also=also, any_axes=True,
                     any_dtype=False, alone=True)


def reduction(name, kinks=False):
    def draw(d):
        shape = d.sizes(0, 3)
        return [d.array(*shape)], {"axis": d.axis(len(shape)), "keepdims": d.pick(True, False)}

    return Operation(lambda x, **options: getattr(x, name)(**options), draw, None,
                     lambda x, **options: getattr(np, name)(x, **options), {"axis": AXES, "keepdims": "flag"},
                     kinks=kinks, any_dtype=True, any_axes=True, alone=True)


def _reshape(d):
    shape = [d.size(), d.size(), d.size()]
    forms = [(-1,), (shape[0], -1), (shape[2], shape[0] * shape[1]), (np.int64(shape[0] * shape[1]), shape[2]), [-1, 1]]
    return [d.array(*shape)], {"shape": d.pick(*forms)}


def _transpose(d):
    shape = d.sizes(1, 4)
    order = [int(a) - len(shape) * int(d.rng.integers(2)) for a in d.rng.permutation(len(shape))]
    return [d.array(*shape)], {"axes": d.pick(tuple(order), order, tuple(np.array(order)))}


INDICES = [0, -1, np.int64(1), slice(None), slice(1, None), slice(None, None, -1), slice(None, None, 2), ..., None,
           (0, slice(1, 2)), (..., 0), (slice(None), -1), (None, 0), [0, 1, 0], np.array([1, 0, 1]),
           (slice(None), [0, 0]), (np.array([0, 1]), np.array([1, 1])), np.array([True, False]),
           (slice(0), 0), ([0, 1], None, [1, 0]), (), []]


def _index(d):
    return [d.array(2, max(d.size(), 2), 3)], {"index": INDICES[int(d.rng.integers(len(INDICES)))]}


def _numpy_index(x, index):
    return x[np.array(index, int) if isinstance(index, list) and not index else index]


def _matrices(d):
    M, K, N = d.size(), d.size(), d.size()
    return [d.array(M, K), d.array(K, N)], {}


def _method(name, draw, **others):
    return Operation(lambda x, **options: getattr(x, name)(**options), draw, any_dtype=True, any_axes=True, alone=True,
                     view=True, **others)


SHAPES = [None, "ab", 2.0, (2.0, 3), (None, 6), ("2", 3), (nan, 3), (-2, -3), (-1, -1), (-1, 0), 1j, object(), {},
          LARGE, (LARGE,), [[2], [3, 4]], (0, -1), (7,), (True, -1), inf]

METHODS = {
    **{f"Tensor.__{name}__": binary(name, low) for name, low in (
        ("add", -2.0), ("sub", -2.0), ("mul", -2.0), ("truediv", 0.5))},
    "Tensor.sum": reduction("sum"), "Tensor.mean": reduction("mean"), "Tensor.max": reduction("max", kinks=True),
    "Tensor.__neg__": Operation(operator.neg, lambda d: ([d.array(*d.sizes(0, 3))], {}), lambda T, x: -x, np.negative,
                                any_axes=True, any_dtype=True, alone=True,
                                also={"booleans": lambda: -Tensor(np.ones(2, bool))}),
    "Tensor.__pow__": Operation(lambda x, exponent: x ** exponent, lambda d: (
        [d.array(*d.sizes(0, 3), low=0.2)],
        {"exponent": d.pick(2, 3, 0, 1, -1, 0.5, -1.5, np.float32(2), np.int64(3))}),
        lambda T, x, exponent: x ** float(exponent), lambda x, exponent: x ** exponent,
        {"exponent": [None, "2", 1j, LARGE, [[1.0], [1.0, 2.0]], object(), {}]}, any_axes=True, alone=True),
    "Tensor.__matmul__": Operation(
        lambda x, y: (x if isinstance(x, Tensor) else Tensor(x)) @ y, _matrices, lambda T, x, y: x @ y, np.matmul,
        any_axes=True, alone=True, also={f"{y!r}": lambda y=y: Tensor(np.ones((2, 2))) @ y for y in (2.0, None, "a")}),
    "Tensor.__getitem__": Operation(lambda x, index: x[index], _index, None, _numpy_index, {"index": [
        99, -99, "0", 0.0, nan, 1j, object(), {}, LARGE, (0, 0, 0, 0), [99], ["a"], [0.5], [None], (0, "a"), slice("a"),
        slice(0.5, None), np.ones(7, bool), np.array([0.0])]}, error=IndexError,
        view=True, any_dtype=True, any_axes=True, alone=True),
    "Tensor.reshape": _method("reshape", _reshape, numpy=lambda x, shape: x.reshape(shape)),
    "Tensor.transpose": _method("transpose", _transpose, numpy=lambda x, axes: x.transpose(axes), options={
        "axes": ["0", 0.0, nan, 99, (0, 0), (0.0, 1), ("0", 1), LARGE, 1j, object(), {}, (0, 1, 2, 3, 4)]}),
    "Tensor.T": Operation(lambda x: x.T, lambda d: ([d.array(*d.sizes(0, 3))], {}), None, np.transpose, view=True,
                          any_dtype=True, any_axes=True, alone=True),
    "Tensor.astype": _method("astype", lambda d: ([d.array(*d.sizes(0, 3))], {"dtype": np.float64}), wide=True,
                             options={"dtype": "dtype"}),
    "Tensor.to": _method("to", lambda d: ([d.array(*d.sizes(0, 3))], {"device": "cpu"}), options={"device": "choice"}),
}
METHODS["Tensor.reshape"].call = lambda x, shape: x.reshape(shape)
METHODS["Tensor.transpose"].call = lambda x, axes: x.transpose(axes)
METHODS["Tensor.reshape"].options = {"shape": SHAPES}

TESTED_ELSEWHERE = {
    **dict.fromkeys([f"Tensor.__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge", "bool", "float", "int",
                                                       "iter")], "test_tensor.py"),
    **dict.fromkeys(["Tensor.data", "Tensor.node", "Tensor.shape", "Tensor.dtype", "Tensor.ndim", "Tensor.size",
                     "Tensor.device"], "what it is, not what it does"),
    **dict.fromkeys(["Tensor.grad", "Tensor.requires_grad", "Tensor.backward", "Tensor.detach"], "test_autograd.py"),
    **dict.fromkeys(["Tensor.numpy", "Tensor.item", "Tensor.__len__", "Tensor.__array__"], "test_tensor.py"),
    **dict.fromkeys([f"Tensor.__r{name}__" for name in ("add", "sub", "mul", "truediv", "matmul")],
                    "the operators' entries, from the other side"),
}
