"""Parts of device arrays: views by slices, entries by number, their gradient, and arrays put together.

Numbers of entries come as NumPy arrays or lists, since they decide shapes. The gradient of entries that were taken
several times adds them up in the order in which they were taken, by one thread for each target: no atomics.
"""

import math
from typing import Any

import numpy as np

from ..integer_division import check_count, split
from ..launch import cuda, cuda_kernel, over
from .device_array import DeviceArray, empty, strides_of, to_device
from .elementwise import broadcast_to, contiguous, fill, mapped
from .reductions import checked_axes, transposed

TAKEN = [(T,) for T in (np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_)]


@cuda_kernel("T* T* int64* int int int int", offered=TAKEN)
def _take(T):
    """out[o, k, i] = x[o, places[k], i] for x (outer, length, inner)."""
    def take(out, x, places, n, count, length, inner):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            row, column = split(i, inner)
            o, k = split(row, count)
            out[i] = x[(o * length + places[k]) * inner + column]
    return take


@cuda_kernel("T* T* int64* int64* int64* int int int int int", offered=TAKEN[:2])
def _add_taken(T):
    """out[o, targets[t], i] = its sum with dy[o, k, i] over k = order[starts[t]] to order[starts[t + 1] - 1].

    out (outer, length, inner) and dy (outer, count, inner); n entries of `distinct` targets are written.
    """
    def add_taken(out, dy, order, targets, starts, n, distinct, count, length, inner):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            row, column = split(i, inner)
            o, t = split(row, distinct)
            total = T(0)
            for k in range(starts[t], starts[t + 1]):
                total += dy[(o * count + order[k]) * inner + column]
            out[(o * length + targets[t]) * inner + column] += total
    return add_taken


