"""The tensor: an array with a place in the graph; and the arithmetic that its operators need.

An operation is one function. It takes arrays and returns its value and how a cotangent of the value flows back to each
input; `op` makes it an operation on tensors. The gradient functions are closures: they keep exactly the arrays that
they name. Other operations (layers, losses, the sampler) live in files of their own and are written the same way.
"""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nanostn import autograd, overwrites
from nanostn.checks import LARGE, argument_error, checked_flag, converted, describe, is_float32, same_float
from nanostn.kernels.gpu.arrays.device_array import DeviceArray
from nanostn.kernels.gpu.arrays.numpy_functions import as_array, contiguous, device_of, is_device, move
from nanostn.kernels.gpu.arrays.totals import total
from nanostn.kernels.products import matmul as matmul_kernels

Array = np.ndarray
ARRAYS = (np.ndarray, DeviceArray)  # what a tensor holds
FLOATS = (np.float32, np.float64)   # what can want a gradient


class Tensor:
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

    __slots__ = ("_data", "node", "__weakref__")
    __array_ufunc__ = None  # NumPy's operators step back: `array + tensor` is a tensor
    __hash__ = object.__hash__  # a tensor is a key by itself, though == compares entries

    def __init__(self, data: Any, requires_grad: bool = False):
        if isinstance(data, Tensor):
            data = data.data
        self._data: Array = self._checked(data, np.dtype(np.float32))
        self.node: autograd.Node | None = None
        self.requires_grad = requires_grad

    @staticmethod
    def _checked(data: Any, dtype: np.dtype) -> Array:
        """What the tensor holds of `data`: an array of its own dtype, Python's numbers in `dtype`."""
        if isinstance(data, ARRAYS) or hasattr(data, "__array__") and not isinstance(data, type):
            try:
                array = as_array(data)
            except Exception:  # whatever another library says of its array
                array = np.empty(0, object)
        else:
            array = converted("Tensor", "data", data, dtype)
        if array.dtype.kind not in "fiub" or isinstance(data, np.ma.MaskedArray):
            hint = ".filled(value) gives one without a mask" if isinstance(data, np.ma.MaskedArray) else ""
            raise argument_error("Tensor", "data", "an array of numbers", describe(data), hint)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))

    @property
    def data(self) -> Array:
        """The array. Another may be put in its place: of a leaf any, of a result one of the same shape and dtype.

        Where shape, dtype or device differ, the leaf begins anew: its gradient is forgotten, and `backward()` of what
        was computed before is refused. Into the array itself anybody may write (`tensor.data[...] = 0`), but never
        between a forward pass and its `backward()`, which would compute with what it finds and cannot see it.
        """
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if value is self._data:  # tensor.data -= step: the array was written into
            overwrites.note(value, "an assignment to .data", getattr(self, "path", ""))
            return
        if isinstance(value, Tensor):
            value = value.data
        array, before, node = self._checked(value, self.dtype), self._data, self.node
        same = (array.shape, array.dtype, type(array)) == (before.shape, before.dtype, type(before))
        if node is not None and not same:
            if node.inputs or node.freed:
                raise argument_error("Tensor", "data", f"{describe(before)} like the result of '{node.name}'",
                                     describe(array), "call .detach() first")
            _check_float(array)
            node.free()
            self.node = autograd.Node(array)
        self._data = array

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        checked_flag("Tensor", "requires_grad", wanted)
        if self.node is not None and (self.node.inputs or self.node.freed):
            raise argument_error("Tensor", "requires_grad", "set on a leaf", f"a result of '{self.node.name}'",
                                 "call .detach() first")
        if wanted:
            _check_float(self._data)
        if wanted != self.requires_grad:
            if self.node is not None:
                self.node.free()
            self.node = autograd.Node(self._data) if wanted else None

    @property
    def grad(self) -> Array | None:
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if self.node is None:
            if value is None:
                return
            raise argument_error("Tensor", "grad", "set on a tensor that wants a gradient", "one that does not")
        alike = isinstance(value, type(self._data)) and (value.shape, value.dtype) == (self.shape, self.dtype)
        if value is not None and not alike:
            raise argument_error("Tensor", "grad", f"an array {self.shape} {self.dtype} on {self.device}, or None",
                                 describe(value))
        self.node.grad = value

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def device(self) -> str:
        """"cpu" or "cuda".   torch: Tensor.device"""
        return device_of(self._data)

    def backward(self, dV: Any = None) -> None:
        """Add d self / d leaf, contracted with the cotangent `dV`, to `grad` of every leaf; then free the graph.

        `dV` has the shape of the tensor; it may be left out for a single number, where it is 1.
        torch: Tensor.backward(gradient)
        """
        if self.node is None:
            raise argument_error("backward", "the tensor", "a result that depends on a tensor with requires_grad=True",
                                 f"a constant {describe(self)}", "or was it computed under no_grad()?")
        if dV is None:
            if self.size != 1:
                raise argument_error("backward", "the tensor", "a single number when no cotangent is given",
                                     describe(self), "use .sum(), .mean() or backward(dV)")
            dV = np.ones_like(self.data)
        elif isinstance(dV, Tensor):
            dV = dV.data
        if not isinstance(dV, ARRAYS):
            dV = converted("backward", "the cotangent", dV, self.dtype)
        if type(dV) is not type(self.data) and device_of(dV) != self.device:
            raise argument_error("backward", "the cotangent", f"on {self.device} like the value",
                                 f"one on {device_of(dV)}")
        autograd.backward(self.node, dV)

    def numpy(self) -> Array:
        """The array itself, not a copy; from the GPU, a copy.   torch: Tensor.detach().cpu().numpy()"""
        return move(self.data, "cpu")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """For NumPy's functions, and what draws with them: the array itself, where nothing is lost unseen by that."""
        if self.requires_grad:
            raise argument_error("NumPy", "the tensor", "one without a gradient",
                                 f"{self.shape} {self.dtype} with requires_grad=True", ".numpy() leaves the graph")
        return np.array(self.data, dtype) if copy else np.asarray(self.data, dtype)

    def detach(self) -> "Tensor":
        """The same data, cut from the graph.   torch: Tensor.detach()"""
        return Tensor(self.data)

    def item(self) -> float:
        """The one number inside, as a Python number.   torch: Tensor.item()"""
        if self.size != 1:
            raise argument_error("item", "the tensor", "a single number", describe(self))
        return self.data.item()

    def to(self, device: str) -> "Tensor":
        """The tensor itself where it is on that device, "cpu" or "cuda", else a copy; its gradient is copied back.

        Raises ValueError for other names, DeviceError where there is no GPU.   torch: Tensor.to(device)
        """
        if device not in ("cpu", "cuda"):
            raise argument_error("Tensor.to", "device", "'cpu' or 'cuda'", repr(device))
        return self if device == self.device else _to(self, device=device)

    def astype(self, dtype: Any) -> "Tensor":
        """In another dtype, float32 or float64 where a gradient is wanted, which is converted back.

        torch: Tensor.to(dtype)
        """
        wanted = checked_dtype("astype", dtype, FLOATS if self.requires_grad else "fiub")
        return self if self.dtype == wanted else _astype(self, dtype=wanted)

    def __len__(self) -> int:
        if not self.ndim:
            raise argument_error("len", "the tensor", "one with an axis", describe(self))
        return len(self.data)

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    # Comparisons give arrays of truth values, on the tensor's device; there is no gradient of them.

    def __eq__(self, other: Any) -> Any:
        return _compared("==", operator.eq, self, other) if _is_numeric(other) else NotImplemented

    def __ne__(self, other: Any) -> Any:
        return _compared("!=", operator.ne, self, other) if _is_numeric(other) else NotImplemented

    def __lt__(self, other: Any) -> Any:
        return _compared("<", operator.lt, self, other)

    def __le__(self, other: Any) -> Any:
        return _compared("<=", operator.le, self, other)

    def __gt__(self, other: Any) -> Any:
        return _compared(">", operator.gt, self, other)

    def __ge__(self, other: Any) -> Any:
        return _compared(">=", operator.ge, self, other)

    def __repr__(self) -> str:
        inside = np.array2string(self.numpy(), prefix="Tensor(", threshold=50)
        device = "" if self.device == "cpu" else f", {self.device}"
        return f"Tensor({inside}, {self.dtype}{device}" + (", requires_grad=True)" if self.requires_grad else ")")

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

    def __getitem__(self, index: Any) -> "Tensor":
        parts = index if isinstance(index, tuple) else (index,)
        plain = tuple(part.data if isinstance(part, Tensor) else part for part in parts)
        return _getitem(self, index=plain if isinstance(index, tuple) else plain[0])

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Tensor":
        """The sum over one axis, several or all.   torch: torch.sum(x, axis, keepdims)"""
        check_axis("sum", self.ndim, axis)
        checked_flag("sum", "keepdims", keepdims)
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
        return extreme("max", self, axis, keepdims)

    def reshape(self, *shape: Any) -> "Tensor":
        """The same entries in another shape; one size may be -1.   torch: Tensor.reshape"""
        given = _unpacked(shape)
        sizes = tuple(given) if _are_whole(given) and all(n < LARGE for n in given) else ()
        known = int(np.prod([n for n in sizes if n != -1], dtype=np.int64))
        if len(sizes) != len(given) or min(sizes, default=0) < -1 or sizes.count(-1) > 1 or (
                (not known or self.size % known) if -1 in sizes else known != self.size):
            raise argument_error("reshape", "shape", f"a shape of {self.size} entries for x {self.shape}",
                                 describe(given), "-1 stands for one size, where the others leave no choice")
        return _reshape(self, shape=sizes)

    def transpose(self, *axes: Any) -> "Tensor":
        """The axes in another order, by default reversed.   torch: Tensor.permute"""
        axes = _unpacked(axes) or tuple(reversed(range(self.ndim)))
        check_axis("transpose", self.ndim, axes)
        if len(axes) != self.ndim:
            raise argument_error("transpose", "axes", f"all {self.ndim} axes of x {self.shape}", axes)
        return _transpose(self, axes=axes)

    @property
    def T(self) -> "Tensor":
        """The axes reversed.   torch: Tensor.mT, for a matrix"""
        return self.transpose()


