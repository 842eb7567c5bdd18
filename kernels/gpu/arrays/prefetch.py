"""Batches to come, copied to the device while it computes.

`upload` copies an array into pinned memory, from which the device reads by itself, on a stream of its own; `arrived`
makes all that is launched afterwards wait for the uploads so far. The next batch is started before this one is computed
with, and awaited after.
"""

from typing import Any

import numpy as np

from ..device import device
from .device_array import DeviceArray, empty

_staging: dict[int, np.ndarray] = {}  # pinned memory, by the place of an array in its batch


def upload(*arrays: np.ndarray) -> tuple[DeviceArray, ...]:
    """Start copies of NumPy arrays to the device; nothing may read them before `arrived()`."""
    gpu = device()
    gpu.finish_uploads()        # the pinned memory still holds the last ones
    gpu.upload_after_compute()  # the memory that they go to may be in use until then
    found = []
    for place, array in enumerate(arrays):
        array = np.ascontiguousarray(array)
        target = empty(array.shape, array.dtype)
        found.append(target)
        if array.size == 0:
            continue
        if place not in _staging or _staging[place].size < array.nbytes:
            _staging[place] = gpu.pinned(array.nbytes)
        staged: Any = _staging[place][:array.nbytes].view(array.dtype)
        staged[...] = array.reshape(-1)
        gpu.upload(target.address, staged, "uploads")
    return tuple(found)


def arrived() -> None:
    """What is launched from now on waits for the uploads so far."""
    device().compute_after_upload()
