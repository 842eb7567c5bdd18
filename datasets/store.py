"""A store of pictures on the disk: written once, read in any order, a batch at a time, without ever loading it all.

It is one HDF5 file: `images` uint8 (N, H, W, C), a chunk to a picture, `labels` int64 (N, L), a `checksum` (N,) of each
picture with its label, and how many of them are `written`. While it is built its name ends in `.part`, and it has its
place on the disk from the beginning: what is added then changes no structure, so that a process that is killed leaves a
file that the next one continues, after those that it had finished. Only a whole store gets its name.

A batch is read chunk by chunk: 128 pictures of 64 x 64 pixels take about 3 ms, of which a third are the checksums.
"""

import itertools
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nanostn.checks import argument_error, describe

VERSION = 1
PART = ".part"
BLOCK = 500               # pictures from one mark of progress to the next
WAIT = 1.0                # seconds, until another look at what another process builds
MARGIN = 1 << 26          # bytes that shall stay free on the disk

Rows = Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]


class Images:
    """The pictures of a store, uint8: `images[5]`, `images[2:7]` or `images[chosen]` reads these, in that order.

    It stands for an array (N, H, W, C) wherever that is read a batch at a time. One that is damaged on the disk raises
    ValueError with the file's name.
    """

    def __init__(self, path: Path, file: Any, labels: np.ndarray):
        self.path, self.dataset, self.labels = path, file["images"], labels
        self.checksum = file["checksum"][:]
        self.shape, self.dtype, self.ndim = self.dataset.shape, self.dataset.dtype, 4

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> np.ndarray:
        chosen = np.arange(len(self))[chosen]  # as NumPy understands it: slices, masks, from the end
        images = np.empty(chosen.shape + self.shape[1:], np.uint8)
        flat = images.reshape(-1, *self.shape[1:])
        for row, n in enumerate(chosen.ravel().tolist()):
            _, content = self.dataset.id.read_direct_chunk((n, 0, 0, 0))
            if len(content) != flat[row].size or _checksum(content, self.labels[n]) != self.checksum[n]:
                raise argument_error("store", str(self.path), "as it was written", f"picture {n} damaged",
                                     "remove the file, and it is built again")
            flat[row] = np.frombuffer(content, np.uint8).reshape(self.shape[1:])
        return images


def stored(path: Path, size: tuple[int, int, int], labels: int, made_from: str,
           source: Callable[[], tuple[int, Rows]]) -> tuple[Images, np.ndarray]:
    """The pictures (N, H, W, C) and labels (N, L) of the store `path`; where there is none it is built.

    `size` is (H, W, C), `labels` L. `source()` gives N and `rows`, where `rows(n)` yields the pictures and labels from
    number n on, each as an array that fits; if they end too early or go on too long, ValueError. `made_from` says in
    words what from and how: a store of this name that was made from something else, or is damaged, is built anew. An
    interrupted build continues, and that of another process is waited for.
    """
    path = Path(path)
    attributes = f"nanostn store {VERSION}; {made_from}"
    found = _opened(path, size, labels, attributes)
    if found is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    count, rows = source()
    built = waiting = False
    while (found := _opened(path, size, labels, attributes)) is None:
        if built:
            raise argument_error("store", str(path), "as it was written", "a damaged file", "is the disk in order?")
        try:
            _build(path, (count, *size), labels, attributes, rows)
            built = True
        except BlockingIOError:  # of HDF5: the file is locked
            if not waiting:
                print(f"waiting for the process that builds {path}", file=sys.stderr, flush=True)
            waiting = True
            time.sleep(WAIT)
    return found


def _opened(path: Path, size: tuple[int, ...], labels: int, made_from: str) -> tuple[Images, np.ndarray] | None:
    """What a whole store holds, or None where there is none, or another one, or a damaged one."""
    import h5py

    if not path.is_file():
        return None
    try:
        file = h5py.File(path, "r", rdcc_nbytes=0)  # no cache: a chunk is read once in an epoch
        count = len(file["labels"])
        if _written(file, (count, *size), labels, made_from) == count:
            numbers = file["labels"][:]
            return Images(path, file, numbers), numbers
        file.close()
    except (OSError, KeyError, RuntimeError, TypeError, ValueError):  # of h5py, on a damaged file
        pass
    return None


