"""Device arrays entry by entry, with NumPy's broadcasting: arithmetic, functions, comparisons, casts, copies, choices.

One pattern serves all: an entry of the result from the entries of the operands at the same place. Arrays of one shape
without gaps are walked as they lie in memory. Otherwise adjacent axes that all operands step through alike are merged;
up to four remaining axes are handled in the kernel, more by several launches.
"""

import functools
import math
from typing import Any

import numpy as np
from numba import njit

from ..extremes import maximum, minimum
from ..integer_division import check_count, split
from ..kinds import flat
from ..launch import cuda, cuda_kernel, device_function, over
from .device_array import DeviceArray, empty

AXES = 4

# Of T, the formula for entries of that type. A second operand may be there and unused.
FORMULAS: dict[str, Any] = {
    "copy": lambda T: lambda a, b: a,
    "second": lambda T: lambda a, b: b,
    "add": lambda T: lambda a, b: a + b,
    "subtract": lambda T: lambda a, b: a - b,
    "multiply": lambda T: lambda a, b: a * b,
    "negative": lambda T: lambda a, b: -a,
    "divide": lambda T: lambda a, b: a / b,
    "power": lambda T: lambda a, b: a ** b,
    "absolute": lambda T: lambda a, b: abs(a),
    "sign": lambda T: lambda a, b: T(1) if a > T(0) else T(-1) if a < T(0) else a,
    "square": lambda T: lambda a, b: a * a,
    "sqrt": lambda T: lambda a, b: math.sqrt(a),
    "exp": lambda T: lambda a, b: math.exp(a),
    "log": lambda T: lambda a, b: math.log(a),
    "tanh": lambda T: lambda a, b: math.tanh(a),
    "logaddexp": lambda T: lambda a, b: max(a, b) + math.log1p(math.exp(-abs(a - b))),
    "maximum": lambda T: lambda a, b: maximum(a, b),
    "minimum": lambda T: lambda a, b: minimum(a, b),
    "sin": lambda T: lambda a, b: math.sin(a),
    "cos": lambda T: lambda a, b: math.cos(a),
}
TWO = ("second", "add", "subtract", "multiply", "divide", "power", "logaddexp", "maximum", "minimum")
TESTS: dict[str, Any] = {
    "equal": lambda T: lambda a, b: a == b,
    "not_equal": lambda T: lambda a, b: a != b,
    "less": lambda T: lambda a, b: a < b,
    "less_equal": lambda T: lambda a, b: a <= b,
    "greater": lambda T: lambda a, b: a > b,
    "greater_equal": lambda T: lambda a, b: a >= b,
    "isfinite": lambda T: lambda a, b: a - a == T(0),
    "bitwise_and": lambda T: lambda a, b: a & b,
}
TURNED = {"add": "add", "multiply": "multiply", "logaddexp": "logaddexp", "maximum": "maximum", "minimum": "minimum",
          "equal": "equal", "not_equal": "not_equal", "less": "greater", "greater": "less",
          "less_equal": "greater_equal", "greater_equal": "less_equal"}  # op(number, array) = turned(array, number)
FLOATS = (np.float32, np.float64)
FILLED = (*FLOATS, np.int64, np.int32, np.uint8, np.bool_)
CASTS: list[tuple] = [(T, S) for S in (np.float32, np.float64, np.int64, np.uint8, np.bool_) for T in FLOATS
                      if T is not S]
CASTS += [(np.int64, S) for S in (np.float32, np.int32, np.uint8, np.bool_)]

STEPS = f" int[{AXES}]"  # sizes of the axes; or how many entries lie from one to the next along each


def forms(name: str) -> tuple[str, ...]:
    """Which operands are arrays, and which is a number: aa, an, na; what turns round needs no kernel of its own."""
    if name in ("isfinite", "bitwise_and") or name not in (*TWO, *TESTS):
        return ("aa",)
    return ("aa", "an") if name in TURNED else ("aa", "an", "na")


# Dtypes of the result and of the operands, the formula and its form.
_OFFERED: list[tuple] = [(T, T, name, form) for name in FORMULAS for form in forms(name) for T in FLOATS]
_OFFERED += [(np.int64, np.int64, name, form) for name in ("copy", "second", "add", "subtract", "multiply", "negative")
             for form in forms(name)]
_OFFERED += [(T, T, name, form) for name, form in (("copy", "aa"), ("second", "aa"), ("second", "an"))
             for T in (np.int32, np.uint8, np.bool_)]
