"""Entry by entry: choices between two, limits, the magnitude, sine and cosine, exp, log and the square root.

Where one side of a kink has to be chosen, the derivative at it is that of the side named in the docstring.
"""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, as_numbers, checked_number, describe, same_float
from nanostn.kernels.gpu.arrays.numpy_functions import is_device
from nanostn.tensor import OPERANDS, Array, Tensor, broadcast_to, op, operands


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where the condition holds, else y; an entry that is not chosen has the gradient 0, whatever is in it.

    `condition` is an array or a tensor of truth values, such as `x.data > 0`; the three broadcast. x or y may be a
    number, but not both.   torch: torch.where(condition, x, y)
    """
    given = condition.data if isinstance(condition, Tensor) else condition
    if not is_device(given):
        given = as_numbers("where", "condition", given)
    if given.dtype != np.bool_:
        raise argument_error("where", "condition", "an array of truth values", describe(condition), "as x.data > 0")
    x, y = _pair("where", x, y)
    try:
        shape = np.broadcast_shapes(given.shape, x.shape)
    except ValueError:
        raise argument_error("where", "condition", f"of a shape that broadcasts with x and y {x.shape}",
                             describe(given)) from None
    return _where(np.broadcast_to(given, shape), broadcast_to(x, shape), broadcast_to(y, shape))


@op
def _where(condition: Array, x: Array, y: Array) -> tuple[Array, Gradients]:
    zero = x.dtype.type(0)
    return np.where(condition, x, y), (None, lambda dz: np.where(condition, dz, zero),
                                       lambda dz: np.where(condition, zero, dz))


def _pair(name: str, x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape and dtype, one of which may come as a number."""
    arrays = [isinstance(value, OPERANDS) for value in (x, y)]
    if not any(arrays):
        raise argument_error(name, "x or y", "an array or a tensor", f"{describe(x)} and {describe(y)}")
    for argument, value, array in zip("xy", (x, y), arrays, strict=True):
        if not array:
            checked_number(name, argument, value, nan=True)
    return operands(name, x, y)


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of x and y, NaN where one of them is; broadcast. Where they are equal, x takes the whole gradient.

    torch: torch.maximum(x, y), which gives each of two equal ones half of it
    """
    x, y = _pair("maximum", x, y)
    same_float("maximum", x=x, y=y)
    return _maximum(x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of x and y, NaN where one of them is; broadcast. Where they are equal, x takes the whole gradient.

    torch: torch.minimum(x, y), which gives each of two equal ones half of it
    """
    x, y = _pair("minimum", x, y)
    same_float("minimum", x=x, y=y)
    return _minimum(x, y)


@op
def _maximum(x: Array, y: Array) -> tuple[Array, Gradients]:
    return _one_of(np.maximum(x, y), x)


@op
def _minimum(x: Array, y: Array) -> tuple[Array, Gradients]:
    return _one_of(np.minimum(x, y), x)


def _one_of(z: Array, x: Array) -> tuple[Array, Gradients]:
    zero = x.dtype.type(0)
    other = (z != x) & (x == x)  # not x, nor a NaN in x
    return z, (lambda dz: np.where(other, zero, dz), lambda dz: np.where(other, dz, zero))


def clip(x: Any, low: float | None, high: float | None) -> Tensor:
    """x between the limits: low below low, high above high; either may be None. NaN stays NaN.

    The gradient passes where low <= x <= high, the limits included, and is 0 elsewhere, as for NaN.
    torch: torch.clamp(x, low, high)
    """
    same_float("clip", x=x)
    if low is None and high is None:
        raise argument_error("clip", "low or high", "a number", "None for both")
    limits = [None if limit is None else checked_number("clip", name, limit)
              for name, limit in (("low", low), ("high", high))]
    if None not in limits and limits[0] > limits[1]:  # type: ignore[operator]
        raise argument_error("clip", "low", f"at most high = {high}", low)
    with np.errstate(over="ignore"):  # beyond float32 there is no limit
        bottom, top = (None if limit is None else x.dtype.type(limit) for limit in limits)
    return _clip(x, low=bottom, high=top)


@op
def _clip(x: Array, *, low: Any, high: Any) -> tuple[Array, Gradients]:
    y = x if low is None else np.maximum(x, low)
    y = y if high is None else np.minimum(y, high)
    inside = x == y  # a NaN is not
    return y, (lambda dy: np.where(inside, dy, dy.dtype.type(0)),)


@op
def abs(x: Array) -> tuple[Array, Gradients]:
    """The magnitude |x|; dx = dy sign(x), which is 0 at 0.   torch: torch.abs(x)"""
    same_float("abs", x=x)
    return np.absolute(x), (lambda dy: dy * np.sign(x),)


@op
def sin(x: Array) -> tuple[Array, Gradients]:
    """The sine of an angle in radians; dx = dy cos(x).   torch: torch.sin(x)"""
    same_float("sin", x=x)
    return np.sin(x), (lambda dy: dy * np.cos(x),)


@op
def cos(x: Array) -> tuple[Array, Gradients]:
    """The cosine of an angle in radians; dx = -dy sin(x).   torch: torch.cos(x)"""
    same_float("cos", x=x)
    return np.cos(x), (lambda dy: -dy * np.sin(x),)


@op
def exp(x: Array) -> tuple[Array, Gradients]:
    """e ** x   torch: torch.exp"""
    same_float("exp", x=x)
    y = np.exp(x)
    return y, (lambda dy: dy * y,)


@op
def log(x: Array) -> tuple[Array, Gradients]:
    """The natural logarithm.   torch: torch.log"""
    same_float("log", x=x)
    return np.log(x), (lambda dy: dy / x,)


@op
def sqrt(x: Array) -> tuple[Array, Gradients]:
    """The square root.   torch: torch.sqrt"""
    same_float("sqrt", x=x)
    y = np.sqrt(x)
    return y, (lambda dy: dy / (y + y),)
