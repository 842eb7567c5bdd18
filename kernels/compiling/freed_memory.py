"""Freed memory stays with the process, up to a limit: a training step asks for the same arrays again and again.

By itself the C library gives large freed blocks back to the system at once, and gets them anew, page by page and
cleared: a third of the time of a sampler on small images. Here no block is mapped for itself, and what is freed is kept
as long as no more than KEPT lies unused behind the last block in use. Other C libraries than glibc are left alone, and
so are limits that the environment sets; NANOSTN_KEEP_MEMORY=0 leaves all as it was.
"""

import ctypes
import os
import platform

KEPT = 256 << 20  # bytes
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names in malloc.h


def keep_freed_memory() -> None:
    environment = os.environ
    own = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_"} & set(environment)
    own |= {"GLIBC_TUNABLES"} if "glibc.malloc" in environment.get("GLIBC_TUNABLES", "") else set()
    if own or environment.get("NANOSTN_KEEP_MEMORY") == "0" or platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_TRIM_THRESHOLD, KEPT)
    library.mallopt(_MMAP_MAX, 0)
