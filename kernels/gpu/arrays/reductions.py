"""Sums, means, extremes and their places, along axes of a device array.

A block takes one entry of the result, or a part of the entries behind it where these are many and results are few; its
threads go over them in strides and meet in a tree. How the work is divided follows from shapes alone, so results are
the same bits on every run and every GPU. (On the simulator blocks are smaller, and the order of sums another.)
"""

import math
from typing import Any

import numpy as np
from numba import njit

from ..block_sums import tree
from ..extremes import larger, maximum, minimum
from ..integer_division import check_count, split
from ..launch import block, cuda, cuda_kernel
from .device_array import DeviceArray, empty, strides_of
from .elementwise import cast, contiguous, mapped, merged

PART = 4096   # entries behind one result that a block adds up; more are divided among several, so that none of its
              # threads adds up many after the other
PARTS = 256   # most parts
AXES = 3      # of the results, and of the entries behind one, once merged

START: dict[str, Any] = {
    "sum": lambda T: T(0),
    "max": lambda T: T(-math.inf) if T in (np.float32, np.float64) else T(np.iinfo(T).min),
    "min": lambda T: T(math.inf) if T in (np.float32, np.float64) else T(np.iinfo(T).max),
}
JOIN: dict[str, Any] = {
    "sum": lambda a, b: a + b,
    "max": lambda a, b: maximum(a, b),
    "min": lambda a, b: minimum(a, b),
}
OFFERED = [(np.float32, np.float32), (np.float64, np.float64), (np.int64, np.int64), (np.int64, np.bool_)]


@njit(inline="always")
def offset(i, sizes, steps):
    """Of entry i of an array of three axes."""
    rest, i2 = split(i, sizes[2])
    i0, i1 = split(rest, sizes[1])
    return i0 * steps[0] + i1 * steps[1] + i2 * steps[2]


@cuda_kernel("T* S~ int int int int[3] int[3] int[3] int[3]",
             offered=[(T, S, name, 256) for name in START for T, S in OFFERED])
def _reduce(T, S, name, threads):
    """out[part, r] joins a share of the entries behind result r; both have three sizes, and steps in entries."""
    start, join = START[name](T), njit(JOIN[name])
    joined = tree(T, threads, JOIN[name])

    def reduce(out, x, results, behind, share, r, r_steps, b, b_steps):
        thread, part = cuda.threadIdx.x, cuda.blockIdx.y
        for result in range(cuda.blockIdx.x, results, cuda.gridDim.x):
            origin = offset(result, r, r_steps)
            total = start
            for k in range(part * share + thread, min((part + 1) * share, behind), threads):
                total = join(total, T(x[origin + offset(k, b, b_steps)]))
            total = joined(total, 0, thread, threads)
            if thread == 0:
                out[part * results + result] = total
    return reduce


@cuda_kernel("int64* T* int int", offered=[(T, 256) for T in (np.float32, np.float64, np.int64)])
def _argmax(T, threads):
    def argmax(out, x, rows, columns):
        values = cuda.shared.array(threads, T)
        places = cuda.shared.array(threads, np.int64)  # a line of its own: the simulator tells arrays apart by lines
        thread = cuda.threadIdx.x
        for r in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
            first = min(thread, columns - 1)
            best, place = x[r * columns + first], np.int64(first)
            for k in range(thread + threads, columns, threads):
                value = x[r * columns + k]
                if larger(value, best):
                    best, place = value, np.int64(k)
            values[thread], places[thread] = best, place
            cuda.syncthreads()
            width = threads // 2
            while width > 0:
                if thread < width:
                    other, at = values[thread + width], places[thread + width]
                    mine = values[thread]
                    equal = other == mine or (other != other and mine != mine)
                    if at < places[thread] if equal else larger(other, mine):
                        values[thread], places[thread] = other, at
                cuda.syncthreads()
                width //= 2
            if thread == 0:
                out[r] = places[0]
            cuda.syncthreads()
    return argmax


