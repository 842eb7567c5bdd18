"""Photographs in the layout of CUB-200-2011 (Wah et al. 2011): tables of text, each line with an image's number first.

    images.txt                number, file below images/        train_test_split.txt    number, 1 = training
    image_class_labels.txt    number, class from 1              bounding_boxes.txt      number, x, y, width, height
    classes.txt               class, name                       parts/part_locs.txt     number, part, x, y, visible

The last may also lie beside the others, or be missing. Boxes of the data set overhang their photograph in places: they
are cut off at its rim.
"""

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from nanostn.checks import argument_error

from .. import pictures
from ..locations import data_directory
from ..remote import RemoteFile, Source
from .parts import NAMES

AGAIN = "is the data set whole?"
ARCHIVE, PHOTOGRAPHS = "CUB_200_2011", 11788


class Photographs(NamedTuple):
    """N photographs of birds. Positions are in pixels of the photograph, from its upper left corner."""

    files: list[Path]
    labels: np.ndarray        # (N,) int64, from 0
    boxes: np.ndarray         # (N, 4) x, y, width, height, float64, inside the photograph
    parts: Any                # (N, 15, 3) x, y, and 1 where the part is visible, float64; or None
    sizes: np.ndarray         # (N, 2) width, height of the photographs, int64
    classes: list[str]        # the names that the labels stand for

    def of(self, chosen: Any) -> "Photographs":
        """Those at the indices, or where the mask is true, `chosen`."""
        files = [self.files[n] for n in np.arange(len(self.files))[chosen]]
        parts = None if self.parts is None else self.parts[chosen]
        return Photographs(files, self.labels[chosen], self.boxes[chosen], parts, self.sizes[chosen], self.classes)


def read(folder: Path) -> tuple[Photographs, Photographs]:
    """The photographs for training and for tests of a folder in this layout, none of them decoded yet.

    A table that is missing raises FileNotFoundError; one that is damaged, or does not agree with the others, and a box
    that lies outside its photograph, ValueError, always with the file's name.
    """
    names = named(folder / "images.txt")
    numbers = np.array(sorted(names))
    files = [below(folder / "images.txt", folder / "images", names[number]) for number in numbers]
    classes = named(folder / "classes.txt")
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise argument_error("cub", str(folder / "classes.txt"), f"classes from 1 to {len(classes)}", "others", AGAIN)
    labels = table(folder / "image_class_labels.txt", numbers, 1)[:, 0]
    allowed(folder / "image_class_labels.txt", numbers, labels, range(1, len(classes) + 1),
            f"one of the {len(classes)} of classes.txt")
    split = table(folder / "train_test_split.txt", numbers, 1)[:, 0]
    allowed(folder / "train_test_split.txt", numbers, split, (0, 1), "1 (training) or 0")

    sizes = np.array([pictures.size_of("cub", file) for file in files])
    boxes = inside(folder / "bounding_boxes.txt", table(folder / "bounding_boxes.txt", numbers, 4), sizes, files)
    places = folder / "parts" / "part_locs.txt", folder / "part_locs.txt"
    parts = next((located(place, numbers) for place in places if place.is_file()), None)
    every = Photographs(files, labels.astype(np.int64) - 1, boxes, parts, sizes,
                        [classes[number] for number in sorted(classes)])
    return every.of(split == 1), every.of(split == 0)


def named(path: Path) -> dict[int, str]:
    """What the lines of a table, number and name, say."""
    found: dict[int, str] = {}
    for i, line in enumerate(text(path).splitlines(), 1):
        number, _, name = line.partition(" ")
        if not number.isdecimal() or not name.strip() or int(number) in found:
            raise argument_error("cub", f"line {i} of {path}", "a new number and a name", repr(line[:60]), AGAIN)
        found[int(number)] = name.strip()
    if not found:
        raise argument_error("cub", str(path), "a table of at least one line", "an empty file", AGAIN)
    return found


def text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"cub: {path} should be a table of CUB-200-2011, received no such file; {AGAIN}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise argument_error("cub", str(path), "a table as text", f"other bytes ({error.reason})", AGAIN) from None


