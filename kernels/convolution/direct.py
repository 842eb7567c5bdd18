"""Convolution as sums over windows, forward and backward: products of matrices (BLAS) over shifted views of the image.

    y[n, f, o, p, q] = bias[f] + sum over i, j, k, c of  weight[f, c, i, j, k] x[n, c, o + i, p + j, q + k]

with strides and padding where they apply. A worker writes the image once for each column k of the window, cut to the
columns that y has: then what row j of the window sees is one run of memory in each of these copies, W_out entries
further on for the next j, and the sum over j is one product after the other, added up in place. The backward pass makes
the copies again (dweight), or adds products up in their shape and shifts them back (dx).

    rows[(i, k, c), (row, sample, q)] = x[sample, c, depth + i, row, q + k]

With a vertical stride the rows are sorted by their remainder, so that rows p stride + j of all p stand together. Small
images are taken several at a time; of large ones so many rows as fit a cache, or as BLAS multiplies without copies
(`products/openblas.py`). All that depends on shapes only, so results are the same bits for any number of threads.

Shapes: x (N, C, D, H, W), weight (F, C, kD, kH, kW), y (N, F, D_out, H_out, W_out), all C-contiguous; an image has a
depth of 1. Windows, strides and padding are triples.
"""

from typing import NamedTuple

import numpy as np

from ..compiling.blas import gemm, move16, zero
from ..compiling.linking import linked
from ..compiling.parallel import Kernel, even
from ..compiling.threads import one_blas_thread
from ..products.openblas import small
from .windows import columns_inside, inside

ENTRIES = 1 << 17  # of `rows`, with which BLAS's own copies of them fit a cache too
COLUMNS = 128  # of a product at least, where that many are at hand
ITEMS = 8  # at least, where that is possible, so that all cores have work
CHUNKS = 16  # of the batch, whose shares of dweight are summed apart, then added in order


class Division(NamedTuple):
    """An item is some samples, one depth of y and some of its rows."""

    together: int
    groups: int  # of samples
    rows: int
    parts: int  # of the rows


