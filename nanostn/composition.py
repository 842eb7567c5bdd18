"""Affine transformers in series, with what stands between them, as one transformation of the image.

Counted in pixels, a transformer leads from its output to its input by a matrix G, which theta tells; and so does a
convolution or a pooling: the window of its output pixel j has its centre at the input pixel

    stride j + (kernel - 1) / 2 - padding

That is j itself for a convolution that keeps the size, and 2 j + 1/2 for a pooling by 2. What all of them read of the
image is the product of the matrices, the first layer's on the left: G_1 W_1 G_2 W_2 ... G_n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanostn.checks import argument_error
from nanostn.convolution import per_axis
from nanostn.nn import AvgPool2d, Conv2d, MaxPool2d, SpatialTransformer
from nanostn.transformations.pixels import pixels_from_theta, square, theta_from_pixels

Size = tuple[int, int]


def composed(network: Any, size: Size, thetas: Sequence[np.ndarray]) -> np.ndarray:
    """theta (N, 6) of the one affine transformer that reads of the image what the last of those in series does.

    `network` is a Sequential. `size` (H, W) is the image's; `thetas`, one for each of the network's first transformers,
    are what these found in N images. Other layers than convolutions and poolings keep every pixel at its place. An
    output of the last transformer's size is meant, and aligned corners as that one has them.
    """
    G, left = np.eye(3), list(thetas)
    at: Any = size
    for layer in network.modules:
        if isinstance(layer, SpatialTransformer) and left:
            before, at = at, layer.size
            G = G @ square(pixels_from_theta(left.pop(0), layer.transformation, before, at, layer.align_corners,
                                             inverse=True))
            if not left:
                return theta_from_pixels(G[:, :2], size, at, layer.align_corners, inverse=True)
        elif isinstance(layer, Conv2d | MaxPool2d | AvgPool2d):
            W, at = window(layer, at)
            G = G @ W
    raise argument_error("composed", "thetas", "those of one transformer of the network or more, at most of all",
                         f"{len(thetas)}")


def window(layer: Conv2d | MaxPool2d | AvgPool2d, size: Size) -> tuple[np.ndarray, Size]:
    """From an output pixel (x, y, 1) to the centre of its window in an input of this size (H, W), as a matrix (3, 3);
    and the size of the output."""
    kernel = layer.weight.shape[2:] if isinstance(layer, Conv2d) else layer.kernel_size
    kernel, stride, padding = (per_axis(type(layer).__name__, name, value, least, 2) for name, value, least in (
        ("kernel_size", kernel, 1), ("stride", layer.stride or kernel, 1), ("padding", layer.padding, 0)))
    y, x = ((k - 1) / 2 - p for k, p in zip(kernel, padding, strict=True))
    H, W = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))
    return np.array([[stride[1], 0, x], [0, stride[0], y], [0, 0, 1]]), (H, W)
