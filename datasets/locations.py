"""Where data lies: an argument, else $NANOSTN_DATA, else the user's cache directory."""

import os
from pathlib import Path

from nanostn.kernels.compiling.caching import cache_directory


def named_directory(data_dir: str | os.PathLike | None = None) -> str | os.PathLike | None:
    """The directory that somebody named, by an argument or by $NANOSTN_DATA, or None."""
    return data_dir or os.environ.get("NANOSTN_DATA") or None


def data_directory(data_dir: str | os.PathLike | None = None) -> Path:
    """Where data sets are looked for and fetched to, each in a folder of its name."""
    return Path(named_directory(data_dir) or cache_directory()).expanduser()
