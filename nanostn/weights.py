"""Weights of a network from a file, by the names of its parameters and buffers: HDF5 or `.safetensors`.

    load(model, "weights.safetensors")                                      names as `model.state()` has them
    load(model, path, names=lambda name: name.replace("gamma", "weight"))   what the file calls them
    load(model, path, leave_out=["last"])                                   a layer that stays as it is

An HDF5 file is one of `nanostn.save`, with a state or with one under "model" as a run's checkpoint has it, or any other
with arrays in it: groups and their arrays make a path, `conv1/weight` or `conv1.weight`. Only arrays that the model has
a place for are read, so no file claims more memory than the model takes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nanostn import checkpoints
from nanostn.checks import argument_error, describe
from nanostn.module import Module

SHOWN = 3  # names that a message tells of each kind
HEADER = 100_000_000  # bytes of a .safetensors header at most, as its authors have it
COUNTERS = ".num_batches_tracked"  # of PyTorch's batch normalisation, which nothing here needs

# Names of .safetensors; BF16 are the upper halves of float32.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1"}


class Stored(NamedTuple):
    """An array of a file that may be read."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def load(model: Module, path: str | os.PathLike[str], names: Callable[[str], str] | Mapping[str, str] | None = None,
         leave_out: Sequence[str] = ()) -> None:
    """Copy a file's arrays into the model's parameters and buffers; nothing is changed unless all of them fit.

    `names` gives for a name of the model's state that of the file, where they differ. Of the names and layers that
    `leave_out` lists, the model's or the file's, nothing is loaded. Numbers are converted to the model's dtype.
    Raises FileNotFoundError where there is no file, ValueError where it is damaged, or for names that are missing,
    superfluous or of another shape: all of them in one message, the first few by name.
    torch: model.load_state_dict(safetensors.torch.load_file(path))
    """
    path = Path(os.fsdecode(path)).expanduser()
    if not isinstance(model, Module):
        raise argument_error("weights.load", "model", "a module", describe(model))
    if isinstance(leave_out, str) or not all(isinstance(name, str) for name in leave_out):
        raise argument_error("weights.load", "leave_out", "a list of names", describe(leave_out))
    if not path.is_file():
        raise FileNotFoundError(f"weights.load: path should be a file of weights, received {str(path)!r}, "
                                "which is none")
    own = model.state()
    wanted = {name: (names(name) if callable(names) else (names or {}).get(name, name)) for name in own}

    def out(*paths: str) -> bool:
        return any(_inside(each, layer) for each in paths for layer in leave_out)

    with _opened(path) as stored:
        for layer in leave_out:
            if not any(_inside(each, layer) for each in (*wanted, *wanted.values(), *stored)):
                raise argument_error("weights.load", "leave_out", "names or layers of the model or of the file",
                                     repr(layer))
        left = {there for name, there in wanted.items() if out(name, there)}
        wanted = {name: there for name, there in wanted.items() if there not in left}
        found = {name: each for name, each in stored.items()
                 if not (name in left or out(name) or name.endswith(COUNTERS))}
        _compare(path, {there: own[name].shape for name, there in wanted.items()},
                 {name: each.shape for name, each in found.items()})
        read = {name: found[there].read() for name, there in wanted.items()}
    model.load_state({**own, **read})


def _inside(name: str, layer: str) -> bool:
    return name == layer or name.startswith(layer + ".")


