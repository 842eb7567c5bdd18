"""Entries put in another place: a margin around an array, an axis turned round, several arrays joined."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, check_axis, checked_number, describe
from nanostn.tensor import Array, Tensor, op

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


@op
def _concatenate(*xs: Array, axis: int) -> tuple[Array, Gradients]:
    lead = (slice(None),) * (axis % xs[0].ndim)
    ends = np.cumsum([0] + [x.shape[axis] for x in xs])

    def part(i: int) -> Any:
        place = (*lead, slice(ends[i], ends[i + 1]))
        return lambda dy: dy[place]

    return np.concatenate(xs, axis=axis), tuple(part(i) for i in range(len(xs)))


def concatenate(xs: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors along an axis that exists.   torch: torch.cat"""
    xs = _sequence("concatenate", xs)
    check_axis("concatenate", xs[0].ndim, axis, one=True)
    for x in xs:
        if any(n != m for i, (n, m) in enumerate(zip(x.shape, xs[0].shape, strict=True)) if i != axis % x.ndim):
            raise argument_error("concatenate", "every tensor", f"{xs[0].shape} but for axis {axis}", describe(x))
    return _concatenate(*xs, axis=axis)


def stack(xs: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis.   torch: torch.stack"""
    xs = _sequence("stack", xs)
    check_axis("stack", xs[0].ndim + 1, axis, one=True)
    place = axis % (xs[0].ndim + 1)
    return concatenate([x.reshape(x.shape[:place] + (1,) + x.shape[place:]) for x in xs], axis=place)


def _sequence(name: str, xs: Sequence[Any]) -> list[Tensor]:
    if not isinstance(xs, Sequence | np.ndarray | Tensor) or isinstance(xs, str | bytes):
        raise argument_error(name, "xs", "a sequence with at least one tensor", describe(xs))
    tensors = [x if isinstance(x, Tensor) else Tensor(x) for x in xs]
    if not tensors:
        raise argument_error(name, "xs", "a sequence with at least one tensor", "an empty one")
    for x in tensors:
        if x.dtype != tensors[0].dtype or x.ndim != tensors[0].ndim:
            raise argument_error(name, "every tensor", f"like the first, {describe(tensors[0])}", describe(x))
    return tensors