def checked_axes(x: DeviceArray, axis: Any) -> tuple[int, ...]:
    """The axes as numbers from 0 on, in order; all of them for None."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if any(not -x.ndim <= a < x.ndim for a in axes):
        raise ValueError(f"a reduction: axis should be of an array with {x.ndim} axes, received {axis}")
    return tuple(sorted(a % x.ndim for a in axes))


def reduced(name: str, x: DeviceArray, axis: Any = None, keepdims: bool = False) -> DeviceArray:
    """The sum, max or min over one axis, several or all. Whole numbers and truth values are added up as int64."""
    axes, kept, final = _divided(x, axis, keepdims)
    if x.dtype in (np.int32, np.uint8):
        x = cast(x, np.int64)
    S = x.dtype.type
    T = np.int64 if S is np.bool_ else S
    results, behind = math.prod(final), math.prod(x.shape[a] for a in axes)
    if behind == 0 and name != "sum":
        raise ValueError(f"{name}: the array should have entries along axis {axis}, received {x.shape}")
    check_count(name, max(results, behind), x.shape)
    out = empty((results,), T)
    if results == 0:
        return out.view(final, strides_of(final))
    outer, inner = transposed(x, kept), transposed(x, axes)
    (r, (s,)), (b, (t,)) = merged(AXES, outer.shape, outer.strides), merged(AXES, inner.shape, inner.strides)
    if max(len(r), len(b)) > AXES:
        x = contiguous(transposed(x, (*kept, *axes)))
        r, s, b, t = [1, 1, results], [0, 0, behind], [1, 1, behind], [0, 0, 1]
    part = PART if results < PARTS else 16 * PART  # many results keep a GPU busy by themselves
    parts = max(1, min(PARTS, -(-behind // part)))
    share = -(-behind // parts) if behind else 0
    threads = block(256)
    first = out if parts == 1 else empty((parts * results,), T)
    _reduce[T, S, name, threads]((min(results, 65535), parts), threads, first, x, results, behind, share,
                                 *r, *s, *b, *t)
    if parts > 1:
        _reduce[T, T, name, threads]((min(results, 65535), 1), threads, out, first, results, parts, parts,
                                     1, 1, results, 0, 0, 1, 1, 1, parts, 0, 0, results)
    return out.view(final, strides_of(final))


def _divided(x: DeviceArray, axis: Any, keepdims: bool) -> tuple[tuple[int, ...], list[int], tuple[int, ...]]:
    """The axes of a reduction, the others, and the shape of its result."""
    axes = checked_axes(x, axis)
    kept = [a for a in range(x.ndim) if a not in axes]
    full = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    return axes, kept, full if keepdims else tuple(x.shape[a] for a in kept)


def transposed(x: DeviceArray, axes: Any) -> DeviceArray:
    """The axes in another order, or the first entries of some of them, without a copy."""
    return x.view(tuple(x.shape[a] for a in axes), tuple(x.strides[a] for a in axes))


def mean(x: DeviceArray, axis: Any = None, keepdims: bool = False) -> DeviceArray:
    """The sum divided by the number of entries."""
    total = reduced("sum", x, axis, keepdims)
    return mapped("divide", total, x.dtype.type(x.size // max(total.size, 1)))


def argmax(x: DeviceArray, axis: int | None = None, keepdims: bool = False) -> DeviceArray:
    """The place of the largest entry along an axis, or in all, int64; the first of equal ones, a NaN before them."""
    if x.dtype in (np.int32, np.uint8, np.bool_):
        x = cast(x, np.int64)
    axes, kept, shape = _divided(x, axis, keepdims)
    x, rows = transposed(x, (*kept, *axes)), math.prod(shape)
    if x.size == 0:
        raise ValueError(f"argmax: the array should have entries, received {x.shape}")
    out = empty((rows,), np.int64)
    threads = block(256)
    _argmax[x.dtype.type, threads](min(rows, 65535), threads, out, contiguous(x), rows, x.size // rows)
    return out.view(shape, strides_of(shape))
