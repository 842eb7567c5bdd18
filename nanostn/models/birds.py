"""The networks that tell birds apart (paper, section 4.3, appendix A.6), by the names of its table 3.

    build("2xst-cnn", size=448, seen=224, classes=200)        photographs (N, 3, 448, 448) to scores (N, 200)

    cnn         Inception with batch normalisation, on the photograph shrunk to `seen` pixels
    2xst-cnn    two crops of half the photograph's side, each described by an Inception of its own
    4xst-cnn    four

Where to crop is told by one localisation network, which sees the photograph as the CNN does: Inception without its last
pooling, conv 1x1 128, dense 128, and two numbers for each transformer, its place; the scale is fixed. In the beginning
the crops tile the photograph. Two of half its side cannot cover it: they lie one above the other, since photographs are
mirrored at random, and left and right would be the same to both. The descriptors, side by side, pass dropout, and one
softmax tells the class.

What the paper does not tell: that ReLU follows the two layers of 128.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nanostn.checks import argument_error
from nanostn.functional import concatenate
from nanostn.models.inception import SMALLEST, Inception
from nanostn.nn import AvgPool2d, Conv2d, Dense, Dropout, Flatten, Module, ReLU, Sequential, SpatialTransformer
from nanostn.tensor import Tensor
from nanostn.transformations import Translation

SCALE = 0.5
# Of each network the middles of its crops, (x, y), in the beginning.
MODELS: dict[str, tuple[tuple[float, float], ...]] = {
    "cnn": (),
    "2xst-cnn": ((0, -0.5), (0, 0.5)),
    "4xst-cnn": ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)),
}
UNITS = 128  # of the localisation network's last layers


class PartClassifier(Module):
    """Crops of an image, chosen from the features that a localisation network sees in it, a descriptor of each, and
    the scores of all of them together."""

    def __init__(self, localisation_trunk: Module, transformers: list[SpatialTransformer], describe: list[Inception],
                 scores: Module):
        self.localisation_trunk, self.transformers = localisation_trunk, transformers
        self.describe, self.scores = describe, scores

    def forward(self, x: Tensor) -> Tensor:
        seen = self.localisation_trunk(x)
        crops = [transformer.transform(x, transformer.theta(seen)) for transformer in self.transformers]
        return self.scores(concatenate([describe(crop) for describe, crop in zip(self.describe, crops, strict=True)],
                                       axis=1))


def build(model: str, size: int = 224, seen: int = 224, classes: int = 200, width: float = 1.0, dropout: float = 0.7,
          seed: int = 0, dtype: Any = np.float32) -> Module:
    """A network for photographs (N, 3, size, size), to scores (N, classes).

    `model` is one of MODELS; every Inception sees `seen` x `seen` pixels, 64 or more, and has `width` times its
    filters; `dropout` is the rate. The same seed gives the same initial weights.
    Raises ValueError for a model that does not exist, and a size that is no multiple of `seen`.
    """
    if model not in MODELS:
        raise argument_error("build", "model", f"one of {', '.join(MODELS)}", repr(model))
    if seen < SMALLEST or size % seen:
        raise argument_error("build", "size", f"a multiple of the {seen} pixels that Inception sees, and these "
                             f"{SMALLEST} or more", size)
    options: dict[str, Any] = {"generator": np.random.default_rng([seed, 1]), "dtype": dtype}
    shrink = [AvgPool2d(size // seen)] if size > seen else []
    describe = [Inception(width, **options) for _ in MODELS[model] or "1"]
    scores = [Dropout(dropout, np.random.default_rng([seed, 2])),
              Dense(sum(stream.filters for stream in describe), classes, **options)]
    if model == "cnn":
        return Sequential(*shrink, *describe, *scores)
    trunk = Inception(width, pooled=False, **options)
    localisation = Sequential(*shrink, trunk, Conv2d(trunk.filters, UNITS, 1, **options), ReLU(), Flatten(),
                              Dense(UNITS * (-(-seen // 32)) ** 2, UNITS, **options), ReLU())
    return PartClassifier(localisation, [transformer(middle, seen, options) for middle in MODELS[model]], describe,
                          Sequential(*scores))


def transformer(middle: tuple[float, float], seen: int, options: dict[str, Any]) -> SpatialTransformer:
    """Half an image's side around a place that follows from the features (N, 128), in the beginning `middle`."""
    last: Any = Dense(UNITS, 2, **options)
    found = SpatialTransformer(last, Translation(SCALE), (seen, seen))
    last.bias.data[...] = middle
    return found