_OFFERED += [(np.bool_, T, name, form) for name in TESTS for form in forms(name) for T in (*FLOATS, np.int64)
             if name not in ("isfinite", "bitwise_and")]
_OFFERED += [(np.bool_, T, "isfinite", "aa") for T in FLOATS] + [(np.bool_, np.bool_, "bitwise_and", "aa")]
_OFFERED += [(T, S, "cast", "aa") for T, S in CASTS]
_KNOWN = frozenset(_OFFERED)


def _entry(T: Any, S: Any, name: str, form: str) -> Any:
    """The formula of entry p of one operand and q of the other, one of which may be a number."""
    make = (lambda S: lambda a, b: T(a)) if name == "cast" else FORMULAS.get(name) or TESTS[name]
    f = njit(error_model="numpy")(make(S))  # compiled in the simulator too: infinities, not exceptions
    return device_function({"aa": lambda a, p, b, q, number: f(a[p], b[q]),
                            "an": lambda a, p, b, q, number: f(a[p], number),
                            "na": lambda a, p, b, q, number: f(number, b[q])}[form])


@cuda_kernel("T~ S~ S~ S int", offered=_OFFERED)
def _packed(T, S, name, form):
    """out = f(a, b), n entries, where all lie without gaps."""
    entry = _entry(T, S, name, form)

    def packed(out, a, b, number, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            out[i] = entry(a, i, b, i, number)
    return packed


@njit(inline="always")
def _index(i, sizes):
    """Entry i of an array of four axes: its index along each."""
    rest, i3 = split(i, sizes[3])
    rest, i2 = split(rest, sizes[2])
    i0, i1 = split(rest, sizes[1])
    return i0, i1, i2, i3


@njit(inline="always")
def _at(index, steps):
    return index[0] * steps[0] + index[1] * steps[1] + index[2] * steps[2] + index[3] * steps[3]


@cuda_kernel("T~ S~ S~ S int" + 4 * STEPS, offered=_OFFERED)
def _strided(T, S, name, form):
    """out = f(a, b), n entries, of `sizes` (4,) along the axes, each array with its own steps (4,), in entries."""
    entry = _entry(T, S, name, form)

    def strided(out, a, b, number, n, sizes, out_steps, a_steps, b_steps):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            index = _index(i, sizes)
            out[_at(index, out_steps)] = entry(a, _at(index, a_steps), b, _at(index, b_steps), number)
    return strided


@cuda_kernel("T~ bool~ T~ T~ int" + 5 * STEPS, offered=[(np.float32,), (np.float64,), (np.int64,)])
def _choose(T):
    """out = a where `which`, else b, n entries; sizes and steps as for `_strided`."""
    def choose(out, which, a, b, n, sizes, out_steps, which_steps, a_steps, b_steps):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            index = _index(i, sizes)
            if which[_at(index, which_steps)]:
                out[_at(index, out_steps)] = a[_at(index, a_steps)]
            else:
                out[_at(index, out_steps)] = b[_at(index, b_steps)]
    return choose


def broadcast_to(array: DeviceArray, shape: tuple[int, ...]) -> DeviceArray:
    """The array repeated along axes of size 1 and new leading ones, without a copy."""
    if array.shape == shape:
        return array
    lead = len(shape) - array.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(array.shape, shape[lead:], strict=True)):
        raise ValueError(f"broadcast_to: shape should be one that {array.shape} can be repeated to, received {shape}")
    steps = tuple(0 if n == 1 else step for n, step in zip(array.shape, array.strides, strict=True))
    return array.view(shape, (0,) * lead + steps)


