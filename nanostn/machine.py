"""Which machine a figure was measured on: a time without it means little."""

import os
import platform
from pathlib import Path
from typing import Any

import numba
import numpy as np


def processor() -> str:
    """The name of the processor, and where the name is a brand's alone the numbers that tell its generation."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    name = found.get("model name") or platform.machine()
    if any(letter.isdigit() for letter in name) or "cpu family" not in found:
        return name
    return f"{name} (family {found['cpu family']}, model {found.get('model', '?')})"


def machine() -> dict[str, Any]:
    """What a result is published with: processor, cores, threads of this process, versions."""
    return {"processor": processor(), "cores": os.cpu_count(), "threads": numba.get_num_threads(),
            "python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__}
