"""House numbers drawn by the program: scenes with one number each and its digits' boxes, as many as wanted.

    a wall of planks or plaster, light from one side -> perhaps a plate -> other digits near by
    -> the number, turned and in perspective, with its shadow -> blur -> noise

The digits are those of `digits`: the same strokes, with a steadier hand, all of a number alike in width, slant and pen.
As in SVHN the boxes are upright and their digits are read from left to right.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from nanostn.checks import argument_error, describe
from nanostn.kernels.compiling.caching import compiled

from .. import pictures
from ..digits import BLOCK, CURVES, FIRST, PER_CLASS, SINGLE, cut, ink, wobble
from . import digit_struct
from .digit_struct import Annotation
from .numbers import LONGEST

HEIGHT, WIDTH = 80, 152                            # pixels of a scene
OTHERS = 3                                         # digits at most that belong to no number
SLOTS = LONGEST + OTHERS
SCENES = BLOCK // SLOTS                            # drawn at a time
LENGTHS = (0.16, 0.40, 0.27, 0.12, 0.05)           # shares of numbers of 1 to 5 digits; SVHN has fewer long ones
STEADY = 0.35                                      # of the wobble of a hand
REACH = 4                                          # pixels of the blur, to each side
TILE = 256                                         # pixels of a texture, which repeats itself


def scenes(count: int, seed: int = 0, first: int = 0) -> Iterator[tuple[np.ndarray, Annotation]]:
    """Draw `count` scenes, or those of them from number `first` on: pictures (80, 152, 3) uint8 and annotations.

    The same seed gives the same bits, and a smaller count the first of a larger one's.
    """
    for name, value in (("count", count), ("seed", seed)):
        if not isinstance(value, int | np.integer) or value < 0:
            raise argument_error("drawn numbers", name, "an integer, zero or more", describe(value))
    for block in range(first // SCENES, -(-count // SCENES)):
        images, lengths, labels, boxes = _block(np.random.default_rng([seed, block, 2]))
        for n in range(max(first - block * SCENES, 0), min(count - block * SCENES, SCENES)):
            L = lengths[n]
            yield images[n], Annotation(f"{block * SCENES + n + 1}.png", labels[n, :L], boxes[n, :L])


def write(folder: Path, count: int, seed: int = 0) -> None:
    """Write scenes as SVHN's authors wrote theirs: `1.png` ... and `digitStruct.mat`."""
    folder.mkdir(parents=True, exist_ok=True)
    annotations = []
    for image, annotation in scenes(count, seed):
        pictures.pillow().fromarray(image).save(folder / annotation.name)
        annotations.append(annotation)
    digit_struct.write(folder / "digitStruct.mat", annotations)


