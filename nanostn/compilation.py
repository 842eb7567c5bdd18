"""Says what is being compiled, for silence in the first step on a machine would look like a hang; lists what has been.

Numba tells its listeners of every pass of its compiler; there are none where a kernel is found in the cache on disk.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO


@contextmanager
def announced_compilation(stream: TextIO | None = None) -> Iterator[list[str]]:
    """Within this context, what Numba compiles is named on one line, by the file in `kernels/` that it comes from.

    The line ends with the seconds it took. Yields the list of names so far. Where all is in the cache, it is silent.
    """
    from numba.core import event

    names: list[str] = []
    seconds = 0.0
    out = stream or sys.stderr

    class Listener(event.Listener):
        under_way = 0  # a kernel compiles the formulas that it calls: their passes run inside one of its own
        began = 0.0

        def on_start(self, compiling: Any) -> None:
            if self.under_way == 0:
                self.began = time.perf_counter()
            module = compiling.data.get("module", "")
            topic = module.removeprefix("nanostn.").removeprefix("kernels.")
            if module.startswith("nanostn") and topic not in names:
                start = "compiling kernels (first run on this machine, cached afterwards): " if not names else ", "
                print(start + topic, end="", file=out, flush=True)
                names.append(topic)
            self.under_way += 1

        def on_end(self, compiled: Any) -> None:
            nonlocal seconds
            self.under_way -= 1
            if self.under_way == 0:
                seconds += time.perf_counter() - self.began

    listener = Listener()
    event.register("numba:run_pass", listener)
    try:
        yield names
    finally:
        event.unregister("numba:run_pass", listener)
        if names:
            print(f" ({seconds:.0f} s)", file=out, flush=True)


class Compiled(NamedTuple):
    """One entry of the cache on disk."""
    topic: str  # its file in kernels/
    function: str
    size: int  # bytes
    arguments: str


def compiled_kernels() -> tuple[list[Compiled], dict[Path, int]]:
    """What the cache holds for these sources, this Numba and this processor; and its folders, with all their bytes.

    Entries that serve other sources or processors count among the bytes only. Raises RuntimeError where no folder can
    be written, or where this version of Numba keeps its cache in another way: an index is read by Numba's own class.
    """
    from nanostn.kernels.compiling.caching import Cache, compiled

    cache = Cache(compiled)  # as good as any function of the kernels: it finds their folders
    if cache.unusable:
        raise RuntimeError(f"compiled kernels are not kept ({cache.unusable}): NUMBA_CACHE_DIR may name a folder")
    found = []
    try:
        for name, signature, data in cache.kept():
            topic, _, function = name.rpartition(".")
            kinds = getattr(signature, "args", signature)[2 if hasattr(signature, "args") else 0:]  # not first and last
            found.append(Compiled(topic, function, data.stat().st_size, _words(kinds)))
    except (AttributeError, TypeError, ValueError) as error:
        import numba
        raise RuntimeError(f"Numba {numba.__version__} keeps its cache in a way that is not known here "
                           f"({type(error).__name__}: {error}); it works all the same, but cannot be listed") from error
    sizes = {folder: sum(data.stat().st_size for data in folder.glob("*.nbc")) for folder in cache.folders().values()}
    return sorted(found), {folder: size for folder, size in sizes.items() if size}


def _words(kinds: Iterable[Any]) -> str:
    """Numba's types in a few words: float32 4-D x2, int64, None."""
    def word(kind: Any) -> str:
        if hasattr(kind, "ndim"):
            return (f"{kind.dtype} {kind.ndim}-D" + (" strided" if kind.layout == "A" else "")
                    + ("" if kind.mutable else " read-only"))
        if hasattr(kind, "types"):  # a tuple
            return f"({_words(kind.types)})"
        if hasattr(kind, "nargs"):
            return "function"
        return "None" if str(kind) == "none" else str(kind)

    groups = ((text, len(list(same))) for text, same in itertools.groupby(map(word, kinds)))
    return ", ".join(text if times == 1 else f"{text} x{times}" for text, times in groups)
