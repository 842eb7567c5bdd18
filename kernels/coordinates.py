"""Normalised coordinates and pixels: the one place that knows the two corner conventions.

    pixel = half_extent * coordinate + (size - 1) / 2

align_corners=True (the default, and the paper's code lineage): -1 and 1 are the centres of the first and the last
pixel. align_corners=False: they are the outer edges of those pixels. An axis of one pixel has its target at 0.
"""

import numpy as np


def half_extent(size, align_corners):
    """Pixels from the centre of an axis to the coordinate 1.

    With aligned corners that is 0 for one pixel: -1 and 1 are the same centre, and all finite coordinates lead there.
    A tiny number does the same, but keeps an infinite coordinate infinite, which is to be outside.
    """
    return max(size - 1, 1e-30) / 2 if align_corners else size / 2


def target_points(size, align_corners):
    """The homogeneous target coordinates (x_t, y_t, 1) of an output (H_out, W_out), as a float64 array (3, P)."""
    y, x = ((np.arange(n) - (n - 1) / 2) / half_extent(n, align_corners) for n in size)
    points = np.broadcast_arrays(x[None, :], y[:, None], 1.0)
    return np.stack(points).reshape(3, -1)
