"""A CUDA driver that does as it is told in the processor's memory, and is as strict as the real one about arguments.

Its functions have the names, arguments and results of `cuda.bindings.driver`. A launch decodes the arguments as a GPU
finds them: an address of pointers to values, whose sizes stand in the kernel's PTX.
"""

import ctypes
import re

import numpy as np
import pytest

real = pytest.importorskip("cuda.bindings.driver")
OK = real.CUresult.CUDA_SUCCESS
ATTRIBUTE = real.CUdevice_attribute
READ = {"u64": np.uint64, "u32": np.uint32, "f32": np.float32, "f64": np.float64, "u8": np.uint8}


class Handle:
    def __init__(self, kind):
        self.kind = kind


class Driver:
    CUresult, CUdevice_attribute = real.CUresult, real.CUdevice_attribute
    CUstream_flags, CUevent_flags = real.CUstream_flags, real.CUevent_flags

    def __init__(self, gpus=1, capability=(9, 0), limit=1 << 30, version=12080):
        self.gpus, self.capability, self.limit, self.version = gpus, capability, limit, version
        self.initialised, self.current = False, None
        self.memory, self.pinned, self.order, self.launches = {}, {}, [], []
        self.refused = OK  # what loading a module says

    def _of(self, kind, *handles):
        assert self.initialised and self.current is not None
        for handle in handles:
            assert isinstance(handle, Handle) and handle.kind == kind, handle

    def _find(self, address, nbytes):
        assert type(address) is int and type(nbytes) is int and nbytes > 0
        for start, held in self.memory.items():
            if start <= address and address + nbytes <= start + held.nbytes:
                return held[address - start:address - start + nbytes]
        raise AssertionError("an address outside the device's memory")

    def cuInit(self, flags):
        assert flags == 0
        self.initialised = self.gpus > 0
        return (OK if self.gpus else real.CUresult.CUDA_ERROR_NO_DEVICE,)

    def cuDriverGetVersion(self):
        return OK, self.version

    def cuDeviceGetCount(self):
        assert self.initialised
        return OK, self.gpus

    def cuDeviceGet(self, ordinal):
        assert self.initialised and 0 <= ordinal < self.gpus
        return OK, Handle("device")

    def cuDeviceGetName(self, length, number):
        assert number.kind == "device"
        return OK, b"Stand-in".ljust(length, b"\0")

    def cuDeviceGetAttribute(self, which, number):
        assert number.kind == "device"
        values = {ATTRIBUTE.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: self.capability[0],
                  ATTRIBUTE.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: self.capability[1],
                  ATTRIBUTE.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: 132,
                  ATTRIBUTE.CU_DEVICE_ATTRIBUTE_CLOCK_RATE: 1_980_000}
        return OK, values[which]

    def cuDevicePrimaryCtxRetain(self, number):
        assert number.kind == "device"
        return OK, Handle("context")

    def cuCtxSetCurrent(self, context):
        assert context.kind == "context"
        self.current = context
        return (OK,)

    def cuStreamCreate(self, flags):
        self._of("none")
        assert int(flags) in (0, 1)
        return OK, Handle("stream")

    def cuEventCreate(self, flags):
        self._of("none")
        assert int(flags) in (0, 1, 2, 3)
        return OK, Handle("event")

    def cuMemAlloc(self, nbytes):
        self._of("none")
        assert type(nbytes) is int and nbytes > 0
        if self.held + nbytes > self.limit:
            return real.CUresult.CUDA_ERROR_OUT_OF_MEMORY, None
        held = np.full(nbytes, 0xFF, np.uint8)
        self.memory[held.ctypes.data] = held
        return OK, real.CUdeviceptr(held.ctypes.data)

    @property
    def held(self):
        return sum(held.nbytes for held in self.memory.values())

    def cuMemFree(self, address):
        self._of("none")
        del self.memory[address]
        return (OK,)

    def cuMemGetInfo(self):
        self._of("none")
        return OK, self.limit - self.held, self.limit

    def cuMemHostAlloc(self, nbytes, flags):
        self._of("none")
        assert nbytes > 0 and flags == 0
        held = np.zeros(nbytes, np.uint8)
        self.pinned[held.ctypes.data] = held
        return OK, held.ctypes.data

    def cuMemFreeHost(self, address):
        self._of("none")
        del self.pinned[address]
        self.order.append("unpin")
        return (OK,)

    def cuMemcpyHtoDAsync(self, target, source, nbytes, stream):
        self._of("stream", stream)
        self._find(target, nbytes)[...] = np.frombuffer(ctypes.string_at(source, nbytes), np.uint8)
        self.order.append(("upload", stream))
        return (OK,)

    def cuMemcpyDtoHAsync(self, target, source, nbytes, stream):
        self._of("stream", stream)
        ctypes.memmove(target, self._find(source, nbytes).tobytes(), nbytes)
        self.order.append(("download", stream))
        return (OK,)

    def cuStreamSynchronize(self, stream):
        self._of("stream", stream)
        self.order.append(("synchronize", stream))
        return (OK,)

    def cuEventRecord(self, event, stream):
        self._of("event", event)
        self._of("stream", stream)
        self.order.append(("record", event, stream))
        return (OK,)

    def cuStreamWaitEvent(self, stream, event, flags):
        self._of("event", event)
        self._of("stream", stream)
        assert flags == 0
        self.order.append(("wait", event, stream))
        return (OK,)

    def cuModuleLoadData(self, image):
        self._of("none")
        assert isinstance(image, bytes) and image.endswith(b"\0") and image.count(b"\0") == 1
        if self.refused != OK:
            return self.refused, None
        module = Handle("module")
        module.ptx = image[:-1].decode()
        return OK, module

    def cuModuleGetFunction(self, module, name):
        self._of("module", module)
        assert isinstance(name, bytes)
        found = re.search(rf"\.visible \.entry {name.decode()}\((.*?)\)", module.ptx, re.DOTALL)
        if found is None:
            return real.CUresult.CUDA_ERROR_NOT_FOUND, None
        function = Handle("function")
        function.kinds = re.findall(r"\.param \.(\w+)", found[1])
        return OK, function

    def cuLaunchKernel(self, function, *rest):
        *dimensions, shared, stream, parameters, extra = rest
        self._of("function", function)
        self._of("stream", stream)
        assert len(dimensions) == 6 and all(type(n) is int and 0 < n < 2**31 for n in dimensions)
        assert shared == 0 and extra == 0
        values = []
        pointers = (ctypes.c_void_p * len(function.kinds)).from_address(parameters)
        for kind, pointer in zip(function.kinds, pointers, strict=True):
            dtype = np.dtype(READ[kind])
            values.append(np.frombuffer(ctypes.string_at(pointer, dtype.itemsize), dtype)[0])
        self.launches.append((dimensions, values))
        self.order.append(("launch", stream))
        return (OK,)

    def cuGetErrorString(self, status):
        assert isinstance(status, real.CUresult)
        return OK, b"some words"
