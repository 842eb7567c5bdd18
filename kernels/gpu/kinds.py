"""The types of a CUDA kernel's parameters, one by one and in tuples: what its body names, a launch has in a row."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np


class Kind:
    """The type of one argument of a launch."""

    def __init__(self, word: str, names: dict[str, str]):
        name = word.rstrip("*~[]")
        self.form = word[len(name):]  # "" for a number
        self.dtype = np.dtype(names.get(name, name))

    def numba(self) -> Any:
        from numba import from_dtype, types

        if not self.form:
            return from_dtype(self.dtype)
        entry = types.uint8 if self.dtype == np.bool_ else from_dtype(self.dtype)
        return types.Array(entry, 1, "C") if self.form == "[]" else types.CPointer(entry)

    def __repr__(self) -> str:
        shape = {"": "number", "~": "device array"}.get(self.form, "contiguous device array")
        return f"a {self.dtype} {shape}"


def flat(values: Iterable[Any]) -> list[Any]:
    """Values, or their types, as a launch takes them: what tuples hold stands in a row."""
    return [one for value in values for one in (flat(value) if isinstance(value, tuple) else (value,))]


def nested(kinds: Iterable[Any], values: Iterator[Any], build: Callable[[Any, list[Any]], Any]) -> list[Any]:
    """A value for each of the body's parameters, from those of a launch; a tuple like `kind` is build(kind, values)."""
    return [next(values) if isinstance(kind, Kind) else build(kind, nested(kind, values, build)) for kind in kinds]
