"""Images for co-localisation (paper, A.2): one class of digits, each somewhere on 84 x 84 pixels, and where it is.

    T     a digit of 28 x 28 pixels at a uniformly random place, by whole pixels, on black
    TC    the same with 16 pieces of 6 x 6 pixels, cut from any digits, as clutter

A box is (left, top, right, bottom) in pixels, counted from the image's upper left corner: the whole image is
(0, 0, 84, 84). The true box is that of the 28 x 28 pixels which the digit came in, 20 of which have ink at most.
"""

import numpy as np

from nanostn.checks import argument_error, sizes

from .distortions import DIGIT, Drawn, clutter, grey, translated

SIZE, IMAGES, PIECES = 84, 100, 16
kinds = ("T", "TC")
COLOCALISATION = 4        # first word of the seed, beside those of `batches`


def located_digits(images: np.ndarray, labels: np.ndarray, digit: int, kind: str, seed: int,
                   count: int = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    """`count` images of one class, x (count, 1, 84, 84) float32 from 0 to 1, and the boxes (count, 4) of its digits.

    The digits are drawn by lot from those of class `digit` among `images` (N, 28, 28), none twice where there are
    enough; the clutter of "TC" is cut from all of `images`. Raises ValueError where the class does not occur.
    """
    sizes("located_digits", images=(images, f"N {DIGIT} {DIGIT}"), labels=(labels, "N"))
    if kind not in kinds:
        raise argument_error("located_digits", "kind", " or ".join(kinds), repr(kind))
    of_class = np.flatnonzero(labels == digit)
    if not len(of_class):
        raise argument_error("located_digits", "images", f"some of digit {digit}", f"{len(images)} without one")
    rng = np.random.default_rng([COLOCALISATION, seed, digit])
    chosen = rng.choice(of_class, count, replace=len(of_class) < count)
    transformation, theta = translated(rng, count, SIZE)
    arrays: tuple[np.ndarray, ...] = (grey(images[chosen]), theta.astype(np.float32))
    if kind == "TC":
        arrays += clutter(images, count, rng, own=False, size=SIZE, count=PIECES)
    # theta has where the pixels of the canvas come from, so the digit is moved by its opposite
    corner = (SIZE - DIGIT) / 2 - theta[:, :, 2] * (DIGIT - 1) / 2
    return Drawn(transformation, (SIZE, SIZE), arrays).canvas(), np.concatenate([corner, corner + DIGIT], axis=1)


def attention_boxes(theta: np.ndarray, crop: int, size: int = SIZE) -> np.ndarray:
    """The boxes (N, 4) that attention (s, t_x, t_y), (N, 3), covers with the pixels of its crop.

    The crop's outermost pixels are centred s (size - 1) / 2 pixels from its middle, and half a pixel of the crop lies
    beyond them. A box is as large as |s| says: a negative s turns the crop round, and covers the same.
    """
    middle = theta[:, 1:] * ((size - 1) / 2) + size / 2
    reach = np.abs(theta[:, :1]) * ((size - 1) / 2) * crop / (crop - 1)
    return np.concatenate([middle - reach, middle + reach], axis=1)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area of the intersection over that of the union, for each pair of boxes (N, 4) and (N, 4): (N,)."""
    inner = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    shared = np.maximum(inner, 0).prod(axis=1)
    whole = sum((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, others)) - shared
    return shared / whole
