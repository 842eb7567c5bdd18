"""The device beside the processor: an NVIDIA GPU, or Numba's simulator of one, or none.

`device()` is the one that kernels run on; it is opened when it is first asked for, so a program that never does pays
nothing. Both kinds offer the same few things: memory, copies, a stream of launches in their order, a second stream for
uploads, and events between the two. Everything that is launched or copied on the first stream happens in that order,
so memory that Python has let go of can be handed out again at once.
"""

import ctypes
import functools
import os
import sys
from typing import Any

from .errors import INSTALL, NO_DRIVER, DeviceError


def simulated() -> bool:
    """Whether kernels run in Numba's simulator: slow, on the CPU, and without a GPU's types, to test them."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def state() -> tuple[str, str]:
    """("gpu", its name), ("simulator", a sentence), or ("none", why not); nothing is started that is not there."""
    if simulated():
        return "simulator", "Numba's CUDA simulator (NUMBA_ENABLE_CUDASIM=1): for tests, thousands of times slower"
    try:
        return "gpu", device().name
    except DeviceError as error:
        return "none", str(error)


@functools.cache
def device() -> Any:
    """The GPU, opened; or the simulator. Raises DeviceError with a sentence that says what is missing."""
    if simulated():
        from .simulator import Simulator
        return Simulator()
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        (ctypes.WinDLL if sys.platform == "win32" else ctypes.CDLL)(library)  # type: ignore[attr-defined]
    except OSError:
        raise DeviceError(NO_DRIVER) from None
    try:
        from .driver import GPU
    except ImportError as error:
        raise DeviceError(f"there is an NVIDIA driver, but not what compiles for it ({error}): {INSTALL}") from None
    return GPU()
