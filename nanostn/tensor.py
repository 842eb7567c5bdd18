"""The tensor: a variable with NumPy's operators and methods, and `op`, which makes operations on tensors."""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nanostn import arithmetic, autograd, entries
from nanostn.arrays import ARRAYS, Array, as_array, check_devices, compared, constant, plain
from nanostn.checks import (
    FLOATS,
    LARGE,
    are_whole,
    argument_error,
    check_axis,
    checked_dtype,
    checked_flag,
    describe,
    same_float,
)
from nanostn.variable import Variable


class Tensor(Variable):
    """An array that remembers where it came from.   torch: torch.Tensor

    `Tensor(data, requires_grad=False)`: an array keeps its dtype (float32 and float64 can want a gradient, integers
    serve as labels and indices); Python numbers and lists become float32. The data is not copied. It is a NumPy array,
    or an array on the GPU after `.to("cuda")`: operations run where their inputs are. `grad` is an array like it, or
    None before the first `backward()`; several calls add up.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        array([2., 4.], dtype=float32)
    """

    __slots__ = ()
    __array_ufunc__ = None  # NumPy's operators step back: `array + tensor` is a tensor
    __hash__ = object.__hash__  # a tensor is a key by itself, though == compares entries

    def __add__(self, other: Any) -> "Tensor":
        return add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Tensor":
        return subtract(self, other)

    def __rsub__(self, other: Any) -> "Tensor":
        return subtract(other, self)

    def __mul__(self, other: Any) -> "Tensor":
        return multiply(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Tensor":
        return divide(self, other)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return divide(other, self)

    def __neg__(self) -> "Tensor":
        return negative(self)

    def __pow__(self, exponent: float) -> "Tensor":
        return power(self, exponent=exponent)

    def __matmul__(self, other: Any) -> "Tensor":
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> "Tensor":
        return matmul(other, self)

    # Comparisons give arrays of truth values, on the tensor's device; there is no gradient of them.

    def __eq__(self, other: Any) -> Any:
        return compared("==", operator.eq, self._data, _array(other)) if _is_numeric(other) else NotImplemented

    def __ne__(self, other: Any) -> Any:
        return compared("!=", operator.ne, self._data, _array(other)) if _is_numeric(other) else NotImplemented

    def __lt__(self, other: Any) -> Any:
        return compared("<", operator.lt, self._data, _array(other))

    def __le__(self, other: Any) -> Any:
        return compared("<=", operator.le, self._data, _array(other))

    def __gt__(self, other: Any) -> Any:
        return compared(">", operator.gt, self._data, _array(other))

    def __ge__(self, other: Any) -> Any:
        return compared(">=", operator.ge, self._data, _array(other))

    def __getitem__(self, index: Any) -> "Tensor":
        parts = index if isinstance(index, tuple) else (index,)
        bare = tuple(part.data if isinstance(part, Tensor) else part for part in parts)
        return _getitem(self, index=bare if isinstance(index, tuple) else bare[0])

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[i] for i in range(len(self)))

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Tensor":
        """The sum over one axis, several or all.   torch: torch.sum(x, axis, keepdims)"""
        return _sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Tensor":
        """The mean over one axis, several or all; NaN over nothing.   torch: torch.mean(x, axis, keepdims)"""
        check_axis("mean", self.ndim, axis)
        checked_flag("mean", "keepdims", keepdims)
        added = self.sum(axis, keepdims)
        return added / (self.size // added.size if added.size else 1)

    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Tensor":
        """The largest entry, along one axis, several or all; the first of equal ones takes the gradient.

        torch: torch.amax, but for equal entries
        """
        return _max(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> "Tensor":
        """The same entries in another shape; one size may be -1.   torch: Tensor.reshape"""
        return _reshape(self, shape=_unpacked(shape))

    def transpose(self, *axes: Any) -> "Tensor":
        """The axes in another order, by default reversed.   torch: Tensor.permute"""
        return _transpose(self, axes=_unpacked(axes) or tuple(reversed(range(self.ndim))))

    @property
    def T(self) -> "Tensor":
        """The axes reversed.   torch: Tensor.mT, for a matrix"""
        return self.transpose()

    def detach(self) -> "Tensor":
        """The same data, cut from the graph.   torch: Tensor.detach()"""
        return Tensor(self.data)

    def astype(self, dtype: Any) -> "Tensor":
        """In another dtype, float32 or float64 where a gradient is wanted, which is converted back.

        torch: Tensor.to(dtype)
        """
        wanted = checked_dtype("astype", dtype, FLOATS if self.requires_grad else "fiub")
        return self if self.dtype == wanted else _astype(self, dtype=wanted)

    def to(self, device: str) -> "Tensor":
        """The tensor itself where it is on that device, "cpu" or "cuda", else a copy; its gradient is copied back.

        Raises ValueError for other names, DeviceError where there is no GPU.   torch: Tensor.to(device)
        """
        if device not in ("cpu", "cuda"):
            raise argument_error("Tensor.to", "device", "'cpu' or 'cuda'", repr(device))
        return self if device == self.device else _to(self, device=device)


OPERANDS = (Tensor, *ARRAYS)


def op(function: Callable[..., arithmetic.Result]) -> Callable[..., Tensor]:
    """Make an operation on tensors from a function of arrays that returns its value and its gradients.

    Positional arguments are inputs: tensors, or arrays that stand for constants; `function` sees arrays. Keyword
    arguments are options and pass through. The gradients are a tuple with a function dY -> dX (or None) for each input;
    or one function (dY, wanted) -> (dX, ...) where they share their work.
    """
    name = function.__name__.lstrip("_")

    @functools.wraps(function)
    def apply(*inputs: Any, **options: Any) -> Tensor:
        arrays: list[Array] = [x._data if isinstance(x, Tensor) else x if type(x) in ARRAYS else plain(name, x)
                               for x in inputs]
        check_devices(name, arrays)
        value, gradients = function(*arrays, **options)
        result = Tensor.__new__(Tensor)  # without the checks of what a user hands over
        result._data = as_array(value)
        nodes = tuple([x.node if isinstance(x, Tensor) else None for x in inputs])
        result.node = autograd.record(result._data, name, nodes, gradients)
        return result

    return apply


def _binary(function: Callable[..., arithmetic.Result]) -> Callable[[Any, Any], Tensor]:
    """An operation on two tensors, arrays or numbers, which are brought to one shape and dtype before."""
    operation = op(function)

    @functools.wraps(function)
    def apply(x: Any, y: Any) -> Tensor:
        return operation(*operands(function.__name__, x, y))

    return apply


add, subtract = _binary(arithmetic.add), _binary(arithmetic.subtract)
multiply, divide = _binary(arithmetic.multiply), _binary(arithmetic.divide)
negative, power, _matmul = op(arithmetic.negative), op(arithmetic.power), op(arithmetic.matmul)
_sum, _broadcast_to = op(arithmetic.sum), op(arithmetic.broadcast_to)
_getitem, _max = op(entries.getitem), op(entries.max)
_reshape, _transpose = op(entries.reshape), op(entries.transpose)
_astype, _to = op(entries.astype), op(entries.to)


def operands(name: str, x: Any, y: Any) -> tuple[Any, Any]:
    """Two tensors or arrays of one shape and dtype. Python's numbers take the dtype of the other operand."""
    if not isinstance(x, OPERANDS):
        x = constant(name, x, _array(y))
    if not isinstance(y, OPERANDS):
        y = constant(name, y, _array(x))
    if x.dtype != y.dtype:
        raise argument_error(name, "y", f"{x.dtype} like x", describe(y), "convert one of them with .astype")
    if x.shape == y.shape:
        return x, y
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        raise argument_error(name, "y", f"of a shape that broadcasts with x {x.shape}", describe(y)) from None
    return _repeated(x, shape), _repeated(y, shape)


def _repeated(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else _broadcast_to(x, shape=shape)


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Repeat `x` along axes of size 1 and new leading axes, without a copy; the gradient is the sum over the copies.

    torch: Tensor.expand
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    padded = (1,) * (len(shape) - x.ndim) + x.shape
    if not are_whole(shape) or not all(0 <= n < LARGE for n in shape) or len(padded) != len(shape) or any(
            n not in (1, m) for n, m in zip(padded, shape, strict=True)):
        raise argument_error("broadcast_to", "shape", f"one that x {x.shape} can be repeated to", describe(shape))
    return _repeated(x, shape)


def matmul(x: Any, y: Any) -> Tensor:
    """The matrix product over the last two axes; leading axes broadcast.   torch: torch.matmul

    x (..., M, K), y (..., K, N) -> (..., M, N). Both need two axes or more.
    """
    x, y = (a if isinstance(a, Tensor) else Tensor(a) for a in (x, y))
    if min(x.ndim, y.ndim) < 2 or x.shape[-1] != y.shape[-2]:
        raise argument_error("matmul", "y", f"(..., {x.shape[-1] if x.ndim else 'K'}, N) for x {x.shape}",
                             describe(y), "both need two axes or more; use reshape for a vector")
    same_float("matmul", x=x, y=y)
    try:
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise argument_error("matmul", "y", f"of leading axes that broadcast with x {x.shape}", describe(y)) from None
    return _matmul(_repeated(x, lead + x.shape[-2:]), _repeated(y, lead + y.shape[-2:]))


def _array(x: Any) -> Any:
    return x._data if isinstance(x, Tensor) else x


def _is_numeric(value: Any) -> bool:
    """Whether == can look at entries: beside None or a string it is False, as for any two things of other kinds."""
    return isinstance(value, (*OPERANDS, int, float, list, tuple, np.generic))


def _unpacked(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """x.reshape(2, 3) and x.reshape((2, 3)) are the same."""
    return tuple(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], tuple | list) else arguments
