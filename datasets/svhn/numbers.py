"""What all sources of house numbers have in common: crops with their digits, the null class behind the last of them."""

from typing import Any, NamedTuple

import numpy as np

LONGEST = 5               # digits of a number; one of SVHN's has six and is left out, as others do
NONE = 10                 # the null class


class Numbers(NamedTuple):
    """Numbers to read: `images[chosen]` and `labels[chosen]` are those chosen, whatever is behind `images`."""

    images: Any           # (N, S, S, 3) uint8: an array, or `Images` of a store
    labels: np.ndarray    # (N, 5) int64, digits left to right, then NONE


def padded(digits: np.ndarray) -> np.ndarray:
    """The label (5,) of a number of at most five digits."""
    label = np.full(LONGEST, NONE)
    label[:len(digits)] = digits
    return label
