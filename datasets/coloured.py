"""Colour pictures as files have them, (N, H, W, 3) of bytes, and as networks take them, (N, 3, H, W), from 0 to 1.

A data set stays in bytes; a batch of it becomes floats when it is taken.
"""

from typing import Any

import numpy as np

from nanostn.sampler import spatial_transform
from nanostn.transformations import Similarity

TURN, SCALE, SHIFT = 0.15, 0.1, 0.1  # radians; of the size; of half a side


class Planes:
    """Pictures (N, H, W, 3) of bytes that stand for an array (N, 3, H, W) of floats from 0 to 1: a part of it is made
    when it is taken."""

    def __init__(self, pictures: Any):
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        return planes(self.pictures[chosen])


def planes(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, 3) of bytes as (N, 3, H, W), float32 from 0 to 1."""
    return np.multiply(pictures.transpose(0, 3, 1, 2), np.float32(1 / 255), dtype=np.float32, order="C")


def varied(x: np.ndarray, rng: np.random.Generator, by: float = 1.0) -> np.ndarray:
    """Images (N, C, H, W), each turned, scaled and moved a little at random, at most `by` times the amounts above; the
    border goes on where it is left."""
    turn, scale, shift = (by * each for each in (TURN, SCALE, SHIFT))
    N = len(x)
    theta = np.stack([1 + rng.uniform(-scale, scale, N), rng.uniform(-turn, turn, N),
                      *rng.uniform(-shift, shift, (2, N))], axis=1).astype(np.float32)
    return spatial_transform(x, theta, Similarity(), x.shape[2:], padding_mode="border").data
