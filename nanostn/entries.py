"""What a tensor's other methods compute: its entries picked out, in another shape, order or dtype, on another device.

Functions of arrays that know their gradients, as in arithmetic.py.
"""

import math
from typing import Any

import numpy as np

from nanostn.arithmetic import Result
from nanostn.arrays import Array, device_of, move
from nanostn.checks import LARGE, are_whole, argument_error, check_axis, checked_flag, describe


def getitem(x: Array, *, index: Any) -> Result:
    shape, dtype = x.shape, x.dtype
    parts = index if isinstance(index, tuple) else (index,)
    repeats = any(isinstance(part, Array | list) for part in parts)
    try:
        y = x[index]
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise IndexError(str(argument_error("index", "the index", f"one into x {shape}", describe(index),
                                            str(error)))) from None

    def dx(dy: Array) -> Array:
        out = np.zeros(shape, dtype, like=dy)
        if repeats:  # an index array may name a cell twice
            np.add.at(out, index, dy)
        else:
            out[index] = dy
        return out

    return y, (dx,)


def max(x: Array, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Result:
    return _extreme("max", x, axis, keepdims)


def min(x: Array, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Result:
    return _extreme("min", x, axis, keepdims)


def _extreme(name: str, x: Array, axis: int | tuple[int, ...] | None, keepdims: bool) -> Result:
    """The largest or smallest entry along one axis, several or all; the first of equal ones takes the gradient.

    Several axes are brought together as the last one, in their order.
    """
    check_axis(name, x.ndim, axis)
    checked_flag(name, "keepdims", keepdims)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % x.ndim for a in axes))
    shape, dtype = x.shape, x.dtype
    if x.size == 0 and all(n for i, n in enumerate(shape) if i not in axes):
        raise argument_error(name, "x", f"an array with entries along axis {axis}", describe(x))
    along = axes[0] if len(axes) == 1 else -1
    order = tuple(range(x.ndim)) if len(axes) == 1 else (*(a for a in range(x.ndim) if a not in axes), *axes)
    back, moved = np.argsort(order), tuple(shape[a] for a in order)
    kept = moved[:x.ndim - len(axes)]
    lined = x if len(axes) == 1 else x.transpose(order).reshape(*kept, int(np.prod(moved[len(kept):])))
    line, first = lined.shape, None
    if x.size and dtype.kind == "f":  # else nobody asks for a gradient, or there is none
        first = (lined if name == "max" else -lined).argmax(axis=along, keepdims=True)

    def dx(dy: Array) -> Array:
        out = np.zeros(line, dtype, like=dy)
        if first is not None:
            np.put_along_axis(out, first, dy.reshape(first.shape), along)
        return out.reshape(moved).transpose(back)

    if not x.size:  # so is the result, and NumPy's own would not always be had
        over = tuple(1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes)
        return np.zeros(over, dtype, like=x), (dx,)
    return (x.max if name == "max" else x.min)(axis=axes, keepdims=keepdims), (dx,)


def reshape(x: Array, *, shape: tuple[Any, ...]) -> Result:
    sizes = shape if are_whole(shape) and all(n < LARGE for n in shape) else ()
    known = math.prod(int(n) for n in sizes if n != -1)
    if len(sizes) != len(shape) or any(n < -1 for n in sizes) or sizes.count(-1) > 1 or (
            (not known or x.size % known) if -1 in sizes else known != x.size):
        raise argument_error("reshape", "shape", f"a shape of {x.size} entries for x {x.shape}",
                             describe(shape), "-1 stands for one size, where the others leave no choice")
    before = x.shape
    return x.reshape(sizes), (lambda dy: dy.reshape(before),)


def transpose(x: Array, *, axes: tuple[Any, ...]) -> Result:
    check_axis("transpose", x.ndim, axes)
    if len(axes) != x.ndim:
        raise argument_error("transpose", "axes", f"all {x.ndim} axes of x {x.shape}", axes)
    back = np.argsort([axis % x.ndim for axis in axes])
    return x.transpose(axes), (lambda dy: dy.transpose(back),)


def astype(x: Array, *, dtype: np.dtype) -> Result:
    before = x.dtype
    return x.astype(dtype), (lambda dy: dy.astype(before),)


def to(x: Array, *, device: str) -> Result:
    before = device_of(x)
    return move(x, device), (lambda dy: move(dy, before),)
