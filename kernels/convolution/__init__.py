"""Convolution, forward and backward, of images and volumes: the ways to compute it, chosen by shapes only.

    y[n, f, o, p, q] = bias[f] + sum over i, j, k, c of
                       weight[f, c, i, j, k] x[n, c, o s + i - padding, p s + j - padding, q s + k - padding]

On the CPU through spectra (`spectra`) where that takes fewer multiplications, else as sums over windows (`direct`), or
over single entries (`pointwise`); on a GPU as products over patches that stand nowhere (`gpu`). An image (N, C, H, W)
is a volume (N, C, D, H, W) with a depth of 1. NANOSTN_SPECTRA=0 in the environment leaves spectra alone.

Shapes: x (N, C, [D,] H, W), weight (F, C, [kD,] kH, kW), bias (F,), y (N, F, [D_out,] H_out, W_out); all C-contiguous.
Strides and padding are given for each axis.
"""

import os

from ..gpu.arrays.device_array import is_device
from . import direct, gpu, pointwise, spectra
from .windows import output_size


def convolve(x, weight, bias, stride, padding, method="auto"):
    """y, and what leads back: `gradients(dy, wants_dx, wants_dweight)` gives dx, dweight and dbias. bias may be None.

    `method` is auto, direct or spectra, which is for a stride of 1; a GPU has one way.
    """
    if is_device(x):
        return _by_windows(gpu, x, weight, bias, stride, padding)
    if x.ndim == 4:
        return _as_volumes(x, weight, bias, stride, padding, method)
    if method == "spectra" or method == "auto" and os.environ.get("NANOSTN_SPECTRA") != "0":
        cut = spectra.plan(x.shape, weight.shape, stride, padding, method == "spectra")
        if cut is not None:
            return spectra.convolve(x, weight, bias, padding, cut)
    single = pointwise.fits(weight.shape[2:], stride, padding)
    return _by_windows(pointwise if single else direct, x, weight, bias, stride, padding)


def _by_windows(kernels, x, weight, bias, stride, padding):
    """`convolve` of images (N, C, H, W) or volumes (N, C, D, H, W) by the functions of a module."""
    window = weight.shape[2:]
    size = tuple(map(output_size, x.shape[2:], window, stride, padding))
    y = kernels.convolve(x, weight, bias, size, stride, padding)

    def gradients(dy, wants_dx, wants_dweight):
        dx = kernels.convolve_dx(dy, weight, x.shape[2:], stride, padding) if wants_dx else None
        if not wants_dweight:
            return dx, None, None
        return dx, *kernels.convolve_dweight(x, dy, window, stride, padding)

    return y, gradients


def _as_volumes(x, weight, bias, stride, padding, method):
    """`convolve` of x (N, C, H, W), as (N, C, 1, H, W)."""
    y, back = convolve(x[:, :, None], weight[:, :, None], bias, (1, *stride), (0, *padding), method)

    def gradients(dy, wants_dx, wants_dweight):
        dx, dweight, dbias = back(dy[:, :, None], wants_dx, wants_dweight)
        return dx if dx is None else dx[:, :, 0], dweight if dweight is None else dweight[:, :, 0], dbias

    return y[:, :, 0], gradients
