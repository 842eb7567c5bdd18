"""What NumPy's functions do with device arrays, and what concerns arrays of either device.

Operations are written with NumPy's words; where the arrays are on the device, NumPy hands these calls on to the
functions declared here. `like=array`, NumPy's own option, makes new arrays on the device of another.
"""

import functools
from typing import Any

import numpy as np

from . import elementwise, indexing, reductions
from .device_array import DeviceArray, empty, implements, is_device, to_device
from .elementwise import contiguous, mapped

__all__ = ["as_array", "constant", "contiguous", "device_of", "is_device", "move"]


def as_array(value: Any) -> Any:
    """A device array as it is, anything else as a NumPy array."""
    return value if isinstance(value, DeviceArray) else np.asarray(value)


def device_of(array: Any) -> str:
    """"cuda" or "cpu"."""
    return "cuda" if isinstance(array, DeviceArray) else "cpu"


def move(array: Any, device: str) -> Any:
    """The array itself where it is on that device, else a copy there."""
    if device == device_of(array):
        return array
    return to_device(np.asarray(array)) if device == "cuda" else array.numpy()


def constant(array: np.ndarray, like: Any) -> Any:
    """A NumPy array, or a copy of it on the device where `like` is there; the last copies are kept.

    For what follows from shapes and options, a few numbers or a basis, and comes again with every step.
    """
    if not isinstance(like, DeviceArray):
        return array
    return _kept(np.asarray(array).tobytes(), array.shape, array.dtype.str)


@functools.lru_cache(maxsize=256)
def _kept(entries: bytes, shape: tuple[int, ...], dtype: str) -> DeviceArray:
    return to_device(np.frombuffer(entries, dtype).reshape(shape))


def _names(*names: str) -> None:
    for name in names:
        implements(getattr(np, name))(functools.partial(mapped, name))


_names("add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "logaddexp", "negative", "absolute",
       "sign", "square", "sqrt", "exp", "log", "tanh", "sin", "cos", "equal", "not_equal", "less", "less_equal",
       "greater", "greater_equal", "isfinite", "bitwise_and")

implements("contiguous")(contiguous)
implements("getitem")(indexing.getitem)
implements("setitem")(indexing.setitem)
implements("add_at")(indexing.add_at)
implements("astype")(elementwise.cast)
implements(np.put_along_axis)(indexing.put_along_axis)
implements("argmax", np.argmax)(reductions.argmax)
implements("mean", np.mean)(reductions.mean)
implements(np.broadcast_to)(elementwise.broadcast_to)
implements(np.where)(elementwise.choose)
implements(np.flip)(indexing.flip)
implements(np.concatenate)(indexing.concatenate)
implements(np.stack)(indexing.stack)
implements("copy")(functools.partial(mapped, "copy"))
for name in ("sum", "max", "min"):
    implements(name, getattr(np, name))(functools.partial(reductions.reduced, name))
implements("all", np.all)(
    lambda x, axis=None, keepdims=False: mapped("greater", reductions.reduced("min", x, axis, keepdims), 0))
implements(np.count_nonzero)(
    lambda x, axis=None: reductions.reduced("sum", x if x.dtype == np.bool_ else mapped("not_equal", x, 0), axis))
implements(np.clip)(lambda x, low, high: mapped("minimum", mapped("maximum", x, low), high))
implements(np.may_share_memory)(lambda a, b: is_device(a) and is_device(b) and elementwise.overlap(a, b))
implements(np.array_equal)(lambda a, b: a.shape == b.shape and (not a.size or bool(mapped("equal", a, b).all())))
implements(np.shape)(lambda x: x.shape)
implements(np.ndim)(lambda x: x.ndim)
implements(np.zeros)(lambda shape, dtype=np.float64, **layout: elementwise.full(shape, 0, dtype))
implements(np.ones)(lambda shape, dtype=np.float64, **layout: elementwise.full(shape, 1, dtype))
implements(np.empty)(lambda shape, dtype=np.float64, **layout: empty(shape, dtype))
implements(np.full)(lambda shape, value, dtype=None, **layout: elementwise.full(shape, value, dtype))
implements(np.empty_like)(lambda x: empty(x.shape, x.dtype))
implements(np.zeros_like)(lambda x: elementwise.full(x.shape, 0, x.dtype))
implements(np.ones_like)(lambda x: elementwise.full(x.shape, 1, x.dtype))


@implements("reshape", np.reshape)
def _reshape(x: DeviceArray, shape: Any) -> DeviceArray:
    sizes = (shape,) if isinstance(shape, int | np.integer) else shape
    return indexing.reshape(x, tuple(int(n) for n in sizes))


def _reordered(function: Any) -> Any:
    """Axes in another order: that of an empty array whose sizes, 0, 1, ..., name them, by NumPy's own function."""
    return lambda x, *order: reductions.transposed(x, function(np.empty(range(x.ndim)), *order).shape)


implements("transpose", np.transpose)(_reordered(np.transpose))
implements("swapaxes", np.swapaxes)(_reordered(np.swapaxes))
implements(np.moveaxis)(_reordered(np.moveaxis))


@implements(np.expand_dims)
def _expand_dims(x: DeviceArray, axis: Any) -> DeviceArray:
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = x.ndim + len(axes)
    new = {a % ndim for a in axes}
    return indexing.getitem(x, tuple(None if a in new else slice(None) for a in range(ndim)))
