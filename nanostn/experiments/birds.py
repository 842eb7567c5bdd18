"""Birds, the paper's table 3: Inception on photographs, and two or four transformers that find parts of the bird.

    python -m nanostn.experiments.birds --model 2xst-cnn --size 448
    python -m nanostn.experiments.birds --model cnn --data cub-sample --size 112 --width 0.25

The paper, test accuracy in %:      224 px    448 px
                            cnn       82.3
                       2xst-cnn       83.1      83.9
                       4xst-cnn                 84.1

There every Inception begins with weights trained on ImageNet (--weights FILE), and its rates are for that: --batch-size
256 --optimiser sgd --schedule steps --decay-every 10000 --steps 30000. The third fall, after 25,000 steps, is left out.

test head 1, test body 1 ...: where part locations are at hand, the share (0 to 1) of test photographs on which the
first transformer's crop holds most of the head's parts that are to be seen, and of the body's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanostn import datasets, training, weights
from nanostn.console import momentum, positive, positive_number
from nanostn.datasets import cub
from nanostn.experiments import bird_parts
from nanostn.experiments.experiment import Data, Experiment
from nanostn.experiments.options import Settings, option
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.models import birds
from nanostn.models.inception import Inception
from nanostn.nn import Module

SEEN = 224         # pixels of a side that Inception was made for
CLASSES = {"cub": 200, "cub-sample": 44, "drawn-birds": 16}
EVALUATED = 50     # photographs at a time


@dataclass(frozen=True)
class BirdSettings(Settings):
    size: int = option("what", "side of the photographs in pixels", SEEN, positive, "N")
    seen: int | None = option("what", "side of what Inception sees, crops and shrunk photographs (default: "
                              f"{SEEN}, or the size where that is less)", None, positive, "N")
    width: float = option("what", "filters of Inception, as a part of the paper's", 1.0, positive_number, "X")
    weights: str | None = option("what", "weights that every Inception of a new run begins with: an HDF5 or "
                                 ".safetensors file with the names of `nanostn info --model inception`, for images in "
                                 "the order red, green, blue, from 0 to 1", None, str, "FILE")
    dropout: float = option("how", "rate of dropout before the last layer, 0 for none", 0.7, momentum, "X")


class Birds(Experiment[BirdSettings]):
    models = tuple(birds.MODELS)
    data = cub.names
    defaults = BirdSettings("birds", "2xst-cnn", batch_size=32, weight_decay=1e-5)
    epochs = 60
    rates = {"adam": 0.001, "sgd": 0.1}
    localisation_rates = {"adam": 0.1, "sgd": 1e-4}
    told_by = ("size",)

    def build_model(self, settings: BirdSettings) -> Module:
        return birds.build(settings.model, settings.size, settings.seen or min(settings.size, SEEN),
                           CLASSES[settings.data or self.data[0]], settings.width, settings.dropout, settings.seed)

    def initialise(self, model: Module, settings: BirdSettings, data_dir: str | None) -> None:
        """Every Inception, that of the localisation network too, begins with the same weights."""
        for _, part in model.named_modules():
            if settings.weights is not None and isinstance(part, Inception):
                weights.load(part, settings.weights)

    def load_data(self, settings: BirdSettings, data_dir: str | None = None) -> Data:
        """Photographs, for training and for tests, none of them decoded yet, and their labels."""
        train, test = (cub.Centres(photographs.of(datasets.mixed(len(photographs.labels), limit)), settings.size)
                       for photographs, limit in zip(cub.load(settings.data, data_dir),
                                                     (settings.limit, settings.test_limit), strict=True))
        return train, train.photographs.labels, test, test.photographs.labels

    def batches(self, settings: BirdSettings, data: Data, epoch: int, start: int, device: str) -> Iterator[Any]:
        """Random crops, mirrored at random."""
        photographs, labels = data[0].photographs, data[1]
        for chosen, rng in datasets.shuffled(len(labels), settings.batch_size, settings.seed, epoch, start):
            yield move(cub.batch(photographs, chosen, rng, settings.size), device), move(labels[chosen], device)

    def evaluate(self, model: Any, images: Any, labels: Any) -> Mapping[str, float]:
        """Loss and error, and what the transformers' crops hold."""
        with bird_parts.places(model) as found:
            outcome = training.evaluate(model, images, labels, batch_size=EVALUATED)
        thetas = [np.concatenate(batches) for batches in found]
        crops = [bird_parts.boxes(theta, model.transformers[0].size[0], images.side) for theta in thetas]
        return {**outcome, **bird_parts.held(images.parts(), crops)}

    pictures = staticmethod(bird_parts.pictures)


EXPERIMENT = Birds(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