def view(x: DeviceArray, index: Any) -> tuple[DeviceArray, list[tuple[int, np.ndarray]]]:
    """The view that slices, numbers, None and ... of an index make; and (axis of the view, places) of its arrays."""
    parts = list(index) if isinstance(index, tuple) else [index]
    parts = [np.asarray(part) if isinstance(part, list) else part for part in parts]
    for part in parts:
        if isinstance(part, DeviceArray):
            raise TypeError("indexing: the index should be numbers, slices or NumPy arrays, received a device array; "
                            "it decides shapes, so .numpy() has to bring it over")
    used = sum(part.ndim if _mask(part) else part is not None and part is not Ellipsis for part in parts)
    if used > x.ndim:
        raise IndexError(f"indexing: the index should name at most {x.ndim} axes of {x.shape}, received {used}")
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    at = next(i for i, part in enumerate(parts) if part is Ellipsis)
    parts[at:at + 1] = [slice(None)] * (x.ndim - used)
    kept: list[tuple[int, int]] = []  # size and stride of the view's axes
    arrays: list[tuple[int, np.ndarray]] = []
    offset = axis = 0
    for part in parts:
        if part is None:
            kept.append((1, 0))
            continue
        if _mask(part):
            if part.shape != x.shape[axis:axis + part.ndim]:
                raise IndexError(f"indexing: a mask should be of the axes' shape {x.shape[axis:axis + part.ndim]}, "
                                 f"received {part.shape}")
            for places in part.nonzero():
                arrays.append((len(kept), places))
                kept.append((x.shape[axis], x.strides[axis]))
                axis += 1
            continue
        n, step = x.shape[axis], x.strides[axis]
        axis += 1
        if isinstance(part, slice):
            first, last, stride = part.indices(n)
            if stride < 0:
                raise ValueError(f"indexing: the step of a slice should be positive on the device, received {stride}")
            count = max(0, -(-(last - first) // stride))
            offset += first * step if count else 0
            kept.append((count, step * stride))
        elif isinstance(part, np.ndarray) and part.ndim:
            if part.dtype.kind not in "iu":
                raise IndexError(f"indexing: places should be integers, received {part.dtype}")
            _check(part, n)
            arrays.append((len(kept), np.where(part < 0, part + n, part)))
            kept.append((n, step))
        else:
            place = int(part)
            _check(np.asarray(place), n)
            offset += (place + n if place < 0 else place) * step
    return x.view(tuple(n for n, _ in kept), tuple(step for _, step in kept), offset), arrays


def _mask(part: Any) -> bool:
    return isinstance(part, np.ndarray) and part.dtype == np.bool_


def _check(places: np.ndarray, n: int) -> None:
    if places.size and not (places.min() >= -n and places.max() < n):
        raise IndexError(f"indexing: places should be from {-n} to {n - 1}, received {places.min()} to {places.max()}")


def _lined_up(x: DeviceArray, arrays: list[tuple[int, np.ndarray]]
              ) -> tuple[DeviceArray, np.ndarray, tuple[int, ...], int, int]:
    """x with the indexed axes side by side, as in NumPy at the front where they are not neighbours; places in them,
    counted as one axis; the shape of what is taken; the places that there are, and the entries behind each."""
    axes = [axis for axis, _ in arrays]
    places = np.broadcast_arrays(*(array for _, array in arrays))
    first = axes[0]
    if axes != list(range(first, first + len(axes))):
        x, first = transposed(x, (*axes, *(a for a in range(x.ndim) if a not in axes))), 0
    sizes, behind = x.shape[first:first + len(axes)], x.shape[first + len(axes):]
    found = np.ravel_multi_index(places, sizes) if len(axes) > 1 else places[0]
    return x, found, (*x.shape[:first], *found.shape, *behind), math.prod(sizes), math.prod(behind)


def getitem(x: DeviceArray, index: Any) -> DeviceArray:
    """x[index]: a view where there are no arrays in it, else a copy of the entries."""
    seen, arrays = view(x, index)
    if not arrays:
        return seen
    seen, places, shape, length, inner = _lined_up(seen, arrays)
    out = empty(shape, x.dtype)
    if out.size:
        check_count("indexing", out.size, out.shape)
        numbers = to_device(places.ravel().astype(np.int64))
        _take[x.dtype.type](*over(out.size), out, contiguous(seen), numbers, out.size, places.size, length, inner)
    return out


def flip(x: DeviceArray, axis: Any = None) -> DeviceArray:
    """The entries in reverse order along one axis, several or all."""
    for a in checked_axes(x, axis):
        x = getitem(x, (slice(None),) * a + (np.arange(x.shape[a])[::-1],))
    return x


def setitem(x: DeviceArray, index: Any, value: Any) -> None:
    """x[index] = value, for an index without arrays; the value is a number or on the device."""
    target, arrays = view(x, index)
    if arrays:
        raise TypeError("indexing: entries should be set by slices and numbers on the device, received an array")
    if isinstance(value, DeviceArray):
        if value.dtype != x.dtype:
            raise TypeError(f"indexing: the value should be {x.dtype} like the array, received {value.dtype}")
        mapped("copy", value, out=target)
    elif np.ndim(value) == 0:
        fill(target, value)
    else:
        raise TypeError(f"indexing: the value should be on the device, received a NumPy array {np.shape(value)}; "
                        "to_device(...) copies it")


def add_at(out: DeviceArray, index: Any, dy: DeviceArray) -> None:
    """out[index] += dy, where the index may name an entry several times, as np.add.at."""
    seen, arrays = view(out, index)
    if not arrays:
        mapped("add", seen, dy, out=seen)
        return
    lined, places, shape, length, inner = _lined_up(seen, arrays)
    target, flat = contiguous(lined), places.ravel()
    order = np.argsort(flat, kind="stable").astype(np.int64)
    targets, starts = np.unique(flat[order], return_index=True)
    if dy.size:
        n = target.size // length * len(targets)
        check_count("indexing", n, target.shape)
        _add_taken[out.dtype.type](
            *over(n), target, contiguous(broadcast_to(dy, shape)), to_device(order),
            to_device(targets.astype(np.int64)), to_device(np.append(starts, flat.size).astype(np.int64)),
            n, len(targets), flat.size, length, inner)
    if target is not lined:
        mapped("copy", target, out=lined)


@cuda_kernel("T* int64* T* int int int", offered=TAKEN[:2])
def _put(T):
    """out[o, places[o, i], i] = values[o, i] for out (outer, length, inner)."""
    def put(out, places, values, n, length, inner):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            o, column = split(i, inner)
            out[(o * length + places[i]) * inner + column] = values[i]
    return put


def put_along_axis(out: DeviceArray, places: DeviceArray, values: DeviceArray, axis: int) -> None:
    """out[..., places, ...] = values, one entry along the axis for each of the others; `out` is contiguous."""
    axis %= out.ndim
    if not out.contiguous or places.shape != (*out.shape[:axis], 1, *out.shape[axis + 1:]):
        raise TypeError("put_along_axis: places should be one for each line of a contiguous array "
                        f"{out.shape} along axis {axis}, received {places.shape}")
    inner = math.prod(out.shape[axis + 1:])
    if places.size:
        check_count("put_along_axis", places.size, places.shape)
        values = contiguous(broadcast_to(values, places.shape))
        _put[out.dtype.type](*over(places.size), out, contiguous(places), values, places.size, out.shape[axis], inner)


def concatenate(xs: Any, axis: int = 0) -> DeviceArray:
    """Arrays of one dtype joined along an axis."""
    xs = list(xs)
    axis %= xs[0].ndim
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    out = empty(tuple(shape), xs[0].dtype)
    start = 0
    for x in xs:
        setitem(out, (slice(None),) * axis + (slice(start, start + x.shape[axis]),), x)
        start += x.shape[axis]
    return out


def stack(xs: Any, axis: int = 0) -> DeviceArray:
    """Arrays of one shape along a new axis."""
    xs = list(xs)
    axis %= xs[0].ndim + 1
    place = (slice(None),) * axis + (None,)
    return concatenate([getitem(x, place) for x in xs], axis)


def reshape(x: DeviceArray, shape: tuple[int, ...]) -> DeviceArray:
    """The same entries in another shape, one size of which may be -1; a copy only where x has gaps."""
    known = math.prod(n for n in shape if n != -1)
    if -1 in shape:
        shape = tuple(x.size // max(known, 1) if n == -1 else n for n in shape)
    if math.prod(shape) != x.size:
        raise ValueError(f"reshape: shape should be one of {x.size} entries for {x.shape}, received {shape}")
    x = contiguous(x)
    return x.view(shape, strides_of(shape))