OPERANDS = (Tensor, *ARRAYS)


def op(function: Callable[..., tuple[Array, autograd.Gradients]]) -> Callable[..., Tensor]:
    """Make an operation on tensors from a function of arrays that returns its value and its gradients.

    Positional arguments are inputs: tensors, or arrays that stand for constants; `function` sees arrays. Keyword
    arguments are options and pass through. The gradients are a tuple with a function dY -> dX (or None) for each input;
    or one function (dY, wanted) -> (dX, ...) where they share their work.
    """
    name = function.__name__.lstrip("_")

    @functools.wraps(function)
    def apply(*inputs: Any, **options: Any) -> Tensor:
        arrays = [x._data if isinstance(x, Tensor) else x if type(x) in ARRAYS else _plain(name, x) for x in inputs]
        if DeviceArray in map(type, arrays):
            _check_devices(name, arrays)
        value, gradients = function(*arrays, **options)
        result = Tensor.__new__(Tensor)  # without the checks of what a user hands over
        result._data = as_array(value)
        nodes = tuple(x.node if isinstance(x, Tensor) else None for x in inputs)
        result.node = autograd.record(result._data, name, nodes, gradients)
        return result

    return apply


def _plain(name: str, x: Any) -> Any:
    """A constant input that is neither a tensor nor an array: what a subclass of NumPy's arrays holds, else itself."""
    if isinstance(x, np.ma.MaskedArray):
        raise argument_error(name, "every input", "an array without a mask", f"a masked array {describe(x)}",
                             ".filled(value) gives one")
    if not isinstance(x, np.ndarray | np.generic):
        raise argument_error(name, "every input", "a tensor or an array", describe(x))
    return np.asarray(x)


