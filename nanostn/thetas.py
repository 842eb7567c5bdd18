"""What a step's spatial transformers do, seen from the training loop: is theta finite, how far is it from the identity,
and does it collapse, which is what users of spatial transformers report most.

A collapsed transformer looks beside the image, or at next to nothing of it: what it samples is the same for every theta
near by, so no gradient leads back. One that collapses within 50 steps (three seeds: 89 % test error), and does not with
--warm-up-localisation 300 (6.6 to 7.5 %) or --identity-penalty 0.1 (7.0 to 16.4 %):

    nanostn train distorted-mnist --data digits --limit 10000 --test-limit 2000 --filters 16 --batch-size 64 --epochs 3
        --learning-rate 0.01
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from nanostn import no_grad
from nanostn.finite import NotFinite, after_forward, first_not_finite
from nanostn.grid_generator import sampling_grid
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.nn import Module, SpatialTransformer
from nanostn.tensor import Tensor

EVERY = 50               # steps between two looks for a collapse
IMAGES, POINTS = 64, 16  # looked at: images of a batch, points along each axis of the output
OUTSIDE = 0.9            # more sampling points than this outside the image are a collapse
SPOT = 0.05              # and so is a sampling grid that covers less of the image than a square of this side
REMEDY = ("what may help: a smaller --learning-rate or --localisation-rate, --identity-penalty 0.1, "
          "--freeze-localisation 500, --warm-up-localisation 1000")


class Seen(NamedTuple):
    name: str
    transformer: Any
    theta: Tensor


class Thetas:
    """The thetas of the spatial transformers since the last check. They are looked at together, after the step or the
    evaluation that they belong to: on a GPU every look waits for it."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.warned = False

    def transformers(self) -> list[Seen]:
        """Without a user's own modules, of which no family is known."""
        return [seen for seen in self.seen if isinstance(seen.transformer, SpatialTransformer)]

    def from_identity(self) -> Any:
        """|theta - identity|^2, in the mean over the images and summed over the transformers; 0 where there are none.

        One number for each entry of theta, whatever it counts in its family.
        """
        total: Any = 0.0
        for _, transformer, theta in self.transformers():
            moved = theta.reshape(len(theta), -1) - Tensor(_identity(transformer, theta.dtype)).to(theta.device)
            total = total + (moved ** 2).sum() / len(theta)
        return total

    def warn(self, step: int) -> None:
        """Once, on stderr, where a transformer has collapsed."""
        if self.warned or step % EVERY:
            return
        for name, transformer, theta in self.transformers():
            if words := collapse(transformer, theta.data):
                self.warned = True
                print(f"warning: after {step} steps the spatial transformer{f' {name}' if name else ''} has collapsed: "
                      f"{words}; {REMEDY}", file=sys.stderr, flush=True)
                return

    def check(self) -> None:
        """Raise NotFinite with the name of the first transformer whose theta is not finite; forget them."""
        seen, self.seen = self.seen, []
        bad = first_not_finite([theta.data for *_, theta in seen])
        if bad is not None:
            theta = move(seen[bad].theta.data, "cpu")
            image = int(np.argmin(np.isfinite(theta.reshape(len(theta), -1)).all(axis=1)))
            raise NotFinite(f"theta of {seen[bad].name or 'the transformer'} is no longer finite (image {image} of the "
                            "batch)")


def collapse(transformer: SpatialTransformer, theta: Any) -> str | None:
    """What is wrong with these thetas (N, parameters), on either device, in words, or None.

    What a grid covers is the area, or volume, that its points are spread over, beside that of the identity: |det M| of
    an affine theta. So a line is seen too, along whatever direction. An image that is wrapped around or mirrored at its
    border has no outside.
    """
    family = transformer.transformation
    size = getattr(family, "size", (POINTS,) * family.dims)  # a few, unless the family was made for its points
    theta = move(theta[:IMAGES], "cpu")
    both = np.concatenate([theta.reshape(len(theta), -1), _identity(transformer, theta.dtype)[None]])
    with no_grad():
        grid = sampling_grid(Tensor(both).to(transformer.device), family, size, transformer.align_corners).numpy()
    grids = grid.reshape(len(both), -1, family.dims).astype(np.float64)
    outside = float((np.abs(grids[:-1]) > 1 + 1e-6).any(axis=2).mean())
    if outside > OUTSIDE and transformer.padding_mode not in ("wrap", "reflection"):
        return f"{100 * outside:.0f} % of the points that it samples lie outside the image"
    spread = grids - grids.mean(axis=1, keepdims=True)
    areas = np.sqrt(np.maximum(np.linalg.det(spread.swapaxes(1, 2) @ spread), 0))
    side = float(np.mean((areas[:-1] / areas[-1]) ** (1 / family.dims)))
    return f"it covers {100 * side ** family.dims:.2g} % of the image" if side < SPOT else None


def _identity(transformer: SpatialTransformer, dtype: Any) -> np.ndarray:
    return np.ravel(transformer.transformation.identity()).astype(dtype)


@contextmanager
def watch_theta(model: Module) -> Iterator[Thetas]:
    """Within this context, the thetas of all modules with a localisation network are noted."""
    thetas = Thetas()
    watched = {name: module for name, module in model.named_modules() if hasattr(module, "localisation")}
    with after_forward([(name, module.localisation) for name, module in watched.items()],
                       lambda name, theta: thetas.seen.append(Seen(name, watched[name], theta))):
        yield thetas
