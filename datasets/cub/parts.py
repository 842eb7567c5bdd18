"""The fifteen parts of a bird whose places CUB-200-2011 gives, and how much of a bird's head or body a box holds."""

import numpy as np

from nanostn.checks import sizes

NAMES = ("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape",
         "right eye", "right leg", "right wing", "tail", "throat")  # in the order of the data set
HEAD = ("beak", "crown", "forehead", "left eye", "right eye", "nape", "throat")
BODY = ("back", "belly", "breast", "left wing", "right wing", "tail")

# Left and right are the bird's own: in a mirrored photograph one is the other.
MIRRORED = [NAMES.index({"left": "right", "right": "left"}.get(word, word) + name[len(word):])
            for name in NAMES for word in [name.split()[0]]]


def share_held(parts: np.ndarray, boxes: np.ndarray, group: tuple[str, ...]) -> np.ndarray:
    """The share (N,) of the visible parts of a `group` (HEAD or BODY) that lie in a box, NaN where none is visible.

    parts (N, 15, 3) are x, y, visible; boxes (N, 4) are left, top, right, bottom in the same pixels.
    """
    sizes("share_held", parts=(parts, f"N {len(NAMES)} 3"), boxes=(boxes, "N 4"))
    x, y, visible = np.moveaxis(parts[:, [NAMES.index(name) for name in group]], 2, 0)
    left, top, right, bottom = boxes.T[:, :, None]
    inside = (visible > 0) & (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
    seen = (visible > 0).sum(axis=1)
    return np.where(seen, inside.sum(axis=1) / np.maximum(seen, 1), np.nan)
