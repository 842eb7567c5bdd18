"""Arrays in the memory of a device, and the allocator behind them.

A `DeviceArray` is a part of a memory, seen with a shape and strides, as NumPy's are. It computes as NumPy's do: its
operators, and the functions of NumPy that the operations of this package are written with, find the kernels by NumPy's
own protocols (`__array_ufunc__`, `__array_function__`), in `device_functions`. NumPy itself never sees the entries: what
has no kernel is an error, and so is an array of the other device beside it. Nothing is copied unasked.
"""

import math
from typing import Any

import numpy as np

from .device import OutOfDeviceMemory, device

SMALLEST = 512  # bytes of a memory


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
        idle = self.idle.get(size)
        if idle:
            handle = idle.pop()
            device().reuse(handle)
        else:
            handle = self._request(size)
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
        device().synchronize()  # kernels under way may still use it
        for size, handles in self.idle.items():
            for handle in handles:
                device().free(handle)
                self.held -= size
        self.idle.clear()


def _bytes(n: int) -> str:
    return f"{n / 2**20:,.1f} MiB" if n < 2**30 else f"{n / 2**30:,.2f} GiB"


allocator = Allocator()


class Memory:
    """A piece of the device's memory that goes back to the allocator with its last array."""

    __slots__ = ("owner", "handle", "nbytes")

    def __init__(self, owner: Allocator, handle: Any, nbytes: int):
        self.owner, self.handle, self.nbytes = owner, handle, nbytes

    def __del__(self) -> None:
        self.owner.lent -= self.nbytes
        self.owner.idle.setdefault(self.nbytes, []).append(self.handle)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a C-contiguous array, in entries."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


class DeviceArray:
    """An array on the device, with what the operations use of a NumPy array.

    `address` is what kernels take for its first entry; `strides` count entries, not bytes. `contiguous` arrays lie in
    C order without gaps.
    """

    __slots__ = ("memory", "start", "shape", "strides", "dtype", "size", "contiguous", "address", "base")

    def __init__(self, memory: Memory, start: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype,
                 base: "DeviceArray | None" = None):
        self.memory, self.start, self.shape, self.strides, self.dtype = memory, start, shape, strides, dtype
        self.size = math.prod(shape)
        self.base = base
        plain, step = True, 1
        for n, stride in zip(reversed(shape), reversed(strides), strict=True):
            plain = plain and (n == 1 or stride == step)
            step *= n
        self.contiguous = plain or self.size == 0
        self.address = device().address(memory.handle, start, dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: the array should have an axis, received one number")
        return self.shape[0]

    def view(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> "DeviceArray":
        """The same memory with another shape and strides, `offset` entries on."""
        start = self.start + offset * self.dtype.itemsize
        return DeviceArray(self.memory, start, shape, strides, self.dtype, self if self.base is None else self.base)

    def numpy(self) -> np.ndarray:
        """A copy in NumPy's memory, once what computes it is done."""
        from . import device_functions

        source = device_functions.contiguous(self)
        target = np.empty(self.shape, self.dtype)
        if self.size:
            device().download(target, source.address)
        return target

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError(f"item: the array should be a single number, received {self.shape}")
        return self.numpy().item()

    def __repr__(self) -> str:
        return f"DeviceArray({np.array2string(self.numpy(), prefix='DeviceArray(', threshold=50)}, {self.dtype})"

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("NumPy: the array should be in the processor's memory, received a device array "
                        f"{self.shape} {self.dtype}; Tensor.numpy() or DeviceArray.numpy() copies it")

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))


def empty(shape: Any, dtype: Any) -> DeviceArray:
    """An array whose entries nobody has written."""
    shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    dtype = np.dtype(dtype)
    return DeviceArray(allocator.take(math.prod(shape) * dtype.itemsize), 0, shape, _strides(shape), dtype)


def to_device(array: np.ndarray) -> DeviceArray:
    """A copy of a NumPy array on the device."""
    target = empty(array.shape, array.dtype)
    if array.size:
        device().upload(target.address, np.ascontiguousarray(array))
    return target


def is_device(value: Any) -> bool:
    return isinstance(value, DeviceArray)
