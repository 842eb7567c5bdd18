"""Digits drawn by the program: strokes, a hand that varies and a pen; as many as wanted, in the form of MNIST.

    a way of writing -> ends cut, strokes misplaced -> wobble (sine waves) -> width, slant, rotation -> size -> pen

The pen gives each pixel a grey value by its distance from the nearest stroke. As in MNIST the longer side of the ink
is 20 of 28 pixels, and its centre of mass is the middle of the image.
"""

import math

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.kernels.compiling.caching import compiled

from .strokes import WAYS, curve

# The difficulty, in one place: lengths in units of the digit's height, (smallest, largest) or a standard deviation.
CUT = 0.12                # the largest part of a stroke that is missing at either end
MISPLACED = 0.040         # shift of one stroke against the other
WOBBLE = 0.042            # amplitude of each sine wave
WIDTH = (0.45, 1.0)       # width of the digit
SLANT = 0.22              # tangent of the slant
ROTATION = 0.10           # radians
THICKNESS = (1.4, 3.6)    # of the pen, in pixels

SIZE, INK = 28, 20        # pixels of the image, and of the longer side of the ink
KNOTS = 24                # points of a stroke
WAVES = 3
BLOCK = 1000              # digits drawn at a time

PER_CLASS = np.array([len(ways) for ways in WAYS])
FIRST = np.cumsum(PER_CLASS) - PER_CLASS     # a class's first row of CURVES
# Two strokes each keep the arrays regular: where a way has one, it is drawn again on top of itself.
SINGLE = np.array([len(way) == 1 for ways in WAYS for way in ways])
CURVES = np.array([[curve(way[0], KNOTS), curve(way[-1], KNOTS)] for ways in WAYS for way in ways])
CURVES = np.moveaxis(CURVES, -1, 0).astype(np.float32)       # (2, ways, strokes, knots): all x, then all y
STROKES = CURVES.shape[2]


def digits(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` digits: images (count, 28, 28) and labels (count,), both uint8.

    The same count and seed give the same bits, and a smaller count the first of a larger one's. Classes are equally
    likely. 60,000 take a second or two.
    """
    for name, value in (("count", count), ("seed", seed)):
        if not isinstance(value, int | np.integer) or value < 0:
            raise argument_error("digits", name, "an integer, zero or more", describe(value))
    images, labels = np.empty((count, SIZE, SIZE), np.uint8), np.empty(count, np.uint8)
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        # A whole block is drawn by lot even if not all of it is asked for: so the first digits never change.
        rng = np.random.default_rng([seed, start // BLOCK, 1])
        points, thickness, drawn = written(rng)
        labels[block] = drawn[:block.stop - start]
        ink(points, thickness, images[block])
    return images, labels


def written(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A block of digits as a hand would write them: points (2, BLOCK, strokes, knots) in pixels, thickness, labels."""
    labels = rng.integers(10, size=BLOCK)
    way = FIRST[labels] + (rng.random(BLOCK) * PER_CLASS[labels]).astype(int)
    points = cut(CURVES[:, way], rng) + normal(rng, MISPLACED, (2, BLOCK, STROKES, 1))
    points[:, SINGLE[way], 1] = points[:, SINGLE[way], 0]
    x, y = wobble(points, rng)

    width, slant, angle = uniform(rng, *WIDTH), normal(rng, SLANT), normal(rng, ROTATION)
    x = width * x + slant * y
    points = np.stack([np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x])
    thickness = uniform(rng, *THICKNESS)
    extent = np.ptp(points.reshape(2, BLOCK, -1), axis=2).max(axis=0).reshape(BLOCK, 1, 1)
    points *= (INK - thickness) / extent
    return points - centre_of_mass(points) + np.float32((SIZE - 1) / 2), thickness.ravel(), labels


def uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...] = (BLOCK, 1, 1)) -> np.ndarray:
    return rng.uniform(low, high, shape).astype(np.float32)


def normal(rng: np.random.Generator, deviation: float, shape: tuple[int, ...] = (BLOCK, 1, 1)) -> np.ndarray:
    return rng.normal(0, deviation, shape).astype(np.float32)


def cut(curves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave a part out at both ends of each stroke; knots move along their curve, (2, BLOCK, strokes, knots)."""
    first, last = uniform(rng, 0, CUT, (2, BLOCK, STROKES, 1))
    at = (first + (1 - first - last) * np.linspace(0, 1, KNOTS, dtype=np.float32)) * (KNOTS - 1)
    left = np.minimum(at.astype(int), KNOTS - 2)
    n, s = np.arange(BLOCK)[:, None, None], np.arange(STROKES)[None, :, None]
    part = at - left.astype(np.float32)
    return curves[:, n, s, left] * (1 - part) + curves[:, n, s, left + 1] * part


def wobble(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move each point by sine waves over the plane: neighbours go together, so strokes stay whole and joined."""
    amplitude = normal(rng, WOBBLE, (WAVES, 2, BLOCK, 1, 1))
    wave = normal(rng, math.pi, (WAVES, 2, BLOCK, 1, 1))
    phase = uniform(rng, 0, 2 * math.pi, (WAVES, BLOCK, 1, 1))
    x, y = points
    return points + sum(a * np.sin(w[0] * x + w[1] * y + p) for a, w, p in zip(amplitude, wave, phase, strict=True))


def centre_of_mass(points: np.ndarray) -> np.ndarray:
    """Of the strokes as thin wires, (2, BLOCK, 1, 1)."""
    middle = (points[..., 1:] + points[..., :-1]) / 2
    length = np.hypot(*(points[..., 1:] - points[..., :-1]))
    return (middle * length).sum((2, 3), keepdims=True) / length.sum((1, 2), keepdims=True)


@compiled(nogil=True)
def ink(points, thickness, images):                          # (2, N or more, S, K), (N or more,) -> (N, H, W)
    one, half, far = np.float32(1), np.float32(0.5), np.float32(1e6)
    S, K = points.shape[2:]
    N, H, W = images.shape
    square = np.empty((H, W), np.float32)                    # distance from the nearest stroke, squared
    for n in range(N):
        square[:] = far
        reach = (thickness[n] + one) * half                  # where the grey ends
        for s in range(S):
            for k in range(K - 1):
                x, y = points[0, n, s, k], points[1, n, s, k]
                dx, dy = points[0, n, s, k + 1] - x, points[1, n, s, k + 1] - y
                scale = one / max(dx * dx + dy * dy, np.float32(1e-12))
                for i in range(max(int(min(y, y + dy) - reach), 0), min(int(max(y, y + dy) + reach) + 1, H)):
                    for j in range(max(int(min(x, x + dx) - reach), 0), min(int(max(x, x + dx) + reach) + 1, W)):
                        px, py = np.float32(j) - x, np.float32(i) - y
                        t = min(max((px * dx + py * dy) * scale, np.float32(0)), one)
                        px, py = px - t * dx, py - t * dy
                        square[i, j] = min(square[i, j], px * px + py * py)
        for i in range(H):
            for j in range(W):
                grey = min(max(reach - math.sqrt(square[i, j]), np.float32(0)), one)
                images[n, i, j] = np.uint8(grey * np.float32(255) + half)
