"""Co-localisation (paper, A.2, table 5): find what a hundred images have in common, told neither what it is nor where.

    python -m nanostn.experiments.co_localisation --digit 8 --distortion TC      T: without clutter

A spatial transformer with attention crops a digit's surroundings from each image of 84 x 84. The loss, over all pairs
of a batch, wants its crop I^T nearer to another image's crop than to a random patch of its own image:

    max(0, |e(I_n^T) - e(I_m^T)|^2 - |e(I_n^T) - e(I_n^rand)|^2 + alpha),    alpha = 1

e() is the CNN of distorted-mnist, trained to tell digits apart (`encoder.py`: a run of its own, made when it is first
wanted). What the paper does not tell is chosen so that a search which begins at the whole image gets anywhere: random
patches so small that most miss the object, weights of e()'s layers, a limit to the gradient's norm.

test error: the percentage of the same images whose crop overlaps the digit's 28 x 28 pixels by at most a half
(intersection over union); test iou: the mean overlap. The paper: no errors on T, 6 to 25 % on TC, by digit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanostn import no_grad
from nanostn.checks import argument_error
from nanostn.datasets import load
from nanostn.datasets.colocalisation import attention_boxes, located_digits, overlaps
from nanostn.experiments import encoder, localisation_pictures
from nanostn.experiments.experiment import Data, Experiment
from nanostn.experiments.options import option
from nanostn.functional import relu
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.nn import Conv2d, Dense, Flatten, MaxPool2d, Module, ReLU, Sequential, SpatialTransformer
from nanostn.tensor import Tensor
from nanostn.transformations import Attention

PAIRS = 5              # first word of the seed, beside those of `datasets`
MARGIN = 1.0           # alpha
PATCHES = 0.02, 0.1    # sides of the random patches, as parts of the image's
STEPS = 20             # between two evaluations, which is an epoch here


@dataclass(frozen=True)
class Localised(encoder.EncoderSettings):
    distortion: str = option("what", "T translated, TC translated among clutter", "T", choices=("T", "TC"))
    digit: int = option("what", "what the images have in common, 0 to 9", 8, int, "CLASS", choices=range(10))


class CoLocalisation(Experiment[Localised]):
    models = ("st-attention",)
    defaults = Localised("co-localisation", "st-attention", optimiser="sgd", batch_size=32, clip_gradient=1.0)
    epochs = 50
    rates = {"adam": 0.001, "sgd": 0.3}
    localisation_rates = {"adam": 1.0, "sgd": 1.0}
    momentum = 0.0
    told_by = ("distortion", "digit")

    def build_model(self, settings: Localised) -> Module:
        """The localiser of the paper; it tells of 100,000 parameters, but the layers that it names have 5,947."""
        options: dict[str, Any] = {"generator": np.random.default_rng([settings.seed, 1])}
        localisation = Sequential(                                                      # (N, 1, 84, 84)
            Conv2d(1, 8, 9, stride=4, **options), ReLU(), MaxPool2d(2),                 # (N, 8, 9, 9)
            Flatten(), Dense(648, 8, **options), ReLU(), Dense(8, 8, **options), ReLU(), Dense(8, 3, **options))
        transformer = SpatialTransformer(localisation, Attention(), (encoder.CROP, encoder.CROP))
        return encoder.Encoded(transformer, encoder.Encoder(settings.filters))

    def initialise(self, model: Any, settings: Localised, data_dir: str | None) -> None:
        trained: Any = encoder.run_of(settings, data_dir, model.device).load_state()
        model.encode.cnn.load_state(trained["model"])

    def load_data(self, settings: Localised, data_dir: str | None = None) -> Data:
        """The images (100, 1, 84, 84) and their boxes (100, 4), to train on and to be tested on: the same."""
        if settings.batch_size < 2:
            raise argument_error("train", "--batch-size", "2 or more, to make pairs", settings.batch_size)
        images, labels, *_ = (each[:settings.limit] for each in load(settings.data, data_dir))
        x, boxes = located_digits(images, labels, settings.digit, settings.distortion, settings.seed)
        return x, boxes, x, boxes

    def steps_per_epoch(self, settings: Localised, data: Data) -> int:
        return STEPS

    def batches(self, settings: Localised, data: Data, epoch: int, start: int, device: str) -> Iterator[Any]:
        """Images, and a random patch of each as attention (s, t_x, t_y)."""
        for step in range(start, STEPS):
            rng = np.random.default_rng([PAIRS, settings.seed, epoch, step])
            x = data[0][rng.permutation(len(data[0]))[:settings.batch_size]]
            s = rng.uniform(*PATCHES, (len(x), 1))
            patches = np.concatenate([s, rng.uniform(s - 1, 1 - s, (len(x), 2))], axis=1).astype(np.float32)
            yield move(x, device), move(patches, device)

    def loss(self, model: Any, x: Any, patches: Any) -> tuple[Tensor, None]:
        """The mean over all pairs n and m != n of a batch, |e_n - e_m|^2 as |e_n|^2 + |e_m|^2 - 2 e_n e_m."""
        found = model(Tensor(x))                                                            # (N, features)
        random = model.encode(model.transformer.transform(Tensor(x), Tensor(patches)))
        squares = (found ** 2).sum(axis=1, keepdims=True)                                   # (N, 1)
        between = squares + squares.transpose(1, 0) - 2 * (found @ found.transpose(1, 0))   # (N, N)
        beyond = ((found - random) ** 2).sum(axis=1, keepdims=True)
        others = move(1 - np.eye(len(x), dtype=np.float32), model.device)
        return (relu(between - beyond + MARGIN) * others).sum() / (len(x) * (len(x) - 1)), None

    def evaluate(self, model: Any, images: Any, labels: Any) -> Mapping[str, float]:
        overlap = overlaps(self.boxes(model, images), labels)
        return {"test_error": 100 * float((overlap <= 0.5).mean()), "test_iou": float(overlap.mean())}

    def boxes(self, model: Any, images: Any) -> np.ndarray:
        """Where the model sees the object, (N, 4) in pixels."""
        with no_grad():
            return attention_boxes(model.transformer.theta(Tensor(images).to(model.device)).numpy(), encoder.CROP)

    pictures = staticmethod(localisation_pictures.pictures)


EXPERIMENT = CoLocalisation(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
