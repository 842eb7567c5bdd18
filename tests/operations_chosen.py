"""The table of choices, reductions and arrangements: operations of `nanostn.functional` with NumPy's names."""

import numpy as np

from nanostn import functional as F

from .arguments import NONSENSE, Operation

NAMES = set(F.__all__)


def _pair(d):
    shape = d.sizes(0, 3)
    return [d.array(*shape), d.array(*[d.pick(1, n) for n in shape])], {}


def _reduced(d, **more):
    shape = d.sizes(1, 3)
    return [d.array(*shape)], {"axis": d.axis(len(shape)), "keepdims": d.pick(True, False), **more}


def _where(d):
    arrays, _ = _pair(d)
    return arrays, {"condition": d.rng.random(arrays[0].shape) > 0.5}


def _pad(d):
    shape = d.sizes(1, 3)
    widths = d.pick(0, 1, (1, 2), [(int(d.rng.integers(3)), int(d.rng.integers(3))) for _ in shape])
    mode = d.pick("constant", "edge", "reflect")
    return [d.array(*shape)], {"widths": widths, "mode": mode, **({"value": 0.5} if mode == "constant" else {})}


def _numpy_pad(x, widths, mode, value=0.0):
    return np.pad(x, widths, mode, **({"constant_values": value} if mode == "constant" else {}))


def _any(d):
    return [d.array(*d.sizes(0, 3))], {}


def _clipped(d):
    return _any(d)[0], {"low": d.pick(-0.5, -1, None), "high": 1}


def _flipped(d):
    shape = d.sizes(0, 3)
    return [d.array(*shape)], {"axis": d.axis(len(shape))}


def _unary(name, torch):
    return Operation(getattr(F, name), _any, torch, getattr(np, name), any_axes=True)


def _reduction(name, kinks=False, options=None):
    def numpy(x, axis, keepdims, correction=0):
        if name == "norm":
            return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))
        return getattr(np, name)(x, axis=axis, keepdims=keepdims, **({"ddof": correction} if correction else {}))

    return Operation(getattr(F, name), _reduced, None, numpy,
                     {"axis": NONSENSE["axes"], "keepdims": "flag", **(options or {})}, kinks=kinks,
                     any_dtype=name in ("max", "min"), any_axes=True)


def chosen():
    """The entries of those that are public: the file is older than some of them."""
    entries = {
        "abs": lambda: _unary("abs", lambda T, x: T.abs(x)), "sin": lambda: _unary("sin", lambda T, x: T.sin(x)),
        "cos": lambda: _unary("cos", lambda T, x: T.cos(x)),
        "maximum": lambda: Operation(F.maximum, _pair, lambda T, x, y: T.maximum(x, y), np.maximum, any_axes=True,
                                     also={repr(y): lambda y=y: F.maximum(np.ones(2), y) for y in (None, "1", 1j)}),
        "minimum": lambda: Operation(F.minimum, _pair, lambda T, x, y: T.minimum(x, y), np.minimum, any_axes=True,
                                     also={repr(y): lambda y=y: F.minimum(np.ones(2), y) for y in (None, "1", 1j)}),
        "where": lambda: Operation(
            lambda x, y, condition: F.where(condition, x, y), _where,
            lambda T, x, y, condition: T.where(T.tensor(condition), x, y),
            lambda x, y, condition: np.where(condition, x, y),
            {"condition": [None, "text", 1, 0.5, 1j, object(), {}, np.ones(7, bool), [[True], [True, False]]]},
            any_dtype=True, any_axes=True),
        "clip": lambda: Operation(F.clip, _clipped, lambda T, x, low, high: T.clamp(x, low, high),
                                  lambda x, low, high: np.clip(x, low, high),
                                  {"low": NONSENSE["number"][1:3] + [True, 1j, object(), {}, [0.1], 2]}, any_axes=True),
        "max": lambda: _reduction("max", kinks=True), "min": lambda: _reduction("min", kinks=True),
        "var": lambda: _reduction("var", options={"correction": NONSENSE["number"]}),
        "std": lambda: _reduction("std", kinks=True, options={"correction": NONSENSE["number"]}),
        "norm": lambda: _reduction("norm"),
        "pad": lambda: Operation(F.pad, _pad, None, _numpy_pad, {"widths": "widths", "mode": "choice"}, any_dtype=True,
                                 any_axes=True, view=True),
        "flip": lambda: Operation(F.flip, _flipped, None, np.flip, {"axis": NONSENSE["axes"]}, any_dtype=True,
                                  any_axes=True, view=True),
    }
    return {name: entry() for name, entry in entries.items() if name in NAMES}


ELSEWHERE = {"argmax": "test_reductions.py: whole numbers without a gradient"}
