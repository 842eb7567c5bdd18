"""Data sets: files or generators in, NumPy arrays out. They may warp with the sampler and import no layers."""

import os

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.kernels.compiling.caching import cache_directory

from .batches import epoch_batches, fixed_test_set, mixed, shuffled, steps
from .digits import digits
from .distortions import Kind, distort, kinds, size_of
from .fetch import SOURCES, available, fetch
from .locations import data_directory, named_directory
from .mnist import mnist

__all__ = ["Kind", "SOURCES", "available", "cache_directory", "data_directory", "digits", "distort", "epoch_batches",
           "fetch", "fixed_test_set", "kinds", "load", "mixed", "mnist", "named_directory", "names", "shuffled",
           "size_of", "steps"]

names = ("digits", "mnist")


def load(name: str, data_dir: str | os.PathLike | None = None) -> tuple[np.ndarray, ...]:
    """Training images and labels, test images and labels of "digits" or "mnist", uint8: 60,000 and 10,000."""
    if name == "digits":
        return digits(60000, seed=0) + digits(10000, seed=1)
    if name == "mnist":
        return mnist(data_dir)
    raise argument_error("load", "name", "one of " + ", ".join(names), describe(name))
