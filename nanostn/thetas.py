"""What a step's spatial transformers do, seen from the training loop: is theta finite, how far is it from the identity,
and does it collapse, which is what users of spatial transformers report most.

A collapsed transformer looks beside the image, or at a single spot of it: what it samples is the same for every theta
near by, so no gradient leads back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from nanostn import no_grad
from nanostn.finite import NotFinite, after_forward, first_not_finite
from nanostn.kernels.device_functions import move
from nanostn.nn import Module, SpatialTransformer
from nanostn.tensor import Tensor

EVERY = 50              # steps between two looks for a collapse
IMAGES, POINTS = 64, 5  # looked at: images of a batch, points along each axis of the output
OUTSIDE = 0.5           # more sampling points than this outside the image are a collapse
SPOT = 0.05             # and so is an extent of the sampling grid below this part of the image's
REMEDY = ("what may help: a smaller --localisation-rate, --identity-penalty 0.1, --freeze-localisation 500, "
          "--warm-up-localisation 1000")


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
        """Without modules of somebody's own, of which no family is known."""
        return [seen for seen in self.seen if isinstance(seen.transformer, SpatialTransformer)]

    def from_identity(self) -> Any:
        """|theta - identity|^2, in the mean over the images and summed over the transformers."""
        total: Any = 0.0
        for _, transformer, theta in self.transformers():
            moved = theta.reshape(len(theta), -1)
            identity = np.ravel(transformer.transformation.identity()).astype(theta.dtype)
            total = total + ((moved - Tensor(identity).to(theta.device)) ** 2).sum() / len(theta)
        return total

    def warn(self, step: int) -> None:
        """Once, on stderr, where a transformer has collapsed."""
        if self.warned or step % EVERY:
            return
        for name, transformer, theta in self.transformers():
            if words := collapse(transformer, move(theta.data[:IMAGES], "cpu")):
                self.warned = True
                print(f"warning: at step {step} {name or 'the transformer'} has collapsed: {words}; {REMEDY}",
                      file=sys.stderr, flush=True)
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


def collapse(transformer: SpatialTransformer, theta: np.ndarray) -> str | None:
    """What is wrong with these thetas, in words, or None; an image that is wrapped around has no outside."""
    family = transformer.transformation
    size = getattr(family, "size", (POINTS,) * family.dims)
    identity = np.ravel(family.identity()).astype(theta.dtype).reshape(1, *theta.shape[1:])
    with no_grad():
        grid, still = (family.grid(Tensor(t), size).data.reshape(len(t), -1, family.dims) for t in (theta, identity))
    outside = float((np.abs(grid) > 1 + 1e-6).any(axis=2).mean())
    if outside > OUTSIDE and transformer.padding_mode != "wrap":
        return f"{100 * outside:.0f} % of the points that it samples lie outside the image"
    extent = float(np.ptp(grid, axis=1).mean() / np.ptp(still, axis=1).mean())
    return f"it samples {100 * extent:.2g} % of the image's side" if extent < SPOT else None


@contextmanager
def watch_theta(model: Module) -> Iterator[Thetas]:
    """Within this context, the thetas of all modules with a localisation network are noted."""
    thetas = Thetas()
    watched = {name: module for name, module in model.named_modules() if hasattr(module, "localisation")}
    with after_forward([(name, module.localisation) for name, module in watched.items()],
                       lambda name, theta: thetas.seen.append(Seen(name, watched[name], theta))):
        yield thetas