def _block(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Scenes (SCENES, H, W, 3), lengths (SCENES,), labels (SCENES, 5) and boxes (SCENES, 5, 4)."""
    lengths = rng.choice(LONGEST, SCENES, p=LENGTHS) + 1
    labels = rng.integers(10, size=(SCENES, SLOTS))
    points = _glyphs(labels.ravel(), rng)
    pen = rng.uniform(0.10, 0.24, SCENES)                                            # of the height of a digit
    placed, height = _placed(points, lengths, pen, rng)
    thickness = (pen * height).astype(np.float32)

    masks = np.empty((2, SCENES, HEIGHT, WIDTH), np.uint8)
    shown = placed.astype(np.float32).reshape(2, SCENES, SLOTS, 2, -1)
    for mask, slots in zip(masks, (slice(LONGEST), slice(LONGEST, None)), strict=True):
        ink(np.ascontiguousarray(shown[:, :, slots].reshape(2, SCENES, -1, shown.shape[-1])), thickness, mask)

    low = placed[:, :, :LONGEST].min(axis=-1) - thickness[:, None] / 2               # (2, SCENES, 5)
    high = placed[:, :, :LONGEST].max(axis=-1) + thickness[:, None] / 2
    boxes = np.rint(np.concatenate([low, high - low])).transpose(1, 2, 0)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], 1)
    images = np.empty((SCENES, HEIGHT, WIDTH, 3), np.uint8)
    _paint(masks, *_surroundings(low.min(axis=2).T, high.max(axis=2).T, height, rng), images)
    return images, lengths, labels[:, :LONGEST], boxes


def _glyphs(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Digits as a sign painter writes them, from 0 to 1: points (2, BLOCK, strokes * knots), x from 0."""
    way = FIRST[labels] + (rng.random(BLOCK) * PER_CLASS[labels]).astype(int)
    points = cut(CURVES[:, way], rng) * STEADY + CURVES[:, way] * (1 - STEADY)
    points += STEADY * (wobble(points, rng) - points)
    points[:, SINGLE[way], 1] = points[:, SINGLE[way], 0]
    points = points.reshape(2, BLOCK, -1)
    return points - points.min(axis=2, keepdims=True)


def _placed(points: np.ndarray, lengths: np.ndarray, pen: np.ndarray,
            rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Digits side by side, turned, in perspective and somewhere in the scene: points (2, SCENES, SLOTS, k) in pixels,
    and the height (SCENES,) of the digits. Slots without a digit hold the first one's points again, or lie outside.
    """
    def between(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (SCENES, *shape))

    x, y = points.reshape(2, SCENES, SLOTS, -1).astype(float)
    x = x * between(0.45, 0.75, 1, 1) + rng.normal(0, 0.10, (SCENES, 1, 1)) * (0.5 - y)
    x -= x.min(axis=2, keepdims=True)
    advance = x[:, :LONGEST].max(axis=2) + pen[:, None] + between(0.06, 0.30, 1)
    x[:, :LONGEST] += np.cumsum(advance, axis=1)[:, :, None] - advance[:, :, None]
    there = np.arange(LONGEST) < lengths[:, None]
    wide = np.where(there, x[:, :LONGEST].max(axis=2), 0).max(axis=1)                # of the number
    x[:, :LONGEST] = np.where(there[:, :, None], x[:, :LONGEST], x[:, :1])
    y[:, :LONGEST] = np.where(there[:, :, None], y[:, :LONGEST], y[:, :1])
    # the others are smaller, and stand beside the number, above or below it
    size, side = between(0.4, 0.75, OTHERS, 1), rng.integers(4, size=(SCENES, OTHERS, 1))
    gap, along = between(0.35, 0.9, OTHERS, 1), between(-0.2, 1.0, OTHERS, 1)
    wide = wide[:, None, None]
    x[:, LONGEST:] = x[:, LONGEST:] * size + np.choose(side, [-gap - size, wide + gap, along * wide, along * wide])
    y[:, LONGEST:] = y[:, LONGEST:] * size + np.choose(side, [along * 0.5, along * 0.5, -gap - size, 1 + gap])
    x[:, LONGEST:][rng.random((SCENES, OTHERS)) < 0.55] += 1000

    x, y = x - wide / 2, y - 0.5
    angle = rng.normal(0, 0.07, (SCENES, 1, 1))
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    lean = rng.normal(0, 0.10, (2, SCENES, 1, 1)) / np.maximum(wide, 1)
    depth = np.maximum(1 + lean[0] * x + lean[1] * y, 0.5)
    height = np.minimum(between(15, 44), (WIDTH - 16) / (wide.ravel() * 1.15 + pen + 0.1))
    room_x = np.maximum(WIDTH - 8 - height * (wide.ravel() * 1.15 + pen), 0) / 2
    room_y = np.maximum(HEIGHT - 8 - height * 1.3, 0) / 2
    x = x / depth * height[:, None, None] + (WIDTH / 2 + between(-1, 1) * room_x)[:, None, None]
    y = y / depth * height[:, None, None] + (HEIGHT / 2 + between(-1, 1) * room_y)[:, None, None]
    return np.stack([x, y]), height


def _surroundings(low: np.ndarray, high: np.ndarray, height: np.ndarray,
                  rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """What `_paint` paints with: colours (SCENES, 4, 3) of wall, plate, others and number; the plate's edges
    (SCENES, 4); settings (SCENES, 12); and tiles of texture.
    """
    wall = rng.uniform(20, 235, (SCENES, 1)) + rng.normal(0, 14, (SCENES, 3))
    plate = np.where(rng.random((SCENES, 1)) < 0.4, rng.uniform(10, 245, (SCENES, 1)) + rng.normal(0, 24, (SCENES, 3)),
                     wall)
    brightness = plate.mean(axis=1, keepdims=True)
    contrast = rng.uniform(45, 150, (SCENES, 1)) * np.where(brightness > rng.uniform(90, 165, (SCENES, 1)), -1, 1)
    number = plate + contrast + rng.normal(0, 12, (SCENES, 3))
    others = wall + 0.7 * contrast + rng.normal(0, 12, (SCENES, 3))
    margin = height[:, None] * rng.uniform(0.15, 0.5, (SCENES, 2))
    edges = np.concatenate([low - margin, high + margin], axis=1)
    angle = np.where(rng.random(SCENES) < 0.7, np.pi / 2, 0) + rng.normal(0, 0.04, SCENES)
    planks, frequency = rng.uniform(0, 0.22, SCENES) * (rng.random(SCENES) < 0.6), 1 / rng.uniform(8, 26, SCENES)
    settings = np.stack([
        frequency * np.cos(angle), frequency * np.sin(angle), rng.random(SCENES), planks,      # of the planks
        *rng.normal(0, 0.35, (2, SCENES)),                                                     # of the light
        rng.uniform(0.01, 0.10, SCENES), rng.uniform(1, 7, SCENES),                            # rough and fine texture
        rng.integers(TILE, size=SCENES), rng.uniform(0.3, 1.5, SCENES),                        # where; blur
        rng.integers(-2, 3, SCENES), rng.uniform(0, 0.4, SCENES)], axis=1)                     # shadow: pixels, depth
    colours = np.stack([wall, plate, others, number], axis=1)
    return *(array.astype(np.float32) for array in (colours, edges, settings)), _tiles()


@functools.cache
def _tiles() -> np.ndarray:
    """A rough and a fine texture of deviation 1, that repeat themselves: (2, TILE, TILE)."""
    rng = np.random.default_rng(0)
    rough = sum(ndimage.gaussian_filter(rng.standard_normal((TILE, TILE)), s, mode="wrap") * s for s in (1.5, 4, 12))
    return np.stack([rough / rough.std(), rng.standard_normal((TILE, TILE))]).astype(np.float32)


@compiled(nogil=True)
def _paint(masks, colours, edges, settings, tiles, images):
    _, N, H, W = masks.shape
    T, R, one, most = tiles.shape[1], REACH, np.float32(1), np.float32(255)
    scene = np.empty((H + 2 * R, 3 * W), np.float32)     # with its edges repeated, above and below
    row = np.empty(3 * (W + 2 * R), np.float32)          # of it, blurred in y, with its edges repeated to both sides
    share, done = np.empty(2 * R + 1, np.float32), np.empty(3 * W, np.float32)
    for n in range(N):
        fx, fy, phase, planks, light_x, light_y, rough, fine, where, blur, shift, depth = settings[n]
        at, d = int(where), int(shift)
        for i in range(H):
            for j in range(W):
                on_plate = edges[n, 0] < j and j < edges[n, 2] and edges[n, 1] < i and i < edges[n, 3]
                texture = one + rough * tiles[0, (i + at) % T, (j + 2 * at) % T]
                if not on_plate:
                    line = fx * np.float32(j) + fy * np.float32(i) + phase
                    line -= np.floor(line)
                    texture -= planks * (max(one - np.float32(9) * line, np.float32(0)) + line / 2 - one / 4)
                y, x = max(i - abs(d), 0), min(max(j - d, 0), W - 1)
                texture *= one - depth * np.float32(max(masks[0, n, y, x], masks[1, n, y, x])) / most
                other, number = np.float32(masks[1, n, i, j]) / most, np.float32(masks[0, n, i, j]) / most
                shade = (one + light_x * (np.float32(j) / np.float32(W) - one / 2)
                         + light_y * (np.float32(i) / np.float32(H) - one / 2))
                for c in range(3):
                    value = colours[n, 1 if on_plate else 0, c] * texture * (one - other) + colours[n, 2, c] * other
                    scene[i + R, 3 * j + c] = (value * (one - number) + colours[n, 3, c] * number) * shade
        for r in range(R):
            scene[r], scene[H + R + r] = scene[R], scene[H + R - 1]
        total = np.float32(0)
        for k in range(2 * R + 1):
            share[k] = np.exp(-np.float32((k - R) ** 2) / (2 * blur * blur))
            total += share[k]
        share /= total
        for i in range(H):
            done[:] = 0
            for k in range(2 * R + 1):
                for m in range(3 * W):
                    done[m] += share[k] * scene[i + k, m]
            row[3 * R:3 * (W + R)] = done
            for m in range(3 * R):
                row[m], row[3 * (W + R) + m] = done[m % 3], done[3 * (W - 1) + m % 3]
            done[:] = one / 2
            for k in range(2 * R + 1):
                for m in range(3 * W):
                    done[m] += share[k] * row[m + 3 * k]
            for j in range(W):
                for c in range(3):
                    value = done[3 * j + c] + fine * tiles[1, (i + 3 * at) % T, (j + 5 * at + 83 * c) % T]
                    images[n, i, j, c] = np.uint8(min(max(value, np.float32(0)), most))
