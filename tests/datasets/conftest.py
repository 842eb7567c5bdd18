"""Small files in the form of MNIST, with a table of what they should be."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from nanostn.datasets.mnist import IdxFile


def idx(array: np.ndarray) -> bytes:
    """The bytes of an idx file, before gzip."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return (8 * 256 + array.ndim).to_bytes(4, "big") + sizes + array.tobytes()


@pytest.fixture
def made(tmp_path):
    """A data directory with four made files: its path, the table of files, and their arrays."""
    rng, files, arrays = np.random.default_rng(0), [], []
    (tmp_path / "mnist").mkdir()
    for name, shape in (("train-images.gz", (5, 28, 28)), ("train-labels.gz", (5,)),
                        ("t10k-images.gz", (3, 28, 28)), ("t10k-labels.gz", (3,))):
        arrays.append(rng.integers(10, size=shape, dtype=np.uint8))
        unpacked = idx(arrays[-1])
        content = gzip.compress(unpacked, mtime=0)
        (tmp_path / "mnist" / name).write_bytes(content)
        files.append(IdxFile(name, len(content), shape, *(hashlib.sha256(c).hexdigest() for c in (content, unpacked))))
    return tmp_path, tuple(files), arrays


def data_at_hand(name):
    """A file or folder of $NANOSTN_DATA, or the test is skipped."""
    place = Path(os.environ.get("NANOSTN_DATA") or "nowhere") / name
    if not place.exists():
        pytest.skip(f"needs {name} in NANOSTN_DATA")
    return place
