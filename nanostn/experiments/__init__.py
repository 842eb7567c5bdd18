"""The paper's experiments: each a script of its own, `python -m nanostn.experiments.distorted_mnist --help`.

An experiment is a module with `main(arguments, prog)`, and with `build_model(config)` and `load_data(config, data_dir)`,
from which `nanostn evaluate` and `nanostn report` bring a finished run back to life.
"""

import importlib
from types import ModuleType

EXPERIMENTS = {"distorted-mnist": "the paper's table 1: distorted digits, with and without a spatial transformer",
               "cluttered-mnist": "the Lasagne example: translated digits among clutter, 60 x 60"}


def find(name: str) -> ModuleType:
    """The module of an experiment by its name on the command line."""
    if name not in EXPERIMENTS:
        raise ValueError(f"train: experiment should be one of {', '.join(EXPERIMENTS)}, received {name!r}")
    return importlib.import_module("nanostn.experiments." + name.replace("-", "_"))
