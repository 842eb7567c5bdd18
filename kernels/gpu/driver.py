"""An NVIDIA GPU as a device: the CUDA driver's functions, called by NVIDIA's own bindings, and Numba as the compiler.

A launch is one call of the driver: arguments are packed into a buffer whose layout is known from the kernel's
declaration. (Numba's own launch looks at every argument anew.) One context, the first GPU unless
CUDA_VISIBLE_DEVICES says otherwise, two streams: `compute` for everything, and `arrays/prefetch` for batches to come.

Numba is imported when the first kernel is compiled: a program whose kernels all lie compiled on disk never needs it.
"""

import contextlib
import ctypes
import os
import struct
import threading
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda.bindings import driver

from . import ptx_cache
from .errors import INSTALL, DeviceError
from .kinds import flat, nested

LEAST_CAPABILITY = (7, 0)
NO_GPU = ("there is an NVIDIA driver, but no GPU that it shows to this program; CUDA_VISIBLE_DEVICES may hide it, and "
          "everything works on the CPU")


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
    waves = 32  # blocks for each multiprocessor, of kernels that go over their entries in strides

    def __init__(self) -> None:
        try:
            status, = driver.cuInit(0)
        except RuntimeError as error:  # the bindings, where the driver lacks what they look functions up with
            raise DeviceError(f"the NVIDIA driver is too old for the installed cuda-bindings ({error}): update the "
                              "driver") from None
        if status == driver.CUresult.CUDA_ERROR_NO_DEVICE:
            raise DeviceError(NO_GPU)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise DeviceError(f"the CUDA driver reports {_words(status)} in cuInit")
        if call(driver.cuDeviceGetCount) == 0:
            raise DeviceError(NO_GPU)
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
        self.clock = 1000 * call(driver.cuDeviceGetAttribute, attribute.CU_DEVICE_ATTRIBUTE_CLOCK_RATE, number)  # in Hz
        self._context = call(driver.cuDevicePrimaryCtxRetain, number)
        call(driver.cuCtxSetCurrent, self._context)
        self._current = threading.local()
        self._current.ready = True
        flag = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        self.compute, self.uploads = call(driver.cuStreamCreate, flag), call(driver.cuStreamCreate, flag)
        timing = driver.CUevent_flags.CU_EVENT_DISABLE_TIMING
        self._computed, self._uploaded = call(driver.cuEventCreate, timing), call(driver.cuEventCreate, timing)
        self._modules: list[Any] = []  # a function lives as long as its module
        self.packing = threading.Lock()
        self._forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        """The driver refuses a process that was forked after it was opened; nor can memory be given back there."""
        self._forked, self._current, self.packing = True, threading.local(), threading.Lock()

    def peak(self) -> float:
        """float32 operations in a second, at most: a product and a sum in each lane and cycle."""
        lanes = 64 if self.capability in ((7, 0), (7, 2), (7, 5), (8, 0)) else 128
        return 2.0 * lanes * self.multiprocessors * self.clock

    def enter(self) -> None:
        """Make the context this thread's; others than the one that opened the GPU may use it."""
        if not getattr(self._current, "ready", False):
            if self._forked:
                raise DeviceError("a GPU cannot be used in a process that was forked after it was opened: start the "
                                  "process by spawn or forkserver")
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
        if not self._forked:
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
        address = int(call(driver.cuMemHostAlloc, nbytes, 0))
        memory = (ctypes.c_uint8 * nbytes).from_address(address)
        weakref.finalize(memory, self._unpin, address).atexit = False  # the driver frees it with the process
        return np.frombuffer(memory, np.uint8)

    def _unpin(self, address: int) -> None:
        if not self._forked:
            self.enter()
            call(driver.cuStreamSynchronize, self.uploads)  # a copy under way may still read it
            call(driver.cuMemFreeHost, address)

    def synchronize(self) -> None:
        self.enter()
        call(driver.cuStreamSynchronize, self.compute)

    def finish_uploads(self) -> None:
        """Wait until the uploads so far have left the processor's memory."""
        self.enter()
        call(driver.cuStreamSynchronize, self.uploads)

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

    def compile(self, make: Callable[[], Callable[..., None]], kinds: list[Any], key: str | None
                ) -> Callable[..., None]:
        """A function (blocks, threads, arguments) that launches; arrays are given by their addresses.

        `make` returns the Python function, whose parameters are of `kinds`, `CudaKernel.types`; `key` names it among
        those of these sources, None where nothing can.
        """
        self.enter()
        file = ptx_cache.place(key, self.capability)
        function = self._load(ptx_cache.read(file))
        if function is None:
            ptx = compile_ptx(make(), kinds, self.capability)
            function = self._load(ptx, say=True)
            ptx_cache.write(file, ptx)
        return Packed(self, function, kinds)

    def _load(self, ptx: str | None, say: bool = False) -> Any:
        """The function of a PTX; None where there is none, or where the driver refuses it, unless it should say why."""
        if ptx is None:
            return None
        status, module = driver.cuModuleLoadData(ptx.encode() + b"\0")
        if status != driver.CUresult.CUDA_SUCCESS:
            if not say:
                return None
            if status == driver.CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
                version = call(driver.cuDriverGetVersion)
                raise DeviceError(
                    f"the NVIDIA driver (for CUDA {version // 1000}.{version % 1000 // 10}) is older than the CUDA "
                    "libraries that compile for it: update the driver, or install older libraries")
            raise DeviceError(f"the CUDA driver reports {_words(status)} in cuModuleLoadData")
        self._modules.append(module)
        return call(driver.cuModuleGetFunction, module, entry_name(ptx).encode())


