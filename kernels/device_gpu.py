"""An NVIDIA GPU as a device: the CUDA driver's functions, called by NVIDIA's own bindings, and Numba as the compiler.

A launch is one call of the driver: arguments are packed into a buffer whose layout is known from the kernel's
declaration. (Numba's own launch looks at every argument anew.) One context, the first GPU unless
CUDA_VISIBLE_DEVICES says otherwise, two streams: `compute` for everything, and `uploads` for batches to come.
"""

import ctypes
import struct
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from cuda.bindings import driver
from numba import cuda, types

from .device import DeviceError

LEAST_CAPABILITY = (7, 0)


def call(function: Callable[..., tuple], *arguments: Any) -> Any:
    """What a function of the driver returns, or an error with the driver's own words."""
    status, *values = function(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise DeviceError(f"the CUDA driver reports {_words(status)} in {function.__name__}")
    return values[0] if len(values) == 1 else tuple(values)


def _words(status: Any) -> str:
    found, text = driver.cuGetErrorString(status)
    return f"{status.name} ({text.decode()})" if found == driver.CUresult.CUDA_SUCCESS and text else str(status)


class GPU:
    threads = 1024  # of a block

    def __init__(self) -> None:
        call(driver.cuInit, 0)
        if call(driver.cuDeviceGetCount) == 0:
            raise DeviceError("there is an NVIDIA driver, but no GPU that it shows to this program")
        number = call(driver.cuDeviceGet, 0)
        attribute = driver.CUdevice_attribute
        self.name = call(driver.cuDeviceGetName, 256, number).split(b"\0")[0].decode()
        self.capability = tuple(call(driver.cuDeviceGetAttribute, which, number) for which in (
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR))
        if self.capability < LEAST_CAPABILITY:
            raise DeviceError(f"the GPU ({self.name}) should be of compute capability 7.0 or newer, received "
                              "{}.{}".format(*self.capability))
        self.multiprocessors = call(driver.cuDeviceGetAttribute,
                                    attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, number)
        self._context = call(driver.cuDevicePrimaryCtxRetain, number)
        call(driver.cuCtxSetCurrent, self._context)
        self._current = threading.local()
        self._current.ready = True
        flag = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        self.compute, self.uploads = call(driver.cuStreamCreate, flag), call(driver.cuStreamCreate, flag)
        timing = driver.CUevent_flags.CU_EVENT_DISABLE_TIMING
        self._computed, self._uploaded = call(driver.cuEventCreate, timing), call(driver.cuEventCreate, timing)
        self._modules: list[Any] = []  # a function lives as long as its module

    def enter(self) -> None:
        """Make the context this thread's; others than the one that opened the GPU may use it."""
        if not getattr(self._current, "ready", False):
            call(driver.cuCtxSetCurrent, self._context)
            self._current.ready = True

    def allocate(self, nbytes: int) -> int | None:
        """An address, or None where that much is not free."""
        self.enter()
        status, address = driver.cuMemAlloc(nbytes)
        if status == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            return None
        if status != driver.CUresult.CUDA_SUCCESS:
            raise DeviceError(f"the CUDA driver reports {_words(status)} in cuMemAlloc")
        return int(address)

    def free(self, memory: int) -> None:
        self.enter()
        call(driver.cuMemFree, memory)

    def reuse(self, memory: int) -> None:
        """What is in it stays."""

    def free_bytes(self) -> int:
        self.enter()
        return call(driver.cuMemGetInfo)[0]

    def address(self, memory: int, start: int, dtype: np.dtype) -> int:
        return memory + start

    def upload(self, target: int, source: np.ndarray, stream: Any = None) -> None:
        """From a C-contiguous array. From memory that is not pinned the driver copies before this returns."""
        self.enter()
        call(driver.cuMemcpyHtoDAsync, target, source.ctypes.data, source.nbytes,
             self.uploads if stream == "uploads" else self.compute)

    def download(self, target: np.ndarray, source: int) -> None:
        self.enter()
        call(driver.cuMemcpyDtoHAsync, target.ctypes.data, source, target.nbytes, self.compute)
        self.synchronize()

    def pinned(self, nbytes: int) -> np.ndarray:
        """Memory of the processor that the GPU reads by itself, while both go on."""
        self.enter()
        address = call(driver.cuMemHostAlloc, nbytes, 0)
        return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(int(address)), np.uint8)

    def synchronize(self) -> None:
        self.enter()
        call(driver.cuStreamSynchronize, self.compute)

    def upload_after_compute(self) -> None:
        """Uploads from now on wait for what has been launched so far."""
        self.enter()
        call(driver.cuEventRecord, self._computed, self.compute)
        call(driver.cuStreamWaitEvent, self.uploads, self._computed, 0)

    def compute_after_upload(self) -> None:
        """Launches from now on wait for the uploads so far."""
        self.enter()
        call(driver.cuEventRecord, self._uploaded, self.uploads)
        call(driver.cuStreamWaitEvent, self.compute, self._uploaded, 0)

    def compile(self, body: Callable[..., None], kinds: list[Any]) -> Callable[..., None]:
        """A function (blocks, threads, arguments) that launches; arrays are given by their addresses."""
        self.enter()
        ptx = compile_ptx(body, kinds, self.capability)
        status, module = driver.cuModuleLoadData(ptx.encode() + b"\0")
        if status == driver.CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
            version = call(driver.cuDriverGetVersion)
            raise DeviceError(f"the NVIDIA driver (for CUDA {version // 1000}.{version % 1000 // 10}) is older than "
                              "the CUDA libraries that compile for it: update the driver, or install older libraries")
        if status != driver.CUresult.CUDA_SUCCESS:
            raise DeviceError(f"the CUDA driver reports {_words(status)} in cuModuleLoadData")
        self._modules.append(module)
        function = call(driver.cuModuleGetFunction, module, entry_name(ptx).encode())
        return Packed(self, function, kinds)


