"""Street View House Numbers, the paper's section 4.2: numbers of one to five digits, each read as a whole.

    python -m nanostn.experiments.svhn --model st-cnn-multi           four transformers in series, three on feature maps
    python -m nanostn.experiments.svhn --model cnn --size 128 --width 0.25

The images are tight crops of 64 x 64 pixels, or loose ones of 128 x 128, where a number takes a small part of the
area. Five softmaxes tell the digits from left to right and where the number has ended; the loss is the sum of their
cross-entropies. The mean of an image is subtracted from it, and nothing else is done to it (Goodfellow et al. 2013).

test error: the percentage of numbers of which a digit or the length is wrong; test digit error: that of digits; test
assembled error: of numbers put together from genuine digits, of which svhn-sample has more than of genuine ones.

The paper, test error in %:       64    128
                     cnn         4.0    5.6
           st-cnn-single         3.7    3.9
            st-cnn-multi         3.6    3.9

It trains on 235,754 numbers:  --data svhn-extra --batch-size 128 --optimiser sgd --momentum 0 --schedule steps
                               --decay-every 80000 --steps 400000 --weight-decay 0.0005 --dropout 0.5
and holds 5,000 of them out to choose these settings by, which nothing here does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanostn import datasets, no_grad
from nanostn.console import momentum as below_one
from nanostn.console import number_or_zero, positive_number
from nanostn.datasets import svhn
from nanostn.datasets.svhn import LONGEST, TIGHT
from nanostn.experiments import house_number_pictures
from nanostn.experiments.experiment import Data, Experiment
from nanostn.experiments.options import Settings, option
from nanostn.functional import cross_entropy
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.models import house_numbers
from nanostn.models.house_numbers import CLASSES, errors, prepared
from nanostn.nn import Module
from nanostn.tensor import Tensor

BATCH = 250  # of an evaluation


@dataclass(frozen=True)
class HouseNumbers(Settings):
    size: int = option("what", "pixels of a side: 64 tight around the number, 128 loose", 64, int, choices=(64, 128))
    width: float = option("what", "filters and units, as a part of the paper's", 1.0, positive_number, "X")
    dropout: float = option("how", "rate of dropout, 0 for none", 0.5, below_one, "X")
    vary: float | None = option("how", "turn, scale and move every training image at random, anew each time: 1 for up "
                                "to 0.15 radians, a tenth of its size and a twentieth of its side; {off}", None,
                                number_or_zero, "X")


class Svhn(Experiment[HouseNumbers]):
    models = tuple(house_numbers.MODELS)
    data = svhn.names
    defaults = HouseNumbers("svhn", "st-cnn-multi", batch_size=32)
    epochs = 20
    told_by = ("size", "width")

    def build_model(self, settings: HouseNumbers) -> Module:
        return house_numbers.build(settings.model, settings.size, settings.width, settings.dropout, settings.seed)

    def load_data(self, settings: HouseNumbers, data_dir: str | None = None) -> Data:
        """Images (N, S, S, 3) uint8, perhaps on disk and more than there are labels: those are cut to --limit.

        Labels (N, 5); of a test set with assembled numbers (N, 6), the last 1 for these, and 0 for the genuine ones.
        """
        train, test = svhn.load(settings.data, data_dir, settings.size)
        images, labels = test.images, test.labels[:settings.test_limit]
        if settings.data == "svhn-sample" and settings.size == TIGHT:
            more, its_labels = (each[:settings.test_limit] for each in svhn.load_assembled(data_dir))
            images = np.concatenate([images[:len(labels)], more])
            labels = np.concatenate([np.pad(y, ((0, 0), (0, 1)), constant_values=assembled)
                                     for assembled, y in enumerate((labels, its_labels))])
        return train.images, train.labels[:settings.limit], images, labels

    def batches(self, settings: HouseNumbers, data: Data, epoch: int, start: int, device: str) -> Iterator[Any]:
        images, labels = data[:2]
        for chosen, rng in datasets.shuffled(len(labels), settings.batch_size, settings.seed, epoch, start):
            yield move(prepared(images[chosen], settings.vary, rng), device), move(labels[chosen], device)

    def loss(self, model: Module, x: Any, y: Any) -> tuple[Tensor, Any]:
        """The sum over the five places of the mean cross-entropy; numbers of which any place is wrong."""
        scores = model(Tensor(x))
        loss = LONGEST * cross_entropy(scores.reshape(len(x) * LONGEST, CLASSES), y.reshape(len(x) * LONGEST))
        return loss, np.count_nonzero(np.count_nonzero(scores.data.argmax(axis=2) != y, axis=1))

    def evaluate(self, model: Module, images: Any, labels: Any) -> Mapping[str, float]:
        found, losses = [], []
        model.eval()
        with no_grad():
            for start in range(0, len(labels), BATCH):
                y = labels[start:start + BATCH, :LONGEST]
                scores = model(Tensor(move(prepared(images[start:start + len(y)]), model.device))).numpy()
                losses.append(cross_entropy(scores.reshape(-1, CLASSES), y.reshape(-1), reduction="none").numpy())
                found.append(scores.argmax(axis=2))
        model.train()
        truth, genuine = labels[:, :LONGEST], ~labels[:, LONGEST:].any(axis=1)
        read, loss = np.concatenate(found), LONGEST * np.concatenate(losses).reshape(-1, LONGEST)[genuine].mean()
        error, digit_error = errors(read[genuine], truth[genuine])
        outcome = {"test_loss": float(loss), "test_error": error, "test_digit_error": digit_error}
        if not genuine.all():
            outcome["test_assembled_error"], _ = errors(read[~genuine], truth[~genuine])
        return outcome

    pictures = staticmethod(house_number_pictures.pictures)


EXPERIMENT = Svhn(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
