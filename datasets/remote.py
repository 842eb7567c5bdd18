"""How a data set describes the files that its authors publish; `fetch` brings them, and `available` looks for them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class RemoteFile(NamedTuple):
    name: str
    checksum: str | None                    # "sha256:..." or "md5:..."; None where nobody published one
    found: Callable[[Path], bool | None]    # at a glance: is what it brings in this folder? False: in part, None: not
    check: Callable[[Path], None]           # a ValueError unless it is there, whole and as its authors meant it
    archive: bool = False                   # a .tar.gz, unpacked into that folder


class Source(NamedTuple):
    folder: Callable[[str | os.PathLike | None], Path]  # where it lies, for a data directory
    mirrors: tuple[str, ...]                            # addresses that the files' names are added to
    files: tuple[RemoteFile, ...]