def _check_float(array: Array) -> None:
    if array.dtype not in FLOATS:
        raise argument_error("Tensor", "data", "float32 or float64 where a gradient is wanted", describe(array))


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


def _check_devices(name: str, arrays: list[Any]) -> None:
    """An error unless all arrays are on one device: nothing is copied unasked."""
    devices = [device_of(array) for array in arrays if isinstance(array, ARRAYS)]
    if len(set(devices)) > 1:
        raise argument_error(name, "every input", "on one device", f"inputs on {', '.join(devices)}",
                             "Tensor.to(device) copies a tensor, Module.to(device) moves a network")


def _unpacked(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """x.reshape(2, 3) and x.reshape((2, 3)) are the same."""
    return tuple(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], tuple | list) else arguments


def _are_whole(values: Any) -> bool:
    return all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in values)


def check_axis(name: str, ndim: int, axis: Any, one: bool = False) -> None:
    """An error unless `axis` is an axis of an array of `ndim` axes; or, but for `one`, None or a tuple of them."""
    axes = (axis,) if one or not isinstance(axis, tuple | None) else axis or ()
    whole = _are_whole(axes) and all(-ndim <= a < ndim for a in axes)
    if not whole or len({a % ndim for a in axes}) < len(axes):
        raise argument_error(name, "axis", f"{'one ' if one else ''}of an array with {ndim} axes"
                             + ("" if one else ", each once"), describe(axis))


# Broadcasting is an operation of its own, so that no other operation needs to undo it.


