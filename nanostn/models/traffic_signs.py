"""Networks that tell traffic signs apart: a CNN, and the same behind one affine transformer or two in series.

    build("st-cnn", side=32, seed=0)         colour images (N, 3, 32, 32) to scores (N, 43)

A sign is cut out loosely, seen askew, by day and by night: the transformer straightens it and comes nearer, and what
follows sees each image with its own brightness and contrast taken out. The hidden dense layer of the classifier is so
wide that all three networks have the same number of parameters, but for less than a hundredth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nanostn.checks import argument_error
from nanostn.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    SpatialTransformer,
)
from nanostn.tensor import Tensor
from nanostn.transformations import Affine

MODELS = {"cnn": 0, "st-cnn": 1, "st-st-cnn": 2}  # and how many transformers each has
CLASSES = 43
HIDDEN = 256    # units of the CNN's dense layer
DROPOUT = 0.3


class Contrast(Module):
    """(x - mean) / deviation of each image, over its channels and pixels."""

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(axis=(1, 2, 3), keepdims=True)
        return x / ((x * x).mean(axis=(1, 2, 3), keepdims=True) + 1e-3) ** 0.5


def build(model: str, side: int = 32, filters: int = 16, seed: int = 0, dtype: Any = np.float32) -> Sequential:
    """A network for colour images (N, 3, side, side), to scores (N, 43).

    `model` is one of MODELS, `filters` are those of the first convolution; the others have twice and four times as
    many. The same seed gives the same initial weights.
    Raises ValueError for a model that does not exist and for a side that cannot be halved three times.
    """
    if model not in MODELS:
        raise argument_error("build", "model", f"one of {', '.join(MODELS)}", repr(model))
    if side < 8 or side % 8:
        raise argument_error("build", "side", "a multiple of 8", side)
    options = {"generator": np.random.default_rng([seed, 1]), "dtype": dtype}
    transformers = [SpatialTransformer(localisation(side, options), Affine(), (side, side), padding_mode="border")
                    for _ in range(MODELS[model])]
    inputs = 4 * filters * (side // 8) ** 2
    fewer = sum(transformer.count_parameters() for transformer in transformers) / (inputs + 1 + CLASSES)
    return Sequential(*transformers, *classifier(filters, inputs, max(1, HIDDEN - round(fewer)), seed, options))


def localisation(side: int, options: dict[str, Any]) -> Sequential:
    """The image at half its size, conv 8 5x5, max-pool 2, conv 16 5x5, max-pool 2, dense 32, and the regression."""
    return Sequential(Contrast(), AvgPool2d(2), Conv2d(3, 8, 5, padding=2, **options), ReLU(), MaxPool2d(2),
                      Conv2d(8, 16, 5, padding=2, **options), ReLU(), MaxPool2d(2),
                      Flatten(), Dense(16 * (side // 8) ** 2, 32, **options), ReLU(), Dense(32, 6, **options))


def classifier(filters: int, inputs: int, hidden: int, seed: int, options: dict[str, Any]) -> list[Module]:
    """Three convolutions, 5x5, 5x5 and 3x3, each with batch normalisation and max-pool 2; dense, dropout, dense 43."""
    modules: list[Module] = [Contrast()]
    for channels, more, window in ((3, filters, 5), (filters, 2 * filters, 5), (2 * filters, 4 * filters, 3)):
        modules += [Conv2d(channels, more, window, padding=window // 2, bias=False, **options),
                    BatchNorm2d(more, dtype=options["dtype"]), ReLU(), MaxPool2d(2)]
    return [*modules, Flatten(), Dense(inputs, hidden, **options), ReLU(),
            Dropout(DROPOUT, np.random.default_rng([seed, 2])), Dense(hidden, CLASSES, **options)]
