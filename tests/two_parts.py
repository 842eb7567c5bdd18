"""A run that Ctrl-C interrupts in its second epoch and that is resumed, beside the run in one piece."""

import inspect
import os
import signal

import numpy as np

from nanostn import datasets
from nanostn.checkpoints import load
from nanostn.cli import main


def ends_with_the_same_bits(words, batches, monkeypatch):
    """Train as the `words` of the command line say, in the working directory; the function `batches` of `datasets`
    gives the batches of an epoch."""
    assert main([*words, "--run-dir", "whole"]) == 0
    given = getattr(datasets, batches)
    epoch = list(inspect.signature(given).parameters).index("epoch")

    def interrupting(*arguments):
        for batch in given(*arguments):
            if arguments[epoch] == 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    monkeypatch.setattr(datasets, batches, interrupting)
    assert main([*words, "--run-dir", "parts"]) == 130
    monkeypatch.setattr(datasets, batches, given)
    assert main([*words[:2], "--run-dir", "parts", "--resume"]) == 0
    whole, parts = (load(f"{run}/checkpoint.h5") for run in ("whole", "parts"))
    assert whole["random"] == parts["random"]  # dropout goes on where it was
    whole, parts = whole["model"], parts["model"]
    assert whole.keys() == parts.keys() and all(np.array_equal(whole[name], parts[name]) for name in whole)
