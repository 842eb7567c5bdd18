"""Fetch a data set from its public mirrors; nothing is believed without its checksum, nothing half-written stays."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nanostn.checks import argument_error, describe

from .locations import data_directory
from .mnist import FILES, IdxFile

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
    folder = data_directory(data_dir) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it is read-only")
    except OSError as error:
        raise argument_error("fetch", "data_dir", "a folder that can be written", f"{folder} ({error})") from None
    pooch.get_logger().setLevel(logging.WARNING)
    for file in files:
        place, failures = folder / file.name, []
        if place.is_file() and pooch.file_hash(str(place)) == file.sha256:
            continue
        for mirror in mirrors:
            print(f"fetching {mirror}{file.name}", file=sys.stderr, flush=True)
            try:
                # pooch writes to a temporary file and moves it to its place once the checksum is right
                pooch.retrieve(mirror + file.name, f"sha256:{file.sha256}", file.name, folder)
                break
            except Exception as error:  # whatever a network can do to us; the next mirror may do better
                failures.append(f"{mirror} ({str(error).splitlines()[0]})")
        else:
            raise ConnectionError(f"fetch: {file.name} should be the original from one of the mirrors, received none: "
                                  f"{'; '.join(failures)}; check the network, or put the file into {folder} yourself")
    return folder


def available(data_dir: str | os.PathLike | None = None, files: tuple[IdxFile, ...] = FILES) -> dict[str, str]:
    """The data sets at hand, each with where it comes from; MNIST if its four files lie there in the right sizes."""
    found = {"digits": "drawn by the program"}
    folder = data_directory(data_dir) / "mnist"
    if all((folder / file.name).is_file() and (folder / file.name).stat().st_size == file.bytes for file in files):
        found["mnist"] = str(folder)
    return found
