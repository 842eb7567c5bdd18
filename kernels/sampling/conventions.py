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
    """`reference.target_points`: homogeneous, point by point in the order of the output's memory, in float64.

    (H_out, W_out) -> rows (x_t, y_t, 1), an array (3, P); (D_out, H_out, W_out) -> (x_t, y_t, z_t, 1), (4, P).
    """
    axes = [(np.arange(n) - (n - 1) / 2) / half_extent(n, align_corners) for n in size]
    points = np.meshgrid(*axes, indexing="ij")[::-1]
    return np.stack([*points, np.ones(size)]).reshape(len(size) + 1, -1)
