"""Sampling of a tile with any separable kernel k and any padding: `reference` by tables of taps and weights (eq. 3).

    V = sum over the taps m of U[pad(m)] k(x - m),      x - r < m <= x + r,      and so along every axis

Padding acts on the tap. With a width s the kernel is widened, k((x - m) / s), and divided by the sum of its weights.
Tables have a row for each tap and a column for each point of a run, of each axis: where the tap stands in the tile, its
weight, and the derivatives of that with respect to x and s. A tap that reads outside stands in the margin.

(The functions here are compiled by themselves: linked into their kernels they take longer, by a twelfth.)
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from . import interpolation as of
from .interpolation import BICUBIC, BILINEAR, BORDER, BSPLINE, CATMULL_ROM, CUSTOM, FAR, NEAREST, ZEROS, padded
from .source_points import WIDTHS, index, inner, summing
from .tiles import steps


class Reading(NamedTuple):
    """The sampling kernel and the padding; k and its slope are called where the kind is CUSTOM."""
    kind: int
    k: Any
    slope: Any
    radius: float  # in pixels, of a kernel that is not widened
    padding: int


class Tables(NamedTuple):
    """Of a run of points, along columns, rows and slices: (3, taps, run), but for the last two."""
    at: Any  # where the tap stands in the tile, in entries
    w: Any  # its weight k((x - m) / s)
    d: Any  # the derivative of that with respect to x
    e: Any  # and to the width s; (3, 0, run) where kernels are not widened
    used: Any  # (3, run), the taps of each point
    room: Any  # (5, run), for what is worked out on the way


def formulas(floor, compiled):
    """What a coordinate reads; each device has a floor of its own."""

    @compiled
    def clamped(x, size, reach, padding):
        """The coordinate, or a nearer one in the place of one that is far outside; and whether it stayed as it was."""
        T = type(x)
        if padding == ZEROS or padding == BORDER:  # from here on all taps read the same value
            low, high = floor(-reach) - T(1), T(size) - floor(-reach)
        else:
            low, high = -T(FAR), T(size) + T(FAR)
        if x >= low and x <= high:
            return x, True
        fraction = x - floor(x)  # decides the weights, also where all taps are the same; NaN for infinity
        fraction = fraction if fraction >= T(0) else T(0)
        return (high if x > high else low) + fraction, False

    @compiled
    def width_of(width, size):
        """By how much a kernel is widened: from 1, also for a NaN, up to the image's size."""
        T = type(width)
        return min(width if width > T(1) else T(1), T(size))

    @compiled
    def taps_at(x, size, reach, padding):
        """Of a coordinate in pixels: its first tap, how far behind that it lies, the number of taps, 0 for a NaN, and
        whether it stayed as it was."""
        T = type(x)
        x_j, near = clamped(x if x == x else T(0), size, reach, padding)
        before = floor(x_j - reach)
        used = min(np.int32(floor(x_j + reach) - before), np.int32(-floor(T(-2) * reach)))
        return before + T(1), x_j - (before + T(1)), used if x == x else np.int32(0), near

    return width_of, taps_at


_width_of, _taps_at = formulas(np.floor, njit(**inner))


@njit(inline="always", **inner)
def _known(kind, u, count, w, d):
    for j in range(count):
        w[j], d[j] = of.weight(u[j], kind)


@njit(**inner)
def _weigh(centre, rate, count, taps, used, reading, u, w, d, e):
    """Weights w, and their derivatives d and e with respect to x and to s, (taps, run), of taps 0, 1, ... at centre - x
    and 1 / s = rate, all in pixels; the other arrays are (run,)."""
    kind, k, slope, radius, _ = reading
    T = w.dtype.type
    for t in range(taps):
        w_t, d_t = w[t], d[t]
        for j in range(count):
            u[j] = (centre[j] - T(t)) * rate[j]
        if kind == NEAREST:  # a constant in each call, so that the loop has no branch, and becomes vectors
            _known(NEAREST, u, count, w_t, d_t)
        elif kind == BILINEAR:
            _known(BILINEAR, u, count, w_t, d_t)
        elif kind == BICUBIC:
            _known(BICUBIC, u, count, w_t, d_t)
        elif kind == CATMULL_ROM:
            _known(CATMULL_ROM, u, count, w_t, d_t)
        elif kind == BSPLINE:
            _known(BSPLINE, u, count, w_t, d_t)
        else:
            for j in range(count):
                if t < used[j]:  # a user's k may be defined up to its radius only, which rounding may overstep
                    inside = min(max(u[j], -T(radius)), T(radius))
                    w_t[j], d_t[j] = k(inside), slope(inside)
        if len(e) > 0:
            for j in range(count):
                d_t[j] *= rate[j]
                e[t, j] = -u[j] * d_t[j]


