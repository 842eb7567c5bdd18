"""Square crops of photographs, random ones for training, the middle for tests; boxes and parts are carried along.

As in the paper (A.6) a side of the crop is 224 of the 256 pixels that the photograph's shorter side is scaled to, and
448 of 512 for the larger input: 7/8 of it for any number of pixels. At random it lies anywhere inside the photograph,
and is mirrored every second time. Positions are in pixels from the upper left corner, so that a picture reaches from 0
to its width, and a mirrored x is the width minus x.
"""

from typing import Any

import numpy as np

from nanostn.checks import argument_error, describe

from .. import pictures
from .files import Photographs
from .parts import MIRRORED

SHARE = 224 / 256         # of the photograph's shorter side


def windows(photographs: Photographs, chosen: Any, rng: np.random.Generator | None = None) -> np.ndarray:
    """Where the `chosen` photographs are cropped, (n, 4): left, top, side in pixels of the photograph, 1 if mirrored.

    At random with an `rng`, else in the middle and not mirrored.
    """
    shape = photographs.sizes[chosen]
    side = SHARE * shape.min(axis=1, keepdims=True)
    place, mirrored = np.full(shape.shape, 0.5), np.zeros((len(shape), 1))
    if rng is not None:
        place, mirrored = rng.random(shape.shape), rng.integers(2, size=(len(shape), 1)).astype(float)
    return np.concatenate([place * (shape - side), side, mirrored], axis=1)


def batch(photographs: Photographs, chosen: Any, rng: np.random.Generator | None, side: int) -> np.ndarray:
    """The `chosen` photographs (n,), cropped to (n, 3, side, side), float32 from 0 to 1; at random with an `rng`."""
    return crop(photographs, chosen, windows(photographs, chosen, rng), side)


def crop(photographs: Photographs, chosen: Any, windows: np.ndarray, side: int) -> np.ndarray:
    """These `windows` (n, 4) of the `chosen` photographs, (n, 3, side, side), float32 from 0 to 1.

    A file that does not decode raises ValueError with its name, one that is missing FileNotFoundError.
    """
    if not isinstance(side, int | np.integer) or side < 1:
        raise argument_error("crop", "side", "a positive integer", describe(side))
    files = [photographs.files[n] for n in np.arange(len(photographs.files))[chosen]]

    def cut(n: int) -> np.ndarray:
        left, top, edge, mirrored = windows[n]
        image = pictures.read("cub", files[n], (side, side), (left, top, left + edge, top + edge))
        return image[:, ::-1] if mirrored else image

    x = np.empty((len(files), 3, side, side), np.float32)
    for n, image in enumerate(pictures.in_threads(cut, range(len(files)))):
        np.multiply(image.transpose(2, 0, 1), np.float32(1 / 255), out=x[n])
    return x


def located(photographs: Photographs, chosen: Any, windows: np.ndarray, side: int) -> tuple[np.ndarray, Any]:
    """Boxes (n, 4) left, top, right, bottom and parts (n, 15, 3) or None, in pixels of what `crop` gives.

    A box is cut off at the crop's rim, and a part beyond it is no longer visible.
    """
    corner, scale, mirrored = windows[:, None, :2], side / windows[:, 2].reshape(-1, 1, 1), windows[:, 3] > 0

    def carried(points: np.ndarray) -> np.ndarray:       # (n, k, 2)
        points = (points - corner) * scale
        points[mirrored, :, 0] = side - points[mirrored, :, 0]
        return points

    x, y, width, height = photographs.boxes[chosen].T
    corners = np.clip(carried(np.stack([x, y, x + width, y + height], axis=1).reshape(-1, 2, 2)), 0, side)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    if photographs.parts is None:
        return boxes, None
    parts = photographs.parts[chosen]
    parts[..., :2] = carried(parts[..., :2])
    parts[mirrored] = parts[mirrored][:, MIRRORED]
    parts[..., 2] *= ((parts[..., :2] >= 0) & (parts[..., :2] <= side)).all(axis=2)
    return boxes, parts


class Centres:
    """The middles of photographs, which stand for an array (N, 3, side, side) of floats from 0 to 1: a slice of it is
    decoded when it is taken."""

    def __init__(self, photographs: Photographs, side: int):
        self.photographs, self.side = photographs, side

    def __len__(self) -> int:
        return len(self.photographs.labels)

    def __getitem__(self, chosen: slice) -> np.ndarray:
        return batch(self.photographs, np.arange(len(self))[chosen], None, self.side)

    def parts(self) -> Any:
        """Their parts (N, 15, 3) in pixels of the middles, or None where nobody knows them."""
        every = np.arange(len(self))
        return located(self.photographs, every, windows(self.photographs, every), self.side)[1]
