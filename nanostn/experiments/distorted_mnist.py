"""Distorted MNIST, the paper's table 1: which networks cope with digits that are turned, scaled, moved or bent.

    python -m nanostn.experiments.distorted_mnist --model st-cnn-affine --distortion RTS
    python -m nanostn.experiments.distorted_mnist --model cnn --distortion RTS

The paper: 0.5 % test error for the first, 0.8 % for the second, after 150,000 steps of SGD at 0.01, falling to a tenth
every 50,000:  --optimiser sgd --momentum 0 --schedule steps --decay-every 50000 --steps 150000
The defaults get far in ten epochs: Adam at 0.001, which falls to zero along half a cosine.

Beside the table's networks stand three with a transformer elsewhere (section 3.4): two in series, one on feature maps,
one whose theta the classifier sees. Their control is st-cnn-affine, with as many parameters.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from nanostn import datasets
from nanostn.console import positive
from nanostn.experiments.experiment import Experiment
from nanostn.experiments.options import Settings, option
from nanostn.models import MODELS, VARIANTS, build
from nanostn.nn import Module

MOST_FILTERS = 4096  # several GB of weights


def _filters(text: str) -> int:
    if positive(text) > MOST_FILTERS:
        raise argparse.ArgumentTypeError(f"should be at most {MOST_FILTERS}, received {text!r}")
    return int(text)


@dataclass(frozen=True)
class Distorted(Settings):
    distortion: str = option("what", "R rotated, RTS rotated, scaled and translated, P projective, P5 more so, E "
                             "elastic, T translated, TC translated among clutter", "RTS", choices=datasets.kinds)
    filters: int = option("what", "of each convolution of the CNN; the paper has 32 to 64", 64, _filters, "N")


class DistortedMnist(Experiment[Distorted]):
    models = MODELS + VARIANTS
    defaults = Distorted("distorted-mnist", "st-cnn-affine")

    def build_model(self, settings: Distorted) -> Module:
        return build(settings.model, datasets.size_of(settings.distortion), settings.seed, settings.filters)

    def kind(self, settings: Distorted) -> str:
        return settings.distortion


EXPERIMENT = DistortedMnist(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