@njit(**inner)
def _normalise(used, count, w, d, e):
    T = w.dtype.type
    for j in range(count):
        total, slope, growth = T(0), T(0), T(0)
        for t in range(used[j]):
            total, slope, growth = total + w[t, j], slope + d[t, j], growth + e[t, j]
        if total != T(0):
            for t in range(used[j]):
                w[t, j] /= total
                d[t, j] = (d[t, j] - w[t, j] * slope) / total
                e[t, j] = (e[t, j] - w[t, j] * growth) / total


@njit(**inner)
def workspace(run, taps, widened, dtype):
    """Tables for a run; an image has one tap along its rows, which are of one pixel, with the weight 1."""
    at, used = np.zeros((3, taps, run), np.int64), np.ones((3, run), np.int32)
    w, d = np.ones((3, taps, run), dtype), np.zeros((3, taps, run), dtype)
    e = np.zeros((3, taps if widened else 0, run), dtype)
    return Tables(at, w, d, e, used, np.empty((5, run), dtype))


@njit(**inner)
def place(x, count, shape, first, slices, volume, lanes, reading, tables):
    """Fill the tables for a run at x (WIDTHS + 3, run), in pixels, in a tile of `slices` from `first` on; `shape` is
    (D, H, W) of the source."""
    S, R, W = shape
    slice_step, row_step = steps(R, W, volume, lanes)
    _axis(x, 0, 0, count, W, 0, W, lanes, reading, tables)
    if volume:
        _axis(x, 1, 1, count, R, 0, R, row_step, reading, tables)
    _axis(x, 2 if volume else 1, 2, count, S, first, slices, slice_step, reading, tables)


@njit(**inner)
def _axis(points, a, axis, count, size, first, slices, step, reading, tables):
    """The tables of one axis of `size` pixels, for row a of points (WIDTHS + 3, run), in pixels; `step` entries of the
    tile lie from pixel to pixel.

    The derivatives of a coordinate that was clamped are zero.
    """
    x, width = points[a], points[WIDTHS + a]
    at, w, d, e, used = tables.at[axis], tables.w[axis], tables.d[axis], tables.e[axis], tables.used[axis]
    widened = len(e) > 0
    taps = 0  # most of any point in this run: one far point may have many
    T = x.dtype.type
    centre, rate, start, stays = tables.room[0], tables.room[1], tables.room[2], tables.room[3]
    for j in range(count):
        s = _width_of(width[j], size) if widened else T(1)
        start[j], centre[j], count_j, near = _taps_at(x[j], size, T(reading.radius) * s, reading.padding)
        used[j] = min(count_j, np.int32(len(w)))
        taps = max(taps, np.int64(used[j]))
        rate[j] = T(1) / s
        stays[j] = T(near or reading.kind == CUSTOM)  # the sum of other kernels' weights is 1 and has no slope
    for t in range(taps):
        for j in range(count):
            m = padded(np.int64(start[j]) + t, size, reading.padding)
            m -= first if m >= 0 else 0
            at[t, j] = (m + 1) * step if m < slices and m >= 0 else 0
    _weigh(centre, rate, count, taps, used, reading, tables.room[4], w, d, e)
    if widened:
        _normalise(used, count, w, d, e)
    for j in range(count):
        if stays[j] == T(0):
            d[:taps, j], e[:taps, j] = T(0), T(0)


@njit(**inner)
def reach(x, count, shape, volume, reading, tables):
    """The first and last slice that a run of points at x (WIDTHS + 3, run) reads."""
    _axis(x, 2 if volume else 1, 2, count, shape[0], 0, shape[0], 1, reading, tables)
    at, used = tables.at[2], tables.used[2]
    low, high = np.int64(shape[0]), np.int64(-1)
    for j in range(count):
        for t in range(used[j]):
            if at[t, j] > 0:  # 0 is the margin
                low, high = min(low, at[t, j] - 1), max(high, at[t, j] - 1)
    return low, high


@njit(inline="always", **inner)
def _four(table, axis, j):
    """The entries of a point's first four taps: as many as cubic kernels have, kept in registers for all its rows."""
    return table[axis, 0, j], table[axis, 1, j], table[axis, 2, j], table[axis, 3, j]


@njit(**inner)
def blend(tile, base, tables, count, lanes, values):
    """values (run lanes,) += V of eq. 3, from the plane of the flat tile that begins at entry `base`."""
    at, w, used = tables.at, tables.w, tables.used
    T = tile.dtype.type
    four = at.shape[1] >= 4
    for j in range(count):
        if four and used[0, j] == 4:
            (a0, a1, a2, a3), (w0, w1, w2, w3) = _four(at, 0, j), _four(w, 0, j)
            value = T(0)
            for s in range(used[2, j]):
                for r in range(used[1, j]):
                    line, weight = base + at[2, s, j] + at[1, r, j], w[2, s, j] * w[1, r, j]
                    if lanes == 1:
                        value += weight * (w0 * tile[index(line + a0)] + w1 * tile[index(line + a1)]
                                           + w2 * tile[index(line + a2)] + w3 * tile[index(line + a3)])
                        continue
                    for lane in range(lanes):
                        here = index(line + lane)
                        values[index(j * lanes + lane)] += weight * (
                            w0 * tile[here + index(a0)] + w1 * tile[here + index(a1)]
                            + w2 * tile[here + index(a2)] + w3 * tile[here + index(a3)])
            if lanes == 1:
                values[j] += value
            continue
        for s in range(used[2, j]):
            for r in range(used[1, j]):
                line, weight = base + at[2, s, j] + at[1, r, j], w[2, s, j] * w[1, r, j]
                for c in range(used[0, j]):
                    a, share = line + at[0, c, j], weight * w[0, c, j]
                    for lane in range(lanes):
                        values[index(j * lanes + lane)] += share * tile[index(a + lane)]