def _compare(path: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    """One error with all that does not fit."""
    missing, extra = ([name for name in a if name not in b] for a, b in ((wanted, found), (found, wanted)))
    other = [f"{name} {found[name]} for {shape}" for name, shape in wanted.items()
             if name in found and found[name] != shape]
    said = [f"{len(names)} {word} ({', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)})"
            for names, word in ((missing, "missing"), (extra, "superfluous"), (other, "of another shape")) if names]
    if said:
        raise argument_error("weights.load", str(path), "arrays with the names and shapes of the model",
                             ", ".join(said), "is it another model's? `names` renames, `leave_out` leaves out")


def _refused(path: Path, reason: str) -> ValueError:
    return argument_error("weights.load", "path", "a file of weights, HDF5 or .safetensors", f"{str(path)!r}, {reason}")


@contextmanager
def _opened(path: Path) -> Iterator[dict[str, Stored]]:
    """A file's arrays by name, to be read as long as it is open."""
    with open(path, "rb") as file:
        start = file.read(9)
        if path.suffix == ".safetensors" or start[8:] == b"{":
            yield _safetensors(path, file)
        elif start.startswith(b"nanostn"):
            contents = checkpoints.load(path)
            state = contents["model"] if isinstance(contents.get("model"), dict) else contents
            yield {name: Stored(array.shape, partial(np.asarray, array)) for name, array in _flat(state)}
        else:
            with _hdf5(path, file) as stored:
                yield stored


def _flat(contents: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in contents.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, np.asarray(value)


@contextmanager
def _hdf5(path: Path, file: BinaryIO) -> Iterator[dict[str, Stored]]:
    """The arrays of a plain HDF5 file. Links to other places are not followed, and what lies in other files is refused.
    """
    import h5py

    stored: dict[str, Stored] = {}

    def reader(item: Any) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            try:
                return np.asarray(item[()])
            except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # of h5py
                raise _refused(path, f"in which {item.name!r} cannot be read ({error})") from None

        return read

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external or item.shape is None or item.dtype.kind not in "biuf":
                raise _refused(path, f"in which {name!r} is no array of numbers that lies in the file")
            stored[name.replace("/", ".")] = Stored(item.shape, reader(item))

    file.seek(0)
    try:
        opened = h5py.File(file, "r")
        opened.visititems(note)
    except (OSError, RuntimeError, KeyError, TypeError) as error:  # of h5py
        raise _refused(path, f"which is a file of something else, or damaged ({error})") from None
    with opened:
        yield stored


def _safetensors(path: Path, file: BinaryIO) -> dict[str, Stored]:
    """The arrays of a .safetensors file: the length of a header (8 bytes, the lowest first), the header, JSON with a
    dtype, a shape and the first and last byte of each array, and the arrays' bytes one behind the other.
    """
    file.seek(0)
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(HEADER, size - 8):
        raise _refused(path, f"which says that its header has {length:,} bytes and has {size:,} in all")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"whose header is no JSON ({error})") from None
    if not isinstance(header, dict):
        raise _refused(path, "whose header names no arrays")
    header.pop("__metadata__", None)
    stored, places = {}, []
    for name, entry in header.items():
        try:
            dtype, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            sound = all(type(n) is int and n >= 0 for n in (*shape, first, last)) and dtype in DTYPES
            sound = sound and last - first == math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        except (TypeError, KeyError, ValueError):
            sound = False
        if not sound:
            raise _refused(path, f"in which {name!r} has no dtype, shape and place that agree: {describe(entry)}")
        places.append((first, last, name))
        stored[name] = Stored(shape, _bytes(file, 8 + length + first, last - first, dtype, shape))
    end = 0
    for first, last, name in sorted(places):
        if first != end:
            raise _refused(path, f"in which {name!r} begins at byte {first:,} and not where the one before it ends, "
                                 f"{end:,}")
        end = last
    if end != size - 8 - length:
        raise _refused(path, f"whose arrays have {end:,} bytes, of which {size - 8 - length:,} are there")
    return stored


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are different."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands in it twice")
    return dict(pairs)


def _bytes(file: BinaryIO, start: int, count: int, dtype: str, shape: tuple[int, ...]) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        file.seek(start)
        array = np.frombuffer(file.read(count), DTYPES[dtype]).reshape(shape)
        return (array.astype("<u4") << 16).view("<f4") if dtype == "BF16" else array

    return read
