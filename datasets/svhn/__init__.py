"""Street View House Numbers (Netzer et al. 2011), a sample of them, or house numbers drawn by the program.

    train, test = load("svhn-sample", side=64)
    x, y = train.images[chosen], train.labels[chosen]             # (n, 64, 64, 3) uint8, (n, 5) with 10 = none

The crops are made once and kept in a store in the user's cache directory; what is read from it lies in memory only as
long as it is used.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.kernels.compiling.caching import cache_directory

from ..store import stored
from . import drawn, full_numbers, sample
from .cropped_digits import cropped_digits
from .crops import LOOSE, TIGHT, crop_number
from .full_numbers import ANNOTATIONS, COUNTS, SOURCES, folder_of
from .numbers import LONGEST, NONE, Numbers, padded

__all__ = ["LONGEST", "LOOSE", "NONE", "Numbers", "SOURCES", "TIGHT", "cropped_digits", "load", "load_assembled",
           "names"]

names = ("svhn", "svhn-extra", "svhn-sample", "drawn-numbers")
DRAWN = (20000, 2000)     # numbers for training and for tests
VERSION = 1               # of crops and drawings; raise it when they change, so that older stores are made anew


def load(data: str, data_dir: str | os.PathLike | None = None, side: int = TIGHT) -> tuple[Numbers, Numbers]:
    """The numbers for training and for tests, cropped tightly (`side` 64) or loosely (128).

    "svhn" has 33,401 (one of six digits is left out) and 13,068; "svhn-extra" has the extra ones behind those for
    training, as in the paper; "svhn-sample" has 7,794 (loose 2,500) and 128, and "drawn-numbers" 20,000 and 2,000.
    The others lie in the folder `svhn` of `data_dir`, else of $NANOSTN_DATA, else of the user's cache directory.
    Missing files raise FileNotFoundError, bad ones ValueError, each with the file's name.
    """
    if data not in names:
        raise argument_error("svhn", "data", "one of " + ", ".join(names), describe(data))
    if side not in (TIGHT, LOOSE):
        raise argument_error("svhn", "side", f"{TIGHT} (tight crops) or {LOOSE} (loose ones)", describe(side))
    train: tuple[str, str, Callable]
    test: tuple[str, str, Callable]
    if data == "drawn-numbers":
        train, test = ((name, f"{count} drawn, seed {seed}", functools.partial(_drawn, count, seed, side))
                       for seed, (name, count) in enumerate(zip(("train", "test"), DRAWN, strict=True)))
    elif data == "svhn-sample":
        train, test = (_of_files([place], place.stem, functools.partial(sample.rows, place, side))
                       for place in (sample.place_of(name, data_dir) for name in sample.FILES[side]))
    else:
        train, test = (_of_splits(folder_of(data_dir), splits, side) for splits in
                       (("train",) if data == "svhn" else ("train", "extra"), ("test",)))
    return _kept(data, side, *train), _kept(data.removesuffix("-extra"), side, *test)  # one test set for both


def load_assembled(data_dir: str | os.PathLike | None = None) -> Numbers:
    """The sample's 3,344 test numbers that were put together from genuine digits of format 2, 64 x 64: to be reported
    apart from genuine ones."""
    place = sample.place_of(sample.ASSEMBLED, data_dir)
    return _kept("svhn-sample", TIGHT, *_of_files([place], place.stem, functools.partial(sample.rows, place, TIGHT)))


def _kept(data: str, side: int, name: str, made_from: str, source: Callable) -> Numbers:
    path = cache_directory() / "stores" / f"{data}-{name}-{side}.h5"
    return Numbers(*stored(path, (side, side, 3), LONGEST, f"{data} {name}, version {VERSION}, {made_from}", source))


def _of_splits(folder: Path, splits: tuple[str, ...], side: int) -> tuple[str, str, Callable]:
    folders = {folder / split: COUNTS[split] for split in splits}
    return _of_files([place / ANNOTATIONS for place in folders], splits[0],
                     functools.partial(full_numbers.rows, folders, side))


def _of_files(paths: list[Path], name: str, source: Callable) -> tuple[str, str, Callable]:
    """What a store is called, what it is made from, by the files that decide, and how."""
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            fetched = "fetch it with `nanostn data fetch svhn` (svhn-extra), " if path.name == ANNOTATIONS else ""
            raise FileNotFoundError(f"svhn: {path} should be a file of house numbers, received no such file; {fetched}"
                                    "say where it lies with --data-dir or NANOSTN_DATA, or train on drawn ones with "
                                    "--data drawn-numbers")
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return name, f"sha256 {digest.hexdigest()}", source


def _drawn(count: int, seed: int, side: int):
    def from_number(first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for n, (image, (name, digits, boxes)) in enumerate(drawn.scenes(count, seed, first), first):
            rng = np.random.default_rng([full_numbers.CROPS, seed, n])
            yield crop_number(image, boxes, side, rng, name), padded(digits)

    return count, from_number
