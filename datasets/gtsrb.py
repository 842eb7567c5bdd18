"""Traffic signs: the German benchmark (Stallkamp et al. 2011), whole or a sample, or signs drawn by the program.

The whole benchmark is unpacked from its three archives, GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip
and GTSRB_Final_Test_GT.zip, into the folder `gtsrb`:

    GTSRB/Final_Training/Images/00000/00000_00000.ppm ...   tracks of 30 pictures of one sign, and GT-00000.csv
    GTSRB/Final_Test/Images/00000.ppm ...                   and, there or in a folder above, GT-final_test.csv

A line of a table is Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId. Pictures have 15 to 250 pixels a side
and a margin of a tenth around the sign; each is resized as a whole to a square.
"""

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nanostn.checks import argument_error, describe

from . import pictures
from .locations import data_directory
from .signs import NAMES, drawn_signs

names = ("gtsrb", "gtsrb-sample", "drawn-signs")
SIDE = 48                 # pixels, where nobody asks for others; a sample keeps its own
TRAIN, TEST = 6000, 2000  # drawn signs
COUNTS = 39209, 12630     # of the whole benchmark
FOLDERS = ("gtsrb/GTSRB", "gtsrb", "GTSRB", "")
SAMPLE = ("gtsrb_train_32.npz", "gtsrb_test_32.npz")
ARCHIVES = ("GTSRB_Final_Training_Images.zip", "GTSRB_Final_Test_Images.zip", "GTSRB_Final_Test_GT.zip")
COLUMNS = ("Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")
AGAIN = "unpack its archive again"


def load(data: str, data_dir: str | os.PathLike | None = None,
         side: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, test images and labels: (N, side, side, 3) uint8, (N,) int64 from 0 to 42.

    39,209 and 12,630 of "gtsrb", 5,227 and 6,315 of "gtsrb-sample" (32 pixels if no `side` is given), 6,000 and 2,000
    of "drawn-signs". The files lie in the folder `gtsrb` of `data_dir`, else of $NANOSTN_DATA, else of the user's cache
    directory. Missing ones raise FileNotFoundError, bad ones ValueError, each with the file's name.
    """
    if data not in names:
        raise argument_error("gtsrb", "data", "one of " + ", ".join(names), describe(data))
    if side is not None and (not isinstance(side, int | np.integer) or side < 1):
        raise argument_error("gtsrb", "side", "a positive integer or None", describe(side))
    if data == "drawn-signs":
        return drawn_signs(TRAIN, 0, side or SIDE) + drawn_signs(TEST, 1, side or SIDE)
    folder = folder_of(data, data_dir)
    if folder is None:
        wanted = " and ".join(SAMPLE) if data == "gtsrb-sample" else "what is in " + ", ".join(ARCHIVES)
        raise FileNotFoundError(f"gtsrb: {data_directory(data_dir)} should have a folder gtsrb with {wanted}, received "
                                "none; say where it lies with --data-dir or NANOSTN_DATA, or train on drawn ones with "
                                "--data drawn-signs")
    if data == "gtsrb-sample":
        (x, y), (x_test, y_test) = (sampled(folder / name, side) for name in SAMPLE)
        return x, y, x_test, y_test
    x, y, x_test, y_test = trained(folder, side or SIDE) + tested(folder, side or SIDE)
    if (len(y), len(y_test)) != COUNTS:
        raise argument_error("gtsrb", str(folder), "{:,} pictures for training and {:,} for tests".format(*COUNTS),
                             f"{len(y):,} and {len(y_test):,}", "are its archives unpacked whole?")
    return x, y, x_test, y_test


def folder_of(data: str, data_dir: str | os.PathLike | None = None) -> Path | None:
    """The folder with the files of "gtsrb" or "gtsrb-sample", or None."""
    wanted = {"gtsrb": "Final_Training", "gtsrb-sample": SAMPLE[0]}[data]
    places = (data_directory(data_dir) / place for place in FOLDERS)
    return next((place for place in places if (place / wanted).exists()), None)


def sampled(path: Path, side: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one file of the sample."""
    images, labels = pictures.read_packed("gtsrb", path, "label", side=side)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not np.isin(labels, range(len(NAMES))).all():
        raise argument_error("gtsrb", str(path), f"an .npz with labels from 0 to {len(NAMES) - 1}", describe(labels))
    return images, labels.astype(np.int64)


def trained(folder: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The training pictures, class after class."""
    lines: list[Line] = []
    for label in range(len(NAMES)):
        table = folder / "Final_Training" / "Images" / f"{label:05}" / f"GT-{label:05}.csv"
        those = annotated(table, table.parent)
        beside = sum(1 for _ in table.parent.glob("*.ppm"))
        if beside != len(those):
            raise argument_error("gtsrb", str(table), f"a line for each of the {beside} pictures beside it",
                                 f"{len(those)}", AGAIN)
        if other := next((line.file for line in those if line.label != label), None):
            raise argument_error("gtsrb", f"the line of {other} in {table.name}", f"of class {label}", "another", AGAIN)
        lines += those
    return resized(lines, side)


def tested(folder: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The test pictures in their order."""
    place = folder / "Final_Test" / "Images"
    tables = [above / "GT-final_test.csv" for above in (place, place.parent, folder, folder.parent)]
    return resized(annotated(next((table for table in tables if table.is_file()), tables[2]), place), side)


class Line(NamedTuple):
    file: Path
    size: tuple[int, int]     # width, height
    label: int


def annotated(table: Path, folder: Path) -> list[Line]:
    """The lines of a table, about pictures in this folder."""
    if not table.is_file():
        raise FileNotFoundError(f"gtsrb: {table} should be a table of pictures, received no such file; {AGAIN}")
    found = []
    try:
        with open(table, newline="", encoding="ascii") as file:
            rows = csv.DictReader(file, delimiter=";")
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise ValueError(f"the columns {';'.join(rows.fieldnames or ())}"[:80])
            for row in rows:
                width, height, left, top, right, bottom, label = (int(row[column]) for column in COLUMNS[1:])
                if not (0 <= left < right <= width and 0 <= top < bottom <= height):
                    raise ValueError(f"a box outside its picture in line {rows.line_num}")
                if label not in range(len(NAMES)) or Path(row["Filename"]).name != row["Filename"]:
                    raise ValueError(f"a class or a file that cannot be in line {rows.line_num}")
                found.append(Line(folder / row["Filename"], (width, height), label))
    except (ValueError, TypeError, csv.Error) as error:  # of int, where a number is missing or is none
        raise argument_error("gtsrb", str(table), "a table of " + ";".join(COLUMNS), str(error), AGAIN) from None
    return found


def resized(lines: list[Line], side: int) -> tuple[np.ndarray, np.ndarray]:
    """The pictures of these lines, (N, side, side, 3) uint8, and their classes (N,)."""
    images = np.empty((len(lines), side, side, 3), np.uint8)
    for image, (file, size, _) in zip(images, lines, strict=True):
        with pictures.opened("gtsrb", file) as picture:
            if picture.size != size:
                raise argument_error("gtsrb", str(file), "{} x {} pixels as its table says".format(*size),
                                     "{} x {}".format(*picture.size), AGAIN)
            image[:] = pictures.pixels("gtsrb", file, picture, (side, side))
    return images, np.array([line.label for line in lines], np.int64)
