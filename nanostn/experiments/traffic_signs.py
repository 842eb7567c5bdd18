"""German traffic signs, 43 classes: a CNN, and the same behind one affine transformer or two in series.

    python -m nanostn.experiments.traffic_signs --model st-cnn
    python -m nanostn.experiments.traffic_signs --model cnn

All of them see every training image turned by up to 0.15 radians, scaled and moved by up to a tenth, anew each time.

Published for the whole of GTSRB, 39,209 training images, in percent of its 12,630 test images that are wrong: 0.54 by a
committee of 25 CNNs (Ciresan et al. 2012), 0.39 by one network with spatial transformers. Its sample has a part of
both, which the report tells.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nanostn import datasets, drawing, report
from nanostn.console import positive
from nanostn.datasets import gtsrb
from nanostn.datasets.coloured import Planes, varied
from nanostn.experiments.experiment import Data, Experiment
from nanostn.experiments.options import Settings, option
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.models import traffic_signs
from nanostn.nn import Module
from nanostn.runs import Revived

PUBLISHED = {"one network with transformers": 0.39, "a committee of CNNs": 0.54}
TRAINING = {"gtsrb": 39209, "gtsrb-sample": 5227}  # images there are


@dataclass(frozen=True)
class Signs(Settings):
    size: int = option("what", "side of the images in pixels, a multiple of 8", 32, positive, "N")
    filters: int = option("what", "of the first convolution; the others have twice and four times as many", 16,
                          positive, "N")


class TrafficSigns(Experiment[Signs]):
    models = tuple(traffic_signs.MODELS)
    data = gtsrb.names
    defaults = Signs("traffic-signs", "st-cnn", batch_size=32)
    epochs = 40
    rates = {"adam": 0.002, "sgd": 0.02}
    localisation_rates = {"adam": 0.1, "sgd": 0.1}
    told_by = ("size",)

    def build_model(self, settings: Signs) -> Module:
        return traffic_signs.build(settings.model, settings.size, settings.filters, settings.seed)

    def load_data(self, settings: Signs, data_dir: str | None = None) -> Data:
        """Training images as bytes; test images that become floats when they are taken."""
        images, labels, test_images, test_labels = gtsrb.load(settings.data, data_dir, settings.size)
        some, few = datasets.mixed(len(images), settings.limit), datasets.mixed(len(test_images), settings.test_limit)
        return Planes(images[some]), labels[some], Planes(test_images[few]), test_labels[few]

    def batches(self, settings: Signs, data: Data, epoch: int, start: int, device: str) -> Iterator[Any]:
        images, labels, *_ = data
        for chosen, rng in datasets.shuffled(len(images), settings.batch_size, settings.seed, epoch, start):
            yield move(varied(images[chosen], rng), device), move(labels[chosen], device)

    def pictures(self, revived: Revived) -> list[report.Picture]:
        """What the transformers do, and the run beside what is published."""
        figure = report.draw_curves([revived])
        for (who, error), style in zip(PUBLISHED.items(), ("--", ":"), strict=True):
            figure.axes[0].axhline(error, color=drawing.QUIET, linewidth=1, linestyle=style, label=who)
        figure.axes[0].legend(fontsize=8, frameon=False)
        beside = report.Picture("{model} beside what is published", self.share(revived.settings), "published.png",
                                figure)
        return [*super().pictures(revived), beside]

    def share(self, settings: Signs) -> str:
        """What a run was trained on, in words."""
        whole, there = TRAINING["gtsrb"], TRAINING.get(settings.data)
        if there is None:
            return f"Trained on {settings.data}, none of which is of GTSRB's {whole:,} training images."
        used = min(there, settings.limit or there)
        return f"Trained on {used:,} of GTSRB's {whole:,} training images, {100 * used / whole:.1f} % of them."


EXPERIMENT = TrafficSigns(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
