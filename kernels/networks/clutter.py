"""Small pieces put into images where the brighter value stays: the clutter of distorted digits.

One piece after the other, as the CPU's loop does, and within a piece a thread for each pixel. Since the largest value
stays, the order makes no difference.
"""

import numpy as np

from ..gpu.arrays.device_array import is_device
from ..gpu.integer_division import split
from ..gpu.launch import cuda, cuda_kernel, over


@cuda_kernel("T* T* int64* int64* int int int int int int int")
def _paste(T):
    """Piece k of all images, n pixels: pieces (N, count, size, wide), images (N, height, width)."""
    def paste(images, pieces, tops, lefts, n, k, count, size, wide, height, width):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, column = split(i, wide)
            image, row = split(rest, size)
            piece = image * count + k
            at = (image * height + tops[piece] + row) * width + lefts[piece] + column
            value = pieces[(piece * size + row) * wide + column]
            if value > images[at]:
                images[at] = value
    return paste


def paste_brightest(images, pieces, tops, lefts):
    """images[n, tops[n, k] + i, lefts[n, k] + j] becomes at least pieces[n, k, i, j], in place.

    images (N, H, W), pieces (N, K, h, w), whose places (N, K) int64 lie inside.
    """
    N, K, h, w = pieces.shape
    if is_device(images):
        for k in range(K if N else 0):
            _paste[images.dtype.type](*over(N * h * w), images, pieces, tops, lefts, N * h * w, k, K, h, w,
                                      *images.shape[1:])
        return
    places = np.lib.stride_tricks.sliding_window_view(images, (h, w), axis=(1, 2), writeable=True)
    for k in range(K):
        at = np.arange(N), tops[:, k], lefts[:, k]
        places[at] = np.maximum(places[at], pieces[:, k])