def below(table: Path, folder: Path, name: str) -> Path:
    """The file of this name, which must not lead out of the folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
        raise argument_error("cub", str(table), "names of files below images/", repr(name))
    return folder / name


def table(path: Path, numbers: np.ndarray, columns: int, lines: int = 1) -> np.ndarray:
    """The numbers of a table, (N, columns), in the order of the images' `numbers`; `lines` for each image."""
    given = text(path).splitlines()
    try:
        rows = np.loadtxt(given, ndmin=2) if given else np.empty((0, 0))
    except ValueError as error:
        raise argument_error("cub", str(path), f"lines of {columns + 1} numbers", f"others ({error})", AGAIN) from None
    if rows.shape != (len(numbers) * lines, columns + 1):
        shape = f"{len(numbers) * lines} lines of {columns + 1} numbers, {lines} for each image of images.txt"
        raise argument_error("cub", str(path), shape, f"{len(rows)} of {rows.shape[1]}", AGAIN)
    rows = rows[np.lexsort(rows.T[1::-1])]                 # by the image, then by what follows
    wanted = np.repeat(numbers, lines)
    strange = np.flatnonzero(rows[:, 0] != wanted)
    if len(strange):
        raise argument_error("cub", str(path), f"{lines} for each image, also for {wanted[strange[0]]}",
                             f"one for image {rows[strange[0], 0]:g}", AGAIN)
    return rows[:, 1:]


def allowed(path: Path, numbers: np.ndarray, values: np.ndarray, those: Any, called: str) -> None:
    strange = np.flatnonzero(~np.isin(values, those))
    if len(strange):
        raise argument_error("cub", f"{path}, image {numbers[strange[0]]},", called, f"{values[strange[0]]:g}", AGAIN)


def inside(path: Path, boxes: np.ndarray, sizes: np.ndarray, files: list[Path]) -> np.ndarray:
    """The boxes as far as they lie inside their photographs; one that lies outside is an error."""
    first, last = boxes[:, :2].clip(0), np.minimum(boxes[:, :2] + boxes[:, 2:], sizes)
    outside = np.flatnonzero(~((last > first) & (boxes[:, 2:] > 0)).all(axis=1))
    if len(outside):
        n = outside[0]
        raise argument_error("cub", f"the box of {files[n]} in {path}",
                             f"x, y, width, height inside {sizes[n, 0]} x {sizes[n, 1]} pixels",
                             ", ".join(f"{value:g}" for value in boxes[n]))
    return np.concatenate([first, last - first], axis=1)


def located(path: Path, numbers: np.ndarray) -> np.ndarray:
    """The places (N, 15, 3) of the parts."""
    rows = table(path, numbers, 4, len(NAMES)).reshape(-1, len(NAMES), 4)
    strange = np.flatnonzero((rows[:, :, 0] != np.arange(1, len(NAMES) + 1)).any(axis=1)
                             | ~np.isfinite(rows).all(axis=(1, 2)) | ~np.isin(rows[:, :, 3], (0, 1)).all(axis=1))
    if len(strange):
        raise argument_error("cub", f"{path}, image {numbers[strange[0]]},",
                             f"parts 1 to {len(NAMES)} with x, y and visible, 0 or 1", "others", AGAIN)
    return rows[:, :, 1:]


def unpacked(folder: Path) -> bool | None:
    """Whether the data set lies in its folder, at a glance: False for a part of it, None for nothing."""
    tables = [place / "images.txt" for place in (folder / ARCHIVE, folder) if (place / "images.txt").is_file()]
    if tables:
        return len(tables[0].read_bytes().splitlines()) == PHOTOGRAPHS
    return False if (folder / ARCHIVE).exists() else None


def check(folder: Path) -> None:
    """A ValueError unless all photographs of the data set lie in its folder."""
    place, known = folder / ARCHIVE if (folder / ARCHIVE).is_dir() else folder, 0
    if (place / "images.txt").is_file():
        known = sum((place / "images" / name).is_file() for name in named(place / "images.txt").values())
    if known != PHOTOGRAPHS:
        raise argument_error("cub", str(place), f"a folder with {PHOTOGRAPHS:,} photographs",
                             f"{known:,} of images.txt", "fetch them again with `nanostn data fetch cub`")


MIRRORS = ("https://data.caltech.edu/records/65de6-vp158/files/",)
SOURCE = Source(lambda data_dir: data_directory(data_dir) / "cub", MIRRORS,
                (RemoteFile(f"{ARCHIVE}.tgz", "md5:97eceeb196236b17998738112f37df78", unpacked, check, archive=True),))
