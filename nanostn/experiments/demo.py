"""The demo: a CNN and the same CNN behind a spatial transformer, on digits that the program draws; no download.

Digits turned by up to 45 degrees, scaled, anywhere on 42 x 42 pixels (RTS). Both networks see the same ones, epoch by
epoch; then come the two test errors, a digit before and after the transformer, and a page of pictures.
About two minutes on two cores:  nanostn demo
"""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nanostn import drawing, report
from nanostn.compilation import announced_compilation
from nanostn.experiments import options as command_line
from nanostn.experiments.distorted_mnist import EXPERIMENT, Distorted
from nanostn.experiments.experiment import Training, result
from nanostn.runs import Revived, RunDirectory, new_folder
from nanostn.training import Interrupted

MODELS = ("cnn", "st-cnn-affine")
WORDS = ["--data", "digits", "--distortion", "RTS", "--filters", "24", "--batch-size", "64", "--limit", "9600",
         "--test-limit", "2000", "--epochs", "10", "--learning-rate", "0.003"]


def main(run_dir: str | None = None, words: list[str] = WORDS, device: str = "cpu") -> int:
    """Train both networks, side by side, and show what the transformer does."""
    folder = Path(run_dir) if run_dir else new_folder(Path("runs"), "demo")  # which never touches an earlier one
    parser = command_line.argument_parser(EXPERIMENT, "nanostn demo")
    both = [command_line.settings(EXPERIMENT, parser.parse_args([*words, "--model", name])) for name in MODELS]
    with ExitStack() as locks:
        runs = [RunDirectory.create(folder / settings.model, asdict(settings)) for settings in both]
        for run in runs:
            locks.enter_context(run.locked())
        return _trained(folder, both, runs, device)


def _trained(folder: Path, both: list[Distorted], runs: list[RunDirectory], device: str) -> int:
    print("drawing digits ...", flush=True)
    with announced_compilation():
        data = EXPERIMENT.load_data(both[0])
    models = [EXPERIMENT.build_model(settings).to(device) for settings in both]
    trainings = [Training(EXPERIMENT, settings, model, run, data)
                 for settings, model, run in zip(both, models, runs, strict=True)]
    print(f"training on {len(data[0]):,} digits, turned, scaled and moved afresh in every epoch\n\n"
          f"{'':12}" + "".join(f"{name + ' test error':>26}" for name in MODELS), flush=True)
    epochs = trainings[0].steps // trainings[0].steps_per_epoch
    for epoch in range(1, epochs + 1):
        try:
            outcomes = [training.run(epoch * training.steps_per_epoch, report=lambda line: None)
                        for training in trainings]
        except Interrupted as interruption:
            raise Interrupted(f"{interruption}; saved, go on with either network: nanostn train {EXPERIMENT.name} "
                              f"--run-dir {' or '.join(str(run.path) for run in runs)} --resume",
                              interruption.signal) from None
        print(f"epoch {epoch:>2}/{epochs:<3}" + "".join(f"{o['test_error']:24.2f} %" for o in outcomes)
              + f"{sum(o['seconds'] for o in outcomes):8.0f} s", flush=True)
    for settings, run, outcome in zip(both, runs, outcomes, strict=True):
        run.finish(result(EXPERIMENT, settings, run, outcome))

    images, labels = data[2][:200], data[3][:200]
    (seen,), found = report.look(models[1], images)
    chosen = int(np.argmax(report.movement(seen) * (found == labels)))
    print("\n" + drawing.side_by_side(drawing.as_text(images[chosen, 0]), drawing.as_text(seen.V[chosen, 0, ::2, ::2]),
                                      titles=["a test image", "what its transformer makes of it"]))
    for name, outcome in zip(MODELS, outcomes, strict=True):
        print(f"test error of {name:14} {outcome['test_error']:5.2f} %   ({outcome['parameters']:,} parameters)")
    revived = [Revived(EXPERIMENT, *each, *data[2:]) for each in zip(runs, both, models, strict=True)]
    if importlib.util.find_spec("matplotlib"):
        print(f"report: {report.write(revived, folder / 'report')}")
    else:
        print(f'for pictures: pip install "nanostn[app]", then: nanostn report {runs[1].path}')
    return 0
