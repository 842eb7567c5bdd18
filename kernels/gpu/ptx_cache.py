"""Kernels compiled for a GPU, kept on disk as PTX: a later process need not compile them, nor import the compiler.

A file serves one kernel with its constants, these sources, one compute capability, and these versions of the compiler.
It is text: its first line tells whether the rest is whole. The driver keeps what it assembles from it by itself.
"""

import contextlib
import functools
import hashlib
import os
import uuid
from importlib import metadata
from pathlib import Path

from ..compiling.caching import FOLDER, cache_directory, say_unkept, source_stamp


def folder() -> Path:
    """Where Numba was told to keep what it compiles, else the user's cache directory."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return Path(os.environ["NUMBA_CACHE_DIR"]) / "nanostn-ptx"
    return cache_directory() / "ptx"


@functools.cache
def _compiler() -> str:
    found = []
    for package in ("numba", "numba-cuda"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return ", ".join(found)


def place(key: str | None, capability: tuple[int, int]) -> Path | None:
    """The file of a kernel; None for one without a key, or where nobody knows a folder."""
    if key is None:
        return None
    try:
        inside = folder()
    except RuntimeError as error:  # a user without a home
        say_unkept(str(error))
        return None
    text = f"{key} {capability} {source_stamp(FOLDER)} {_compiler()}"
    return inside / f"{key.split()[0]}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.ptx"


def read(file: Path | None) -> str | None:
    """What was written there; None where nothing was, or not all of it."""
    try:
        stamp, _, ptx = file.read_text(encoding="utf-8").partition("\n") if file else ("", "", "")
    except (OSError, UnicodeDecodeError):
        return None
    return ptx if ptx and stamp == _stamp(ptx) else None


def write(file: Path | None, ptx: str) -> None:
    """Keep it, in one step, so that no process reads half of it; where it cannot be kept, it is compiled again."""
    if file is None:
        return
    part = file.with_suffix(f".{uuid.uuid4().hex[:16]}")  # of this write: other threads and machines make their own
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(f"{_stamp(ptx)}\n{ptx}", encoding="utf-8", newline="\n")
        part.replace(file)
    except OSError as error:
        say_unkept(str(error))
        with contextlib.suppress(OSError):
            part.unlink()


def _stamp(ptx: str) -> str:
    return "// " + hashlib.sha256(ptx.encode()).hexdigest()
