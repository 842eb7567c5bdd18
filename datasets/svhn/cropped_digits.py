"""SVHN's digits cut out one by one (format 2): `train_32x32.mat`, `test_32x32.mat`, `extra_32x32.mat`, of MATLAB.

    X  uint8 (32, 32, 3, N)     rows, columns, colours, digits
    y  (N, 1)                   1 to 10, where 10 is the digit 0
"""

import os
from pathlib import Path

import numpy as np

from nanostn.checks import argument_error, describe

from ..locations import data_directory

SPLITS = ("train", "test", "extra")
AGAIN = "remove it and fetch it again with `nanostn data fetch svhn-digits`"


def cropped_digits(split: str, data_dir: str | os.PathLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and labels (N,) int64, 0 to 9, of "train" (73,257), "test" (26,032) or "extra".

    A missing file raises FileNotFoundError, a bad one ValueError, each with the file's name.
    """
    if split not in SPLITS:
        raise argument_error("cropped_digits", "split", "one of " + ", ".join(SPLITS), describe(split))
    return read(data_directory(data_dir) / "svhn" / f"{split}_32x32.mat")


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of one file."""
    from scipy.io import loadmat

    if not path.is_file():
        raise FileNotFoundError(f"svhn: {path} should be a file of cropped digits, received no such file; fetch it "
                                "with `nanostn data fetch svhn-digits`")
    try:
        contents = loadmat(path, variable_names=("X", "y"))
    except Exception as error:  # whatever a damaged file makes SciPy raise
        raise argument_error("svhn", str(path), "a MATLAB file, whole", f"one cut short or damaged ({error})",
                             AGAIN) from None
    X, y = (contents.get(name, np.empty(0)) for name in ("X", "y"))
    N = X.shape[-1]
    if X.shape != (32, 32, 3, N) or X.dtype != np.uint8 or y.shape != (N, 1) or y.dtype.kind not in "iuf":
        raise argument_error("svhn", str(path), "X (32, 32, 3, N) uint8 and y (N, 1)",
                             f"X {describe(X)} and y {describe(y)}", "is it a file of SVHN's format 2?")
    if not np.isin(y, np.arange(1, 11)).all():
        raise argument_error("svhn", str(path), "labels from 1 to 10", f"{y[~np.isin(y, np.arange(1, 11))][0]:g}")
    return np.ascontiguousarray(X.transpose(3, 0, 1, 2)), y.ravel().astype(np.int64) % 10
