"""Reductions beside sum and mean: extremes and their places, the spread, the Euclidean length.

`axis` is None for all axes, one, or a tuple of them, as in NumPy; with `keepdims` they stay as axes of size 1.
"""

import math
from typing import Any

import numpy as np

from nanostn import entries
from nanostn.autograd import Gradients
from nanostn.checks import argument_error, check_axis, checked_flag, checked_number, describe, same_float
from nanostn.tensor import Array, Tensor, op

Axis = int | tuple[int, ...] | None

_min = op(entries.min)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest entry, NaN where there is one; the first of equal ones takes the gradient.

    torch: torch.amax(x, axis, keepdims), which divides the gradient among equal ones
    """
    return (x if isinstance(x, Tensor) else Tensor(x)).max(axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest entry, NaN where there is one; the first of equal ones takes the gradient.

    torch: torch.amin(x, axis, keepdims), which divides the gradient among equal ones
    """
    return _min(x if isinstance(x, Tensor) else Tensor(x), axis=axis, keepdims=keepdims)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the largest entry along an axis, or in all of x in C order: integers, without a gradient.

    The first of equal ones; the first NaN where there is one.   torch: torch.argmax(x, axis, keepdims)
    """
    if isinstance(axis, tuple):
        raise argument_error("argmax", "axis", "one axis, or None for all", axis)
    x = _with_entries("argmax", x, axis, keepdims).data
    if x.size == 0:
        return Tensor(np.zeros(_result(x, axis, keepdims), np.int64, like=x))
    return Tensor(x.argmax(axis=axis, keepdims=keepdims))


def var(x: Any, axis: Axis = None, keepdims: bool = False, correction: float = 0) -> Tensor:
    """The variance: the sum of (x - mean of x)^2 over the n entries, divided by n - correction.

    As in NumPy, `correction` (its `ddof`) is 0; 1 makes the estimate from a sample unbiased. It is exact for entries
    far from zero, too: what is squared is centred twice, since a mean is rounded as the entries are.
    torch: torch.var(x, axis, correction=correction, keepdim=keepdims), where correction is 1 unless it is given
    """
    centred, divisor = _centred("var", x, axis, keepdims, correction)
    return (centred * centred).sum(axis, keepdims) / divisor


def std(x: Any, axis: Axis = None, keepdims: bool = False, correction: float = 0) -> Tensor:
    """The standard deviation, the square root of `var`; where it is 0, so is the gradient.

    torch: torch.std(x, axis, correction=correction, keepdim=keepdims), where correction is 1 unless it is given
    """
    centred, divisor = _centred("std", x, axis, keepdims, correction)
    return norm(centred, axis, keepdims) / math.sqrt(divisor)


def _centred(name: str, x: Any, axis: Axis, keepdims: bool, correction: float) -> tuple[Tensor, float]:
    """x less its mean, and n - correction. The mean is a constant to the gradient: its own part of it sums to 0."""
    x = _checked(name, x, axis, keepdims)
    same_float(name, x=x)
    correction, n = checked_number(name, "correction", correction, 0), _behind(x, axis)
    if n <= correction:
        raise argument_error(name, "x", f"more than correction = {correction:g} entries to a result",
                             f"{describe(x)} with axis {axis}", "their spread is not known")
    for _ in range(2):
        x = x - x.detach().mean(axis, keepdims=True)
    return x, n - correction


def norm(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean length, the square root of the sum of x^2; dx = dy x / length, and 0 where the length is 0.

    Squares neither overflow nor vanish: the largest |x| is divided out before and multiplied in after.
    torch: torch.linalg.vector_norm(x, dim=axis, keepdim=keepdims)
    """
    x = _checked("norm", x, axis, keepdims)
    same_float("norm", x=x)
    return _norm(x, axis=axis, keepdims=keepdims) if x.size else x.sum(axis, keepdims)


@op
def _norm(x: Array, *, axis: Axis, keepdims: bool) -> tuple[Array, Gradients]:
    one = x.dtype.type(1)
    largest = np.absolute(x).max(axis=axis, keepdims=True)
    scale = np.where((largest > 0) & (largest < np.inf), largest, one)
    parts = x / scale
    length = np.sqrt(Tensor(parts * parts).sum(axis, keepdims=True).data)
    divisor = np.where(length == 0, one, length)
    return (length * scale).reshape(_result(x, axis, keepdims)), (
        lambda dy: dy.reshape(divisor.shape) / divisor * parts,)


def _checked(name: str, x: Any, axis: Any, keepdims: Any) -> Tensor:
    x = x if isinstance(x, Tensor) else Tensor(x)
    check_axis(name, x.ndim, axis)
    checked_flag(name, "keepdims", keepdims)
    return x


def _with_entries(name: str, x: Any, axis: Any, keepdims: Any) -> Tensor:
    x = _checked(name, x, axis, keepdims)
    if _behind(x, axis) == 0 and 0 not in _result(x, axis, False):
        raise argument_error(name, "x", "an array with entries along the axis", f"{describe(x)} with axis {axis}")
    return x


def _axes(x: Any, axis: Axis) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in np.atleast_1d(axis).tolist())


def _behind(x: Any, axis: Axis) -> int:
    """How many entries are behind one of the result."""
    return math.prod(x.shape[a] for a in _axes(x, axis))


def _result(x: Any, axis: Axis, keepdims: bool) -> tuple[int, ...]:
    axes = _axes(x, axis)
    return tuple(1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes)
