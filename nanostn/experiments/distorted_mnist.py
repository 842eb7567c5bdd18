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
from typing import Any

from nanostn import datasets
from nanostn.console import positive
from nanostn.experiments.experiment import Experiment
from nanostn.models import MODELS, VARIANTS, build
from nanostn.nn import Module

MOST_FILTERS = 4096  # several GB of weights


def _filters(text: str) -> int:
    if positive(text) > MOST_FILTERS:
        raise argparse.ArgumentTypeError(f"should be at most {MOST_FILTERS}, received {text!r}")
    return int(text)


class DistortedMnist(Experiment):
    name = "distorted-mnist"
    models = MODELS + VARIANTS
    defaults = {"model": "st-cnn-affine"}

    def add_options(self, what: Any, how: Any) -> None:
        what.add_argument("--distortion", choices=datasets.kinds, default="RTS",
                          help="R rotated, RTS rotated, scaled and translated, P projective, P5 more so, E elastic, "
                               "T translated, TC translated among clutter (default: %(default)s)")
        what.add_argument("--filters", type=_filters, default=64, metavar="N",
                          help="of each convolution of the CNN; the paper has 32 to 64 (default: %(default)s)")

    def build_model(self, config: dict[str, Any]) -> Module:
        return build(config["model"], datasets.size_of(config["distortion"]), config["seed"], config["filters"])


EXPERIMENT = DistortedMnist(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
