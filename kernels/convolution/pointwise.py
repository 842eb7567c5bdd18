"""Convolution with windows of one entry: for each image one product of matrices (BLAS), as they lie in memory.

    y[n, f, p] = bias[f] + sum over c of weight[f, c] x[n, c, p]

More than half of Inception's convolutions are so. Nothing is copied.

Shapes: x (N, C, D, H, W), weight (F, C, 1, 1, 1), y (N, F, D, H, W), all C-contiguous; below, P = D H W.
"""

import math

import numpy as np

from ..compiling.blas import gemm
from ..compiling.linking import linked
from ..compiling.parallel import Kernel
from ..compiling.threads import one_blas_thread
from .direct import CHUNKS, COLUMNS, ITEMS


def fits(window, stride, padding):
    """Whether windows are single entries, side by side."""
    return max(window) == 1 == max(stride) and max(padding) == 0


def _parts(N, P):
    """Of an image: more than one where the batch alone does not occupy the cores. By shapes only, as all bits are."""
    return 1 if N >= ITEMS or N == 0 else max(1, min(-(-ITEMS // N), P // COLUMNS))


@one_blas_thread
def convolve(x, weight, bias, size, stride, padding):
    """y (N, F, D, H, W)."""
    (N, C), F, P = x.shape[:2], len(weight), math.prod(size)
    y, bias = np.empty((N, F, *size), x.dtype), np.zeros(0, x.dtype) if bias is None else bias
    parts = _parts(N, P)
    _forward(N * parts, y.size * C, x.reshape(N, C, P), weight.reshape(F, C), bias, parts, y.reshape(N, F, P))
    return y


@one_blas_thread
def convolve_dx(dy, weight, size, stride, padding):
    """dx (N, C, D, H, W)."""
    (N, F), C, P = dy.shape[:2], weight.shape[1], math.prod(size)
    dx, parts = np.empty((N, C, *size), dy.dtype), _parts(N, P)
    _dx(N * parts, dy.size * C, dy.reshape(N, F, P), weight.reshape(F, C), parts, dx.reshape(N, C, P))
    return dx


@one_blas_thread
def convolve_dweight(x, dy, window, stride, padding):
    """dweight and dbias."""
    (N, C), F, P = x.shape[:2], dy.shape[1], math.prod(x.shape[2:])
    shares = np.zeros((max(1, min(CHUNKS, N)), F * C + F), x.dtype)
    _dweight(len(shares), dy.size * C, x.reshape(N, C, P), dy.reshape(N, F, P), shares)
    total = shares.sum(axis=0)
    return total[:F * C].reshape(F, C, 1, 1, 1).copy(), total[F * C:].copy()


@linked(nogil=True)
def _part(item, parts, P):
    """The image of an item, and its entries from first to end."""
    n = item // parts
    part = item - n * parts
    return n, P * part // parts, P * (part + 1) // parts


def _forward_items(first, last, x, weight, bias, parts, y):
    """An item is a part of y[n], of x (N, C, P) and y (N, F, P); bias (F,) has no entries where there is none."""
    _, F, P = y.shape
    C, target = x.shape[1], y.reshape(-1)
    for item in range(first, last):
        n, begin, end = _part(item, parts, P)
        at = n * F * P + begin
        for f in range(len(bias)):
            for p in range(end - begin):
                target[np.uint64(at + f * P + p)] = bias[f]
        gemm(F, end - begin, C, weight, 0, C, False, x, n * C * P + begin, P, False, y, at, P, len(bias) > 0)


def _dx_items(first, last, dy, weight, parts, dx):
    """An item is a part of dx[n], (C, P): dx[c, p] = sum over f of weight[f, c] dy[f, p]."""
    _, C, P = dx.shape
    F = dy.shape[1]
    for item in range(first, last):
        n, begin, end = _part(item, parts, P)
        gemm(C, end - begin, F, weight, 0, C, True, dy, n * F * P + begin, P, False, dx, n * C * P + begin, P, False)


def _dweight_items(first, last, x, dy, shares):
    """An item is a share: of dweight[f, c] = sum over n, p of dy[n, f, p] x[n, c, p], then of dbias."""
    N, C, P = x.shape
    F = dy.shape[1]
    ones = np.ones(P, x.dtype)
    for share in range(first, last):
        at = share * shares.shape[1]
        for n in range(N * share // len(shares), N * (share + 1) // len(shares)):
            gemm(F, C, P, dy, n * F * P, P, False, x, n * C * P, P, True, shares, at, C, True)
            gemm(F, 1, P, dy, n * F * P, P, False, ones, 0, 1, False, shares, at + F * C, 1, True)


_forward = Kernel(_forward_items)
_dx = Kernel(_dx_items)
_dweight = Kernel(_dweight_items)
