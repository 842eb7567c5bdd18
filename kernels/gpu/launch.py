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
    T*[8] int[3]                                        a tuple of so many pointers or numbers

T is the first dtype among the constants, S the second. A NamedTuple of numbers is declared by its class, as in
`@cuda_kernel("T* T*", Axis, "int")`; a field is an int, a bool, a float, which is a T, a tuple of these, or another
NamedTuple. A launch is handed all numbers in a row, as a GPU is (`flat`); the body is handed tuples.

Types are part of the declaration so that a launch costs little, so that all kernels can be compiled where there is no
GPU, and so that the simulator, which has no types, refuses what a GPU would misread.
"""

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np

from ..compiling.caching import FOLDER
from .device import device, simulated
from .kinds import Kind, flat

FULL = 256  # threads of a block where nothing speaks for another number
TOGETHER = 8  # arrays of a kind that one launch takes, where a kernel takes many

cuda: Any = None  # in a file of kernels: numba.cuda, which takes a while to import, from the first kernel on


def numba_cuda(function: Callable[..., Any]) -> Any:
    """numba.cuda, imported, and put where the function's file says `cuda`: the simulator wants it in a global name."""
    from numba import cuda

    function.__globals__["cuda"] = cuda
    return cuda


all_kernels: list["CudaKernel"] = []  # of the files that are imported


class CudaKernel:
    """A declared kernel; `kernel[T, ...]` is the one for these constants, compiled for this device."""

    def __init__(self, make: Callable[..., Callable[..., None]], kinds: Iterable[Any], offered: Iterable[tuple] | None):
        self.make = make
        self.kinds = [kind for each in kinds for kind in (each.split() if isinstance(each, str) else [each])]
        self.offered = [(np.float32,), (np.float64,)] if offered is None else list(offered)
        self.name = f"{make.__module__.rpartition('kernels.')[2]}.{make.__name__.lstrip('_')}"
        self._launches: dict[Any, Launch] = {}
        all_kernels.append(self)

    def body(self, constants: tuple) -> Callable[..., None]:
        """The Python function for these constants."""
        numba_cuda(self.make)
        return self.make(*constants)

    def types(self, constants: tuple) -> list[Any]:
        """The body's parameters: each a `Kind`, or a tuple of them, with the names of a NamedTuple."""
        dtypes = [np.dtype(c).name for c in constants if isinstance(c, type)]
        names = {"int": "int64", **dict(zip("TS", dtypes, strict=False))}

        def of(kind: Any) -> Any:
            if hasattr(kind, "_fields"):
                return kind(*map(of, get_type_hints(kind).values()))
            if not isinstance(kind, str):  # of a field
                return tuple(map(of, get_args(kind))) or Kind("T" if kind is float else kind.__name__, names)
            several = re.fullmatch(r"(.+)\[(\d+)\]", kind)
            return (Kind(several[1], names),) * int(several[2]) if several else Kind(kind, names)

        return [of(kind) for kind in self.kinds]

    def key(self, constants: tuple) -> str | None:
        """A name for these constants, the same in every process with the same sources; None where there is none."""
        try:
            kinds = (getattr(kind, "__name__", kind) for kind in self.kinds)
            return " ".join([*map(_name, (self.make, *constants)), "of", *kinds])
        except LookupError:
            return None

    def __getitem__(self, constants: Any) -> "Launch":
        launch = self._launches.get(constants)
        if launch is None:
            key = constants if isinstance(constants, tuple) else (constants,)
            launch = self._launches[constants] = Launch(self, key)
        return launch


def cuda_kernel(*kinds: Any, offered: Iterable[tuple] | None = None) -> Callable[..., CudaKernel]:
    """Declare a kernel. `offered` lists the constants that it is used with; without it, T is float32 or float64."""
    return lambda make: CudaKernel(make, kinds, offered)


def _name(constant: Any) -> str:
    """What a constant is called in every process; a LookupError where a name does not tell what it does."""
    if constant is None or isinstance(constant, (bool, int, float, str)):
        return repr(constant)
    if isinstance(constant, type) and issubclass(constant, np.generic):
        return constant.__name__
    if isinstance(constant, tuple):
        return f"({', '.join(map(_name, constant))})"
    function = getattr(constant, "py_func", constant)
    code = getattr(function, "__code__", None)
    if code is None or not Path(code.co_filename).is_relative_to(FOLDER) or "<" in function.__qualname__:
        raise LookupError("a function of others, or one made in a function")
    return f"{function.__module__}.{function.__qualname__}"


class Launch:
    """A kernel for one set of constants: `launch(blocks, threads, *arguments)` puts it into the stream.

    Blocks and threads are numbers or tuples of up to three.
    """

    def __init__(self, kernel: CudaKernel, constants: tuple):
        self.name = kernel.name
        kinds = kernel.types(constants)
        self.kinds = flat(kinds)
        self.pointers = [(at, kind) for at, kind in enumerate(self.kinds) if kind.form]
        self.run = device().compile(lambda: kernel.body(constants), kinds, kernel.key(constants))

    def __call__(self, blocks: Any, threads: Any, *arguments: Any) -> None:
        if len(arguments) != len(self.kinds):
            raise TypeError(f"{self.name}: a launch should have {len(self.kinds)} arguments, received {len(arguments)}")
        values = list(arguments)
        for at, kind in self.pointers:
            given = values[at]
            if getattr(given, "address", None) is None or given.dtype != kind.dtype or not (
                    given.contiguous or kind.form == "~"):
                raise TypeError(f"{self.name}: argument {at} should be {kind!r}, received {_described(given)}; "
                                "nothing is copied to the device unasked: Tensor.to('cuda') does it")
            values[at] = given.address
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
    from numba import cuda

    return cuda.jit(device=True)(function)


def device_floor(T: Any) -> Callable[[Any], Any]:
    """floor(x) as a T; NumPy's has no meaning in kernels, and Python's none for NaN and infinity in the simulator."""
    return np.floor if simulated() else device_function(lambda x: T(math.floor(x)))


def block(threads: int = FULL) -> int:
    """Threads of a block: as many as asked for, in the simulator fewer."""
    return min(threads, device().threads)


def over(entries: int, threads: int = FULL) -> tuple[int, int]:
    """Blocks and threads of a kernel that goes over `entries` in strides of the grid."""
    threads = block(threads)
    return min(-(-entries // threads), device().multiprocessors * device().waves), threads
