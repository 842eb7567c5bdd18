"""MNIST from its four original files (LeCun, Cortes, Burges), each verified before it is believed.

An idx file is a big-endian magic number (two zero bytes, 8 for uint8, the number of axes), the size of each axis, and
the bytes themselves; the whole is gzipped, or unpacked, without .gz at the end of its name.
"""

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nanostn.checks import argument_error

from .locations import data_directory
from .remote import RemoteFile, Source


class IdxFile(NamedTuple):
    name: str
    bytes: int                # as it lies there, gzipped
    shape: tuple[int, ...]
    sha256: str               # of these bytes
    unpacked: str             # sha256 of what is in them


FILES = (
    IdxFile("train-images-idx3-ubyte.gz", 9912422, (60000, 28, 28),
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    IdxFile("train-labels-idx1-ubyte.gz", 28881, (60000,),
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    IdxFile("t10k-images-idx3-ubyte.gz", 1648877, (10000, 28, 28),
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    IdxFile("t10k-labels-idx1-ubyte.gz", 4542, (10000,),
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
AGAIN = "fetch it again with `nanostn data fetch mnist`"


def mnist(data_dir: str | os.PathLike | None = None,
          files: tuple[IdxFile, ...] = FILES) -> tuple[np.ndarray, ...]:
    """Training images (60000, 28, 28) and labels (60000,), test images (10000, 28, 28) and labels (10000,), uint8.

    The files, gzipped or unpacked, lie in the folder `mnist` of `data_dir`, else of $NANOSTN_DATA, else of the user's
    cache directory; or `data_dir` is itself that folder. One that is missing raises FileNotFoundError, one that is
    damaged or another file ValueError, each with what to do.
    """
    folder = folder_of(data_dir, files)
    places = {file: place_of(folder, file) for file in files}
    if missing := [file.name for file, place in places.items() if place is None]:
        raise FileNotFoundError(f"mnist: {folder} should be a folder with the files of MNIST, received none named "
                                f"{', '.join(missing)}; fetch them with `nanostn data fetch mnist`, or say where they "
                                "lie with --data-dir or NANOSTN_DATA, or train on drawn ones with --data digits")
    return tuple(read_idx(place, file) for file, place in places.items() if place)


def folder_of(data_dir: str | os.PathLike | None = None, files: tuple[IdxFile, ...] = FILES) -> Path:
    """The folder `mnist` of the data directory, or that directory itself where the files lie there."""
    root = data_directory(data_dir)
    inside = root / "mnist"
    return root if not inside.is_dir() and any(place_of(root, file) for file in files) else inside


def place_of(folder: Path, file: IdxFile) -> Path | None:
    """Where a file lies in a folder, gzipped or unpacked, or None."""
    places = folder / file.name, folder / file.name.removesuffix(".gz")
    return next((place for place in places if place.is_file()), None)


def size_of(path: Path, file: IdxFile) -> int:
    """The bytes that a file should have there, gzipped or unpacked."""
    return file.bytes if path.name == file.name else 4 + 4 * len(file.shape) + math.prod(file.shape)


def read_idx(path: Path, file: IdxFile) -> np.ndarray:
    """The array of an idx file, if it is the file meant, whole and unaltered."""
    content = path.read_bytes()
    try:
        raw = gzip.decompress(content) if path.name == file.name else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        cut = len(content) < file.bytes
        raise argument_error("mnist", str(path), f"the {file.bytes} bytes of a whole gzip file",
                             f"{len(content)} bytes, {'cut short' if cut else 'damaged'} ({error})", AGAIN) from None
    magic, wanted = int.from_bytes(raw[:4], "big"), 8 * 256 + len(file.shape)
    if magic != wanted:
        raise argument_error("mnist", str(path), f"an idx file of magic number {wanted}", f"magic number {magic}",
                             "is it another file under this name? " + AGAIN)
    head = 4 + 4 * len(file.shape)
    shape = tuple(int.from_bytes(raw[i:i + 4], "big") for i in range(4, head, 4))
    if shape != file.shape or len(raw) != head + math.prod(shape):
        raise argument_error("mnist", str(path), f"an idx file of shape {file.shape}",
                             f"{shape} in {len(raw) - head} bytes", "is it another file under this name? " + AGAIN)
    digest = hashlib.sha256(raw).hexdigest()
    if digest != file.unpacked:
        raise argument_error("mnist", str(path), f"the original with sha256 {file.unpacked[:12]}... unpacked",
                             f"{digest[:12]}...", "its content was altered; " + AGAIN)
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


def source(files: tuple[IdxFile, ...] = FILES, mirrors: tuple[str, ...] = MIRRORS) -> Source:
    """Where the files are fetched from, and what they should be."""
    def remote(file: IdxFile) -> RemoteFile:
        def found(folder: Path) -> bool | None:
            place = place_of(folder, file)
            return place.stat().st_size == size_of(place, file) if place else None

        def check(folder: Path) -> None:
            if place := place_of(folder, file):
                read_idx(place, file)

        return RemoteFile(file.name, f"sha256:{file.sha256}", found, check)

    return Source(lambda data_dir: folder_of(data_dir, files), mirrors, tuple(map(remote, files)))


SOURCE = source()
