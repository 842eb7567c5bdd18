"""MNIST as it is, with the network of PyTorch's spatial transformer tutorial: what does it give where nothing is bent?

    python -m nanostn.experiments.plain_mnist                     0.74 % test error, in 9 minutes on one core
    python -m nanostn.experiments.plain_mnist --model cnn         1.13 %, its classifier alone, in 5

The tutorial gets 98.5 to 98.8 % test accuracy with batches of 64 and, for 20 epochs, plain SGD at 0.01:
--optimiser sgd --momentum 0 --localisation-rate 1 --schedule constant
Two things differ here. Images are from 0 to 1, as in every experiment, and not of mean 0 and deviation 1: so a
transformer that looks beyond the border sees black. And weights start within sqrt(6 / fan_in), not sqrt(1 / fan_in).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanostn import nn
from nanostn.datasets.distortions import DIGIT, Kind, shaded
from nanostn.experiments.experiment import Experiment
from nanostn.experiments.options import Settings
from nanostn.models import TransformedClassifier
from nanostn.transformations import Affine


@dataclass
class Plain:
    """Digits (N, 28, 28), to become images where they are, as a `Drawn` does."""

    arrays: tuple[Any, ...]

    def canvas(self) -> Any:
        return shaded(self.arrays[0])[:, None]


def chosen_digits(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray, rng: np.random.Generator) -> Any:
    return Plain((images[chosen],)), labels[chosen]


def build(model: str, seed: int = 0, dtype: Any = np.float32) -> nn.Module:
    """The tutorial's network for 28 x 28 pixels ("st-cnn-affine"), or its classifier alone ("cnn")."""
    generator = np.random.default_rng([seed, 1])
    options: dict[str, Any] = {"generator": generator, "dtype": dtype}
    classifier = nn.Sequential(                                                                 # (N, 1, 28, 28)
        nn.Conv2d(1, 10, 5, **options), nn.MaxPool2d(2), nn.ReLU(),                             # (N, 10, 12, 12)
        nn.Conv2d(10, 20, 5, **options), nn.Dropout2d(0.5, generator), nn.MaxPool2d(2), nn.ReLU(),  # (N, 20, 4, 4)
        nn.Flatten(), nn.Dense(320, 50, **options), nn.ReLU(), nn.Dropout(0.5, generator),
        nn.Dense(50, 10, **options))
    if model == "cnn":
        return classifier
    localisation = nn.Sequential(
        nn.Conv2d(1, 8, 7, **options), nn.MaxPool2d(2), nn.ReLU(),                              # (N, 8, 11, 11)
        nn.Conv2d(8, 10, 5, **options), nn.MaxPool2d(2), nn.ReLU(),                             # (N, 10, 3, 3)
        nn.Flatten(), nn.Dense(90, 32, **options), nn.ReLU(), nn.Dense(32, 6, **options))
    return TransformedClassifier(nn.SpatialTransformer(localisation, Affine(), (DIGIT, DIGIT)), classifier)


class PlainMnist(Experiment[Settings]):
    models = ("st-cnn-affine", "cnn")
    defaults = Settings("plain-mnist", "st-cnn-affine", batch_size=64)
    epochs = 20
    told_by = ()

    def build_model(self, settings: Settings) -> nn.Module:
        return build(settings.model, settings.seed)

    def kind(self, settings: Settings) -> Kind:
        return Kind("plain", (1, DIGIT, DIGIT), chosen_digits)


EXPERIMENT = PlainMnist(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