def divide(N, depths, K, F, H_out, W_out, window, stride):
    """How the work on y (N, F, depths, H_out, W_out) is divided, with K = kD kW C copies of the pixels."""
    line = max(1, K * W_out)
    rows = max(1, min(H_out, max((ENTRIES // line - window) // stride + 1, -(-COLUMNS // max(1, W_out)))))
    if small() >= 2 * window * line * F:  # with fewer rows, those that two items copy cost more than BLAS's own copies
        rows = even(H_out, min(rows, small() // (line * F)))
    together = 1
    if N * depths < ITEMS:
        rows = max(1, min(rows, max(2 * window, -(-H_out * N * depths // ITEMS))))
    elif rows >= H_out:
        room = ENTRIES // (line * ((H_out - 1) * stride + window))
        together = max(1, min(-(-COLUMNS // max(1, H_out * W_out)), room, N * depths // ITEMS))
    return Division(together, -(-N // together), rows, -(-H_out // rows))


@one_blas_thread
def convolve(x, weight, bias, size, stride, padding):
    """y (N, F, D_out, H_out, W_out), the latter three given as `size`."""
    N, C = x.shape[:2]
    F, _, kD, kH, kW = weight.shape
    y = np.empty((N, F, *size), x.dtype)
    flat = np.ascontiguousarray(weight.transpose(3, 0, 2, 4, 1)).reshape(-1)  # j f (i k c)
    division = divide(N, size[0], kD * kW * C, F, *size[1:], kH, stride[1])
    bias = np.zeros(F, x.dtype) if bias is None else bias
    _forward(division.groups * size[0] * division.parts, y.size * C, x, flat, bias,
             np.array([(kD, kH, kW), stride, padding]), np.array(division), y)
    return y


@one_blas_thread
def convolve_dweight(x, dy, window, stride, padding):
    """dweight and dbias."""
    C, (N, F, *size), (kD, kH, kW) = x.shape[1], dy.shape, window
    division = divide(N, size[0], kD * kW * C, F, *size[1:], kH, stride[1])
    items = division.groups * size[0] * division.parts
    shares = np.zeros((max(1, min(CHUNKS, items)), kH * F * kD * kW * C + F), x.dtype)
    _dweight(len(shares), dy.size * C, x, dy, np.array([window, stride, padding]), np.array(division), shares)
    total = shares.sum(axis=0)
    dweight = total[:-F].reshape(kH, F, kD, kW, C).transpose(1, 4, 2, 0, 3)
    return np.ascontiguousarray(dweight), total[-F:].copy()


@one_blas_thread
def convolve_dx(dy, weight, size, stride, padding):
    """dx (N, C, D, H, W), the latter three given as `size`."""
    N, _, D_out, H_out, W_out = dy.shape
    F, C, kD, kH, kW = weight.shape
    dx = np.empty((N, C, *size), dy.dtype)
    flat = np.ascontiguousarray(weight.transpose(2, 3, 4, 1, 0)).reshape(-1)  # i j (k c) f
    division = divide(N, D_out, kW * C, F, H_out, W_out, kH, stride[1])
    # A worker owns rows of dx. Rows of y that reach into two parts are worked on for both, so a sample is divided only
    # where there are too few of them to occupy the cores.
    parts = 1 if N * size[0] >= ITEMS else max(1, min(ITEMS, size[1] // (2 * kH)))
    _dx(division.groups * size[0] * parts, dy.size * C, dy, flat, np.array([(kD, kH, kW), stride, padding]),
        np.array(division), parts, dx)
    return dx


# Indices are unsigned where a loop should become vectors: for signed ones Numba tests each for being negative.


@linked(nogil=True)
def _height(P, window, stride):
    """Rows under P windows, sorted by their remainder."""
    height = 0
    for remainder in range(min(stride, window)):
        height += P + (window - 1 - remainder) // stride
    return height


@linked(nogil=True)
def _view(j, P, stride, window):
    """The first of the P rows that row j of the windows sees."""
    first = j // stride
    for remainder in range(j % stride):
        first += P + (window - 1 - remainder) // stride
    return first


@linked(nogil=True)
def _shifted(source, begin, plane, samples, left, right, W_out, rows, at):
    """rows[at + n W_out + q] = source[begin + n plane + q] of so many samples n for left <= q < right, else zero; up to
    15 entries behind are spoilt."""
    for _ in range(samples):
        for q in range(0, W_out, 16):
            move16(rows, at + q, source, begin + q, left - q, right - q)
        begin += plane
        at += W_out


@linked(nogil=True)
def _strided(source, begin, plane, samples, left, right, stride, W_out, rows, at):
    """The same of entries source[begin + n plane + q stride]; a function of its own, so that the other stays quick."""
    for _ in range(samples):
        zero(rows, at, left)
        for q in range(left, right):
            rows[np.uint64(at + q)] = source[np.uint64(begin + q * stride)]
        zero(rows, at + right, W_out - right)
        begin += plane
        at += W_out


@linked(nogil=True)
def _copies(x, samples, o, top, P, geometry, W_out, rows):
    """rows[(i, k, c), (row, sample, q)] for the depths i of window o that lie in x; returns the first, and how many do.

    P rows of windows, from row `top` of y on. What a row spoils, the next one overwrites.
    """
    _, C, D, H, W = x.shape
    kH, kW, vertical, horizontal = geometry[0, 1], geometry[0, 2], geometry[1, 1], geometry[1, 2]
    source = x.reshape(-1)
    begin_depth = o * geometry[1, 0] - geometry[2, 0]
    first, end = inside(begin_depth, geometry[0, 0], D)
    count, plane, at = samples[1] - samples[0], C * D * H * W, 0
    for i in range(first, end):
        for k in range(kW):
            left, right = columns_inside(k, W, W_out, horizontal, geometry[2, 2])
            for c in range(C):
                for remainder in range(min(vertical, kH)):
                    for m in range(P + (kH - 1 - remainder) // vertical):
                        h = (top + m) * vertical - geometry[2, 1] + remainder
                        begin = (((samples[0] * C + c) * D + begin_depth + i) * H + h) * W + k - geometry[2, 2]
                        if h < 0 or h >= H:
                            zero(rows, at, count * W_out)
                        elif horizontal == 1:
                            _shifted(source, begin, plane, count, left, right, W_out, rows, at)
                        else:
                            _strided(source, begin, plane, count, left, right, horizontal, W_out, rows, at)
                        at += count * W_out
    return first, max(0, end - first)


@linked(nogil=True)
def _add_copies(rows, samples, d, top, P, geometry, W_out, first_row, end_row, dx):
    """The adjoint of `_copies` for depth d of dx and its rows (of pixels) from first to end."""
    _, C, D, H, W = dx.shape
    kH, kW, vertical, horizontal = geometry[0, 1], geometry[0, 2], geometry[1, 1], geometry[1, 2]
    target = dx.reshape(-1)
    at = 0
    for k in range(kW):
        shift = k - geometry[2, 2]
        left, right = columns_inside(k, W, W_out, horizontal, geometry[2, 2])
        for c in range(C):
            for remainder in range(min(vertical, kH)):
                for m in range(P + (kH - 1 - remainder) // vertical):
                    h = (top + m) * vertical - geometry[2, 1] + remainder
                    for n in range(samples[0], samples[1]):
                        if h >= first_row and h < end_row:
                            begin = (((n * C + c) * D + d) * H + h) * W + shift
                            if horizontal == 1:
                                for q in range(left, right):
                                    target[np.uint64(begin + q)] += rows[np.uint64(at + q)]
                            else:
                                for q in range(left, right):
                                    target[np.uint64(begin + q * horizontal)] += rows[np.uint64(at + q)]
                        at += W_out


@linked(nogil=True)
def _gathered(dy, samples, o, top, bottom, tile):
    """tile[f, (p, sample, q)] = dy[sample, f, o, p, q] for rows p from top to bottom."""
    _, F, D_out, H_out, W_out = dy.shape
    source = dy.reshape(-1)
    at = 0
    for f in range(F):
        for p in range(top, bottom):
            for n in range(samples[0], samples[1]):
                begin = (((n * F + f) * D_out + o) * H_out + p) * W_out
                for q in range(W_out):
                    tile[np.uint64(at + q)] = source[np.uint64(begin + q)]
                at += W_out


@linked(nogil=True)
def _scattered(tile, samples, o, top, bottom, y):
    """The way back, into y (N, F, D_out, H_out, W_out). Not one function with `_gathered`: dy may be read-only."""
    _, F, D_out, H_out, W_out = y.shape
    target = y.reshape(-1)
    at = 0
    for f in range(F):
        for p in range(top, bottom):
            for n in range(samples[0], samples[1]):
                begin = (((n * F + f) * D_out + o) * H_out + p) * W_out
                for q in range(W_out):
                    target[np.uint64(begin + q)] = tile[np.uint64(at + q)]
                at += W_out


@linked(nogil=True)
def _item(item, division, N, depths, H_out):
    """The samples (first, end), the depth, and the rows from top to bottom, of an item."""
    together, _, rows, parts = division
    both = item // parts
    group = both // depths
    top = (item - both * parts) * rows
    return (group * together, min(N, (group + 1) * together)), both - group * depths, top, min(H_out, top + rows)


def _forward_items(first, last, x, weight, bias, geometry, division, y):
    """An item is a `Division`'s part of y (N, F, D_out, H_out, W_out); weight is flat, j f (i k c)."""
    N, F, D_out, H_out, W_out = y.shape
    C, kH, stride = x.shape[1], geometry[0, 1], geometry[1, 1]
    K, of_depth = geometry[0, 0] * geometry[0, 2] * C, geometry[0, 2] * C
    most = division[0] * W_out
    rows = np.empty(K * _height(division[2], kH, stride) * most + 16, x.dtype)
    tile = np.empty(F * division[2] * most if division[0] > 1 else 0, x.dtype)
    for item in range(first, last):
        samples, o, top, bottom = _item(item, division, N, D_out, H_out)
        P, run = bottom - top, (samples[1] - samples[0]) * W_out
        i, depths = _copies(x, samples, o, top, P, geometry, W_out, rows)
        line = _height(P, kH, stride) * run
        # The result's rows are where they belong already, if there is one sample.
        alone = division[0] == 1
        target = y.reshape(-1) if alone else tile
        at = ((samples[0] * F * D_out + o) * H_out + top) * W_out if alone else 0
        step = D_out * H_out * W_out if alone else P * run
        for f in range(F):
            for q in range(P * run):
                target[np.uint64(at + f * step + q)] = bias[f]
        for j in range(kH):
            gemm(F, P * run, depths * of_depth, weight, j * F * K + i * of_depth, K, False,
                 rows, _view(j, P, stride, kH) * run, line, False, target, at, step, True)
        if not alone:
            _scattered(tile, samples, o, top, bottom, y)


def _dweight_items(first, last, x, dy, geometry, division, shares):
    """An item is a share: (j, f, i, k, c) of dweight, then dbias."""
    N, F, D_out, H_out, W_out = dy.shape
    C, kH, stride = x.shape[1], geometry[0, 1], geometry[1, 1]
    K, of_depth = geometry[0, 0] * geometry[0, 2] * C, geometry[0, 2] * C
    most = division[0] * W_out
    items = division[1] * D_out * division[3]
    rows = np.empty(K * _height(division[2], kH, stride) * most + 16, x.dtype)
    tile = np.empty(F * division[2] * most if division[0] > 1 else 0, x.dtype)
    ones = np.ones(division[2] * most, x.dtype)
    for share in range(first, last):
        begin = share * shares.shape[1]
        for item in range(items * share // len(shares), items * (share + 1) // len(shares)):
            samples, o, top, bottom = _item(item, division, N, D_out, H_out)
            P, run = bottom - top, (samples[1] - samples[0]) * W_out
            i, depths = _copies(x, samples, o, top, P, geometry, W_out, rows)
            line = _height(P, kH, stride) * run
            alone = division[0] == 1
            source = dy.reshape(-1) if alone else tile
            at = ((samples[0] * F * D_out + o) * H_out + top) * W_out if alone else 0
            step = D_out * H_out * W_out if alone else P * run
            if not alone:
                _gathered(dy, samples, o, top, bottom, tile)
            for j in range(kH):
                gemm(F, depths * of_depth, P * run, source, at, step, False, rows, _view(j, P, stride, kH) * run, line,
                     True, shares, begin + j * F * K + i * of_depth, K, True)
            gemm(F, 1, P * run, source, at, step, False, ones, 0, 1, False, shares, begin + kH * F * K, 1, True)


def _dx_items(first, last, dy, weight, geometry, division, parts, dx):
    """An item is some samples, one depth of dx and one of the `parts` of its rows."""
    N, F, D_out, H_out, W_out = dy.shape
    _, C, D, H, W = dx.shape
    kH, stride, padding = geometry[0, 1], geometry[1, 1], geometry[2, 1]
    K = geometry[0, 2] * C
    most = division[0] * W_out
    rows = np.empty(K * _height(division[2], kH, stride) * most, dy.dtype)
    tile = np.empty(F * division[2] * most if division[0] > 1 else 0, dy.dtype)
    alone = division[0] == 1
    source, target = dy.reshape(-1) if alone else tile, dx.reshape(-1)
    for item in range(first, last):
        both = item // parts
        group = both // D
        d, part = both - group * D, item - both * parts
        samples = group * division[0], min(N, (group + 1) * division[0])
        first_row, end_row = H * part // parts, H * (part + 1) // parts
        for n in range(samples[0], samples[1]):
            for c in range(C):
                zero(target, (((n * C + c) * D + d) * H + first_row) * W, (end_row - first_row) * W)
        p_first = max(0, (first_row + padding - kH + stride) // stride)
        p_end = min(H_out, (end_row - 1 + padding) // stride + 1)
        for top in range(p_first, p_end, division[2]):
            bottom = min(p_end, top + division[2])
            P, run = bottom - top, (samples[1] - samples[0]) * W_out
            line = _height(P, kH, stride) * run
            zero(rows, 0, K * line)
            for i in range(geometry[0, 0]):
                o = (d + geometry[2, 0] - i) // geometry[1, 0]
                if o * geometry[1, 0] != d + geometry[2, 0] - i or o < 0 or o >= D_out:
                    continue
                at = ((samples[0] * F * D_out + o) * H_out + top) * W_out if alone else 0
                if not alone:
                    _gathered(dy, samples, o, top, bottom, tile)
                for j in range(kH):
                    gemm(K, P * run, F, weight, (i * kH + j) * K * F, F, False,
                         source, at, D_out * H_out * W_out if alone else P * run, False,
                         rows, _view(j, P, stride, kH) * run, line, True)
            _add_copies(rows, samples, d, top, P, geometry, W_out, first_row, end_row, dx)


_forward = Kernel(_forward_items)
_dweight = Kernel(_dweight_items)
_dx = Kernel(_dx_items)
