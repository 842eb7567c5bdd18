"""MNIST from its four original files (LeCun, Cortes, Burges), each verified before it is believed.

An idx file is a big-endian magic number (two zero bytes, 8 for uint8, the number of axes), the size of each axis, and
the bytes themselves; the whole is gzipped.
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


class IdxFile(NamedTuple):
    name: str
    bytes: int                # as it lies there, gzipped
    shape: tuple[int, ...]
    sha256: str


FILES = (
    IdxFile("train-images-idx3-ubyte.gz", 9912422, (60000, 28, 28),
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    IdxFile("train-labels-idx1-ubyte.gz", 28881, (60000,),
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    IdxFile("t10k-images-idx3-ubyte.gz", 1648877, (10000, 28, 28),
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    IdxFile("t10k-labels-idx1-ubyte.gz", 4542, (10000,),
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)
AGAIN = "fetch it again with `nanostn data fetch mnist`"


def mnist(data_dir: str | os.PathLike | None = None,
          files: tuple[IdxFile, ...] = FILES) -> tuple[np.ndarray, ...]:
    """Training images (60000, 28, 28) and labels (60000,), test images (10000, 28, 28) and labels (10000,), uint8.

    The files lie in the folder `mnist` of `data_dir`, else of $NANOSTN_DATA, else of the user's cache directory. One
    that is missing raises FileNotFoundError, one that is damaged or another file ValueError, each with what to do.
    """
    folder = data_directory(data_dir) / "mnist"
    missing = [file.name for file in files if not (folder / file.name).is_file()]
    if missing:
        raise FileNotFoundError(f"mnist: {folder} should be a folder with the files of MNIST, received none named "
                                f"{', '.join(missing)}; fetch them with `nanostn data fetch mnist`, or say where they "
                                "lie with --data-dir or NANOSTN_DATA")
    return tuple(read_idx(folder / file.name, file) for file in files)


def read_idx(path: Path, file: IdxFile) -> np.ndarray:
    """The array of an idx file, if it is the file meant, whole and unaltered."""
    content = path.read_bytes()
    try:
        raw = gzip.decompress(content)
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
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise argument_error("mnist", str(path), f"the original with sha256 {file.sha256[:12]}...",
                             f"{digest[:12]}...", "its content was altered; " + AGAIN)
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)
