"""Unpacking an archive that somebody else packed: files and folders only, all inside, whole or not at all.

Nothing of the archive's but names and contents is used: no links, devices, owners or modes. All is written into a
folder with a name of its own, whose contents move to their place once the last byte was read and its checksum agreed.
"""

import gzip
import os
import secrets
import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

from nanostn.checkpoints import UNFINISHED, remove_unfinished
from nanostn.checks import argument_error

LIMIT = 4 << 30   # bytes on disk that an archive may become: the largest of the known ones takes 3
BLOCK = 4096      # of the disk; a file takes one at least, and there may be millions of empty ones
AT_ONCE = 1 << 20


def unpack(archive: str | os.PathLike, folder: str | os.PathLike, limit: int = LIMIT,
           check: Callable[[Path], object] | None = None) -> list[Path]:
    """Unpack a .tar.gz into `folder` and return what then lies there: the archive's files and folders at its top.

    `check(place)` may look at them where they lie until then, and raise an error. ValueError with the archive's name
    where it is truncated, damaged or no .tar.gz, where it holds a link, a device or a path that leads outside, where
    it would become larger than `limit` bytes, or where something of a name of its own is there already. Whatever is
    raised, in `folder` nothing has changed then.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    print(f"unpacking {archive}", file=sys.stderr, flush=True)
    temporary = folder / f".{archive.name[:40]}.{secrets.token_hex(4)}.{os.getpid()}{UNFINISHED}"
    temporary.mkdir()
    try:
        _write_members(archive, temporary, limit)
        tops = sorted(temporary.iterdir())
        if taken := [top.name for top in tops if os.path.lexists(folder / top.name)]:
            raise argument_error("unpack", str(folder), f"a folder without the contents of {archive.name}",
                                 f"one that holds {taken[0]!r} already", "move it away")
        if check is not None:
            check(temporary)
        return [top.rename(folder / top.name) for top in tops]
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_members(archive: Path, folder: Path, limit: int) -> None:
    size = 0
    try:
        with gzip.open(archive) as raw:
            stream: Any = _Reading(raw)
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    size += max(BLOCK, member.size)
                    if size > limit:
                        raise argument_error("unpack", str(archive), f"an archive of at most {limit:,} bytes on disk",
                                             "a larger one", "is it what its name says?")
                    _write(archive, folder, tar, member)
            # tarfile takes a header that is cut or spoilt for the end, which is a block of zeros
            if stream.last != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it ends within a header")
            while raw.read(AT_ONCE):
                pass  # gzip compares its checksum where its data end
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, UnicodeError) as error:
        raise argument_error("unpack", str(archive), "a whole .tar.gz archive", f"one cut short or damaged ({error})",
                             "remove it and fetch it again") from None


class _Reading:
    """A file read from its beginning to its end, in parts; `last` is the last one, of which a header is one.

    A spoilt header may send tarfile back, to go round for ever, or promise a name of gigabytes, to be held in memory.
    """

    def __init__(self, file):
        self.file, self.tell, self.last = file, file.tell, b""

    def seek(self, position: int) -> int:
        if position < self.tell():
            raise tarfile.ReadError("a header leads back")
        return self.file.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= AT_ONCE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self.file.read(size)
        return self.last


def _write(archive: Path, folder: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    def refused(received: str) -> ValueError:
        return argument_error("unpack", str(archive), "an archive of files and folders, all inside of it",
                              f"{received} {member.name[:80]!r}", "nothing of it was kept")

    path = PureWindowsPath(member.name)  # which knows both kinds of slashes, drives and shares
    if path.is_absolute() or path.drive or path.root or ".." in path.parts or not member.name.isprintable():
        raise refused("a path outside,")
    place = folder.joinpath(*path.parts)
    try:
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            return
        source = tar.extractfile(member) if member.isreg() else None
        if source is None:
            raise refused("a link" if member.islnk() or member.issym() else "a device")
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "xb") as file:
            shutil.copyfileobj(source, file, AT_ONCE)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise refused("two of the name") from None