@njit(**inner)
def scatter(values, base, tables, count, lanes, tile):
    """The adjoint of `blend`: dU of eq. 6 into the tile, with dV in values (run lanes,)."""
    at, w, used = tables.at, tables.w, tables.used
    four = at.shape[1] >= 4
    for j in range(count):
        if four and lanes == 1 and used[0, j] == 4:
            (a0, a1, a2, a3), (w0, w1, w2, w3) = _four(at, 0, j), _four(w, 0, j)
            for s in range(used[2, j]):
                for r in range(used[1, j]):
                    line, g = base + at[2, s, j] + at[1, r, j], w[2, s, j] * w[1, r, j] * values[j]
                    tile[index(line + a0)] += g * w0
                    tile[index(line + a1)] += g * w1
                    tile[index(line + a2)] += g * w2
                    tile[index(line + a3)] += g * w3
            continue
        for s in range(used[2, j]):
            for r in range(used[1, j]):
                line, weight = base + at[2, s, j] + at[1, r, j], w[2, s, j] * w[1, r, j]
                for c in range(used[0, j]):
                    a, share = line + at[0, c, j], weight * w[0, c, j]
                    for lane in range(lanes):
                        tile[index(a + lane)] += share * values[index(j * lanes + lane)]


@njit(**inner)
def slopes(tile, values, base, tables, count, volume, lanes, add, g):
    """g[a] (run,) = dV dV/dx_a, or added to it, in 1 / pixels, summed over the channels of the tile, with dV in values
    (run lanes,): eq. 7; of widths from row WIDTHS on."""
    _slopes(tile, values, base, tables, tables.d, count, volume, lanes, add, g)
    if tables.e.shape[1] > 0:
        _slopes(tile, values, base, tables, tables.e, count, volume, lanes, add, g[WIDTHS:])


@njit(**summing)
def _slopes(tile, values, base, tables, d, count, volume, lanes, add, g):
    """With the derivatives d (3, taps, run) of the weights, of one kind or the other."""
    T = tile.dtype.type
    at, w, used = tables.at, tables.w, tables.used
    four = at.shape[1] >= 4
    for j in range(count):
        g_x, g_y, g_s = T(0), T(0), T(0)
        if four and lanes == 1 and used[0, j] == 4:
            (a0, a1, a2, a3), (w0, w1, w2, w3), (d0, d1, d2, d3) = _four(at, 0, j), _four(w, 0, j), _four(d, 0, j)
            for s in range(used[2, j]):
                for r in range(used[1, j]):
                    line = base + at[2, s, j] + at[1, r, j]
                    t0, t1 = tile[index(line + a0)], tile[index(line + a1)]
                    t2, t3 = tile[index(line + a2)], tile[index(line + a3)]
                    here, right = w0 * t0 + w1 * t1 + w2 * t2 + w3 * t3, d0 * t0 + d1 * t1 + d2 * t2 + d3 * t3
                    g_x += w[2, s, j] * w[1, r, j] * right
                    g_y += w[2, s, j] * d[1, r, j] * here
                    g_s += d[2, s, j] * w[1, r, j] * here
            g_x, g_y, g_s = g_x * values[j], g_y * values[j], g_s * values[j]
        else:
            for s in range(used[2, j]):
                for r in range(used[1, j]):
                    line = base + at[2, s, j] + at[1, r, j]
                    here, right = T(0), T(0)  # the row's sums with w and with d
                    for c in range(used[0, j]):
                        a, total = line + at[0, c, j], T(0)
                        for lane in range(lanes):
                            total += values[index(j * lanes + lane)] * tile[index(a + lane)]
                        here += w[0, c, j] * total
                        right += d[0, c, j] * total
                    g_x += w[2, s, j] * w[1, r, j] * right
                    g_y += w[2, s, j] * d[1, r, j] * here
                    g_s += d[2, s, j] * w[1, r, j] * here
        g[0, j] = g_x + (g[0, j] if add else T(0))
        if volume:
            g[1, j] = g_y + (g[1, j] if add else T(0))
        last = 2 if volume else 1
        g[last, j] = g_s + (g[last, j] if add else T(0))
