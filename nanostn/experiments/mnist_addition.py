"""MNIST addition, the paper's table 4: two digits, one in each channel, and a network that is told only their sum.

Each digit is turned, scaled and moved (RTS) by itself, so no one transformer can straighten both. Of two in parallel
each sees both channels and transforms both, and learns to follow the digit in one of them; a fully connected network
adds up what it finds in the four channels that come out. All networks have about as many parameters as the CNN.

    python -m nanostn.experiments.mnist_addition --model 2xst-fcn-affine
    python -m nanostn.experiments.mnist_addition --model st-fcn-affine

The paper, test error in %:       affine   projective    TPS
                      2xst-fcn       9.0          5.9    5.8
                        st-fcn      22.6         18.5   19.1
                           cnn      14.7
                           fcn      47.7

A sum says little about either digit: at first the loss hardly falls, and a transformer that followed it from the
first step would drift off. So by default the transformers wait for 500 steps and take 1,000 more to come up to their
learning rate, three tenths of the classifier's: at the same rate one of two projective ones ends with its horizon in
the image, where it sees nothing. And since training and test errors are the same throughout, steps are what is wanted:
150,000, as many as the paper's, but of 32 images, by Adam at 0.0015, which falls to zero along half a cosine.
The paper:  --batch-size 256 --optimiser sgd --momentum 0 --schedule steps --decay-every 50000 --steps 150000
            --freeze-localisation 0 --warm-up-localisation 0

The paper names no localisation network for this task. Here it is the convolutional one of A.4, of 18,000 parameters:
the fully connected one has 114,000 for two channels, and two of those would leave the classifier next to none.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanostn import datasets, drawing, models, report
from nanostn.datasets.addition import ADDITION, CLASSES
from nanostn.experiments.experiment import Experiment
from nanostn.experiments.options import Settings
from nanostn.nn import Module, SpatialTransformer
from nanostn.runs import Revived

TRANSFORMERS = {"2xst": 2, "st": 1}
MODELS = (*(f"{which}-fcn-{family}" for which in TRANSFORMERS for family in models.FAMILIES), "cnn", "fcn")
SAMPLED, SEEN = 42, 21  # with average pooling by 2 after the transformer, as in A.4
IMAGES = 6


@dataclass(frozen=True)
class Addition(Settings):
    distortion: str = "RTS"  # of each digit


class MnistAddition(Experiment[Addition]):
    models = MODELS
    defaults = Addition("mnist-addition", MODELS[0], batch_size=32, freeze_localisation=500, warm_up_localisation=1000)
    epochs = 80
    rates = {"adam": 0.0015, "sgd": 0.01}
    localisation_rates = {"adam": 0.3, "sgd": 0.1}

    def kind(self, settings: Addition) -> datasets.Kind:
        return ADDITION

    def build_model(self, settings: Addition) -> Module:
        shape = ADDITION.shape
        options = {"generator": np.random.default_rng([settings.seed, 1])}
        target = models.cnn_parameters(shape, CLASSES)
        if settings.model == "cnn":
            return models.cnn(shape, options, CLASSES)
        if settings.model == "fcn":
            return models.fcn(shape, target, options, CLASSES)
        which, _, family = settings.model.split("-")

        def transformer() -> SpatialTransformer:
            transformation = models.FAMILIES[family]()
            localisation = models.cnn_localisation(shape, transformation.parameters, options)
            return SpatialTransformer(localisation, transformation, (SAMPLED, SAMPLED))

        count = TRANSFORMERS[which]
        transformers = models.Parallel(*(transformer() for _ in range(count)))
        left = target - transformers.count_parameters()
        classifier = models.fcn((count * shape[0], SEEN, SEEN), left, options, CLASSES)
        return models.TransformedClassifier(transformers, classifier, SAMPLED // SEEN)

    def pictures(self, revived: Revived) -> list[report.Picture]:
        looks, found = report.look(revived.model, revived.images[:IMAGES])
        if not looks:
            return []
        titles = [f"sum {label}" if label == seen else f"sum {label}, taken for {seen}"
                  for label, seen in zip(revived.labels[:IMAGES], found, strict=True)]
        text = (f"The first {len(titles)} test images, the two channels side by side. Then for each transformer where "
                "it samples both, and what it makes of both; the dot is the corner that becomes the top left one.")
        return [report.Picture("What {model} looks at", text, "transformers.png", sheet(looks, titles))]


def sheet(looks: list[report.Look], titles: list[str]) -> Any:
    """A figure: two columns to an image, one to a channel; rows for the input, and for where each transformer looks."""
    rows = ["input"] + [f"{what} {number}" for number, _ in enumerate(looks, 1) for what in ("grid", "output")]
    figure = drawing.new_figure(1.9 * len(titles) + 0.75, len(rows) + 0.3)
    axes = figure.subplots(len(rows), 2 * len(titles), squeeze=False)
    for n, channel in itertools.product(range(len(titles)), (0, 1)):
        top, *cells = axes[:, 2 * n + channel]
        drawing.draw_image(top, looks[0].U[n, channel])
        for (_, transformer, U, _, grids, V), grid, output in zip(looks, cells[::2], cells[1::2], strict=True):
            drawing.draw_image(grid, U[n, channel], margin=0.2)
            drawing.draw_grid(grid, grids[n], U.shape[2:], transformer.align_corners)
            drawing.draw_image(output, V[n, channel].clip(0, 1))
    for cell, title in zip(axes[0, ::2], titles, strict=True):
        cell.set_title(title, fontsize=8, color=drawing.INK, loc="left", pad=4)
    for cell, row in zip(axes[:, 0], rows, strict=True):
        cell.set_ylabel(row, fontsize=8, color=drawing.QUIET)
    return figure


EXPERIMENT = MnistAddition(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
