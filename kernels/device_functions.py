"""What NumPy's functions do with device arrays: the kernels behind the operators of `DeviceArray`."""

from typing import Any

import numpy as np

from .device_array import DeviceArray, empty, to_device
from .launch import cuda, cuda_kernel, over

AXES = 6  # most axes of a strided array, once neighbours that can be walked as one are merged

_DTYPES = [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_]


def contiguous(array: Any) -> Any:
    """The array itself, or a copy in C order; of either device."""
    if not isinstance(array, DeviceArray):
        return np.ascontiguousarray(array)
    if array.contiguous:
        return array
    raise NotImplementedError
