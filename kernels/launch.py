"""CUDA kernels: how they are declared beside their CPU bodies, compiled, and launched.

    @cuda_kernel("T* T* int")
    def _double(T):
        def double(x, y, n):
            for i in range(cuda.grid(1), n, cuda.gridsize(1)):
                y[i] = x[i] * T(2)
        return double

    _double[np.float32](*over(x.size), x, y, x.size)

The declared function is called with constants, the dtype T among them, and returns the body for these: what it closes
over is a constant of the compiled kernel, and a branch on it vanishes. The string names the arguments' types. An array
is one pointer to its first entry, flat, and not checked by anyone; sizes are arguments of their own.

    T* float32* float64* int32* int64* uint8* bool*     a contiguous device array of that dtype
    T~ ...                                              one with strides, which are arguments of their own
    int64[] ...                                         as *, but one that atomic operations can be used on
    T float32 int32 int64 int uint64 bool               a number; int is int64

Types are part of the declaration so that a launch costs little, so that all kernels can be compiled where there is no
GPU, and so that the simulator, which has no types, refuses what a GPU would misread.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .device import device, simulated

FULL = 256  # threads of a block where nothing speaks for another number
WAVES = 32  # blocks for each multiprocessor, of kernels that go over their entries in strides


class _Later:
    """Stands in a file of kernels for `numba.cuda`, which takes a while to import, until the first one is wanted."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"cuda.{name} was used outside a kernel")


cuda: Any = _Later()

all_kernels: list["CudaKernel"] = []  # of the files that are imported


class CudaKernel:
    """A declared kernel; `kernel[T, ...]` is the one for these constants, compiled for this device."""

    def __init__(self, make: Callable[..., Callable[..., None]], kinds: str, offered: Iterable[tuple] | None):
        self.make, self.kinds = make, kinds.split()
        self.offered = [(np.float32,), (np.float64,)] if offered is None else list(offered)
        self.name = f"{make.__module__.rpartition('.')[2]}.{make.__name__.lstrip('_')}"
        self._launches: dict[Any, Launch] = {}
        all_kernels.append(self)

    def body(self, constants: tuple) -> Callable[..., None]:
        """The Python function for these constants, with numba.cuda where its file says `cuda`."""
        from numba import cuda as numba_cuda

        self.make.__globals__["cuda"] = numba_cuda
        return self.make(*constants)

    def types(self, constants: tuple) -> list["Kind"]:
        T = np.dtype(constants[0]).name if constants and isinstance(constants[0], type) else None
        return [Kind(word, T) for word in self.kinds]

    def __getitem__(self, constants: Any) -> "Launch":
        launch = self._launches.get(constants)
        if launch is None:
            key = constants if isinstance(constants, tuple) else (constants,)
            launch = self._launches[constants] = Launch(self, key)
        return launch


def cuda_kernel(kinds: str, offered: Iterable[tuple] | None = None) -> Callable[..., CudaKernel]:
    """Declare a kernel. `offered` lists the constants that it is used with; without it, T is float32 or float64."""
    return lambda make: CudaKernel(make, kinds, offered)


class Kind:
    """The type of one argument."""

    def __init__(self, word: str, T: str | None):
        name = word.rstrip("*~[]")
        self.form = word[len(name):]  # "" for a number
        dtype = {"T": T, "int": "int64"}.get(name, name)
        if dtype is None:
            raise TypeError("a kernel with T in its arguments has a dtype as its first constant")
        self.dtype = np.dtype(dtype)

    def numba(self) -> Any:
        from numba import from_dtype, types

        if not self.form:
            return from_dtype(self.dtype)
        entry = types.uint8 if self.dtype == np.bool_ else from_dtype(self.dtype)
        return types.Array(entry, 1, "C") if self.form == "[]" else types.CPointer(entry)

    def __repr__(self) -> str:
        shape = {"": "number", "~": "device array"}.get(self.form, "contiguous device array")
        return f"a {self.dtype} {shape}"


class Launch:
    """A kernel for one set of constants: `launch(blocks, threads, *arguments)` puts it into the stream.

    Blocks and threads are numbers or tuples of up to three.
    """

    def __init__(self, kernel: CudaKernel, constants: tuple):
        self.name = kernel.name
        self.kinds = kernel.types(constants)
        self.run = device().compile(kernel.body(constants), self.kinds)

    def __call__(self, blocks: Any, threads: Any, *arguments: Any) -> None:
        if len(arguments) != len(self.kinds):
            raise TypeError(f"{self.name}: a launch should have {len(self.kinds)} arguments, received {len(arguments)}")
        values = []
        for kind, given in zip(self.kinds, arguments, strict=True):
            if not kind.form:
                values.append(given)
                continue
            if getattr(given, "address", None) is None or given.dtype != kind.dtype or not (
                    given.contiguous or kind.form == "~"):
                at = len(values)
                raise TypeError(f"{self.name}: argument {at} should be {kind!r}, received {_described(given)}; "
                                "nothing is copied to the device unasked: Tensor.to('cuda') does it")
            values.append(given.address)
        blocks = blocks if isinstance(blocks, tuple) else (blocks,)
        if 0 not in blocks:
            self.run(blocks, threads if isinstance(threads, tuple) else (threads,), values)


def _described(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        strided = " with strides" if getattr(value, "contiguous", True) is False else ""
        return f"{type(value).__name__} {tuple(value.shape)} {value.dtype}{strided}"
    return repr(value)


def device_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of scalars and pointers as kernels call it: plain Python, or one that the CPU's kernels call.

    It does not use `cuda`: for that it is made in the factory of its kernel. In the simulator it is Python's, so that
    NumPy's scalars keep their type.
    """
    function = getattr(function, "py_func", function)
    if simulated():
        return function
    from numba import cuda as numba_cuda

    return numba_cuda.jit(device=True)(function)


def device_floor(T: Any) -> Callable[[Any], Any]:
    """floor(x) as a T; NumPy's has no meaning in kernels, and Python's none for NaN and infinity in the simulator."""
    return np.floor if simulated() else device_function(lambda x: T(math.floor(x)))


def block(threads: int = FULL) -> int:
    """Threads of a block: as many as asked for, on the simulator at most 32."""
    return min(threads, device().threads)


def over(entries: int, threads: int = FULL) -> tuple[int, int]:
    """Blocks and threads of a kernel that goes over `entries` in strides of the grid."""
    threads = block(threads)
    return min(-(-entries // threads), device().multiprocessors * (2 if simulated() else WAVES)), threads
