"""What a tensor can hold, and what may stand beside one: arrays, on whichever device they are, and Python's numbers.

The one file of the engine that looks at where an array is. On a GPU it is a `DeviceArray`, for which NumPy's functions
mean the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanostn.checks import FLOATS, argument_error, converted, describe
from nanostn.kernels.gpu.arrays.device_array import DeviceArray
from nanostn.kernels.gpu.arrays.numpy_functions import as_array, contiguous, device_of, is_device, move
from nanostn.kernels.gpu.arrays.totals import total

__all__ = ["ARRAYS", "Array", "as_array", "check_devices", "check_float", "compared", "constant", "contiguous",
           "device_of", "held", "move", "plain", "total"]

Array = np.ndarray
ARRAYS = (np.ndarray, DeviceArray)


def held(data: Any, dtype: np.dtype) -> Array:
    """What a tensor holds of `data`: an array of its own dtype, Python's numbers in `dtype`."""
    if isinstance(data, ARRAYS) or hasattr(data, "__array__") and not isinstance(data, type):
        try:
            array = as_array(data)
        except Exception:  # whatever another library says of its array
            array = np.empty(0, object)
    else:
        array = converted("Tensor", "data", data, dtype)
    if array.dtype.kind not in "fiub" or isinstance(data, np.ma.MaskedArray):
        hint = ".filled(value) gives one without a mask" if isinstance(data, np.ma.MaskedArray) else ""
        raise argument_error("Tensor", "data", "an array of numbers", describe(data), hint)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_float(array: Array) -> None:
    if array.dtype not in FLOATS:
        raise argument_error("Tensor", "data", "float32 or float64 where a gradient is wanted", describe(array))


def plain(name: str, x: Any) -> Array:
    """A constant input that is neither a tensor nor an array: what a subclass of NumPy's arrays holds, else itself."""
    if isinstance(x, np.ma.MaskedArray):
        raise argument_error(name, "every input", "an array without a mask", f"a masked array {describe(x)}",
                             ".filled(value) gives one")
    if not isinstance(x, np.ndarray | np.generic):
        raise argument_error(name, "every input", "a tensor or an array", describe(x))
    return np.asarray(x)


def check_devices(name: str, arrays: list[Any]) -> None:
    """An error unless all arrays are on one device: nothing is copied unasked."""
    if DeviceArray in map(type, arrays):
        devices = [device_of(array) for array in arrays if isinstance(array, ARRAYS)]
        if len(set(devices)) > 1:
            raise argument_error(name, "every input", "on one device", f"inputs on {', '.join(devices)}",
                                 "Tensor.to(device) copies a tensor, Module.to(device) moves a network")


def constant(name: str, value: Any, beside: Array) -> Array:
    """Python's numbers in the dtype of the array beside them, and on its device."""
    dtype = beside.dtype
    if type(value) in (int, float) and dtype in FLOATS and abs(value) < 1e38:
        given = np.asarray(value, dtype)  # as `converted`, in a tenth of its time
    else:
        if dtype.kind != "f" and isinstance(value, float):
            raise argument_error(name, "a number beside integers", "whole", value, "convert the tensor with .astype")
        given = converted(name, "y", value, dtype)
    if is_device(beside):
        return np.full((), given.item(), given.dtype, like=beside) if given.ndim == 0 else move(given, "cuda")
    return given


def compared(word: str, compare: Callable[[Array, Any], Array], x: Array, y: Any) -> Array:
    """Truth values for all entries, broadcast; dtypes meet as NumPy's do, but on a GPU they are one."""
    if not isinstance(y, ARRAYS):
        numbers = converted(word, "y", y, np.float64)
        y = y if numbers.ndim == 0 else numbers
    check_devices(word, [x, y])
    try:
        return compare(x, y)
    except (TypeError, ValueError):
        raise argument_error(word, "y", f"of a shape that broadcasts with x {x.shape}, and a dtype like {x.dtype}",
                             describe(y)) from None
