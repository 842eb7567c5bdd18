"""Device arrays entry by entry, with NumPy's broadcasting: arithmetic, functions, comparisons, casts, copies, choices.

One pattern serves all: an entry of the result from the entries of the operands at the same place. Arrays of one shape
without gaps are walked as they lie in memory. Others are walked along the axes that are left once neighbours have been
merged that all operands step through alike: up to four in the kernel, what is beyond in a loop over launches.
"""

import functools
import math
from typing import Any

import numpy as np
from numba import njit

from ..integer_division import check_count, split
from ..launch import CudaKernel, cuda, cuda_kernel, over
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
    # As NumPy's: a NaN on either side is the result.
    "maximum": lambda T: lambda a, b: a if a >= b or a != a else b,
    "minimum": lambda T: lambda a, b: a if a <= b or a != a else b,
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

STRIDES = " int" * (4 * AXES)  # sizes of the axes, then the steps of the result, of the first operand and the second


def forms(name: str) -> tuple[str, ...]:
    """Which operands are arrays, and which is a number: aa, an, na; what turns round needs no kernel of its own."""
    if name in ("isfinite", "bitwise_and") or name not in (*TWO, *TESTS):
        return ("aa",)
    return ("aa", "an") if name in TURNED else ("aa", "an", "na")


def _walk(f: Any, form: str, packed: bool) -> Any:
    """The body of a kernel: out = f(a, b), over arrays of one shape without gaps, or along four axes."""
    if packed:
        def walk(out, a, b, number, n):
            for i in range(cuda.grid(1), n, cuda.gridsize(1)):
                if form == "aa":
                    out[i] = f(a[i], b[i])
                elif form == "an":
                    out[i] = f(a[i], number)
                else:
                    out[i] = f(number, b[i])
        return walk

    def stride(out, a, b, number, n, n0, n1, n2, n3, o0, o1, o2, o3, a0, a1, a2, a3, b0, b1, b2, b3):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, i3 = split(i, n3)
            rest, i2 = split(rest, n2)
            i0, i1 = split(rest, n1)
            into = i0 * o0 + i1 * o1 + i2 * o2 + i3 * o3
            p = i0 * a0 + i1 * a1 + i2 * a2 + i3 * a3
            q = i0 * b0 + i1 * b1 + i2 * b2 + i3 * b3
            if form == "aa":
                out[into] = f(a[p], b[q])
            elif form == "an":
                out[into] = f(a[p], number)
            else:
                out[into] = f(number, b[q])
    return stride


def _formula(make: Any, T: Any) -> Any:
    return njit(error_model="numpy")(make(T))  # compiled in the simulator too: infinities, not exceptions


_OFFERED: list[tuple] = [(T, name, form) for name in FORMULAS for form in forms(name)
                         for T in FLOATS]
_OFFERED += [(np.int64, name, form) for name in ("copy", "second", "add", "subtract", "multiply", "negative")
             for form in forms(name)]
_OFFERED += [(T, name, form) for name, form in (("copy", "aa"), ("second", "aa"), ("second", "an"))
             for T in (np.int32, np.uint8, np.bool_)]


@cuda_kernel("T~ T~ T~ T int", offered=_OFFERED)
def _packed(T, name, form):
    return _walk(_formula(FORMULAS[name], T), form, True)


@cuda_kernel("T~ T~ T~ T int" + STRIDES, offered=_OFFERED)
def _strided(T, name, form):
    return _walk(_formula(FORMULAS[name], T), form, False)


_TESTED: list[tuple] = [(T, name, form) for name in TESTS for form in forms(name) for T in (*FLOATS, np.int64)
                        if name not in ("isfinite", "bitwise_and")]
_TESTED += [(T, "isfinite", "aa") for T in FLOATS] + [(np.bool_, "bitwise_and", "aa")]


@cuda_kernel("bool~ T~ T~ T int", offered=_TESTED)
def _packed_test(T, name, form):
    return _walk(_formula(TESTS[name], T), form, True)


@cuda_kernel("bool~ T~ T~ T int" + STRIDES, offered=_TESTED)
def _strided_test(T, name, form):
    return _walk(_formula(TESTS[name], T), form, False)


@cuda_kernel("T~ S~ S~ S int", offered=CASTS)
def _packed_cast(T, S):
    return _walk(njit(lambda a, b: T(a)), "aa", True)


@cuda_kernel("T~ S~ S~ S int" + STRIDES, offered=CASTS)
def _strided_cast(T, S):
    return _walk(njit(lambda a, b: T(a)), "aa", False)


