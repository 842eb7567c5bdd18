"""Compiled kernels on disk: they serve these sources only, all files of their folder as they are now.

Numba's cache looks at one file, the one that holds the function. A kernel calls formulas of other files, and these are
compiled into it: after an edit there, or a `git pull`, the kernel on disk would go on with the old formula, silently.

And Numba keeps all forms of a function under one index. Of two processes that add to it at once, or one that ends
between index and code, the index may name code that is another's. Here each form has files of its own, named after all
that it depends on. What cannot be read is compiled again; what cannot be written is compiled by every process.
"""

import functools
import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.registry import cpu_target
from numba.core.sigutils import normalize_signature

from .threads import compiling

FOLDER = Path(__file__).parents[1]  # kernels/


def cache_directory() -> Path:
    """This user's and this system's choice for what can be made or fetched again."""
    system = {"win32": os.environ.get("LOCALAPPDATA") or "~/AppData/Local", "darwin": "~/Library/Caches"}
    other = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(system.get(sys.platform, other)).expanduser() / "nanostn"


@functools.cache
def source_stamp(folder: Path) -> str:
    """Of the contents of all sources in a folder and below; a millisecond, once in a process."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        name = file.relative_to(folder).as_posix()
        digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


_said = False


def say_unkept(reason: str) -> None:
    """Say once that compiled kernels are not kept."""
    global _said
    if _said:
        return
    _said = True
    print(f"nanostn: compiled kernels cannot be kept on disk, so each process compiles them anew ({reason}); set "
          "NUMBA_CACHE_DIR to a folder that can be written", file=sys.stderr, flush=True)


class Cache(FunctionCache):
    """Of one function: Numba's, in the folder that Numba chooses (NUMBA_CACHE_DIR, then beside the source)."""

    def __init__(self, function: Callable[..., Any]):
        self.unusable = ""
        try:
            super().__init__(function)
        except RuntimeError as error:
            self.unusable = str(error)

    def _form(self, signature: Any) -> str:
        return f"{self._impl.filename_base}-{_short(signature)}"

    def _version(self, codegen: Any) -> str:
        """Of all that a compiled form depends on, beside the function and the types of its arguments."""
        file = Path(inspect.getfile(self._py_func))
        folder = FOLDER if file.is_relative_to(FOLDER) else file.parent
        sources = source_stamp(folder) if folder.is_dir() else self._impl.locator.get_source_stamp()  # in a zip file
        return _short((sources, numba.__version__, codegen.magic_tuple()))

    def _choose(self, signature: Any, codegen: Any) -> None:
        name = f"{self._form(signature)}-{self._version(codegen)}"
        self._cache_file = IndexDataCacheFile(self._cache_path, name, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if self.unusable:
            return None
        try:
            target_context.refresh()
            self._choose(sig, target_context.codegen())
            return super().load_overload(sig, target_context)
        except Exception:  # whatever is wrong with a file: cut short, overwritten, another's
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            if self.unusable:
                raise OSError(self.unusable)
            for old in Path(self._cache_path).glob(f"{self._form(sig)}-*.nb[ic]"):  # of other sources, or spoilt
                old.unlink(missing_ok=True)
            self._choose(sig, data.codegen)
            super().save_overload(sig, data)
        except OSError as error:
            say_unkept(str(error))

    def folders(self) -> dict[str, Path]:
        """Where the functions of each folder of `kernels` are kept, by its name."""
        locate = type(self._impl.locator).from_function
        located = {room: locate(self._py_func, str(room / "__init__.py"))
                   for room in sorted({file.parent for file in FOLDER.rglob("*.py")})}
        return {".".join(room.relative_to(FOLDER).parts): Path(locator.get_cache_path())
                for room, locator in located.items() if locator is not None}  # where something can be written

    def kept(self) -> Iterator[tuple[str, Any, Path]]:
        """All that is kept for these sources, this Numba and this processor: file and function, signature, place."""
        version = self._version(cpu_target.target_context.codegen())
        for room, folder in self.folders().items():
            for file in sorted(folder.glob(f"*-{version}.nbi")):
                for key, name in IndexDataCacheFile(str(folder), file.stem, file.stem)._load_index().items():
                    if (folder / name).is_file():
                        yield f"{room}.{file.name.partition('-')[0]}", key[0], folder / name


def _short(value: Any) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()[:16]


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """njit(**options), kept on disk."""
    def declare(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        dispatcher._cache = Cache(function)  # where Numba's cache=True puts its own
        return dispatcher

    return declare


def c_function(function: Callable[..., Any], signature: Any, **options: Any) -> Any:
    """cfunc(signature, **options)(function), from the disk where it is kept."""
    found: Any = CFunc(function, normalize_signature(signature), {}, options)
    found._cache = Cache(function)
    with compiling():
        found.compile()
    return found
