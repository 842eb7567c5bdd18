"""Convolution in 3D, forward and backward, as convolutions in 2D over slabs of a volume.

    y[n, f, o, p, q] = bias[f] + sum over i, j, k, c of
                       weight[f, c, i, j, k] x[n, c, o s + i - padding, p s + j - padding, q s + k - padding]

For one depth o of the output, the kD slices of x under the window are a slab, and (c, i) together count as channels of
an image: what is left is the convolution in 2D, with the weights as they stand in memory. Slabs of neighbouring depths
overlap, so they are copied, as many at a time as fit `SLABS`, and never for the whole volume. Backward, the gradients
of slabs are added up in the order of their depths, which depends on shapes only: results are the same bits for any
number of threads.

Shapes: x (N, C, D, H, W), weight (F, C, kD, kH, kW), bias (F,), y (N, F, D_out, H_out, W_out). Windows, strides and
padding are triples (depth, vertical, horizontal). The functions are called like those of `convolution`, and on a GPU do
without slabs (`patch_product`).
"""

import numpy as np

from . import convolution, patch_product
from .convolution import output_size
from .device_array import is_device

SLABS = 1 << 20  # entries of the slabs that are convolved together: several small ones are worth one call


def convolve(x, weight, bias, stride, padding):
    """y; bias may be None."""
    N, F, window = len(x), len(weight), weight.shape[2:]
    size = tuple(map(output_size, x.shape[2:], window, stride, padding))
    if is_device(x):
        return patch_product.convolve(x, weight, bias, size, stride, padding)
    y = np.empty((N, F, *size), x.dtype)
    flat = _flat(weight)
    for depths in _groups(x.shape, window, y.shape[2]):
        slabs = _slabs(x, window[0], depths, stride[0], padding[0])
        part = convolution.convolve(slabs, flat, bias, stride[1:], padding[1:])
        y[:, :, depths.start:depths.stop] = part.reshape(len(depths), N, F, *y.shape[3:]).transpose(1, 2, 0, 3, 4)
    return y


def convolve_dweight(x, dy, window, stride, padding):
    """dweight and dbias."""
    if is_device(x):
        return patch_product.convolve_dweight(x, dy, window, stride, padding)
    C, F = x.shape[1], dy.shape[1]
    dweight, dbias = np.zeros((F, C * window[0], *window[1:]), x.dtype), np.zeros(F, x.dtype)
    for depths in _groups(x.shape, window, dy.shape[2]):
        slabs = _slabs(x, window[0], depths, stride[0], padding[0])
        parts = convolution.convolve_dweight(slabs, _slices(dy, depths), window[1:], stride[1:], padding[1:])
        dweight += parts[0]
        dbias += parts[1]
    return dweight.reshape(F, C, *window), dbias


def convolve_dx(dy, weight, size, stride, padding):
    """dx, with volumes of `size`."""
    if is_device(dy):
        return patch_product.convolve_dx(dy, weight, size, stride, padding)
    N, C, window = len(dy), weight.shape[1], weight.shape[2:]
    dx = np.zeros((N, C, *size), dy.dtype)
    flat = _flat(weight)
    for depths in _groups(dx.shape, window, dy.shape[2]):
        dslabs = convolution.convolve_dx(_slices(dy, depths), flat, size[1:], stride[1:], padding[1:])
        dslabs = dslabs.reshape(len(depths), N, C, window[0], *size[1:])
        for dslab, depth in zip(dslabs, depths, strict=True):
            inside, under = _inside(depth * stride[0] - padding[0], window[0], size[0])
            dx[:, :, inside] += dslab[:, :, under]
    return dx


def _flat(weight):
    """(F, C, kD, kH, kW) -> (F, C kD, kH, kW), no copy."""
    F, C, kD, kH, kW = weight.shape
    return weight.reshape(F, C * kD, kH, kW)


def _groups(shape, window, count):
    """The depths of the output in ranges, as many in each as have slabs that fit `SLABS`, but one at least."""
    N, C, _, H, W = shape
    step = max(1, SLABS // max(1, N * C * window[0] * H * W))
    return [range(first, min(count, first + step)) for first in range(0, count, step)]


def _inside(first, kernel, size):
    """The slices from first to first + kernel that exist, and their places in the window."""
    begin = min(max(first, 0), size)
    end = min(max(first + kernel, begin), size)
    return slice(begin, end), slice(begin - first, end - first)


def _slabs(x, kernel, depths, stride, padding):
    """slabs[(o, n), (c, i)] = x[n, c, o stride + i - padding] for the depths o, and zero outside the volume."""
    N, C, D, H, W = x.shape
    slabs = np.zeros((len(depths), N, C, kernel, H, W), x.dtype)
    for slab, depth in zip(slabs, depths, strict=True):
        inside, under = _inside(depth * stride - padding, kernel, D)
        slab[:, :, under] = x[:, :, inside]
    return slabs.reshape(len(depths) * N, C * kernel, H, W)


def _slices(dy, depths):
    """dy at the given depths as images ((o, n), F, H_out, W_out)."""
    part = dy[:, :, depths.start:depths.stop].transpose(2, 0, 1, 3, 4)
    return np.ascontiguousarray(part).reshape(-1, dy.shape[1], *dy.shape[3:])
