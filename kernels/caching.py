"""A compiled kernel on disk serves these sources only: all files of this folder, as they are now.

Numba's cache looks at one file, the one that holds the function. A kernel calls formulas of other files, and these are
compiled into it: after an edit there, or a `git pull`, the kernel on disk would go on with the old formula, silently.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache

FOLDER = Path(__file__).parent


@functools.cache
def source_stamp() -> str:
    """Of the contents of all sources in this folder; half a millisecond, once in a process."""
    digest = hashlib.sha256()
    for file in sorted(FOLDER.glob("*.py")):
        digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


class Locator:
    """Where the functions of this folder are cached: where Numba would, with a stamp of all sources."""

    @staticmethod
    def from_function(function: Callable[..., Any], file: str) -> Any:
        """A locator for this function; None, so that Numba asks the next class, for a function of another folder."""
        if Path(file).parent != FOLDER:
            return None
        standard = (each.from_function(function, file) for each in _locators if each is not Locator)
        locator = next((found for found in standard if found is not None), None)
        if locator is not None:
            own = locator.get_source_stamp()
            locator.get_source_stamp = lambda: (own, source_stamp())
        return locator


# The one private name of Numba here; the same from 0.60 to 0.68. It has no public way to widen a stamp: the variable
# NUMBA_CACHE_LOCATOR_CLASSES is the user's, it is read for all libraries, and it lists classes instead of adding one.
# tests/kernels/test_caching.py fails where Numba does without it.
_locators: list[Any] = getattr(FunctionCache._impl_class, "_locator_classes", [])


def watch_all_sources() -> None:
    """From now on, what is cached of this folder's functions is found by the same sources only."""
    if Locator not in _locators:
        _locators.insert(0, Locator)
