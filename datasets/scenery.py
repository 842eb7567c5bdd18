"""What stands behind a drawn bird or traffic sign."""

from typing import Any

import numpy as np

from . import pictures


def colour(rng: np.random.Generator, grey: float = 0.5) -> tuple[int, int, int]:
    """A muted colour from 0 to 255: as far as `grey` goes a grey, the rest anything."""
    red, green, blue = rng.uniform(50, 210) * grey + rng.uniform(30, 230, 3) * (1 - grey)
    return int(red), int(green), int(blue)


def blurred(rng: np.random.Generator, size: Any) -> Any:
    """A scene out of focus with some grain, as an image of pillow's of `size` (width, height)."""
    Image = pictures.pillow()
    light = np.array(colour(rng, 0.75)) + rng.normal(0, 22, (4, 5, 1)) + rng.normal(0, 6, (4, 5, 3))
    smooth = Image.fromarray(light.clip(0, 255).astype(np.uint8)).resize((30, 24), Image.Resampling.BICUBIC)
    grain = np.asarray(smooth) + rng.normal(0, 9, (24, 30, 1))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8)).resize(tuple(map(int, size)), Image.Resampling.BILINEAR)
