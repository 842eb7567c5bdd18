"""The simulator as a device: its memory is NumPy's, its kernels run as Python, one thread after the other."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

from .kinds import nested

POISON = 0xFF  # a NaN of any width: what a kernel should have written, and did not, is seen


class Simulator:
    name = "simulator"
    capability = (9, 0)
    multiprocessors = 2
    threads = 16  # of a block; each is a thread of the operating system, and they start slowly
    waves = 2
    limit: int | None = None  # bytes, for tests of a full device

    def __init__(self) -> None:
        self.used = 0

    def peak(self) -> float:
        return float("nan")

    def allocate(self, nbytes: int) -> np.ndarray | None:
        if self.limit is not None and self.used + nbytes > self.limit:
            return None
        self.used += nbytes
        return np.full(nbytes, POISON, np.uint8)

    def free(self, memory: np.ndarray) -> None:
        self.used -= memory.nbytes

    def reuse(self, memory: np.ndarray) -> None:
        memory[...] = POISON

    def free_bytes(self) -> int:
        return 1 << 30 if self.limit is None else self.limit - self.used

    def address(self, memory: np.ndarray, start: int, dtype: np.dtype) -> Any:
        """What a kernel is handed for the part of a memory that begins at byte `start`."""
        end = start + (memory.nbytes - start) // dtype.itemsize * dtype.itemsize
        return FakeCUDAArray(memory[start:end].view(dtype))

    def upload(self, target: Any, source: np.ndarray, stream: Any = None) -> None:
        target._ary[:source.size] = source.reshape(-1)

    def download(self, target: np.ndarray, source: Any) -> None:
        target.reshape(-1)[...] = source._ary[:target.size]

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    def synchronize(self) -> None:
        """A kernel has run when its launch returns, an upload is done when it returns: there is one stream."""

    finish_uploads = upload_after_compute = compute_after_upload = synchronize

    def compile(self, make: Callable[[], Callable[..., None]], kinds: Any, key: str | None) -> Callable[..., None]:
        kernel = cuda.jit(make())

        def structure(kind: Any, members: list[Any]) -> Any:
            return kind._make(members) if hasattr(kind, "_fields") else tuple(members)

        def launch(blocks: tuple[int, ...], threads: tuple[int, ...], arguments: list[Any]) -> None:
            with warnings.catch_warnings():  # as on a GPU, infinities and NaN are values
                warnings.simplefilter("ignore", RuntimeWarning)
                kernel[blocks, threads](*nested(kinds, iter(arguments), structure))

        return launch
