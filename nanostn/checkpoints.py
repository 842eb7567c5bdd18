"""Saving and loading: nested dicts of arrays, numbers and strings as one HDF5 file. No pickle: a file never runs code.

    save("weights.h5", {"model": model.state(), "epoch": 3})
    load("weights.h5")["epoch"]                                       # 3

A dict is a group, everything else a dataset. HDF5 leaves the first 512 bytes of a file to its owner: there stand a
marker, a version and the checksum of all that follows, so that a file which is not ours, or was damaged, is refused
before HDF5 reads a byte of it. Strings are arrays of their UTF-8 bytes: HDF5's own strings of any length lie in a heap
which, spoilt, it walks without end (version 1 had them, and is read). Writing goes to a temporary file beside the
target which then takes its name: whenever the power fails, either the old file is there or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.kernels.gpu.arrays.numpy_functions import is_device

VERSION = 2
DEPTH = 64  # dicts in each other; a state has five

UNFINISHED = ".unfinished"  # how the names of files end that are being written

_HEADER_SIZE = 512
_HEADER = "nanostn checkpoint, version {}, sha256 of the rest {}\n"
_PATTERN = re.compile(_HEADER.format("([0-9]+)", "([0-9a-f]{64})").encode())

# What os.link says on file systems without hard links: FAT, network shares, FUSE, phones, Windows.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_SCALARS = {"bool": bool, "int": int, "float": float, "str": str}


def save(path: str | os.PathLike[str], contents: Mapping[str, Any]) -> None:
    """Write a (nested) dict of arrays, numbers and strings to `path`, atomically.

    Raises ValueError for anything else inside, and OSError if the place cannot be written; the old file then stays.
    torch: torch.save(contents, path)
    """
    import h5py

    path = _path("save", path)
    if not isinstance(contents, Mapping):
        raise argument_error("save", "contents", "a dict of arrays, numbers and strings", describe(contents))
    entries = list(_entries("", contents))

    # Made in memory: where a disk is full, HDF5 crashes the process instead of raising an error.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=_HEADER_SIZE) as file:
        for name, kind, value in entries:
            if kind == "dict":
                file.create_group(name)
            else:
                data = np.frombuffer(value.encode(), np.uint8) if kind == "str" else value
                file.create_dataset(name, data=data).attrs["kind"] = np.bytes_(kind)
    body = buffer.getvalue()[_HEADER_SIZE:]
    header = _HEADER.format(VERSION, hashlib.sha256(body).hexdigest()).encode().ljust(_HEADER_SIZE, b"\0")
    write_atomically(path, lambda temporary: temporary.write_bytes(header + body))


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back what `save` wrote: the same nesting, types, shapes and bits.

    Raises FileNotFoundError if nothing is there, ValueError if the file is not ours, too new, or damaged.
    torch: torch.load(path)
    """
    import h5py

    path = _path("load", path)
    if not path.exists():
        raise FileNotFoundError(f"load: path should be a file written by nanostn.save, received {str(path)!r}, "
                                "which does not exist")
    if not path.is_file():
        raise _refused(path, "which is a folder" if path.is_dir() else "which is no file")
    contents = path.read_bytes()
    marked = _PATTERN.match(contents)
    if marked is None:
        raise _refused(path, "which is a file of something else, or damaged")
    if int(marked[1]) > VERSION:
        raise _refused(path, f"of format version {int(marked[1])}; this nanostn reads up to {VERSION}")
    if hashlib.sha256(contents[_HEADER_SIZE:]).hexdigest() != marked[2].decode():
        raise _refused(path, "which is damaged: its checksum is wrong")
    # What was read and verified is opened, not the file again: no lock is needed, so a file that somebody holds locked
    # and a file system without locks do as well, and nobody changes it in between.
    try:
        with h5py.File(io.BytesIO(contents), "r") as file:
            return _read(file, 0, old=int(marked[1]) < 2)
    except _Strange as error:
        raise _refused(path, str(error)) from None
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:  # of h5py
        raise _refused(path, f"whose contents save would not write ({type(error).__name__}: {error})") from None


def _path(op: str, path: Any) -> Path:
    """The path as the user means it, `~` being the home directory."""
    try:
        return Path(os.fsdecode(path)).expanduser()
    except (TypeError, RuntimeError):
        raise argument_error(op, "path", "the name of a file", describe(path)) from None


