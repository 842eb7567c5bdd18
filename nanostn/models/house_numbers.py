"""The networks that read house numbers (paper, section 4.2, appendix A.5), by the names of its table 2.

    build("st-cnn-multi", side=64, width=0.25)      colour images (N, 3, 64, 64) to scores (N, 5, 11)

The CNN has eleven hidden layers, eight convolutions and three dense ones, and behind them five softmaxes side by side,
one for each place of a number: ten digits, and the null class where the number has ended.

    cnn              no transformer
    st-cnn-single    one at the input, with a localisation network of four layers
    st-cnn-multi     one before each of the first four convolutions, so three of them on feature maps; each has a
                     localisation network of two dense layers

Dropout stands before every layer but the first two, as the paper has it: of what it tells, the outputs of all layers
but those of the first convolution and of the localisation networks. It stands behind a transformer, whose localisation
network sees all of the feature maps. The paper does not say which.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nanostn.checks import argument_error, checked_number
from nanostn.datasets.coloured import planes, varied
from nanostn.datasets.svhn import LONGEST, NONE
from nanostn.nn import Conv2d, Dense, Dropout, Flatten, MaxPool2d, Module, ReLU, Sequential, SpatialTransformer
from nanostn.tensor import Tensor
from nanostn.transformations import Affine

MODELS = {"cnn": 0, "st-cnn-single": 1, "st-cnn-multi": 4}  # and how many transformers each has
CLASSES = NONE + 1                                          # ten digits and the null class
# Filters of 5 x 5 with padding 2, and whether max-pooling by 2 follows.
CONVOLUTIONS = (48, True), (64, False), (128, True), (160, False), (192, True), (192, False), (192, True), (192, False)
POOLED = 16                                                 # a side is so many times shorter behind all of them
DENSE = 3072, 3072, 3072
WIDTHS = 0.01, 4.0
LOCALISATION = 32                                           # filters and units of the localisation networks


class Heads(Module):
    """Five softmaxes side by side: features (N, inputs) to scores (N, 5, 11)."""

    def __init__(self, inputs: int, **options: Any):
        self.scores = Dense(inputs, LONGEST * CLASSES, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x).reshape(len(x), LONGEST, CLASSES)


def build(model: str, side: int, width: float = 1.0, dropout: float = 0.5, seed: int = 0,
          dtype: Any = np.float32) -> Sequential:
    """A network for colour images (N, 3, side, side), to scores (N, 5, 11).

    `model` is one of MODELS. `width` multiplies filters and units, but for the units of the localisation networks,
    which are few; `dropout` is the rate, 0 for none. The same seed gives the same initial weights.
    Raises ValueError for a model that does not exist and for a side that cannot be halved four times.
    """
    if model not in MODELS:
        raise argument_error("build", "model", f"one of {', '.join(MODELS)}", repr(model))
    if side < POOLED or side % POOLED:
        raise argument_error("build", "side", f"a multiple of {POOLED}", side)
    checked_number("build", "width", width, *WIDTHS)
    options = {"generator": np.random.default_rng([seed, 1]), "dtype": dtype}
    dropped: list[Module] = [Dropout(dropout, np.random.default_rng([seed, 2]))] if dropout else []
    channels, modules = 3, list[Module]()
    for number, (filters, pooled) in enumerate(CONVOLUTIONS):
        if number < MODELS[model]:
            localise = cnn_localisation if model == "st-cnn-single" else dense_localisation
            modules.append(SpatialTransformer(localise(channels, side, width, options), Affine(), (side, side)))
        if number >= 2:
            modules += dropped
        modules += [Conv2d(channels, wide(filters, width), 5, padding=2, **options), ReLU()]
        channels = wide(filters, width)
        if pooled:
            modules.append(MaxPool2d(2))
            side //= 2
    modules.append(Flatten())
    inputs = channels * side * side
    for units in DENSE:
        modules += [*dropped, Dense(inputs, wide(units, width), **options), ReLU()]
        inputs = wide(units, width)
    return Sequential(*modules, *dropped, Heads(inputs, **options))


def wide(units: int, width: float) -> int:
    """So many filters or units in a network of this width, one at least."""
    return max(1, round(units * width))


def cnn_localisation(channels: int, side: int, width: float, options: dict[str, Any]) -> Sequential:
    """conv 32 5x5, max-pool 2, conv 32 5x5, dense 32, dense 32, and the regression of theta."""
    filters, left = wide(LOCALISATION, width), side // 2
    return Sequential(Conv2d(channels, filters, 5, padding=2, **options), ReLU(), MaxPool2d(2),
                      Conv2d(filters, filters, 5, padding=2, **options), ReLU(),
                      *dense_localisation(filters, left, width, options).modules)


def dense_localisation(channels: int, side: int, width: float, options: dict[str, Any]) -> Sequential:
    """dense 32, dense 32, and the regression of theta."""
    return Sequential(Flatten(), Dense(channels * side * side, LOCALISATION, **options), ReLU(),
                      Dense(LOCALISATION, LOCALISATION, **options), ReLU(), Dense(LOCALISATION, 6, **options))


# Images on their way in, and what comes out.

def prepared(images: np.ndarray, vary: float | None = None, rng: Any = None) -> np.ndarray:
    """Images (N, H, W, 3) uint8 as (N, 3, H, W) float32 in units of 255, less the mean of each; varied before."""
    x = varied(planes(images), rng, vary) if vary else planes(images)
    return x - x.mean(axis=(1, 2, 3), keepdims=True)


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Of numbers (N, 5), the percentage of which any place is wrong, and that of the digits that are wrong."""
    wrong = found != truth
    return 100 * float(wrong.any(axis=1).mean()), 100 * float(wrong[truth != NONE].mean())


def as_text(number: np.ndarray) -> str:
    """The digits of a number (5,); a place that has none, though a later one has, is a dash."""
    return "".join("-" if place == NONE else str(place) for place in number).rstrip("-")
