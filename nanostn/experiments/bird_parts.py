"""Which parts of a bird the transformers' crops hold, in numbers and as coloured boxes on the photographs (the paper's
table 3, right)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nanostn import drawing, no_grad
from nanostn.datasets import cub
from nanostn.datasets.colocalisation import attention_boxes
from nanostn.finite import after_forward
from nanostn.models import birds
from nanostn.nn import Module, SpatialTransformer
from nanostn.report import COLOURS, Picture
from nanostn.runs import Revived
from nanostn.tensor import Tensor

IMAGES = 6
GROUPS = {"head": cub.HEAD, "body": cub.BODY}
HELD = 0.5         # of a group's visible parts: a crop that has more of them holds it


@contextmanager
def places(model: Module) -> Iterator[list[list[np.ndarray]]]:
    """Of each of the network's transformers, the thetas (n, 2) of the batches that it is given within this context."""
    transformers = [module for _, module in model.named_modules() if isinstance(module, SpatialTransformer)]
    found: list[list[np.ndarray]] = [[] for _ in transformers]
    with after_forward([(str(i), transformer.localisation) for i, transformer in enumerate(transformers)],
                       lambda i, theta: found[int(i)].append(theta.numpy())):
        yield found


def boxes(theta: np.ndarray, seen: int, size: int) -> np.ndarray:
    """Left, top, right and bottom (N, 4) of crops at the places (N, 2), in pixels of a photograph."""
    return attention_boxes(np.concatenate([np.full((len(theta), 1), birds.SCALE), theta], axis=1), seen, size)


def held(parts: np.ndarray | None, crops: list[np.ndarray]) -> dict[str, float]:
    """Which share of photographs the crops (N, 4) of each transformer hold head and body on, of those where some of its
    parts can be seen; and on which one holds the head and another one the body."""
    if parts is None or not crops:
        return {}
    shares = {name: [cub.share_held(parts, boxes, group) for boxes in crops] for name, group in GROUPS.items()}
    outcome = {f"test_{name}_{number}": _mean(share > HELD, ~np.isnan(share))
               for number in range(1, len(crops) + 1) for name in GROUPS for share in [shares[name][number - 1]]}
    head, body = (np.array(shares[name]) for name in GROUPS)
    apart = [(head[i] > HELD) & (body[j] > HELD) for i in range(len(crops)) for j in range(len(crops)) if i != j]
    return {**outcome, "test_apart": _mean(np.any(apart, axis=0), ~np.isnan(head[0] + body[0]))}


def _mean(true: np.ndarray, among: np.ndarray) -> float:
    return float(true[among].mean()) if among.any() else 0.0


def pictures(revived: Revived) -> list[Picture]:
    """The first test photographs with the transformers' boxes, and below each what is in them."""
    x, model = revived.images[:IMAGES], revived.model
    with places(model) as found, no_grad():
        seen = model(Tensor(x).to(model.device)).numpy().argmax(axis=1)
    if not found:
        return []
    names = [name.partition(".")[2].replace("_", " ") for name in revived.images.photographs.classes]  # 017.Cardinal
    titles = [names[label] if label == guess else f"{names[label]},\ntaken for {names[guess]}"
              for label, guess in zip(revived.labels[:IMAGES], seen, strict=True)]
    text = (f"The first {len(x)} test photographs. Below each is what the transformers crop, in the colours of their "
            f"boxes. {numbers(revived)}")
    return [Picture("Where {model} looks", text, "parts.png", sheet(x, [theta for theta, in found], model, titles))]


def numbers(revived: Any) -> str:
    """What the crops hold on all test photographs, after training and in the beginning."""
    rows, images = revived.run.metrics(), revived.images
    middles = birds.MODELS[revived.settings.model]
    crop = revived.model.transformers[0].size[0]
    before = held(images.parts(), [boxes(np.tile(middle, (len(images), 1)), crop, images.side) for middle in middles])
    if not rows or not before:
        return ""
    said = [f"{name.removeprefix('test_').replace('_', ' ')} {rows[-1][name]:.0%} ({before[name]:.0%})"
            for name in before]
    return ("Photographs on which a crop holds most of the parts that can be seen, and in brackets how many they were "
            f"in the beginning; apart: one holds the head, another one the body. {', '.join(said)}.")


def sheet(x: np.ndarray, thetas: list[np.ndarray], model: Any, titles: list[str]) -> Any:
    """A figure: photographs (N, 3, S, S) with a box for each transformer, and their crops one below the other."""
    figure = drawing.new_figure(1.7 * len(x), 1.7 * (1 + len(thetas)) + 0.4)
    (top, *rows) = figure.subplots(1 + len(thetas), len(x), squeeze=False)
    for n, (cell, title) in enumerate(zip(top, titles, strict=True)):
        drawing.draw_image(cell, x[n], margin=0.05)
        cell.set_title(title, fontsize=7, color=drawing.INK, pad=4)
    for transformer, theta, colour, row in zip(model.transformers, thetas, COLOURS, rows, strict=False):
        with no_grad():
            crops = transformer.transform(Tensor(x), Tensor(theta)).numpy()
        for cell, above, crop, box in zip(row, top, crops, boxes(theta, len(crops[0, 0]), x.shape[-1]), strict=True):
            drawing.draw_image(cell, crop.clip(0, 1))
            drawing.draw_rectangle(cell, np.array([0, 0, *crop.shape[:0:-1]]), colour, 4)
            drawing.draw_rectangle(above, box, colour, 1.8)
    return figure


