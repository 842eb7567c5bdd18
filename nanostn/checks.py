"""What is checked at an operation's door, and the one form in which a mistake is reported.

    op: argument should be X, received Y; likely cause
"""

import math
import sys
from typing import Any

import numpy as np

FLOATS = (np.float32, np.float64)  # what can want a gradient
LARGEST = sys.float_info.max
LARGE = 1 << 31  # no axis is as long, and no stride as wide: kernels count with whole numbers of the machine


def argument_error(op: str, argument: str, expected: object, received: object, hint: str = "") -> ValueError:
    """The error to raise: `raise argument_error("conv2d", "stride", "a positive integer", stride)`."""
    return ValueError(f"{op}: {argument} should be {expected}, received {received}" + (f"; {hint}" if hint else ""))


def describe(value: object) -> str:
    """An argument as an error shows it: shape and dtype of an array, else its `repr`, kept short."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type):
        return f"{tuple(value.shape)} {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def checked_size(op: str, size: Any, dims: int | None = 2) -> tuple[int, ...]:
    """The size of an output as plain integers: (H', W') for `dims` 2, (D', H', W') for 3, either of them for None."""
    known = {2: "(H', W'), two positive integers", 3: "(D', H', W'), three positive integers",
             None: "(H', W') or (D', H', W'), positive integers"}
    numbers = isinstance(size, tuple | list) or isinstance(size, np.ndarray) and size.ndim == 1
    if not numbers or len(size) not in ((2, 3) if dims is None else (dims,)) or not all(
            isinstance(n, int | np.integer) and not isinstance(n, bool) and 1 <= n < LARGE for n in size):
        raise argument_error(op, "size", known[dims], describe(size))
    return tuple(int(n) for n in size)


def sizes(op: str, hint: str = "", **arguments: tuple[Any, str]) -> list[int]:
    """Check shapes against patterns and return the named sizes in the order of their first appearance.

    `N, C, H, W, P = sizes("sample", U=(U, "N C H W"), grid=(grid, "N P 2"))`: a name stands for one size wherever it
    appears, a number for itself.
    """
    known: dict[str, int] = {}
    origin: dict[str, str] = {}
    for argument, (value, pattern) in arguments.items():
        names = pattern.split()
        shape = getattr(value, "shape", None)
        shown = "(" + ", ".join(names) + ("," if len(names) == 1 else "") + ")"
        if shape is None or len(shape) != len(names):
            raise argument_error(op, argument, shown, describe(value), hint)
        for name, size in zip(names, shape, strict=True):
            if name.isdigit():
                if size != int(name):
                    raise argument_error(op, argument, shown, describe(value), hint)
            elif known.setdefault(name, size) != size:
                raise argument_error(op, argument, f"{shown} with {name} = {known[name]} from {origin[name]}",
                                     describe(value), hint)
            else:
                origin.setdefault(name, argument)
    return list(known.values())


def are_whole(values: Any) -> bool:
    return all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in values)


def check_axis(name: str, ndim: int, axis: Any, one: bool = False) -> None:
    """An error unless `axis` is an axis of an array of `ndim` axes; or, but for `one`, None or a tuple of them."""
    axes = (axis,) if one or not isinstance(axis, tuple | None) else axis or ()
    whole = are_whole(axes) and all(-ndim <= a < ndim for a in axes)
    if not whole or len({a % ndim for a in axes}) < len(axes):
        raise argument_error(name, "axis", f"{'one ' if one else ''}of an array with {ndim} axes"
                             + ("" if one else ", each once"), describe(axis))


def checked_dtype(name: str, dtype: Any, kinds: Any = FLOATS) -> np.dtype:
    """A dtype among `kinds`, dtypes or letters for kinds of them, or an error."""
    try:
        found = np.dtype(dtype)
    except Exception:
        found = np.dtype(object)
    if dtype is None or (found.kind not in kinds if isinstance(kinds, str) else found not in kinds):
        raise argument_error(name, "dtype", "float32 or float64" if not isinstance(kinds, str) else
                             "a dtype of numbers", describe(dtype))
    return found


def same_float(op: str, **arguments: Any) -> np.dtype:
    """Check that all arrays are of one floating dtype, float32 or float64, and return it. None is skipped, but for the
    first."""
    first: tuple[str, np.dtype] | None = None
    for argument, value in arguments.items():
        if value is None and first is not None:
            continue
        dtype = getattr(value, "dtype", None)
        if dtype not in FLOATS:
            raise argument_error(op, argument, "a float32 or float64 array", describe(value),
                                 "convert it with .astype(np.float32)")
        if first is None:
            first = (argument, dtype)
        elif dtype != first[1]:
            raise argument_error(op, argument, f"{first[1]} like {first[0]}", describe(value),
                                 "convert one of them with .astype")
    assert first is not None
    return first[1]


def converted(op: str, argument: str, value: Any, dtype: Any) -> np.ndarray:
    """The numbers of `value` (numbers, nested lists, an array of the CPU) as an array of `dtype`.

    An error where it holds anything else than real numbers, or some that `dtype` cannot hold: no imaginary part is
    dropped, nothing finite becomes infinite, no whole number wraps.
    """
    dtype = np.dtype(dtype)
    try:
        given = np.asarray(value)
    except Exception:  # rows of different lengths, or an object that will not be an array
        given = np.empty(0, object)
    if given.dtype.kind not in "fiub" or isinstance(value, np.ma.MaskedArray):
        raise argument_error(op, argument, "numbers, all rows of one length", describe(value))
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = given.astype(dtype, order="C")
    if dtype.kind == "f":
        lost = np.isinf(numbers) & ~np.isinf(given)
    else:
        lost = numbers != given
    if lost.any():
        hint = "convert the other side with .astype" if dtype.kind != "f" else ""
        raise argument_error(op, argument, f"numbers that {dtype} can hold", f"{given[lost].flat[0]}", hint)
    return numbers


def checked_number(op: str, argument: str, value: Any, low: float = -math.inf, high: float = math.inf,
                   nan: bool = False, below: bool = False) -> float:
    """A real number from `low` to `high`, either included, as a Python number; or NaN, where `nan` allows it.

    With `below`, `high` itself is too high. A `high` of LARGEST means any finite number.
    """
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    held = real and (not isinstance(value, int) or -LARGEST <= value <= LARGEST)  # an integer may exceed any float
    inside = held and low <= value <= high and not (below and value == high)
    if not inside and not (nan and real and value != value):
        finite, bounded = "finite " * (high == LARGEST), high < LARGEST
        bounds = [f"of {low:g} or more"] * (low > -math.inf) + [f"of at most {high:g}"] * bounded
        between = f"from {low:g} to {'below ' * below}{high:g}" if len(bounds) == 2 else "".join(bounds)
        raise argument_error(op, argument, f"a {finite}number {between}".rstrip(), describe(value))
    return float(value)


def as_numbers(op: str, argument: str, value: Any) -> np.ndarray:
    """A NumPy array of what is one already, or of a sequence."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        raise argument_error(op, argument, "an array of numbers, all rows of one length", describe(value)) from None


def checked_flag(op: str, argument: str, value: Any) -> bool:
    """True or False, and nothing that merely counts as one of them."""
    if not isinstance(value, bool | np.bool_):
        raise argument_error(op, argument, "True or False", describe(value))
    return bool(value)


def is_float32(value: object) -> bool:
    """Whether this is a real number that float32 can hold."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and bool(abs(value) <= float(np.finfo(np.float32).max))  # type: ignore[arg-type]
