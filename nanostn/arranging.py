"""Entries put in another place: a margin around an array, an axis turned round."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, checked_number, describe
from nanostn.tensor import Array, Tensor, check_axis, op

MODES = ("constant", "edge", "reflect")


def pad(x: Any, widths: int | Sequence[Any], mode: str = "constant", value: float = 0.0) -> Tensor:
    """A margin around x, as np.pad makes it.

    `widths` says how many entries are added: a number for every side, a pair (before, after) for every axis, or a
    sequence with a pair for each axis. `mode` is "constant" (they are `value`), "edge" (the entry at the edge) or
    "reflect" (mirrored at the edge's entry, which is not repeated). An entry's gradient is the sum over its copies.
    torch: F.pad(x, widths, mode, value), where widths begin with the last axis, in one line, and "edge" is "replicate"
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    if not isinstance(mode, str) or mode not in MODES:
        raise argument_error("pad", "mode", "'constant', 'edge' or 'reflect'", describe(mode))
    pairs, number = _pairs(x, widths), checked_number("pad", "value", value, nan=True)
    if mode == "constant":
        with np.errstate(all="ignore"):
            held = np.asarray(number).astype(x.dtype)
        if x.dtype.kind != "f" and held != number:
            raise argument_error("pad", "value", f"a number of {x.dtype} like x", describe(value))
        return _pad(x, pairs=pairs, value=number)
    if number != 0:
        raise argument_error("pad", "value", f"left out with mode '{mode}'", describe(value))
    sides = [(axis, n, pair) for axis, (n, pair) in enumerate(zip(x.shape, pairs, strict=True)) if any(pair)]
    for axis, n, _ in sides:
        if n == 0:
            raise argument_error("pad", "x", f"with entries along axis {axis} to repeat", describe(x))
    for axis, n, pair in sides:
        x = x[(slice(None),) * axis + (np.pad(np.arange(n), pair, mode=mode),)]  # type: ignore[call-overload]
    return x


def _pairs(x: Tensor, widths: Any) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis."""
    try:
        given = np.asarray(widths)
        pairs = np.broadcast_to(given, (x.ndim, 2)) if given.dtype.kind in "iu" else None
    except ValueError:  # rows of several lengths, or not as many pairs as axes
        pairs = None
    if pairs is None or pairs.size and pairs.min() < 0:
        raise argument_error("pad", "widths", "integers of 0 or more: one, a pair, or a pair for each axis of x "
                             f"{x.shape}", describe(widths))
    return tuple((int(before), int(after)) for before, after in pairs)


@op
def _pad(x: Array, *, pairs: tuple[tuple[int, int], ...], value: float) -> tuple[Array, Gradients]:
    inner = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, pairs, strict=True))
    shape = tuple(before + n + after for n, (before, after) in zip(x.shape, pairs, strict=True))
    y = np.full(shape, value, x.dtype, like=x)
    y[inner] = x
    return y, (lambda dy: dy[inner],)


def flip(x: Any, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """The entries in reverse order along one axis, several or all.   torch: torch.flip(x, dims)"""
    x = x if isinstance(x, Tensor) else Tensor(x)
    check_axis("flip", x.ndim, axis)
    return _flip(x, axis=axis)


@op
def _flip(x: Array, *, axis: int | tuple[int, ...] | None) -> tuple[Array, Gradients]:
    return np.flip(x, axis), (lambda dy: np.flip(dy, axis),)
