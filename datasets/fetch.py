"""Fetch a data set from its public mirrors; nothing is believed without its checksum, nothing half-written stays."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nanostn.checks import argument_error, describe

from .mnist import FILES, IdxFile, folder_of, place_of, size_of

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


def fetch(name: str, data_dir: str | os.PathLike | None = None, mirrors: Sequence[str] = MIRRORS,
          files: tuple[IdxFile, ...] = FILES) -> Path:
    """Fetch what is missing or damaged of a data set ("mnist") and return its folder.

    Each file comes from the first mirror that gives the right one. Without a network or with a wrong file from every
    mirror: ConnectionError, and the folder holds whole and verified files only.
    """
    if name != "mnist":
        raise argument_error("fetch", "name", "mnist", describe(name), "digits are drawn, not fetched")
    try:
        import pooch
    except ImportError:
        raise ModuleNotFoundError('fetch: downloading needs pooch; install it with `pip install "nanostn[app]"`') \
            from None
    folder = folder_of(data_dir, files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it is read-only")
    except OSError as error:
        raise argument_error("fetch", "data_dir", "a folder that can be written", f"{folder} ({error})") from None
    pooch.get_logger().setLevel(logging.WARNING)
    for file in files:
        place, failures = place_of(folder, file), []
        if place and pooch.file_hash(str(place)) == (file.sha256 if place.name == file.name else file.unpacked):
            continue
        for mirror in mirrors:
            print(f"fetching {mirror}{file.name}", file=sys.stderr, flush=True)
            try:
                # pooch writes to a temporary file and moves it to its place once the checksum is right
                pooch.retrieve(mirror + file.name, f"sha256:{file.sha256}", file.name, folder)
                break
            except Exception as error:  # whatever a network can do to us; the next mirror may do better
                failures.append(_cause(error))
        else:
            raise ConnectionError(f"fetch: {file.name} should be the original from one of the mirrors, received none "
                                  f"({'; '.join(dict.fromkeys(failures))}); check the network, or put the file into "
                                  f"{folder} yourself")
    return folder


def _cause(error: BaseException) -> str:
    """The first line of what went wrong first: a network library wraps the error that says it in several others."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return (str(error) or type(error).__name__).splitlines()[0]


def available(data_dir: str | os.PathLike | None = None, files: tuple[IdxFile, ...] = FILES) -> dict[str, str]:
    """The data sets at hand, each with where it comes from; MNIST if one of its four files lies there.

    Where they are not all there in the right sizes it says so: `mnist` then refuses them, and nothing else takes their
    place unnoticed.
    """
    found = {"digits": "drawn by the program"}
    folder = folder_of(data_dir, files)
    present = {file: place for file in files if (place := place_of(folder, file))}
    if present:
        whole = len(present) == len(files) and all(place.stat().st_size == size_of(place, file)
                                                   for file, place in present.items())
        found["mnist"] = str(folder) + ("" if whole else ", incomplete or damaged (nanostn data fetch mnist)")
    return found
