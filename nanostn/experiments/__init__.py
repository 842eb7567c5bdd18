"""The paper's experiments: each a script of its own, `python -m nanostn.experiments.distorted_mnist --help`.

A module holds its EXPERIMENT, an object of a class of its own; what they share is in `experiment.py`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from nanostn.compilation import announced_compilation
from nanostn.runs import Revived, RunDirectory

EXPERIMENTS = {"distorted-mnist": "the paper's table 1: distorted digits, with and without a spatial transformer",
               "cluttered-mnist": "the Lasagne example: translated digits among clutter, 60 x 60",
               "plain-mnist": "PyTorch's tutorial: digits as they are, 28 x 28",
               "mnist-addition": "the paper's table 4: the sum of two digits, with one and with two transformers",
               "co-localisation": "the paper's table 5: where a hundred images have the same, with no label",
               "mnist-3d": "the paper's A.3: digits turned and placed in a volume, flattened by a 3D transformer",
               "svhn": "the paper's table 2: house numbers, with transformers at the input and on feature maps",
               "traffic-signs": "43 German traffic signs, with no transformer, one, and two in series",
               "birds": "the paper's table 3: species of birds, by transformers that find parts of them"}


def find(name: str) -> Any:
    """An experiment by its name on the command line."""
    if not isinstance(name, str) or name not in EXPERIMENTS:
        raise ValueError(f"experiment should be one of {', '.join(EXPERIMENTS)}, received {name!r}")
    return importlib.import_module("nanostn.experiments." + name.replace("-", "_")).EXPERIMENT


def revive(run_dir: str | Path, data_dir: str | None = None, device: str = "cpu") -> Revived:
    """A run from disk: its settings, its network with the last checkpoint's weights, its test images and labels."""
    run = RunDirectory.open(run_dir)
    experiment = find(run.config["experiment"])
    state = run.load_state()
    if state is None:
        raise FileNotFoundError(f"run directory should be one with a checkpoint, received {str(run_dir)!r}, "
                                "whose training has not reached its first")
    settings = experiment.read(run)
    model = experiment.build_model(settings)
    model.load_state(state["model"])
    with announced_compilation():
        *_, images, labels = experiment.load_data(settings, data_dir)
    return Revived(experiment, run, settings, model.eval().to(device), images, labels)
