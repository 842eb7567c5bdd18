"""What has been written over since a graph was recorded, so that `backward()` never computes with changed numbers.

The gradient functions of an operation keep the arrays that they name, not copies: a Dense layer keeps its weight.
Whoever in this package writes into an array that lives on (an optimiser, `load_state`, running statistics) says so
with `note`. Writes are numbered; a node remembers how many there were when it was recorded, which is all that a step
pays. Only where the number has grown by the time of `backward()` are the arrays that the graph keeps looked for, in the
closures themselves, and compared with what was written: by memory, so that a view or a reshaped weight is found too.

What a user writes into `tensor.data[...]` cannot be seen. `tensor.data -= step` can: Python assigns the array anew.
"""

import functools
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nanostn.kernels.gpu.arrays.device_array import DeviceArray


class Overwrite:
    """The last write to a memory. It is changed by the next one: an optimiser's step makes nothing new."""

    __slots__ = ("number", "memory", "shape", "dtype", "name", "by")

    def __init__(self, memory: weakref.ref, array: Any):
        self.memory = memory  # not the memory itself: it would never be freed
        self.shape, self.dtype = array.shape, array.dtype
        self.number, self.name, self.by = 0, "", ""

    def __str__(self) -> str:
        return f"{self.name + ' ' if self.name else ''}{self.shape} {self.dtype}, which {self.by} has written over"


count = 0  # of all writes; `Node` reads it
_numbers = itertools.count(1)  # one step even where several threads write
_last: dict[int, Overwrite] = {}  # the last write to each memory that lives, by its id


def _memory(array: Any) -> Any:
    """What owns the entries: a view and its base have the same."""
    if isinstance(array, DeviceArray):
        return array.memory
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def note(array: Any, by: str, name: str = "") -> None:
    """`by`, an operation's or method's name, writes into this array of either device."""
    global count
    memory = _memory(array)
    key = id(memory)
    write = _last.get(key)
    if write is None or write.memory() is not memory:
        write = _last[key] = Overwrite(weakref.ref(memory, functools.partial(_forget, key, _last)), array)
    write.number = count = next(_numbers)
    write.by, write.name = by, name


def _forget(key: int, last: dict[int, Overwrite], reference: weakref.ref) -> None:
    """A memory is gone, and its id may serve another one."""
    if key in last and last[key].memory is reference:
        del last[key]


def after(number: int) -> dict[int, Overwrite]:
    """The last write to each memory that was written after that number, by the memory's id."""
    return {id(write.memory()): write for write in list(_last.values()) if write.number > number}


def found(recent: dict[int, Overwrite], number: int, gradients: Any) -> Overwrite | None:
    """One of these writes, if it came after that number and went into an array that the gradient functions keep."""
    for array in _kept(gradients, set()):
        write = recent.get(id(_memory(array)))
        if write is not None and write.number > number:
            return write
    return None


def _kept(thing: Any, seen: set[int]) -> Iterator[Any]:
    """The arrays inside closures, partial functions, bound objects, tuples, lists and dicts."""
    if isinstance(thing, np.ndarray | DeviceArray):
        yield thing
        return
    if id(thing) in seen:
        return
    seen.add(id(thing))
    inside: Any = ()
    if isinstance(thing, tuple | list):
        inside = thing
    elif isinstance(thing, dict):
        inside = thing.values()
    elif isinstance(thing, functools.partial):
        inside = (thing.func, thing.args, thing.keywords)
    elif isinstance(thing, Callable):  # type: ignore[arg-type]
        inside = (*map(_content, getattr(thing, "__closure__", None) or ()), getattr(thing, "__self__", None),
                  getattr(thing, "__defaults__", None), getattr(thing, "__kwdefaults__", None))
    for part in inside:
        yield from _kept(part, seen)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that was never set
        return None
