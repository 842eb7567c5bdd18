"""Saving and loading: nested dicts of arrays, numbers and strings as one HDF5 file. No pickle: a file never runs code.

    save("weights.h5", {"model": model.state(), "epoch": 3})
    load("weights.h5")["epoch"]                                       # 3

A dict is a group, everything else a dataset. HDF5 leaves the first 512 bytes of a file to its owner: there stand a
marker, a version and the checksum of all that follows, so that a file which is not ours, or was damaged, is refused
before HDF5 reads a byte of it. Writing goes to a temporary file beside the target which then takes its name: whenever
the power fails, either the old file is there or the new one.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nanostn.kernels.device_functions import is_device

VERSION = 1

_HEADER_SIZE = 512
_HEADER = "nanostn checkpoint, version {}, sha256 of the rest {}\n"
_PATTERN = re.compile(_HEADER.format("([0-9]+)", "([0-9a-f]{64})").encode())

_SCALARS = {"bool": bool, "int": int, "float": float, "str": str}


def save(path: str | os.PathLike[str], contents: Mapping[str, Any]) -> None:
    """Write a (nested) dict of arrays, numbers and strings to `path`, atomically.

    Raises ValueError for anything else inside and OSError if the place cannot be written; the old file then stays.
    torch: torch.save(contents, path)
    """
    import h5py

    entries = list(_entries("", contents))

    # Made in memory: where a disk is full, HDF5 crashes the process instead of raising an error.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=_HEADER_SIZE) as file:
        for name, kind, value in entries:
            if kind == "dict":
                file.create_group(name)
            else:
                file.create_dataset(name, data=value).attrs["kind"] = kind
    body = buffer.getvalue()[_HEADER_SIZE:]
    header = _HEADER.format(VERSION, hashlib.sha256(body).hexdigest()).encode().ljust(_HEADER_SIZE, b"\0")
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(header + body))


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back what `save` wrote: the same nesting, types, shapes and bits.

    Raises FileNotFoundError if nothing is there, ValueError if the file is not ours, too new, or damaged.
    torch: torch.load(path)
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: path should be a file written by nanostn.save, received {str(path)!r}, "
                                "which does not exist")
    contents = path.read_bytes()
    marked = _PATTERN.match(contents)
    if marked is None:
        raise _refused(path, "which is a file of something else, or damaged")
    if int(marked[1]) > VERSION:
        raise _refused(path, f"of format version {int(marked[1])}; this nanostn reads up to {VERSION}")
    if hashlib.sha256(contents[_HEADER_SIZE:]).hexdigest() != marked[2].decode():
        raise _refused(path, "which is damaged: its checksum is wrong")
    with h5py.File(path, "r") as file:
        return _read(file)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary)` and give the finished file the name `path`; on failure `path` stays as it was."""
    # The process is in the name, so that two may write the same file: the last one to finish wins, whole.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _refused(path: Path, received: str) -> ValueError:
    return ValueError(f"load: path should be a file written by nanostn.save, received {str(path)!r}, {received}")


def _entries(prefix: str, contents: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(full name, kind, value) for every group and value, in a fixed order."""
    for key in sorted(contents):
        name, value = f"{prefix}{key}", contents[key]
        if not isinstance(key, str) or key in ("", ".", "..") or "/" in key:
            raise ValueError(f"save: name should be a string without '/', received {key!r}")
        if isinstance(value, Mapping):
            yield name, "dict", None
            yield from _entries(name + "/", value)
            continue
        if is_device(value):
            value = value.numpy()
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            yield name, "array", value
            continue
        scalar = value.item() if isinstance(value, np.generic) else value
        if type(scalar) not in _SCALARS.values() or (type(scalar) is int and not -2**63 <= scalar < 2**63):
            raise ValueError(f"save: {name!r} should be an array, a number of 64 bits, a string or a dict of these, "
                             f"received {type(value).__name__}")
        yield name, type(scalar).__name__, scalar


def _read(group: Any) -> dict[str, Any]:
    contents: dict[str, Any] = {}
    for key, item in group.items():
        if not hasattr(item, "shape"):
            contents[key] = _read(item)
        elif item.attrs["kind"] == "array":
            contents[key] = item[()] if item.shape else np.asarray(item[()])
        else:
            value = item.asstr()[()] if item.attrs["kind"] == "str" else item[()]
            contents[key] = _SCALARS[item.attrs["kind"]](value)
    return contents
