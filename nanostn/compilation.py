"""Says what is being compiled: the first step on a machine takes seconds longer, and silence would look like a hang.

Numba tells its listeners of every pass of its compiler; there are none where a kernel is found in the cache on disk.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


@contextmanager
def announced_compilation(stream: TextIO | None = None) -> Iterator[list[str]]:
    """Within this context, what Numba compiles is named on one line, by the file in kernels/ that it comes from.

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
            package, _, topic = compiling.data["module"].rpartition(".")
            if package.startswith("nanostn") and topic not in names:
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