@cuda_kernel("T~ bool~ T~ T~ int" + STRIDES + " int" * AXES, offered=[(np.float32,), (np.float64,), (np.int64,)])
def _choose(T):
    def choose(out, which, a, b, n, n0, n1, n2, n3, o0, o1, o2, o3, w0, w1, w2, w3, a0, a1, a2, a3, b0, b1, b2, b3):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, i3 = split(i, n3)
            rest, i2 = split(rest, n2)
            i0, i1 = split(rest, n1)
            into = i0 * o0 + i1 * o1 + i2 * o2 + i3 * o3
            if which[i0 * w0 + i1 * w1 + i2 * w2 + i3 * w3]:
                out[into] = a[i0 * a0 + i1 * a1 + i2 * a2 + i3 * a3]
            else:
                out[into] = b[i0 * b0 + i1 * b1 + i2 * b2 + i3 * b3]
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


def merged(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[list[int], list[list[int]]]:
    """Sizes and strides with neighbouring axes merged where all arrays step through them as through one."""
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
    return sizes, steps


def _run(packed: CudaKernel | None, strided: CudaKernel, constants: Any, out: DeviceArray,
         operands: tuple[DeviceArray, ...], *numbers: Any) -> DeviceArray:
    """Launch over `out`; the operands have its shape."""
    if out.size == 0:
        return out
    arrays = (out, *operands)
    if packed is not None and all(array.contiguous for array in arrays):
        packed[constants](*over(out.size), *arrays, *numbers, out.size)
        return out
    check_count("a strided device array", out.size, out.shape)
    sizes, steps = merged(out.shape, *(array.strides for array in arrays))
    if len(sizes) > AXES:
        for i in range(out.shape[0]):
            _run(packed, strided, constants, out[i], tuple(operand[i] for operand in operands), *numbers)
        return out
    lead = AXES - len(sizes)
    flat = [value for each in steps for value in (0,) * lead + tuple(each)]
    strided[constants](*over(out.size), *arrays, *numbers, out.size, *(1,) * lead, *sizes, *flat)
    return out


def mapped(name: str, a: Any, b: Any = None, out: DeviceArray | None = None) -> DeviceArray:
    """The formula `name` of device arrays of one dtype, or of one and a number; broadcast."""
    if not isinstance(a, DeviceArray) and name in TURNED:
        name, a, b = TURNED[name], b, a
    array = a if isinstance(a, DeviceArray) else b
    T = array.dtype.type
    test = name in TESTS
    if test or T not in FLOATS:
        offered = _TESTED if test else _OFFERED
        if (T, name, "aa") not in offered:
            raise TypeError(f"{name}: the arrays should be float32 or float64 on the device, received {array.dtype}")
    if isinstance(a, DeviceArray) and isinstance(b, DeviceArray):
        shape, form, number = np.broadcast_shapes(a.shape, b.shape), "aa", T(0)
    elif b is None:
        shape, form, number, b = a.shape, "aa", T(0), a
    else:
        shape, form = array.shape, "an" if array is a else "na"
        number, a, b = T(b if array is a else a), array, array
    if out is None:
        out = empty(shape, np.bool_ if test else T)
    elif out.shape != shape and np.broadcast_shapes(shape, out.shape) != out.shape:
        raise ValueError(f"{name}: the result should be of shape {out.shape}, received {shape}")
    a, b = (_apart(broadcast_to(x, out.shape), out) for x in (a, b))
    kernels = (_packed_test, _strided_test) if test else (_packed, _strided)
    return _run(*kernels, (T, name, form), out, (a, b), number)


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
    return _run(_packed_cast, _strided_cast, (T, S), out, (array, array), S(0))


def choose(which: DeviceArray, a: Any, b: Any) -> DeviceArray:
    """a where `which`, else b."""
    T = next(x.dtype.type for x in (a, b) if isinstance(x, DeviceArray))
    a, b = (x if isinstance(x, DeviceArray) else full((), x, T) for x in (a, b))
    shape = functools.reduce(np.broadcast_shapes, (which.shape, a.shape, b.shape))
    out = empty(shape, T)
    return _run(None, _choose, (T,), out, tuple(broadcast_to(x, shape) for x in (which, a, b)))


def full(shape: Any, value: Any, dtype: Any) -> DeviceArray:
    """An array of one value."""
    out = empty(shape, dtype)
    return fill(out, value)


def fill(out: DeviceArray, value: Any) -> DeviceArray:
    """Every entry of an array set to a number."""
    if out.dtype.type not in FILLED:
        raise TypeError("fill: the array should be float32, float64, int32, int64, uint8 or bool on the device, "
                        f"received {out.dtype}")
    return _run(_packed, _strided, (out.dtype.type, "second", "an"), out, (out, out), out.dtype.type(value))
