"""Says what is being compiled: the first step on a machine takes seconds longer, and silence would look like a hang.

Numba tells its listeners when it compiles a function, and stays quiet when it finds it in its cache on disk.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


@contextmanager
def announced_compilation(stream: TextIO | None = None) -> Iterator[list[str]]:
    """Within this context, kernels that Numba compiles are named on one line, which ends with the seconds it took.

    Yields the list of names so far. Nothing is printed where everything is in the cache.
    """
    from numba.core import event

    names: list[str] = []
    seconds = 0.0
    out = stream or sys.stderr

    class Listener(event.Listener):
        under_way = 0  # a kernel compiles the formulas that it calls: those start while it is under way
        began = 0.0

        def on_start(self, compiling: Any) -> None:
            function = compiling.data["dispatcher"].py_func
            if self.under_way == 0:
                self.began = time.perf_counter()
                name = function.__name__.strip("_")
                if function.__module__.startswith("nanostn") and name not in names:
                    start = "compiling kernels (first run on this machine, cached afterwards): " if not names else ", "
                    print(start + name, end="", file=out, flush=True)
                    names.append(name)
            self.under_way += 1

        def on_end(self, compiled: Any) -> None:
            nonlocal seconds
            self.under_way -= 1
            if self.under_way == 0:
                seconds += time.perf_counter() - self.began

    listener = Listener()
    event.register("numba:compile", listener)
    try:
        yield names
    finally:
        event.unregister("numba:compile", listener)
        if names:
            print(f" ({seconds:.0f} s)", file=out, flush=True)
