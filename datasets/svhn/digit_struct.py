"""SVHN's annotations of whole pictures (format 1): `digitStruct.mat`, MATLAB 7.3, which is HDF5 behind 512 bytes.

    digitStruct/name  (n, 1) references    to the name of a picture, (k, 1) uint16: its letters
    digitStruct/bbox  (n, 1) references    to a group: its digits, each field of them
                label  left  top  width  height     (d, 1) references to a number (1, 1); of one digit the number itself

A label of 10 is the digit 0. Boxes are in pixels of the picture, from 0; a few reach out of it by some pixels. The file
is read as it might have been written by anybody: a reference may lead nowhere, a field may be missing.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanostn.checks import argument_error

FIELDS = ("height", "label", "left", "top", "width")
MOST = 255                # letters of a file's name, and digits of a picture


class Annotation(NamedTuple):
    name: str             # of the picture's file
    digits: np.ndarray    # (d,) int64, 0 to 9, left to right as in the file
    boxes: np.ndarray     # (d, 4) float64: left, top, width, height


def read(path: Path) -> list[Annotation]:
    """The annotations of all pictures, in the file's order.

    FileNotFoundError where there is no such file, ValueError with its name where it is damaged, where a field is
    missing or one too many, or where something is not what it should be.
    """
    return list(_entries(path))


def write(path: Path, annotations: Sequence[Annotation]) -> None:
    """Write annotations as SVHN's authors did, MATLAB's 512 bytes included."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        held, table = file.create_group("#refs#"), np.empty((2, len(annotations), 1), h5py.ref_dtype)
        number = itertools.count()

        def put(values: np.ndarray) -> Any:
            return held.create_dataset(f"{next(number):x}", data=values).ref

        for n, (name, digits, boxes) in enumerate(annotations):
            table[0, n, 0] = put(np.array([[ord(letter)] for letter in name], np.uint16))
            group = held.create_group(f"{next(number):x}")
            table[1, n, 0] = group.ref
            left, top, width, height = np.array(boxes, float).T
            for field, values in zip(FIELDS, (height, np.where(digits == 0, 10.0, digits), left, top, width),
                                     strict=True):
                group[field] = values.reshape(1, 1) if len(values) == 1 else np.array(
                    [[put(value.reshape(1, 1))] for value in values], h5py.ref_dtype)
        for name, references in zip(("name", "bbox"), table, strict=True):
            file.create_dataset(f"digitStruct/{name}", data=references, dtype=h5py.ref_dtype)
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: none, Created by: nanostn HDF5 schema 1.00 .".ljust(124)
                  + bytes(8) + b"\x00\x02IM")


def count(path: Path) -> int:
    """How many pictures the file speaks of, without reading on."""
    with _opened(path) as file:
        return len(_references(path, file, "name"))


def _opened(path: Path) -> Any:
    import h5py

    if not path.is_file():
        raise FileNotFoundError(f"svhn: {path} should be the annotations of SVHN's pictures, received no such file; "
                                "fetch them with `nanostn data fetch svhn`")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise argument_error("svhn", str(path), "a MATLAB 7.3 file, whole", f"one cut short or damaged ({error})",
                             "remove its folder and fetch it again with `nanostn data fetch svhn`") from None


def _references(path: Path, file: Any, name: str) -> np.ndarray:
    import h5py

    place = f"digitStruct/{name}"
    try:
        found = file[place]
        # one whose contents are not in the file could be of any size
        if (isinstance(found, h5py.Dataset) and found.dtype == h5py.ref_dtype and found.shape[1:] == (1,)
                and not found.external and found.id.get_storage_size() == found.size * found.dtype.itemsize):
            return found[:, 0]
    except (OSError, KeyError, RuntimeError, TypeError, ValueError):  # of h5py
        pass
    raise argument_error("svhn", str(path), f"annotations with references {place} (n, 1)", "none such",
                         "is it a digitStruct.mat of SVHN?")


def _entries(path: Path) -> Iterator[Annotation]:
    with _opened(path) as file:
        names, boxes = _references(path, file, "name"), _references(path, file, "bbox")
        if len(names) != len(boxes):
            raise argument_error("svhn", str(path), "annotations with as many boxes as names",
                                 f"{len(boxes)} and {len(names)}")
        known = set()
        for n, (name, box) in enumerate(zip(names, boxes, strict=True), 1):
            try:
                entry = Annotation(_name(file, name), *_digits(file, box))
                if entry.name in known:
                    raise _Strange(f"the name {entry.name!r} again")
            except _Strange as error:
                raise argument_error("svhn", str(path), f"annotations with a name and {', '.join(FIELDS)} of the digits"
                                     f" of picture {n}", str(error)) from None
            except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # of h5py
                raise argument_error("svhn", str(path), f"annotations whose entry {n} can be read",
                                     f"a damaged one ({error})") from None
            known.add(entry.name)
            yield entry


class _Strange(Exception):
    """What SVHN's own files do not hold."""


def _name(file: Any, reference: Any) -> str:
    letters = _values(_object(file, reference), "name", MOST)
    name = "".join(map(chr, letters.astype(int))) if letters.dtype.kind in "iu" and (letters >= 0).all() else ""
    if name in ("", ".", "..") or not name.isprintable() or set(name) & set("/\\:"):
        raise _Strange(f"the name {name!r}, which is no file's")
    return name


def _digits(file: Any, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    from h5py import h5g, h5o

    group = _object(file, reference)
    if not isinstance(group, h5g.GroupID):
        raise _Strange("no group of boxes")
    if (fields := sorted(name.decode(errors="replace") for name in group)) != sorted(FIELDS):
        raise _Strange(f"the fields {', '.join(fields) or 'none'}"[:200])
    columns = {name: _column(file, h5o.open(group, name.encode()), name) for name in FIELDS}
    if len(sizes := {len(column) for column in columns.values()}) > 1:
        raise _Strange("fields of " + " and ".join(map(str, sorted(sizes))) + " digits")
    labels = columns["label"]
    if not np.isin(labels, np.arange(1, 11)).all():
        raise _Strange(f"the label {labels[~np.isin(labels, np.arange(1, 11))][0]:g}, not 1 to 10")
    boxes = np.stack([columns[name] for name in ("left", "top", "width", "height")], axis=1)
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise _Strange("a box of no size")
    return labels.astype(np.int64) % 10, boxes


def _column(file: Any, held: Any, name: str) -> np.ndarray:
    """A field of all digits of a picture, float64 (d,)."""
    import h5py

    numbers = _values(held, name, MOST)
    if numbers.dtype == h5py.ref_dtype:
        numbers = np.concatenate([_values(_object(file, reference), name, 1) for reference in numbers])
    if numbers.dtype.kind not in "fiu":
        raise _Strange(f"{name} of {numbers.dtype}, which are no numbers")
    return numbers.astype(np.float64)


def _object(file: Any, reference: Any) -> Any:
    """What a reference leads to. h5py's lower half: there are half a million of them, and the upper one is slow."""
    from h5py import h5r

    if not reference:
        raise _Strange("a reference to nothing")
    return h5r.dereference(reference, file.id)


def _values(held: Any, name: str, most: int) -> np.ndarray:
    """All the values of an array, at most so many, (k,)."""
    from h5py import h5d, h5s

    if not isinstance(held, h5d.DatasetID) or not 0 < math.prod(held.shape) <= most or held.dtype.itemsize > 8:
        raise _Strange(f"{name}, which is no array of 1 to {most} values")
    values = np.empty(held.shape, held.dtype)
    held.read(h5s.ALL, h5s.ALL, values)
    return values.ravel()
