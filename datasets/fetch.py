"""Fetch a data set from its public mirrors; nothing is believed unverified, nothing half-written counts as there.

What was interrupted lies beside its place, with `.part` at the end of its name, and goes on from there the next time.
A file whose checksum nobody published is believed if it unpacks to its end and holds what it should.
"""

import errno
import logging
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nanostn.checks import argument_error, describe

from . import cub, gtsrb
from .archives import unpack
from .mnist import SOURCE as MNIST
from .remote import RemoteFile, Source
from .svhn import SOURCES as SVHN
from .svhn import sample as svhn_sample

SOURCES: dict[str, Source] = {"mnist": MNIST, "cub": cub.SOURCE, **SVHN}
DRAWN = ("digits", "drawn-birds", "drawn-numbers", "drawn-signs")
# What someone put there; where it lies, for a data directory.
PLACED: dict[str, Callable[[Any], Path | None]] = {
    "svhn-sample": svhn_sample.found, "cub-sample": partial(cub.folder_of, "cub-sample"),
    "gtsrb": partial(gtsrb.folder_of, "gtsrb"), "gtsrb-sample": partial(gtsrb.folder_of, "gtsrb-sample")}
PART = ".part"
TIMEOUT = 30              # seconds without a byte
AT_ONCE = 1 << 18


def fetch(name: str, data_dir: str | os.PathLike | None = None, sources: Mapping[str, Source] = SOURCES) -> Path:
    """Fetch what is missing or damaged of a data set, one of `SOURCES`, and return its folder.

    Each file comes from the first mirror that gives the right one. Without a network or with a wrong file from every
    mirror: ConnectionError, and the folder holds whole and verified files only, besides parts to go on from.
    """
    if name not in sources:
        raise argument_error("fetch", "name", "one of " + ", ".join(sources), describe(name),
                             f"{', '.join(DRAWN)} are drawn, not fetched")
    try:
        import pooch
        import tqdm  # noqa: F401, for the bar
    except ImportError as error:
        raise ModuleNotFoundError(f"fetch: downloading needs {error.name}; install it with "
                                  '`pip install "nanostn[app]"`') from None
    source = sources[name]
    folder = source.folder(data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it is read-only")
    except OSError as error:
        raise argument_error("fetch", "data_dir", "a folder that can be written", f"{folder} ({error})") from None
    pooch.get_logger().setLevel(logging.WARNING)
    for file in source.files:
        if not _is_there(file, folder):
            _bring(file, folder, source.mirrors)
    return folder


def _is_there(file: RemoteFile, folder: Path) -> bool:
    """Whether what a file brings is in its folder, whole and right."""
    if not file.found(folder):
        return False
    try:
        file.check(folder)
    except ValueError:
        return False
    return True


def _bring(file: RemoteFile, folder: Path, mirrors: tuple[str, ...]) -> None:
    import pooch

    if file.archive and file.found(folder) is not None:
        raise argument_error("fetch", str(folder), f"a folder without the contents of {file.name}",
                             "one with a part of them, or with damaged ones", "move them away and fetch again")
    place, part, failures = folder / file.name, folder / (file.name + PART), []
    if file.archive and place.is_file() and (file.checksum is None or _is(place, file.checksum)):
        unpack(place, folder, check=file.check)
        return
    # A part may be of another file: then it is gone after the first round, and the second begins anew.
    for mirror in mirrors * (2 if part.is_file() else 1):
        print(f"fetching {mirror}{file.name}", file=sys.stderr, flush=True)
        try:
            # pooch has it written to a temporary file, and moves it to its place once the checksum is right
            pooch.retrieve(mirror + file.name, file.checksum, file.name, folder, downloader=_Resuming(part))
            if file.archive:
                _unpack_fetched(file, place, folder)
            return
        except Exception as error:  # whatever a network can do to us; the next mirror may do better
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
                raise
            failures.append(_cause(error))
    raise ConnectionError(f"fetch: {file.name} should be the original from one of the mirrors, received none "
                          f"({'; '.join(dict.fromkeys(failures))}); check the network, or put the file into "
                          f"{folder} yourself")


def _is(place: Path, checksum: str) -> bool:
    import pooch

    algorithm, digest = checksum.split(":")
    return pooch.file_hash(str(place), alg=algorithm) == digest


def _unpack_fetched(file: RemoteFile, place: Path, folder: Path) -> None:
    """Unpack what has just come; an archive without a checksum that then proves wrong does not stay."""
    try:
        unpack(place, folder, check=file.check)
    except ValueError:
        if file.checksum is None:
            place.unlink()
        raise


class _Resuming:
    """What pooch fetches with: bytes are added to a part, which becomes the whole file at its end."""

    def __init__(self, part: Path):
        self.part = part

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        import requests  # by which pooch itself fetches

        start = self.part.stat().st_size if self.part.is_file() else 0
        wanted = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=wanted, stream=True, timeout=TIMEOUT) as response:
            if start and response.status_code == requests.codes.requested_range_not_satisfiable:
                os.replace(self.part, output_file)  # nothing follows the part: it is whole, or the checksum is wrong
                return
            response.raise_for_status()
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                start = 0
            length = response.headers.get("Content-Length")
            whole = None if length is None else start + int(length)
            with open(self.part, "ab" if start else "wb") as file, _bar(start, whole) as bar:
                for block in response.iter_content(AT_ONCE):
                    file.write(block)
                    bar.update(len(block))
        if whole is not None and (size := self.part.stat().st_size) < whole:
            raise ConnectionError(f"the connection ended after {size:,} of {whole:,} bytes")
        os.replace(self.part, output_file)


def _bar(start: int, whole: int | None) -> Any:
    """A bar over the bytes, where someone is looking."""
    from tqdm import tqdm

    return tqdm(total=whole, initial=start, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty())


def _cause(error: BaseException) -> str:
    """The first line of what went wrong first: a network library wraps the error that says it in several others."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return (str(error) or type(error).__name__).splitlines()[0]


def available(data_dir: str | os.PathLike | None = None, sources: Mapping[str, Source] = SOURCES) -> dict[str, str]:
    """The data sets at hand, each with where it comes from; one of files if one of its files lies there.

    Where they are not all there in the right sizes it says so: the data set then refuses them, and nothing else takes
    their place unnoticed.
    """
    at_hand = dict.fromkeys(DRAWN, "drawn by the program")
    at_hand |= {name: str(folder) for name, place in PLACED.items() if (folder := place(data_dir))}
    for name, source in sources.items():
        folder = source.folder(data_dir)
        found = [file.found(folder) for file in source.files]
        if any(state is not None for state in found):
            at_hand[name] = str(folder) + ("" if all(found) else
                                           f", incomplete or damaged (nanostn data fetch {name})")
    return at_hand
