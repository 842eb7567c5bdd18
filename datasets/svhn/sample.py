"""A sample of SVHN as `.npz` files: crops as JPEG, labels (N, 6) of 0 to 9 and 10 for none, and `length` (N,)."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nanostn.checks import argument_error

from .. import pictures
from ..locations import data_directory
from ..store import Rows
from .numbers import LONGEST, NONE, Numbers

FILES = {64: ("svhn_train_64.npz", "svhn_test_64.npz"), 128: ("svhn_train_loose128.npz", "svhn_test_loose128.npz")}
ASSEMBLED = "svhn_test_mosaic_64.npz"


def place_of(name: str, data_dir: str | os.PathLike | None = None) -> Path:
    return data_directory(data_dir) / "svhn" / name


def found(data_dir: str | os.PathLike | None = None) -> Path | None:
    """The folder that the sample lies in, if one of its files does."""
    places = (place_of(name, data_dir) for names in FILES.values() for name in names)
    return next((place.parent for place in places if place.is_file()), None)


def read(path: Path, side: int) -> Numbers:
    """The numbers of one file, all of them in memory.

    FileNotFoundError where it is missing, ValueError with its name where it is damaged, or where crops, labels and
    lengths do not agree.
    """
    images, labels, length = pictures.read_packed("svhn", path, "label", "length")
    if images.shape[1:] != (side, side, 3):
        raise argument_error("svhn", str(path), f"crops of {side} x {side}", "{1} x {0}".format(*images.shape[1:]))
    there = np.arange(labels.shape[-1]) < length[..., None]
    if (labels.ndim != 2 or labels.dtype.kind not in "iu" or not ((labels <= NONE) & ((labels < NONE) == there)).all()
            or (length < 1).any() or (length > LONGEST).any()):
        raise argument_error("svhn", str(path), f"labels (N, {LONGEST} or more) of 0 to 9, as many as `length` says, "
                             f"then {NONE}", f"others, {labels.shape} {labels.dtype}", "is the file damaged?")
    return Numbers(images, labels[:, :LONGEST].astype(np.int64))


def rows(path: Path, side: int) -> tuple[int, Rows]:
    """How many numbers a file holds, and the crops and labels from any of them on: for a store."""
    images, labels = read(path, side)

    def from_number(first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(images[first:], labels[first:], strict=True)

    return len(images), from_number
