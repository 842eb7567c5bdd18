"""Convolution with stride 1 through spectra: the sum over a window becomes one product for each frequency.

    X[u, v] = sum over h, w of  exp(-2 pi i (u h / T_h + v w / T_w)) x[h, w]          of a tile of T_h x T_w pixels
    Y = conj(W) X,    DX = W DY,    DW = conj(DY) X                                   for each u, v, summed as matrices

The image is cut into tiles that overlap by window - 1; of a tile's outputs those count which no wrap round has reached.
A tile is transformed along its rows, then along its columns, each time by a product with the matrix of the cosines and
sines, so that any size of tile is as good as another. Before that the pixels are turned, in registers, so that tiles
stand side by side: their small products are quickest with long rows. A complex product of matrices is a real one:
(re, im) of x stand below each other, and a weight is the matrix [[re, -im], [im, re]]. So every step is a family of
products of parts of matrices (BLAS), whose shapes follow from the shapes of x and weight only: results are the same
bits for any number of threads. Of a real image half of the frequencies say all (v <= T_w / 2).

What differs from sums over windows: an error is as large as the rounding of the tile's largest pixels, a sum that
should be zero is so but for that rounding, and a pixel that is NaN or infinite makes all outputs of its tile NaN.

Depth is summed directly: x (N, C, D, H, W), weight (F, C, kD, kH, kW), y (N, F, D_out, H_out, W_out); an image has
D = 1. In a spectrum, S[(v, u, re/im), (c, d), (n, tile)], the tiles that are multiplied together stand side by side.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from ..compiling.blas import gemm, move16, turn16, zero
from ..compiling.linking import linked
from ..compiling.parallel import Kernel
from ..compiling.threads import one_blas_thread
from ..products.openblas import parts

LARGEST = 20  # pixels of a tile along an axis, if a window is no larger
PIECE = 96  # tiles that a worker transforms together: they fit its cache; whole vectors of 16
BLOCK = 256  # tiles that are multiplied together, in whole images
ENTRY = 150  # multiplications that take as long as an entry of a spectrum, and
COPY = 14  # as an entry of the copies that sums over windows make


class Plan(NamedTuple):
    """How an image is cut; pairs (vertical, horizontal)."""

    tile: tuple[int, int]  # pixels
    step: tuple[int, int]  # outputs of a tile
    tiles: tuple[int, int]


@functools.lru_cache(maxsize=256)
def plan(x_shape, weight_shape, stride, padding, forced=False):
    """The best cut for these shapes, or None where sums over windows are better (unless forced) or must be.

    Compared are the times of all three passes, forward, dx and dweight, in multiplications of a large product of
    matrices. The constants are measured: those of a transform are quicker, since they stay in the cache, while an entry
    of a spectrum has to be written and read several times.
    """
    N, C, D, *size = x_shape
    F, _, kD, kH, kW = weight_shape
    if max(stride) > 1 or N * C * D == 0:
        return None
    D_out = D + 2 * padding[0] - kD + 1
    H_out, W_out = (n + 2 * p - k + 1 for n, p, k in zip(size, padding[1:], (kH, kW), strict=True))
    direct = 3 * N * D_out * kD * (H_out * W_out * kH * kW * C * F + COPY * (H_out + kH - 1) * W_out * kW * C)
    best, least = None, math.inf if forced else direct
    for T_h in range(kH, max(kH, LARGEST) + 1):
        for T_w in range(kW, max(kW, LARGEST) + 1):
            tiles = -(-H_out // (T_h - kH + 1)), -(-W_out // (T_w - kW + 1))
            columns, V = N * tiles[0] * tiles[1], T_w // 2 + 1
            planes = 2 * columns * (C * D + F * D_out)  # that are transformed, forward and backward
            products = 3 * columns * D_out * kD * 4 * V * T_h * C * F
            transforms = planes * (2 * V * T_h * T_w + 4 * V * T_h * T_h) / 3
            entries = V * T_h * (planes + 4 * C * F * kD)
            if products + transforms + ENTRY * entries < least:
                best = Plan((T_h, T_w), (T_h - kH + 1, T_w - kW + 1), tiles)
                least = products + transforms + ENTRY * entries
    return best


@one_blas_thread
def convolve(x, weight, bias, padding, cut):
    """y (N, F, D_out, H_out, W_out), and the function that leads back, which keeps the spectra of x and of weight."""
    N, C, D, H, W = x.shape
    F, _, kD, *window = weight.shape
    size = tuple(n + 2 * p - k + 1 for n, p, k in zip((D, H, W), padding, (kD, *window), strict=True))
    seen = np.array([cut.tiles, cut.tile, cut.step, padding[1:]])  # the pixels under a tile: how many, how far apart
    made = np.array([cut.tiles, cut.step, cut.step, (0, 0)])  # its outputs
    taps = np.array([(1, 1), window, (0, 0), (0, 0)])
    together = max(1, BLOCK // (cut.tiles[0] * cut.tiles[1]))
    blocks = [slice(first, first + together) for first in range(0, N, together)]
    depths = kD, D, size[0], _meet(D, size[0], kD, padding[0])
    one = kD == 1 and padding[0] == 0  # nothing is added up over depths
    room = np.empty if one else np.zeros

    y = np.empty((N, F, *size), x.dtype)
    biases = np.zeros(F * size[0], x.dtype) if bias is None else np.repeat(bias, size[0])
    matrix = _spectrum(weight, cut.tile, taps, 2)
    spectra = []
    for block in blocks:
        X = _spectrum(x[block], cut.tile, seen, 1)
        Y = room((len(X), F * size[0], X.shape[2]), x.dtype)
        _multiply(depths, matrix, X, Y, "y", not one)
        _pixels(Y, cut.tile, made, 1, biases, y[block])
        spectra.append(X)
    x_shape = x.shape  # x itself is not kept

    @one_blas_thread
    def gradients(dy, wants_dx, wants_dweight):
        """dx, dweight and dbias."""
        dx = np.empty(x_shape, dy.dtype) if wants_dx else None
        dmatrix, dbias = room(matrix.shape, dy.dtype) if wants_dweight else None, np.zeros(F)
        for block, X in zip(blocks, spectra, strict=True):
            DY = _spectrum(dy[block], cut.tile, made, 1)
            if wants_dx:
                DX = room(X.shape, dy.dtype)
                _multiply(depths, matrix, DX, DY, "x", not one)
                _pixels(DX, cut.tile, seen, 1, np.zeros(C * D, dy.dtype), dx[block])
            if wants_dweight:
                _multiply(depths, dmatrix, X, DY, "matrix", not one or block.start > 0)
                dbias += DY[0].reshape(F, -1).sum(axis=1, dtype=np.float64)
        if not wants_dweight:
            return dx, None, None
        dweight = np.empty((F, C, kD, *window), dy.dtype)
        _pixels(dmatrix, cut.tile, taps, 2, np.zeros(C * kD, dy.dtype), dweight)
        return dx, dweight, dbias.astype(dy.dtype)

    return y, gradients


def _meet(D, D_out, kD, padding):
    """For each depth i of the window: i, the first depths of x and y that meet there, and how many do."""
    meet = []
    for i in range(kD):
        first, end = max(0, padding - i), min(D_out, D + padding - i)
        if end > first:
            meet.append((i, first + i - padding, first, end - first))
    return np.array(meet, np.int64).reshape(-1, 4).T


@functools.lru_cache(maxsize=64)
def _transforms(tile, size, copies, dtype):
    """Of the first `size` pixels of a tile: the matrix of rows, the one that leads back, and that of columns.

    across (2 V, w), back (2 V, w), down (copies, 2 U, 2 h), whose transpose leads back. The second copy gives i times
    the spectrum: beside the first it makes the matrix of a product with complex numbers.
    """
    V, U = tile[1] // 2 + 1, tile[0]
    angle = 2 * np.pi / tile[1] * (np.outer(np.arange(V), np.arange(size[1])) % tile[1])
    across = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    twice = np.where((np.arange(V) == 0) | (2 * np.arange(V) == tile[1]), 1, 2)  # for the frequencies left out
    back = across * (twice / (tile[0] * tile[1]))[:, None, None]
    angle = 2 * np.pi / U * (np.outer(np.arange(U), np.arange(size[0])) % U)
    once = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # re and im, of re and im
    down = np.array([once, [-once[1], once[0]]])[:copies].transpose(0, 3, 1, 2, 4)
    return tuple(np.ascontiguousarray(matrix.reshape(*shape), dtype) for matrix, shape in
                 ((across, (2 * V, -1)), (back, (2 * V, -1)), (down, (copies, 2 * U, -1))))


def _spectrum(x, tile, tiling, copies):
    """S (V U 2, C D, copies N tiles)."""
    N, C, D, H, W = x.shape
    across, _, down = _transforms(tile, tuple(tiling[1].tolist()), copies, x.dtype)
    tiles = N * int(tiling[0].prod())
    S = np.empty((len(across) // 2 * down.shape[1], C * D, copies * tiles), x.dtype)
    _transform(C * D * -(-tiles // PIECE), S.size, *_lines(x, tiling), across, down, S)
    return S


def _pixels(S, tile, tiling, copies, bias, x):
    """x (N, C, D, H, W) = bias + what the tiles of a spectrum add up to; a worker owns images."""
    N, C, D, H, W = x.shape
    _, back, down = _transforms(tile, tuple(tiling[1].tolist()), copies, x.dtype)
    images = max(1, PIECE // int(tiling[0].prod()))
    _transform_back(C * D * -(-N // images), S.size, S, back, down, bias, images, *_lines(x, tiling))


def _lines(x, tiling):
    """The planes of x as they are cut, and how: an image that is one tile is one long row."""
    N, C, D, H, W = x.shape
    if tiling[:2].tolist() == [[1, 1], [H, W]]:
        return x.reshape(N, C * D, 1, H * W), np.array([(1, 1), (1, H * W), (1, H * W), (0, 0)])
    return x.reshape(N, C * D, H, W), tiling


def _multiply(depths, matrix, X, Y, result, add):
    """One of Y = conj(W) X, DX = W DY and DW = conj(DY) X for every frequency, added up over the depths that meet.

    Each of the three is a spectrum (V U 2, C D, copies N tiles), as `_spectrum` gives it.
    """
    kD, D, D_out, meet = depths
    n, filters, channels = X.shape[2], matrix.shape[2], 2 * X.shape[1] // D  # the latter two with re and im
    order = {"y": "WXY", "x": "WYX", "matrix": "XYW"}[result]
    a, b, c = ({"W": (matrix, kD * filters), "X": (X, D * n), "Y": (Y, D_out * n)}[name] for name in order)
    a_transposed, b_transposed = result == "y", result == "matrix"
    a_down, b_along = 1 if a_transposed else a[1], b[1] if b_transposed else 1
    terms = []
    for i, x_first, y_first, count in meet.T.tolist():
        at_a, at_b, at_c = ({"W": i * filters, "X": x_first * n, "Y": y_first * n}[name] for name in order)
        rows, columns, inner = {"y": (filters, count * n, channels), "x": (channels, count * n, filters),
                                "matrix": (channels, filters, count * n)}[result]
        tall, wide = parts(rows, columns, inner, b_transposed)
        terms += [(min(tall, rows - r), min(wide, columns - q), inner,
                   at_a + r * a_down, at_b + q * b_along, at_c + r * c[1] + q)
                  for r in range(0, rows, tall) for q in range(0, columns, wide)]
    steps = np.array([(2 * array[0].size, step) for array, step in (a, b, c)])
    _products(len(matrix) // 2, 2 * matrix.size * n, a[0], a_transposed, b[0], b_transposed, c[0],
              np.array(terms, np.int64).reshape(-1, 6), steps, add)


def _products_items(first, last, a, a_transposed, b, b_transposed, c, terms, steps, add):
    """c[item] = a[item] b[item], or added to it; terms (t, 6): rows, columns, inner, the first entries of a, b, c."""
    for item in range(first, last):
        for t in range(len(terms)):
            rows, columns, inner, at_a, at_b, at_c = terms[t]
            gemm(rows, columns, inner, a, at_a + item * steps[0, 0], steps[0, 1], a_transposed,
                 b, at_b + item * steps[1, 0], steps[1, 1], b_transposed,
                 c, at_c + item * steps[2, 0], steps[2, 1], add)


def _transform_items(first, last, x, tiling, across, down, S):
    """An item is a channel and a piece of the tiles; x (N, C, H, W), S and the matrices as `_transforms` gives them."""
    C = x.shape[1]
    copies, lines, height, width = down.shape[0], down.shape[1], down.shape[2] // 2, across.shape[1]
    run = _whole_vectors(height * width)
    columns = S.shape[2]
    tiles = columns // copies
    pieces = -(-tiles // PIECE)
    sixteen, pixels = np.empty(16 * run, x.dtype), np.empty(run * PIECE, x.dtype)
    half = np.empty(len(across) * height * PIECE, x.dtype)
    for item in range(first, last):
        c = item // pieces
        begin = (item - c * pieces) * PIECE
        n = min(PIECE, tiles - begin)
        for t in range(0, n, 16):
            _cut(x, c, begin + t, min(16, n - t), tiling, run, sixteen)
            for k in range(0, height * width, 16):
                turn16(pixels, k * PIECE + t, PIECE, sixteen, k, run)
        for h in range(height):
            gemm(len(across), n, width, across, 0, width, False, pixels, h * width * PIECE, PIECE, False,
                 half, h * n, height * n, False)
        for v in range(len(across) // 2):
            for r in range(copies):
                gemm(lines, n, 2 * height, down, r * lines * 2 * height, 2 * height, False,
                     half, v * 2 * height * n, n, False,
                     S, (v * lines * C + c) * columns + r * tiles + begin, C * columns, False)


def _transform_back_items(first, last, S, back, down, bias, images, x, tiling):
    """An item is a channel and so many images of x (N, C, H, W)."""
    N, C, H, W = x.shape
    copies, lines, height, width = down.shape[0], down.shape[1], down.shape[2] // 2, back.shape[1]
    run = _whole_vectors(height * width)
    columns = S.shape[2]
    tiles = columns // copies
    each = tiling[0, 0] * tiling[0, 1]
    groups = -(-N // images)
    sixteen, pixels = np.empty(16 * run, x.dtype), np.empty(run * PIECE, x.dtype)
    half = np.empty(len(back) * height * PIECE, x.dtype)
    target = x.reshape(-1)
    for item in range(first, last):
        c = item // groups
        begin, end = (item - c * groups) * images, min(N, (item - c * groups + 1) * images)
        for image in range(begin, end):
            for k in range((image * C + c) * H * W, (image * C + c + 1) * H * W):
                target[np.uint64(k)] = bias[c]
        for start in range(begin * each, end * each, PIECE):
            n = min(PIECE, end * each - start)
            for v in range(len(back) // 2):
                for r in range(copies):
                    gemm(2 * height, n, lines, down, r * lines * 2 * height, 2 * height, True,
                         S, (v * lines * C + c) * columns + r * tiles + start, C * columns, False,
                         half, v * 2 * height * n, n, r > 0)
            for h in range(height):
                gemm(width, n, len(back), back, 0, width, True, half, h * n, height * n, False,
                     pixels, h * width * PIECE, PIECE, False)
            for t in range(0, n, 16):
                for k in range(0, height * width, 16):
                    turn16(sixteen, k, run, pixels, k * PIECE + t, PIECE)
                _add(sixteen, c, start + t, min(16, n - t), tiling, run, x)


@linked(nogil=True)
def _whole_vectors(count):
    """Room for so many entries that are moved by vectors of 16, from any of them on."""
    return (count + 30) // 16 * 16


@linked(nogil=True)
def _place(tile, c, C, tiling):
    """The plane of a tile, and the pixel of it where the tile begins."""
    each = tiling[0, 0] * tiling[0, 1]
    n = tile // each
    within = tile - n * each
    a = within // tiling[0, 1]
    b = within - a * tiling[0, 1]
    return n * C + c, a * tiling[2, 0] - tiling[3, 0], b * tiling[2, 1] - tiling[3, 1]


@linked(nogil=True)
def _cut(x, c, begin, count, tiling, run, pixels):
    """pixels[tile, (h, w)] = x of the tiles from begin on, zero outside the image; a tile is `run` entries apart.

    What a row spoils behind it, the next one overwrites.
    """
    _, C, H, W = x.shape
    height, width = tiling[1]
    source = x.reshape(-1)
    for t in range(count):
        plane, top, left = _place(begin + t, c, C, tiling)
        first, last = min(width, max(0, -left)), max(0, min(width, W - left))
        for h in range(height):
            to = t * run + h * width
            row = top + h
            if row < 0 or row >= H:
                zero(pixels, to, width)
                continue
            at = (plane * H + row) * W + left
            for w in range(0, width, 16):
                move16(pixels, to + w, source, at + w, first - w, last - w)


@linked(nogil=True)
def _add(pixels, c, begin, count, tiling, run, x):
    """Adds the pixels of tiles, as `_cut` gives them, to the image."""
    _, C, H, W = x.shape
    height, width = tiling[1]
    target = x.reshape(-1)
    for t in range(count):
        plane, top, left = _place(begin + t, c, C, tiling)
        first, last = max(0, -left), min(width, W - left)
        for h in range(max(0, -top), min(height, H - top)):
            to, at = (plane * H + top + h) * W + left, t * run + h * width
            for w in range(first, last):
                target[np.uint64(to + w)] += pixels[np.uint64(at + w)]


_products = Kernel(_products_items)
_transform = Kernel(_transform_items)
_transform_back = Kernel(_transform_back_items)
