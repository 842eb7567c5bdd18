"""Where data lies: an argument, else $NANOSTN_DATA, else the user's cache directory."""

import os
import sys
from pathlib import Path


def cache_directory() -> Path:
    """The directory of this user's and this system's choice for what can be made or fetched again."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "nanostn"


def named_directory(data_dir: str | os.PathLike | None = None) -> str | os.PathLike | None:
    """The directory that somebody named, by an argument or by $NANOSTN_DATA, or None."""
    return data_dir or os.environ.get("NANOSTN_DATA") or None


def data_directory(data_dir: str | os.PathLike | None = None) -> Path:
    """Where data sets are looked for and fetched to, each in a folder of its name."""
    return Path(named_directory(data_dir) or cache_directory()).expanduser()
