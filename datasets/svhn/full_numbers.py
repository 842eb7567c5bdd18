"""SVHN's whole pictures (format 1): folders `train`, `test`, `extra` of PNG files with their `digitStruct.mat`."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from nanostn.checks import argument_error

from .. import pictures
from ..locations import data_directory
from ..remote import RemoteFile, Source
from ..store import Rows
from . import digit_struct
from .crops import crop_number
from .numbers import LONGEST, padded

# pictures and digits of each folder, as its authors say and the annotations hold
COUNTS = {"train": (33402, 73257), "test": (13068, 26032), "extra": (202353, 531131)}
MIRRORS = ("http://ufldl.stanford.edu/housenumbers/",)
CROPS = 1                 # first word of the seeds of loose crops
ANNOTATIONS = "digitStruct.mat"


def folder_of(data_dir: str | os.PathLike | None = None) -> Path:
    return data_directory(data_dir) / "svhn"


def annotations(folder: Path, counts: tuple[int, int] | None = None) -> list[digit_struct.Annotation]:
    """The annotations of a folder; ValueError unless they are of so many pictures and digits."""
    path = folder / ANNOTATIONS
    print(f"reading {path}", file=sys.stderr, flush=True)  # 33,402 pictures take a minute
    read = digit_struct.read(path)
    found = len(read), sum(len(each.digits) for each in read)
    if counts is not None and found != counts:
        raise argument_error("svhn", str(path), "annotations of {:,} pictures with {:,} digits".format(*counts),
                             "{:,} with {:,}".format(*found), "is the data set whole?")
    return read


def check(folder: Path, counts: tuple[int, int] | None = None) -> None:
    """ValueError unless the annotations have these counts, and each of their pictures is there."""
    try:
        names = [each.name for each in annotations(folder, counts)]
    except FileNotFoundError as error:
        raise ValueError(str(error)) from None
    if missing := set(names).difference(path.name for path in folder.iterdir()):
        raise argument_error("svhn", str(folder), "a folder with the pictures of its annotations",
                             f"none named {min(missing)}" + (f", and {len(missing) - 1:,} more missing"
                                                             if len(missing) > 1 else ""), "is the data set whole?")


def rows(folders: Mapping[Path, tuple[int, int] | None], side: int) -> tuple[int, Rows]:
    """How many numbers of one to five digits are in these folders, each with the counts that it should have, and the
    crops and labels from any of them on: for a store.

    The loose crop of a number is always the same. A picture that is missing or does not decode, or whose boxes lie
    outside, raises an error with its name.
    """
    chosen = [(folder, each) for folder, counts in folders.items() for each in annotations(folder, counts)
              if len(each.digits) <= LONGEST]

    def from_number(first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for n, (folder, (name, digits, boxes)) in enumerate(chosen[first:], first):
            image = pictures.read("svhn", folder / name)
            rng = np.random.default_rng([CROPS, n])
            yield crop_number(image, boxes, side, rng, str(folder / name)), padded(digits)

    return len(chosen), from_number


def _archive(split: str) -> RemoteFile:
    """No checksum of these is known for certain: their contents decide."""
    def found(folder: Path) -> bool | None:
        if not (folder / split).is_dir():
            return None
        try:
            return digit_struct.count(folder / split / ANNOTATIONS) == COUNTS[split][0]
        except (FileNotFoundError, ValueError):
            return False

    return RemoteFile(f"{split}.tar.gz", None, found, lambda folder: check(folder / split, COUNTS[split]), archive=True)


def _digits(split: str, md5: str) -> RemoteFile:
    """A file of format 2, with the checksum that other libraries hold as well."""
    def check_sum(folder: Path) -> None:
        import pooch

        if pooch.file_hash(str(folder / name), alg="md5") != md5:
            raise argument_error("svhn", str(folder / name), f"the original with md5 {md5}", "another file")

    name = f"{split}_32x32.mat"
    return RemoteFile(name, f"md5:{md5}", lambda folder: (folder / name).is_file() or None, check_sum)


SOURCES = {
    "svhn": Source(folder_of, MIRRORS, (_archive("train"), _archive("test"))),
    "svhn-extra": Source(folder_of, MIRRORS, tuple(map(_archive, COUNTS))),
    "svhn-digits": Source(folder_of, MIRRORS, (_digits("train", "e26dedcc434d2e4c54c9b2d4a06d8373"),
                                               _digits("test", "eb5a983be6a315427106f1b164d9cef3"),
                                               _digits("extra", "a93ce644f1a588dc4d68dda5feec44a7"))),
}