def compile_ptx(body: Callable[..., None], kinds: list[Any], capability: tuple[int, int]) -> str:
    """PTX of a kernel for a compute capability.

    A body may have `bounds`: the threads of its blocks, and the blocks that should fit a multiprocessor together, which
    limits the registers of a thread. They are written into the PTX because not every numba-cuda takes them here.
    """
    signature = types.void(*(kind.numba() for kind in kinds))
    ptx = cuda.compile_ptx(body, signature, cc=capability)[0]
    if getattr(body, "bounds", None):
        head, brace, tail = ptx.partition("\n)\n{")
        if not brace:
            raise DeviceError("numba-cuda's PTX should have a body after the kernel's arguments, received none")
        ptx = "{}\n)\n.maxntid {}, 1, 1\n.minnctapersm {}\n{{{}".format(head, *body.bounds, tail)
    return ptx


def entry_name(ptx: str) -> str:
    """The name of the kernel in its PTX."""
    return ptx.split(".visible .entry ", 1)[1].split("(", 1)[0].strip()


class Packed:
    """Launches one function: arguments go into a buffer, eight bytes each, that the driver reads."""

    CODES = {"int64": "q", "int32": "i4x", "uint64": "Q", "float32": "f4x", "float64": "d", "bool": "?7x"}

    def __init__(self, gpu: GPU, function: Any, kinds: list[Any]):
        self.gpu, self.function = gpu, function
        # Numba's arrays are seven numbers: two unused, length, bytes of an entry, address, shape, stride. The length
        # only serves negative indices, which no kernel here has.
        self.arrays = [kind.dtype.itemsize if kind.form == "[]" else 0 for kind in kinds]
        self.plain = not any(self.arrays)
        codes = ["QQqqQqq" if kind.form == "[]" else "Q" if kind.form else self.CODES[kind.dtype.name]
                 for kind in kinds]
        self.layout = struct.Struct("=" + "".join(codes))
        self.buffer = ctypes.create_string_buffer(max(self.layout.size, 8))
        first = ctypes.addressof(self.buffer)
        count = self.layout.size // 8
        self.pointers = (ctypes.c_void_p * max(count, 1))(*(first + 8 * i for i in range(count)))
        self.parameters = ctypes.addressof(self.pointers)

    def __call__(self, blocks: tuple[int, ...], threads: tuple[int, ...], arguments: list[Any]) -> None:
        self.gpu.enter()
        if not self.plain:
            arguments = [value for argument, size in zip(arguments, self.arrays, strict=True)
                         for value in ((0, 0, 1, size, argument, 1, size) if size else (argument,))]
        self.layout.pack_into(self.buffer, 0, *arguments)
        status, = driver.cuLaunchKernel(self.function, *blocks, *(1,) * (3 - len(blocks)), *threads,
                                        *(1,) * (3 - len(threads)), 0, self.gpu.compute, self.parameters, 0)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise DeviceError(f"the CUDA driver reports {_words(status)} in cuLaunchKernel")
