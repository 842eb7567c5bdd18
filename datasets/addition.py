"""MNIST addition (paper, A.1): two digits, each distorted by itself in its own channel; the target is their sum."""

from dataclasses import replace

import numpy as np

from .distortions import Drawn, Kind, draw, size_of

CLASSES = 19  # sums from 0 to 18


def draw_pairs(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray,
               rng: np.random.Generator) -> tuple[Drawn, np.ndarray]:
    """Each `chosen` digit (N,) with another, drawn by lot among all of `images`; both RTS: (N, 2, 42, 42), (N,)."""
    pairs = np.stack([chosen, rng.integers(len(images), size=len(chosen))], axis=1)
    return replace(draw(images[pairs.ravel()], "RTS", rng), channels=2), labels[pairs].sum(axis=1)


ADDITION = Kind("addition", (2, size_of("RTS"), size_of("RTS")), draw_pairs)
