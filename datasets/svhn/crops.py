"""Crops around a house number: tight ones of 64 x 64 pixels, loose ones of 128 x 128.

Tight (Goodfellow et al. 2013): the box around all digits, 30 % larger in x and y, half of that on each side, as far as
the picture reaches; brought to a square whatever its shape. Loose: a square of 2.2 times the longer side of the box
around all digits, whose centre is off the number's by up to 22 % of the square in x and in y; where it leaves the
picture, the pixels at the edge are repeated.

A pixel of a crop is sum_ij w_i w_j U_ij with the weights of Keys' bicubic kernel, which is as wide as that pixel where
pixels are lost, so that it averages.
"""

from typing import NamedTuple

import numpy as np

from nanostn.checks import argument_error
from nanostn.kernels.compiling.caching import compiled

TIGHT, LOOSE = 64, 128    # pixels along a side
GREATER = 1.3
SURROUNDINGS, SHIFT = 2.2, 0.22
SMALLEST = 0.5            # pixels of a box; the genuine ones have 1 at least, and at most 0.76 of a picture's side


class Window(NamedTuple):
    """Of a picture, in pixels from its upper left corner, not whole ones."""

    x0: float
    y0: float
    x1: float
    y1: float


def number_box(boxes: np.ndarray) -> Window:
    """The box around all digits, whose boxes (d, 4) are left, top, width, height."""
    return Window(*boxes[:, :2].min(axis=0).tolist(), *(boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist())


def tight_window(boxes: np.ndarray, height: int, width: int) -> Window:
    x0, y0, x1, y1 = number_box(boxes)
    dx, dy = (GREATER - 1) / 2 * (x1 - x0), (GREATER - 1) / 2 * (y1 - y0)
    return Window(max(x0 - dx, 0), max(y0 - dy, 0), min(x1 + dx, width), min(y1 + dy, height))


def loose_window(boxes: np.ndarray, rng: np.random.Generator) -> Window:
    x0, y0, x1, y1 = number_box(boxes)
    side = max(x1 - x0, y1 - y0)
    x, y = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + rng.uniform(-SHIFT, SHIFT, 2) * SURROUNDINGS * side
    half = SURROUNDINGS * side / 2
    return Window(x - half, y - half, x + half, y + half)


def crop_number(image: np.ndarray, boxes: np.ndarray, side: int, rng: np.random.Generator, name: str) -> np.ndarray:
    """The crop of a number as training wants it: tight (64) or loose (128); uint8 (side, side, 3).

    Boxes may reach out of the picture; one that lies outside altogether, or is of no digit's size, raises ValueError
    with the picture's `name`.
    """
    height, width = image.shape[:2]
    right, bottom = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    strange = (boxes[:, 0] >= width) | (boxes[:, 1] >= height) | (right <= 0) | (bottom <= 0)
    strange |= (boxes[:, 2:] < SMALLEST).any(axis=1) | (boxes[:, 2:] > 2 * max(width, height)).any(axis=1)
    if strange.any():
        raise argument_error("svhn", name, f"a picture with its digits' boxes inside {width} x {height} pixels",
                             f"left, top, width, height {boxes[strange][0].tolist()}", "do annotations and pictures "
                             "belong together?")
    window = tight_window(boxes, height, width) if side == TIGHT else loose_window(boxes, rng)
    return crop(image, window, side)


def crop(image: np.ndarray, window: Window, side: int) -> np.ndarray:
    """A window of a picture (H, W, 3) as `side` x `side` pixels, uint8; outside of it, the nearest pixel's colour."""
    if min(window.x1 - window.x0, window.y1 - window.y0) <= 0:
        raise argument_error("crop", "window", "x0, y0, x1, y1 with x0 < x1 and y0 < y1", tuple(window))
    V = np.empty((side, side, 3), np.uint8)
    pixels = np.ascontiguousarray(image).reshape(len(image), -1)
    _weigh(pixels, *_weights(window.y0, window.y1, side), *_weights(window.x0, window.x1, side), V)
    return V


def _weights(start: float, end: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel along a side of a crop the first pixel that it reads, (side,), and its weights, (side, taps)."""
    step = (end - start) / side
    wide = max(step, 1.0)                                         # pixels of the picture to one of the kernel
    centre = start + (np.arange(side) + 0.5) * step
    first = np.floor(centre - 2 * wide).astype(np.int64)
    distance = first[:, None] + np.arange(int(np.ceil(4 * wide)) + 1) + 0.5 - centre[:, None]
    weight = _keys(distance / wide)
    return first, (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def _keys(x: np.ndarray) -> np.ndarray:
    """The bicubic kernel with a = -1/2."""
    x = np.abs(x)
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0.0))


@compiled(nogil=True)
def _weigh(U, first_y, weight_y, first_x, weight_x, V):      # (H, W C) -> (side, side, C)
    H, C = U.shape[0], V.shape[2]
    W, (side, taps) = U.shape[1] // C, weight_x.shape
    begin, end = min(first_x[0], 0), max(first_x[-1] + taps, W)
    row = np.empty(C * (end - begin), np.float32)            # weighed in y, with its edges repeated as far as is read
    inner = row[-C * begin:C * (W - begin)]
    for i in range(side):
        row[:] = 0
        for k in range(weight_y.shape[1]):
            y, weight = min(max(first_y[i] + k, 0), H - 1), weight_y[i, k]
            for m in range(C * W):
                inner[m] += weight * np.float32(U[y, m])
        for m in range(-C * begin):
            row[m] = inner[m % C]
        for m in range(C * (end - W)):
            row[C * (W - begin) + m] = inner[C * (W - 1) + m % C]
        for j in range(side):
            at = C * (first_x[j] - begin)
            for c in range(C):
                value = np.float32(0.5)
                for k in range(taps):
                    value += weight_x[j, k] * row[at + C * k + c]
                V[i, j, c] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))
