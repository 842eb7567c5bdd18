"""Batches for training, distorted afresh each epoch, and the distorted test set that every run is measured on.

All randomness is a function of (seed, epoch, step) alone: a run can be continued at any step, to the same bits.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nanostn.checkpoints import load, remove_unfinished, save
from nanostn.checks import argument_error, describe, sizes
from nanostn.kernels.compiling.caching import cache_directory
from nanostn.kernels.gpu.arrays.prefetch import arrived, upload

from .distortions import DIGIT, Drawn, Kind, kind_of

# First words of the seeds: different purposes must never draw the same numbers.
ORDER, BATCH, TEST, MIXED = 1, 2, 3, 6
VERSION = 2               # of the distortions; raise it when they change, so that older caches are made anew
CHUNK = 1000              # test images distorted at a time


def epoch_batches(images: np.ndarray, labels: np.ndarray, batch_size: int, kind: str | Kind, seed: int, epoch: int,
                  start: int = 0, device: str = "cpu") -> Iterator[tuple[Any, Any]]:
    """The batches of one epoch from step `start` on: x (B, C, S, S) float32 from 0 to 1, y (B,) int64.

    Every image comes once, in an order of this epoch; the last batch may be smaller. `kind` is one of
    `distortions.kinds` or a `Kind`; the clutter of TC is cut from all of `images`. With `device="cuda"` the batches are
    on the GPU, and distorted there: digits as they are and what was drawn for them go over, one batch ahead.
    """
    N, *_ = sizes("epoch_batches", images=(images, f"N {DIGIT} {DIGIT}"), labels=(labels, "N"))
    for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("epoch", epoch, 0),
                               ("start", start, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise argument_error("epoch_batches", name, f"an integer, {least} or more", describe(value))
    drawn = _drawn(images, labels, batch_size, kind_of(kind), seed, epoch, start)
    return ((made.canvas(), y) for made, y in (_sent(drawn) if device == "cuda" else drawn))


def shuffled(count: int, batch_size: int, seed: int, epoch: int,
             start: int = 0) -> Iterator[tuple[np.ndarray, np.random.Generator]]:
    """The batches of one epoch over `count` images from step `start` on: the numbers of its images, and a generator of
    its own for what is random about them. Every image comes once, in an order of this epoch."""
    order = np.random.default_rng([ORDER, seed, epoch]).permutation(count)
    for step in range(start, steps(count, batch_size)):
        yield order[step * batch_size:(step + 1) * batch_size], np.random.default_rng([BATCH, seed, epoch, step])


def mixed(count: int, limit: int | None = None) -> np.ndarray:
    """The numbers of `count` images, or of `limit` of them, in an order drawn once for all runs: where a file has them
    class by class, the first few are of all classes."""
    return np.random.default_rng([MIXED, count]).permutation(count)[:limit]


def _drawn(images, labels, batch_size, kind, seed, epoch, start):
    for chosen, rng in shuffled(len(images), batch_size, seed, epoch, start):
        made, y = kind.draw(images, labels, chosen, rng)
        yield made, y.astype(np.int64)


def _sent(drawn: Iterator[tuple[Drawn, np.ndarray]]) -> Iterator[tuple[Drawn, Any]]:
    """The same on the GPU: while one batch is computed with, the next is on its way."""
    def send(batch: tuple[Drawn, np.ndarray]) -> tuple[Drawn, Any]:
        made, y = batch
        *arrays, labels = upload(*made.arrays, y)
        return replace(made, arrays=tuple(arrays)), labels

    try:
        sent = map(send, drawn)
        following = next(sent, None)
        while following is not None:
            arrived()
            batch, following = following, next(sent, None)
            yield batch
    finally:
        arrived()  # memory of a batch that nobody waits for must not be handed out while it is written


def steps(count: int, batch_size: int) -> int:
    """Batches in an epoch of `count` images."""
    return -(-count // batch_size)


def fixed_test_set(images: np.ndarray, labels: np.ndarray, kind: str | Kind, seed: int,
                   cache_dir: str | os.PathLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The test set, distorted once and for all: x (N, C, S, S) float32 from 0 to 1, y (N,) int64.

    It is kept as HDF5 in `cache_dir`, else in the user's cache directory, in 256 shades of grey like MNIST itself; the
    name of the file tells images, kind, seed and version. A damaged file is made anew, and where none can be written
    the set is made each time, and a line on stderr says so.
    """
    N, *_ = sizes("fixed_test_set", images=(images, f"N {DIGIT} {DIGIT}"), labels=(labels, "N"))
    kind = kind_of(kind)
    rng = np.random.default_rng([TEST, seed])
    drawn = [kind.draw(images, labels, np.arange(i, min(i + CHUNK, N)), rng) for i in range(0, max(N, 1), CHUNK)]
    data = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()[:16]
    folder = cache_directory() / "test-sets" if cache_dir is None else Path(cache_dir)
    path = folder / f"{kind.name}-seed{seed}-{data}-v{VERSION}.h5"
    x = kept(path, (N, *kind.shape))
    if x is None:
        x = np.concatenate([shades(made.canvas()) for made, _ in drawn])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
            save(path, {"images": x})
        except OSError as error:
            print(f"the distorted test set is made each time: {folder} cannot be written ({error.strerror})",
                  file=sys.stderr, flush=True)
    return x * np.float32(1 / 255), np.concatenate([y for _, y in drawn]).astype(np.int64)


def shades(x: np.ndarray) -> np.ndarray:
    return np.rint(x * np.float32(255)).astype(np.uint8)


def kept(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The images of this shape from a file, or None where there is none, or not what was written."""
    try:
        x = load(path)["images"]
        return x if x.shape == shape else None
    except Exception:  # whatever is wrong with it, the set can be made anew
        return None