def _written(file: Any, shape: tuple[int, ...], labels: int, made_from: str) -> int:
    """How many pictures the file holds, or -1 where it is not of this kind."""
    expected = {"images": (shape, np.uint8), "labels": ((shape[0], labels), np.int64),
                "checksum": (shape[:1], np.uint32), "written": ((1,), np.int64)}
    try:
        same = file.attrs["made_from"] == made_from and all(
            (file[name].shape, file[name].dtype) == value for name, value in expected.items())
        return int(file["written"][0]) if same and file["images"].chunks == (1, *shape[1:]) else -1
    except (OSError, KeyError, RuntimeError, AttributeError, ValueError):  # of h5py, on a damaged file
        return -1


def _build(path: Path, shape: tuple[int, ...], labels: int, made_from: str, rows: Rows) -> None:
    part = path.with_name(path.name + PART)
    with _begun(part, shape, labels, made_from) as file:
        start = _written(file, shape, labels, made_from)
        source = rows(start)
        print(f"storing {shape[0]:,} pictures of {shape[2]} x {shape[1]} in {path}"
              + (f", from picture {start:,} on" if start else ""), file=sys.stderr, flush=True)
        for first in range(start, shape[0], BLOCK):
            block = list(itertools.islice(source, min(BLOCK, shape[0] - first)))
            last = first + len(block)
            _write(file, first, block)
            file.flush()
            _to_disk(part)
            file["written"][0] = last
            file.flush()
            if last < min(first + BLOCK, shape[0]):
                raise argument_error("store", str(path), f"made from {shape[0]:,} pictures", f"{last:,}", made_from)
        if next(source, None) is not None:
            raise argument_error("store", str(path), f"made from {shape[0]:,} pictures", "more", made_from)
    _to_disk(part)
    os.replace(part, path)


def _write(file: Any, first: int, block: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Pictures and labels in their places, from number `first` on."""
    images, (_, L), shape = file["images"].id, file["labels"].shape, file["images"].shape[1:]
    labels, checksums = np.empty((len(block), L), np.int64), np.empty(len(block), np.uint32)
    for n, (image, label) in enumerate(block):
        if image.shape != shape or image.dtype != np.uint8 or label.shape != (L,):
            raise argument_error("store", f"picture {first + n}", f"{shape} uint8 with a label {(L,)}",
                                 f"{describe(image)} with {describe(label)}")
        labels[n], content = label, image.tobytes()
        checksums[n] = _checksum(content, labels[n])
        images.write_direct_chunk((first + n, 0, 0, 0), content)
    file["labels"][first:first + len(block)] = labels
    file["checksum"][first:first + len(block)] = checksums


def _begun(part: Path, shape: tuple[int, ...], labels: int, made_from: str) -> Any:
    """The file that is being built, opened: as an earlier process left it, or new. Where another one has it open,
    BlockingIOError."""
    import h5py

    if part.is_file():
        try:
            file = h5py.File(part, "r+")
        except BlockingIOError:
            raise
        except OSError:  # not even begun
            file = None
        if file is not None:
            if 0 <= _written(file, shape, labels, made_from) <= shape[0]:
                return file
            file.close()
    needed, free = int(np.prod(shape)) + MARGIN, shutil.disk_usage(part.parent).free
    if needed > free:  # HDF5 may crash where a disk is full
        raise argument_error("store", str(part.parent), f"a folder on a disk with {needed:,} free bytes", f"{free:,}")
    file = h5py.File(part, "w")
    file.attrs["made_from"] = made_from
    for name, size, dtype, chunks in (("images", shape, np.uint8, (1, *shape[1:])),
                                      ("labels", (shape[0], labels), np.int64, None),
                                      ("checksum", shape[:1], np.uint32, None), ("written", (1,), np.int64, None)):
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER if name == "images" else h5py.h5d.FILL_TIME_ALLOC)
        if chunks:
            settings.set_chunk(chunks)
        h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), h5py.h5s.create_simple(size),
                        settings)
    file.flush()
    _to_disk(part)
    return file


def _to_disk(path: Path) -> None:
    """What was written before is on the disk before what is written after."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _checksum(content: bytes, label: np.ndarray) -> int:
    return zlib.crc32(label.tobytes(), zlib.crc32(content))