def compile_ptx(body: Callable[..., None], kinds: list[Any], capability: tuple[int, int]) -> str:
    """PTX of a kernel for a compute capability.

    A body may have `bounds`: the threads of its blocks, and the blocks that should fit a multiprocessor together, which
    limits the registers of a thread.
    """
    from cuda.pathfinder import DynamicLibNotFoundError
    from numba import cuda, types, void

    def structure(kind: Any, members: list[Any]) -> Any:
        return types.BaseTuple.from_types(members, type(kind) if hasattr(kind, "_fields") else None)

    signature = void(*nested(kinds, (kind.numba() for kind in flat(kinds)), structure))
    with _capability_known(capability):
        try:
            return cuda.compile_ptx(body, signature, cc=capability, launch_bounds=getattr(body, "bounds", None))[0]
        except (ImportError, DynamicLibNotFoundError) as error:
            words = " ".join(str(error).split())
            raise DeviceError(f"the libraries that compile for a GPU are missing ({words}): {INSTALL}") from None


@contextlib.contextmanager
def _capability_known(capability: tuple[int, int]) -> Iterator[None]:
    """Numba asks the current GPU for its capability when a kernel calls a function, though it was told; so without a
    GPU nothing would compile, and with one Numba would open it a second time, in its own way."""
    from numba.cuda import dispatcher

    if not hasattr(dispatcher, "get_current_device"):  # a private name; nanostn.ptx_check fails where it is gone
        yield
        return
    with _patching:
        kept = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
        try:
            yield
        finally:
            dispatcher.get_current_device = kept


_patching = threading.Lock()


def entry_name(ptx: str) -> str:
    """The name of the kernel in its PTX."""
    return ptx.split(".visible .entry ", 1)[1].split("(", 1)[0].strip()


ONES = ((), (1, 1), (1,), ())  # what a number or a pair of blocks or threads lacks to three


class Packed:
    """Launches one function: arguments go into a buffer, eight bytes each, that the driver reads."""

    CODES = {"int64": "q", "int32": "i4x", "uint64": "Q", "float32": "f4x", "float64": "d",
             "uint8": "B7x", "bool": "?7x"}

    def __init__(self, gpu: GPU, function: Any, kinds: list[Any]):
        self.gpu, self.function, kinds = gpu, function, flat(kinds)
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
        with self.gpu.packing:  # the driver reads the buffer while other threads of Python run
            self.layout.pack_into(self.buffer, 0, *arguments)
            status, = driver.cuLaunchKernel(self.function, *blocks, *ONES[len(blocks)], *threads, *ONES[len(threads)],
                                            0, self.gpu.compute, self.parameters, 0)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise DeviceError(f"the CUDA driver reports {_words(status)} in cuLaunchKernel")
