"""The paper's Figure 4: where the co-localiser looks after so many steps, as a sheet and as an animation.

Nothing of this is kept by a run: it is replayed from its seed, with the encoder of its checkpoint. That gives the same
bits, unless the run was trained further under another schedule, or on another device; then the pictures say so.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nanostn import drawing
from nanostn.experiments.experiment import Training
from nanostn.report import IMAGES, Picture
from nanostn.runs import Revived, RunDirectory

ROWS, COLUMNS = 3, 6


def pictures(revived: Revived) -> list[Picture]:
    """Of the first images: some, at some steps, and more of them, at all that were looked at."""
    steps, boxes = course(revived)
    images, truth = revived.images[:IMAGES], revived.labels[:IMAGES]
    chosen = np.unique(np.linspace(0, len(steps) - 1, COLUMNS).round().astype(int))
    titles = [f"step {step}" for step in steps]
    text = "The transformer's box in orange, the digit's 28 x 28 pixels in green."
    apart = np.abs(boxes[-1] - revived.experiment.boxes(revived.model, revived.images)).max()
    if apart > 0.5:
        text += (f" The steps are those of a new run from the same seed; it ends up to {apart:.0f} pixels beside the "
                 "trained one, which was trained further, or on another device.")
    sheet = drawing.boxes_sheet(images[:ROWS], boxes[chosen, :ROWS], truth[:ROWS], [titles[i] for i in chosen])
    film = drawing.boxes_animation(images, boxes[:, :IMAGES], truth, titles)
    return [Picture("Where {model} looks, step by step", text, "localisation.png", sheet),
            Picture("The same as an animation", text, "localisation.gif", film)]


def course(revived: Any) -> tuple[list[int], np.ndarray]:
    """Steps from 0 to the last of the run's checkpoint, and the boxes (steps, N, 4) of all its images after them."""
    experiment, settings = revived.experiment, revived.settings
    model, trained = experiment.build_model(settings), revived.model
    model.encode.load_state(trained.encode.state())
    model.to(revived.model.device)
    boxes = [experiment.boxes(model, revived.images)]

    def evaluation(model: Any) -> dict[str, float]:
        boxes.append(experiment.boxes(model, revived.images))
        return {}

    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder, "replay"), asdict(settings))
        training = Training(experiment, settings, model, run, (revived.images, revived.labels) * 2)
        training.options["evaluation"] = evaluation
        training.run(revived.run.steps_done(), report=lambda line: None)
        steps = [0, *(int(row["steps"]) for row in run.metrics())]
    return steps, np.stack(boxes)
