"""Photographs of birds (Caltech-UCSD Birds 200-2011, Wah et al.), whole or a sample, or birds drawn by the program.

    train, test = load("cub")
    x = batch(train, chosen, rng, 224)                                  # (n, 3, 224, 224) from 0 to 1

What is random is drawn by itself, so that boxes and parts can be carried through the same crop:

    cut = windows(test, chosen)
    x, (boxes, parts) = crop(test, chosen, cut, 224), located(test, chosen, cut, 224)
    share_held(parts, boxes, HEAD)
"""

import os
import sys
from pathlib import Path

from nanostn.checks import argument_error, describe

from ..locations import data_directory
from .crops import Centres, batch, crop, located, windows
from .drawn import drawn_birds
from .files import PHOTOGRAPHS, SOURCE, Photographs, read
from .parts import BODY, HEAD, share_held

__all__ = ["BODY", "Centres", "HEAD", "Photographs", "SOURCE", "batch", "crop", "folder_of", "load", "located", "names",
           "share_held", "windows"]

names = ("cub", "cub-sample", "drawn-birds")
FOLDERS = {"cub": ("cub/CUB_200_2011", "cub", "CUB_200_2011", ""), "cub-sample": ("cub44",)}


def load(data: str, data_dir: str | os.PathLike | None = None) -> tuple[Photographs, Photographs]:
    """The photographs for training and for tests: 5,994 and 5,794 of "cub", 1,320 and 1,209 of "cub-sample".

    They lie in the folder `cub` (as `nanostn data fetch cub` unpacks it) or `cub44` of `data_dir`, else of
    $NANOSTN_DATA, else of the user's cache directory. "drawn-birds" are drawn into the cache directory when they are
    first asked for. Missing files raise FileNotFoundError, bad ones ValueError, each with the file's name.
    """
    if data not in names:
        raise argument_error("cub", "data", "one of " + ", ".join(names), describe(data))
    if data == "drawn-birds":
        return read(drawn_birds())
    folder = folder_of(data, data_dir)
    if folder is None:
        fetched = "fetch it with `nanostn data fetch cub`, or " if data == "cub" else ""
        raise FileNotFoundError(f"cub: {data_directory(data_dir)} should have a folder {FOLDERS[data][0]} with "
                                f"images.txt, received none; {fetched}say where it lies with --data-dir or "
                                "NANOSTN_DATA, or train on drawn ones with --data drawn-birds")
    train, test = read(folder)
    if data == "cub" and (there := len(train.files) + len(test.files)) != PHOTOGRAPHS:
        print(f"cub: {folder} has {there:,} of the data set's {PHOTOGRAPHS:,} photographs", file=sys.stderr, flush=True)
    return train, test


def folder_of(data: str, data_dir: str | os.PathLike | None = None) -> Path | None:
    """The folder with the images.txt of "cub" or "cub-sample", or None."""
    places = (data_directory(data_dir) / place for place in FOLDERS[data])
    return next((place for place in places if (place / "images.txt").is_file()), None)
