"""Arrays in the memory of a device, and the allocator behind them.

A `DeviceArray` is a part of a memory, seen with a shape and strides, as NumPy's are. It computes as NumPy's do: its
operators, and the functions of NumPy that the operations of this package are written with, find their kernels by
NumPy's own protocols (`__array_ufunc__`, `__array_function__`), in the table that `numpy_functions` fills. A function
of NumPy without a kernel raises TypeError, and so does a NumPy array beside a device array: nothing is copied unasked.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..device import device
from ..errors import OutOfDeviceMemory

SMALLEST = 512  # bytes of a memory

HANDLED: dict[Any, Callable[..., Any]] = {}  # by functions of NumPy, and names of methods


def implements(*keys: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare what device arrays do for these functions of NumPy, or methods by name."""
    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        HANDLED.update(dict.fromkeys(keys, function))
        return function

    return declare


def _handed_on(name: str) -> Callable[..., Any]:
    """A method with NumPy's arguments, by its name in the table."""
    def method(self: "DeviceArray", *arguments: Any, **options: Any) -> Any:
        return HANDLED[name](self, *arguments, **options)

    return method


class Allocator:
    """Hands out memories and takes them back to hand them out again, sorted by size.

    Sizes are rounded up to an eighth of a power of two, so that a training step, whose requests repeat, asks the driver
    for nothing after the first. Where the driver has no more, what lies idle is given back to it, and it is asked
    again.
    """

    def __init__(self) -> None:
        self.idle: dict[int, list[Any]] = {}
        self.held = 0    # bytes that the driver gave
        self.lent = 0    # bytes of these in use
        self.requests = 0  # to the driver

    @staticmethod
    def size_class(nbytes: int) -> int:
        step = max(SMALLEST, 1 << max((nbytes - 1).bit_length() - 4, 0))
        return -(-max(nbytes, 1) // step) * step

    def take(self, nbytes: int) -> "Memory":
        size = self.size_class(nbytes)
        try:
            handle = self.idle[size].pop()  # in one step: other threads take, too
        except LookupError:
            handle = self._request(size)
        else:
            device().reuse(handle)
        self.lent += size
        return Memory(self, handle, size)

    def _request(self, size: int) -> Any:
        self.requests += 1
        handle = device().allocate(size)
        if handle is None:
            self.release()
            handle = device().allocate(size)
        if handle is None:
            raise OutOfDeviceMemory(
                f"device memory: an array should fit into the {_bytes(device().free_bytes())} that are free, received "
                f"a request for {_bytes(size)}; arrays of this program hold {_bytes(self.lent)}, so a smaller batch or "
                "a smaller model may help")
        self.held += size
        return handle

    def release(self) -> None:
        """Give what lies idle back to the driver."""
        idle, self.idle = self.idle, {}  # what is let go of meanwhile, by the collector too, comes to the new one
        device().synchronize()  # kernels under way may still use it
        for size, handles in idle.items():
            for handle in handles:
                device().free(handle)
                self.held -= size


def _bytes(n: int) -> str:
    return f"{n / 2**20:,.1f} MiB" if n < 2**30 else f"{n / 2**30:,.2f} GiB"


allocator = Allocator()


class Memory:
    """A piece of the device's memory that goes back to the allocator with its last array."""

    __slots__ = ("owner", "handle", "nbytes", "__weakref__")

    def __init__(self, owner: Allocator, handle: Any, nbytes: int):
        self.owner, self.handle, self.nbytes = owner, handle, nbytes

    def __del__(self) -> None:
        self.owner.lent -= self.nbytes
        self.owner.idle.setdefault(self.nbytes, []).append(self.handle)


@functools.lru_cache(4096)  # as `_packed`: a training step makes the same shapes again and again
def strides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a C-contiguous array, in entries."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


@functools.lru_cache(4096)
def _packed(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether entries lie in C order without gaps."""
    return 0 in shape or all(n == 1 or stride == plain
                             for n, stride, plain in zip(shape, strides, strides_of(shape), strict=True))


class DeviceArray(NDArrayOperatorsMixin):
    """An array on the device, with what the operations use of a NumPy array.

    `address` is what kernels take for its first entry, byte `start` of the memory; `strides` count entries, not bytes.
    `contiguous` arrays lie in C order without gaps.
    """

    __slots__ = ("memory", "start", "shape", "strides", "dtype", "size", "contiguous", "address", "base")
    __hash__ = None  # type: ignore[assignment]  # == compares entries

    def __init__(self, memory: Memory, start: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype,
                 base: "DeviceArray | None" = None):
        self.memory, self.start, self.shape, self.strides, self.dtype = memory, start, shape, strides, dtype
        self.size = math.prod(shape)
        self.base = base
        self.contiguous = _packed(shape, strides)
        self.address = device().address(memory.handle, start, dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> "DeviceArray":
        return self.transpose()

    def view(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> "DeviceArray":
        """The same memory with another shape and strides, `offset` entries on."""
        start = self.start + offset * self.dtype.itemsize
        return DeviceArray(self.memory, start, shape, strides, self.dtype, self if self.base is None else self.base)

    def numpy(self) -> np.ndarray:
        """A copy in NumPy's memory, once what computes it is done."""
        target = np.empty(self.shape, self.dtype)
        if self.size:
            source = HANDLED["contiguous"](self)  # kept while it is read
            device().download(target, source.address)
        return target

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError(f"item: the array should be a single number, received {self.shape}")
        return self.numpy().item()

    def reshape(self, *shape: Any) -> "DeviceArray":
        return HANDLED["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> "DeviceArray":
        return HANDLED["transpose"](self, axes[0] if len(axes) == 1 else axes or None)

    swapaxes, astype, copy = _handed_on("swapaxes"), _handed_on("astype"), _handed_on("copy")
    sum, mean, max, min = _handed_on("sum"), _handed_on("mean"), _handed_on("max"), _handed_on("min")
    argmax, all = _handed_on("argmax"), _handed_on("all")
    __getitem__, __setitem__ = _handed_on("getitem"), _handed_on("setitem")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        """What NumPy asks for a ufunc, entry by entry of arrays that broadcast, or for its method `at`."""
        _refuse_numpy(ufunc.__name__, inputs)
        if method == "at" and ufunc is np.add:
            return HANDLED["add_at"](*inputs)
        if method != "__call__" or options or ufunc not in HANDLED:
            raise _without_kernel(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}")
        if out is None or out[0] is None:
            return HANDLED[ufunc](*inputs)
        _refuse_numpy(ufunc.__name__, out)
        return HANDLED[ufunc](*inputs, out=out[0])

    def __array_function__(self, function: Any, kinds: Any, arguments: Any, options: Any) -> Any:
        if function not in HANDLED:
            raise _without_kernel(function.__name__)
        try:
            return HANDLED[function](*arguments, **options)
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            raise TypeError(f"{function.__name__}: options should be those that its kernel for the device has, "
                            f"received {', '.join(options)}; .numpy() copies the array") from None

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("NumPy: the array should be in the processor's memory, received a device array "
                        f"{self.shape} {self.dtype}; .numpy() copies it")

    def __reduce__(self) -> tuple[Any, ...]:
        """For copy and pickle: the entries. An address would be of no use elsewhere, and here two would own it."""
        return to_device, (self.numpy(),)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: the array should have an axis, received one number")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __repr__(self) -> str:
        return f"DeviceArray({np.array2string(self.numpy(), prefix='DeviceArray(', threshold=50)}, {self.dtype})"


def _refuse_numpy(name: str, arguments: Any) -> None:
    for value in arguments:
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError(f"{name}: both arrays should be on one device, received a NumPy array {value.shape} beside "
                            "a device array; Tensor.to(...) copies a tensor")


def _without_kernel(name: str) -> TypeError:
    return TypeError(f"{name}: the arrays should be NumPy's, received a device array; this function has no kernel for "
                     "the device, .numpy() copies the array")


def empty(shape: Any, dtype: Any) -> DeviceArray:
    """An array whose entries nobody has written."""
    shape = (shape,) if isinstance(shape, int) else tuple(map(int, shape))
    dtype = np.dtype(dtype)
    return DeviceArray(allocator.take(math.prod(shape) * dtype.itemsize), 0, shape, strides_of(shape), dtype)


def to_device(array: np.ndarray) -> DeviceArray:
    """A copy of a NumPy array on the device."""
    target = empty(array.shape, array.dtype)
    if array.size:
        device().upload(target.address, np.ascontiguousarray(array))
    return target


def is_device(value: Any) -> bool:
    """Whether an array is on the device."""
    return isinstance(value, DeviceArray)