@op
def _broadcast_to(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, autograd.Gradients]:
    lead = len(shape) - x.ndim
    stretched = tuple(lead + i for i, size in enumerate(x.shape) if size == 1 and shape[lead + i] != 1)
    before = x.shape

    def dx(dy: Array) -> Array:
        return total(dy, tuple(range(lead)) + stretched).reshape(before)

    return np.broadcast_to(x, shape), (dx,)


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Repeat `x` along axes of size 1 and new leading axes, without a copy; the gradient is the sum over the copies.

    torch: Tensor.expand
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not _are_whole(shape) or not all(0 <= n < LARGE for n in shape):
        raise argument_error("broadcast_to", "shape", f"one that x {x.shape} can be repeated to", describe(shape))
    if x.shape == shape:
        return x
    padded = (1,) * (len(shape) - x.ndim) + x.shape
    if len(padded) != len(shape) or any(n not in (1, m) for n, m in zip(padded, shape, strict=True)):
        raise argument_error("broadcast_to", "shape", f"one that x {x.shape} can be repeated to", shape)
    return _broadcast_to(x, shape=shape)


def _constant(name: str, value: Any, beside: Any) -> Array:
    """Python's numbers in the dtype of the tensor beside them, and on its device."""
    dtype, data = beside.dtype, beside.data if isinstance(beside, Tensor) else beside
    if type(value) in (int, float) and dtype in FLOATS and abs(value) < 1e38:
        given = np.asarray(value, dtype)  # as `converted`, in a tenth of its time
    else:
        if dtype.kind != "f" and isinstance(value, float):
            raise argument_error(name, "a number beside integers", "whole", value, "convert the tensor with .astype")
        given = converted(name, "y", value, dtype)
    if is_device(data):
        return np.full((), given.item(), given.dtype, like=data) if given.ndim == 0 else move(given, "cuda")
    return given


def _is_numeric(value: Any) -> bool:
    """Whether == can look at entries: beside None or a string it is False, as for any two things of other kinds."""
    return isinstance(value, (*OPERANDS, int, float, list, tuple, np.generic))


def _compared(word: str, compare: Callable[[Array, Any], Array], x: Tensor, y: Any) -> Array:
    """Truth values for all entries, broadcast; dtypes meet as NumPy's do, but on the GPU they are one."""
    other = y.data if isinstance(y, Tensor) else y
    if not isinstance(other, ARRAYS):
        numbers = converted(word, "y", other, np.float64)
        other = other if numbers.ndim == 0 else numbers
    _check_devices(word, [x.data, other])
    try:
        return compare(x.data, other)
    except (TypeError, ValueError):
        raise argument_error(word, "y", f"of a shape that broadcasts with x {x.shape}, and a dtype like {x.dtype}",
                             describe(y)) from None