def write_atomically(path: Path, write: Callable[[Path], object], new: bool = False) -> None:
    """Call `write(temporary)` and give the finished file the name `path`; on failure `path` stays as it was.

    Where it should be `new`, FileExistsError is raised if there is a file of that name, even if it has just come.
    Raises OSError where the place cannot be written, with the name `path`: the temporary one is not the user's.
    """
    # A name of its own, so that two may write the same file: the last one to finish wins, whole. The process is in it,
    # for `remove_unfinished`; of the file's own name, which may be as long as names can be, a part.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.{os.getpid()}{UNFINISHED}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if new:
            _rename_new(temporary, path)
        else:
            os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def _rename_new(temporary: Path, path: Path) -> None:
    """Rename to a name that no file has; of several processes at the same moment, one does."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # the name is taken first, and given its contents then
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink()
            raise
    else:
        temporary.unlink()


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed while writing have left in a folder; those alive keep theirs."""
    for file in folder.glob(f".*{UNFINISHED}"):
        number = file.name[:-len(UNFINISHED)].rpartition(".")[2]
        if number.isdecimal() and not _lives(int(number)):
            with suppress(OSError):
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def _lives(process: int) -> bool:
    """Whether this machine runs a process of this number, but this one."""
    if process == os.getpid() or not process:
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


class _Strange(Exception):
    """What `save` would not write."""


def _refused(path: Path, received: str) -> ValueError:
    return ValueError(f"load: path should be a file written by nanostn.save, received {str(path)!r}, {received}")


def _entries(prefix: str, contents: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """(full name, kind, value) for every group and value, in a fixed order."""
    if depth > DEPTH:
        raise ValueError(f"save: dicts should be nested {DEPTH} deep at most, received more at {prefix[:60]!r}; does "
                         "one hold itself?")
    for key in sorted(contents, key=str):
        name, value = f"{prefix}{key}", contents[key]
        if not isinstance(key, str) or key in ("", ".", "..") or "/" in key or "\0" in key or not _is_text(key):
            raise ValueError(f"save: name should be a string of text without NUL and '/', received {key!r}")
        if isinstance(value, Mapping):
            yield name, "dict", None
            yield from _entries(name + "/", value, depth + 1)
            continue
        if is_device(value):
            value = value.numpy()
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and not isinstance(value, np.ma.MaskedArray):
            yield name, "array", value
            continue
        scalar = value.item() if isinstance(value, np.generic) else value
        whole = type(scalar) is not int or -2**63 <= scalar < 2**63
        text = type(scalar) is not str or _is_text(scalar)
        if type(scalar) not in _SCALARS.values() or not whole or not text:
            hint = "; .filled(value) gives one without a mask" if isinstance(value, np.ma.MaskedArray) else ""
            raise ValueError(f"save: {name!r} should be an array, a number of 64 bits, a string of text or a dict "
                             f"of these, received {type(value).__name__}{hint}")
        yield name, type(scalar).__name__, scalar


def _is_text(string: str) -> bool:
    """Whether it can be written as UTF-8: half of a surrogate pair cannot."""
    try:
        return bool(string.encode()) or not string
    except UnicodeEncodeError:
        return False


def _read(group: Any, depth: int, old: bool) -> dict[str, Any]:
    """What `save` wrote: groups, and datasets that lie whole in the file. Everything else is refused, not followed."""
    import h5py

    if depth > DEPTH:
        raise _Strange(f"whose contents are nested more than {DEPTH} deep")
    contents: dict[str, Any] = {}
    for key in group:
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _Strange(f"which links {key!r} to another place ({type(link).__name__})")
        item = group[key]
        if isinstance(item, h5py.Group):
            contents[key] = _read(item, depth + 1, old)
            continue
        kind = _kind(item, old) if isinstance(item, h5py.Dataset) else None
        if kind not in ("array", *_SCALARS):
            raise _Strange(f"in which {key!r} is of no kind that save writes")
        # Contents that do not lie in the file are made up by HDF5, of any size, or come from other files.
        if (item.chunks or item.is_virtual or item.external or item.shape is None
                or (not (old and kind == "str") and item.id.get_storage_size() != item.size * item.dtype.itemsize)
                or (kind == "array" and item.dtype.kind not in "biuf")):
            raise _Strange(f"in which {key!r} is stored as save would not store it")
        if kind == "array":
            contents[key] = item[()] if item.shape else np.asarray(item[()])
            continue
        if kind == "str" and not old:
            if item.ndim != 1 or item.dtype != np.uint8:
                raise _Strange(f"in which {key!r} is no str")
            contents[key] = item[()].tobytes().decode()
            continue
        if item.shape != () or (kind == "str") != (h5py.check_string_dtype(item.dtype) is not None) or (
                kind != "str" and item.dtype.kind != {"bool": "b", "int": "i", "float": "f"}[kind]):
            raise _Strange(f"in which {key!r} is no {kind}")
        contents[key] = _SCALARS[kind](item.asstr()[()] if kind == "str" else item[()])
    return contents


def _kind(item: Any, old: bool) -> str | None:
    """What a dataset says that it is; its type is looked at first, since to read a spoilt string may take for ever."""
    if "kind" not in item.attrs:
        return None
    attribute = item.attrs.get_id("kind")
    if attribute.shape != () or attribute.dtype.kind != ("O" if old else "S"):
        return None
    kind = item.attrs["kind"]
    return kind if isinstance(kind, str) else kind.decode() if isinstance(kind, bytes) else None