def merged(axes: int, shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[list[int], list[list[int]]]:
    """Sizes and strides with neighbouring axes merged where all arrays step through them as through one.

    Fewer axes than `axes` get leading ones of one entry; more are for the caller to treat.
    """
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        now = [each[axis] for each in strides]
        if sizes and all(step[-1] == n * stride for step, stride in zip(steps, now, strict=True)):
            sizes[-1] *= n
            for step, stride in zip(steps, now, strict=True):
                step[-1] = stride
        else:
            sizes.append(n)
            for step, stride in zip(steps, now, strict=True):
                step.append(stride)
    lead = axes - len(sizes)
    return [1] * lead + sizes, [[0] * lead + step for step in steps]


def _run(constants: tuple, out: DeviceArray, operands: tuple[DeviceArray, ...], *numbers: Any) -> DeviceArray:
    """Launch over `out`; the operands have its shape. Three of them are those of `choose`."""
    if out.size == 0:
        return out
    arrays = (out, *operands)
    if len(operands) == 2 and all(array.contiguous for array in arrays):
        _packed[constants](*over(out.size), *arrays, *numbers, out.size)
        return out
    check_count("a strided device array", out.size, out.shape)
    sizes, steps = merged(AXES, out.shape, *(array.strides for array in arrays))
    if len(sizes) > AXES:
        for i in range(out.shape[0]):
            _run(constants, out[i], tuple(operand[i] for operand in operands), *numbers)
        return out
    kernel = _strided if len(operands) == 2 else _choose
    kernel[constants](*over(out.size), *arrays, *numbers, out.size, *flat((tuple(sizes), *map(tuple, steps))))
    return out


def mapped(name: str, a: Any, b: Any = None, out: DeviceArray | None = None) -> DeviceArray:
    """The formula `name` of device arrays of one dtype, or of one and a number; broadcast."""
    if not isinstance(a, DeviceArray) and name in TURNED:
        name, a, b = TURNED[name], b, a
    array = a if isinstance(a, DeviceArray) else b
    T = array.dtype.type
    result: Any = np.bool_ if name in TESTS else T
    if (result, T, name, "aa") not in _KNOWN:
        raise TypeError(f"{name}: the arrays should be float32 or float64 on the device, received {array.dtype}")
    if isinstance(a, DeviceArray) and isinstance(b, DeviceArray):
        shape, form, number = np.broadcast_shapes(a.shape, b.shape), "aa", T(0)
    elif b is None:
        shape, form, number, b = a.shape, "aa", T(0), a
    else:
        shape, form = array.shape, "an" if array is a else "na"
        number, a, b = T(b if array is a else a), array, array
    if out is None:
        out = empty(shape, result)
    elif out.shape != shape and np.broadcast_shapes(shape, out.shape) != out.shape:
        raise ValueError(f"{name}: the result should be of shape {out.shape}, received {shape}")
    a, b = (_apart(broadcast_to(x, out.shape), out) for x in (a, b))
    return _run((result, T, name, form), out, (a, b), number)


def _apart(x: DeviceArray, out: DeviceArray) -> DeviceArray:
    """The operand, or a copy of it where the result overwrites it at other places."""
    if x.memory is not out.memory or (x.start, x.strides) == (out.start, out.strides):
        return x
    return mapped("copy", x) if overlap(x, out) else x


def overlap(a: DeviceArray, b: DeviceArray) -> bool:
    """Whether the spans of two arrays meet."""
    if a.memory is not b.memory or not a.size or not b.size:
        return False

    def end(x: DeviceArray) -> int:
        steps = sum((n - 1) * stride for n, stride in zip(x.shape, x.strides, strict=True))
        return x.start + (steps + 1) * x.dtype.itemsize

    return a.start < end(b) and b.start < end(a)


def contiguous(array: Any) -> Any:
    """The array itself, or a copy in C order; of either device."""
    if not isinstance(array, DeviceArray):
        return np.asarray(array, order="C")
    return array if array.contiguous else mapped("copy", array)


def cast(array: DeviceArray, dtype: Any) -> DeviceArray:
    """A copy in another dtype."""
    T, S = np.dtype(dtype).type, array.dtype.type
    if T is S:
        return mapped("copy", array)
    if (T, S) not in CASTS:
        raise TypeError(f"astype: dtype should be one that {array.dtype} is converted to on the device, received {T}")
    out = empty(array.shape, T)
    return _run((T, S, "cast", "aa"), out, (array, array), S(0))


def choose(which: DeviceArray, a: Any, b: Any) -> DeviceArray:
    """a where `which`, else b."""
    T = next(x.dtype.type for x in (a, b) if isinstance(x, DeviceArray))
    a, b = (x if isinstance(x, DeviceArray) else full((), x, T) for x in (a, b))
    shape = functools.reduce(np.broadcast_shapes, (which.shape, a.shape, b.shape))
    out = empty(shape, T)
    return _run((T,), out, tuple(broadcast_to(x, shape) for x in (which, a, b)))


def full(shape: Any, value: Any, dtype: Any) -> DeviceArray:
    """An array of one value."""
    return fill(empty(shape, dtype), value)


def fill(out: DeviceArray, value: Any) -> DeviceArray:
    """Every entry of an array set to a number."""
    if out.dtype.type not in FILLED:
        raise TypeError("fill: the array should be float32, float64, int32, int64, uint8 or bool on the device, "
                        f"received {out.dtype}")
    T = out.dtype.type
    return _run((T, T, "second", "an"), out, (out, out), T(value))