def _operands(name: str, x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape and dtype. Python numbers take the dtype of the other operand."""
    if not isinstance(x, OPERANDS):
        x = _constant(name, x, y)
    if not isinstance(y, OPERANDS):
        y = _constant(name, y, x)
    if x.dtype != y.dtype:
        raise argument_error(name, "y", f"{x.dtype} like x", describe(y), "convert one of them with .astype")
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        raise argument_error(name, "y", f"of a shape that broadcasts with x {x.shape}", describe(y)) from None
    return broadcast_to(x, shape), broadcast_to(y, shape)


def _binary(function: Callable[..., tuple[Array, autograd.Gradients]]) -> Callable[[Any, Any], Tensor]:
    operation = op(function)

    @functools.wraps(function)
    def apply(x: Any, y: Any) -> Tensor:
        return operation(*_operands(function.__name__, x, y))

    return apply


@_binary
def add(x, y):
    """x + y   torch: torch.add"""
    return x + y, (lambda dz: dz, lambda dz: dz)


@_binary
def subtract(x, y):
    """x - y   torch: torch.sub"""
    return x - y, (lambda dz: dz, lambda dz: -dz)


@_binary
def multiply(x, y):
    """x y   torch: torch.mul"""
    return x * y, (lambda dz: dz * y, lambda dz: dz * x)


@_binary
def divide(x, y):
    """x / y   torch: torch.div"""
    return x / y, (lambda dz: dz / y, lambda dz: -dz * x / (y * y))


@op
def negative(x):
    """-x   torch: torch.neg"""
    if x.dtype.kind not in "fi":
        raise argument_error("negative", "x", "signed numbers", describe(x))
    return -x, (lambda dy: -dy,)


@op
def power(x, *, exponent: float):
    """x ** exponent for a constant exponent; d/dx = exponent x ** (exponent - 1).   torch: torch.pow"""
    same_float("power", x=x)
    if not is_float32(exponent):
        raise argument_error("power", "exponent", "one finite number, the same for all entries", describe(exponent),
                             "exp(y * log(x)) has a gradient to both")

    def dx(dy):
        if exponent == 0:
            return np.zeros_like(x)
        return dy * (x.dtype.type(exponent) * x ** x.dtype.type(exponent - 1))

    return x ** x.dtype.type(exponent), (dx,)


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
    return _matmul(broadcast_to(x, lead + x.shape[-2:]), broadcast_to(y, lead + y.shape[-2:]))


@op
def _matmul(x, y):
    return _product(x, y), (lambda dz: _product(dz, y.swapaxes(-1, -2)), lambda dz: _product(x.swapaxes(-1, -2), dz))


def _product(x: Array, y: Array) -> Array:
    """Two matrices are spread over the cores by our kernel; stacks of small ones go one by one."""
    return matmul_kernels.matmul(contiguous(x), contiguous(y)) if x.ndim == 2 else matmul_kernels.batched_matmul(x, y)


def _restore(dy: Array, axis: int | tuple[int, ...] | None, keepdims: bool) -> Array:
    """The cotangent of a reduction with the reduced axes back as axes of size 1."""
    return dy if keepdims or axis is None else np.expand_dims(dy, axis)


@op
def _sum(x, *, axis, keepdims):
    shape = x.shape
    return total(x, axis, keepdims), (lambda dy: np.broadcast_to(_restore(dy, axis, keepdims), shape),)


def extreme(name: str, x: Tensor, axis: int | tuple[int, ...] | None, keepdims: bool) -> Tensor:
    """The "max" or "min" along one axis, several or all; the first of equal ones takes the gradient."""
    check_axis(name, x.ndim, axis)
    checked_flag(name, "keepdims", keepdims)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % x.ndim for a in axes))
    if x.size == 0 and all(n for i, n in enumerate(x.shape) if i not in axes):
        raise argument_error(name, "x", f"an array with entries along axis {axis}", describe(x))
    return _extreme(x, name=name, axes=axes, keepdims=keepdims)


@op
def _extreme(x, *, name, axes, keepdims):
    """Along several axes: they are brought together as the last one, in their order."""
    shape, dtype = x.shape, x.dtype
    axis = axes[0] if len(axes) == 1 else -1
    order = tuple(range(x.ndim)) if len(axes) == 1 else (*(a for a in range(x.ndim) if a not in axes), *axes)
    back, moved = np.argsort(order), tuple(shape[a] for a in order)
    kept = moved[:x.ndim - len(axes)]
    lined = x if len(axes) == 1 else x.transpose(order).reshape(*kept, int(np.prod(moved[len(kept):])))
    line, first = lined.shape, None
    if x.size and dtype.kind == "f":  # else nobody asks for a gradient, or there is none
        first = (lined if name == "max" else -lined).argmax(axis=axis, keepdims=True)

    def dx(dy):
        out = np.zeros(line, dtype, like=dy)
        if first is not None:
            np.put_along_axis(out, first, dy.reshape(first.shape), axis)
        return out.reshape(moved).transpose(back)

    if not x.size:  # so is the result, and NumPy's own would not always be had
        over = tuple(1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes)
        return np.zeros(over, dtype, like=x), (dx,)
    return (x.max if name == "max" else x.min)(axis=axes, keepdims=keepdims), (dx,)


@op
def _reshape(x, *, shape):
    before = x.shape
    return x.reshape(shape), (lambda dy: dy.reshape(before),)


@op
def _transpose(x, *, axes):
    back = np.argsort([axis % x.ndim for axis in axes])
    return x.transpose(axes), (lambda dy: dy.transpose(back),)


@op
def _getitem(x, *, index):
    shape, dtype = x.shape, x.dtype
    parts = index if isinstance(index, tuple) else (index,)
    repeats = any(isinstance(part, Array | list) for part in parts)
    try:
        y = x[index]
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise IndexError(str(argument_error("index", "the index", f"one into x {shape}", describe(index),
                                            str(error)))) from None

    def dx(dy):
        out = np.zeros(shape, dtype, like=dy)
        if repeats:  # an index array may name a cell twice
            np.add.at(out, index, dy)
        else:
            out[index] = dy
        return out

    return y, (dx,)


@op
def _to(x, *, device):
    before = device_of(x)
    return move(x, device), (lambda dy: move(dy, before),)


@op
def _astype(x, *, dtype):
    before = x.dtype
    return x.astype(dtype), (lambda dy: dy.astype(before),)
