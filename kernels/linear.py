"""Nearest and bilinear sampling of a tile: a point's neighbours stand next to each other (paper, eq. 4 to 7).

Padding acts on the coordinate: `border` clamps it; what then lies outside, NaN included, is sent to the margin before
it becomes an index, so no access is outside the tile. The neighbours of x are floor(x) and floor(x) + 1. A volume is
two images, the rows before and behind each point, that are weighed by their `share`.
"""

import numpy as np
from numba import njit

from .interpolation import BORDER, NEAREST
from .points import index, inner, summing
from .tiles import steps


@njit(inline="always", **inner)
def _place(x, size, low, high, shift):
    """Of a coordinate: the first neighbour, from -1 to `size`, and the weight of the second."""
    T = type(x)
    x = high if x > high else x
    x = (low if x < low else x) + shift
    x = x if x >= T(-1) and x < T(size) else T(size)  # outside is the margin, for NaN too
    k = np.int32(x)
    k = k - np.int32(1) if x < T(k) else k
    return k, x - T(k)


@njit(inline="always", **inner)
def _range(T, size, kind, padding):
    """Where padding clamps a coordinate, and what rounding adds before the floor (eq. 4)."""
    low, high = (T(0), T(size - 1)) if padding == BORDER else (T(-np.inf), T(np.inf))
    return low, high, T(0.5) if kind == NEAREST else T(0)


@njit(**inner)
def workspace(run, dtype):
    """Of each point of a run: where its first neighbour stands, the weights f of the second, the shares of two rows."""
    return np.empty(run, np.int32), np.empty((2, run), dtype), np.ones((2, run), dtype)


@njit(**inner)
def place(x, count, shape, first, slices, volume, lanes, kind, padding, work):
    """Fill the workspace for a run at x, in a tile of `slices` from `first` on; returns whether there is a NaN."""
    T = x.dtype.type
    S, R, W = shape
    at, f, share = work
    slice_step, row_step = steps(R, W, volume, lanes)
    slice_step, row_step, lane_step = np.int32(slice_step), np.int32(row_step), np.int32(lanes)
    low, high, shift = _range(T, W, kind, padding)
    low_s, high_s, _ = _range(T, S, kind, padding)
    end, top = np.int32(slices), np.int32(first)
    columns, heights, f_x, f_s = x[0], x[2 if volume else 1], f[0], f[1]
    nan = False
    for j in range(count):
        column, f_x[j] = _place(columns[j], W, low, high, shift)
        s, f_s[j] = _place(heights[j], S, low_s, high_s, shift)
        s -= top
        s = s if s >= np.int32(-1) and s < end else end
        at[j] = (s + np.int32(1)) * slice_step + (column + np.int32(1)) * lane_step
        nan |= (columns[j] != columns[j]) | (heights[j] != heights[j])
    if volume:
        low, high, _ = _range(T, R, kind, padding)
        rows = x[1]
        for j in range(count):
            row, f_y = _place(rows[j], R, low, high, shift)
            at[j] += (row + np.int32(1)) * row_step
            share[0, j], share[1, j] = T(1) - f_y, f_y
            nan |= rows[j] != rows[j]
    return nan


@njit(**inner)
def reach(x, count, size, kind, padding):
    """The first and last slice that a run of points reads, from their coordinates x along that axis."""
    low_x, high_x, shift = _range(x.dtype.type, size, kind, padding)
    low, high = np.int64(size), np.int64(-1)
    for j in range(count):
        k, _ = _place(x[j], size, low_x, high_x, shift)
        if k < size:
            low, high = min(low, k), max(high, k + 1)
    return low, high


@njit(inline="always", **inner)
def _weights(f_x, f_s, share):
    T = type(f_x)
    left, right = (T(1) - f_x) * share, f_x * share
    upper_right, lower_right = right - right * f_s, right * f_s
    return left - left * f_s, upper_right, left * f_s, lower_right


@njit(**inner)
def blend(tile, base, work, count, shape, volume, lanes, kind, values):
    """values += eq. 5 (or 4) for a run."""
    at, f, share = work
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    for side in range(2 if volume and kind != NEAREST else 1):
        for j in range(count):
            a = base + at[j] + side * row_step
            b = a + slice_step
            if kind == NEAREST:
                for lane in range(lanes):
                    values[index(j * lanes + lane)] += tile[index(a + lane)]
                continue
            w00, w01, w10, w11 = _weights(f[0, j], f[1, j], share[side, j])
            if lanes == 1:
                values[j] += (w00 * tile[index(a)] + w01 * tile[index(a + 1)]
                              + w10 * tile[index(b)] + w11 * tile[index(b + 1)])
                continue
            for lane in range(lanes):
                values[index(j * lanes + lane)] += (
                    w00 * tile[index(a + lane)] + w01 * tile[index(a + lanes + lane)]
                    + w10 * tile[index(b + lane)] + w11 * tile[index(b + lanes + lane)])


@njit(**inner)
def scatter(values, base, work, count, shape, volume, lanes, kind, tile):
    """The adjoint of `blend`: eq. 6."""
    at, f, share = work
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    for side in range(2 if volume and kind != NEAREST else 1):
        for j in range(count):
            a = base + at[j] + side * row_step
            b = a + slice_step
            if kind == NEAREST:
                for lane in range(lanes):
                    tile[index(a + lane)] += values[index(j * lanes + lane)]
                continue
            w00, w01, w10, w11 = _weights(f[0, j], f[1, j], share[side, j])
            if lanes == 1:
                g = values[j]
                tile[index(a)] += w00 * g
                tile[index(a + 1)] += w01 * g
                tile[index(b)] += w10 * g
                tile[index(b + 1)] += w11 * g
                continue
            for lane in range(lanes):
                g = values[index(j * lanes + lane)]
                tile[index(a + lane)] += w00 * g
                tile[index(a + lanes + lane)] += w01 * g
                tile[index(b + lane)] += w10 * g
                tile[index(b + lanes + lane)] += w11 * g


@njit(**summing)
def slopes(tile, values, base, work, count, shape, volume, lanes, g):
    """g[a] += dV dV/dx_a, summed over the channels of the tile: eq. 7 with the right-hand derivative."""
    T = tile.dtype.type
    at, f, share = work
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    g_x, g_y, g_s = g[0], g[1], g[2 if volume else 1]
    for side in range(2 if volume else 1):
        for j in range(count):
            a = base + at[j] + side * row_step
            b = a + slice_step
            if lanes == 1:
                v = values[j]
                t00, t01 = v * tile[index(a)], v * tile[index(a + 1)]
                t10, t11 = v * tile[index(b)], v * tile[index(b + 1)]
            else:
                t00, t01, t10, t11 = T(0), T(0), T(0), T(0)
                for lane in range(lanes):
                    v = values[index(j * lanes + lane)]
                    t00 += v * tile[index(a + lane)]
                    t01 += v * tile[index(a + lanes + lane)]
                    t10 += v * tile[index(b + lane)]
                    t11 += v * tile[index(b + lanes + lane)]
            upper, lower, left, right = t01 - t00, t11 - t10, t10 - t00, t11 - t01
            down = left + f[0, j] * (right - left)
            g_x[j] += share[side, j] * (upper + f[1, j] * (lower - upper))
            g_s[j] += share[side, j] * down
            if volume:
                here = t00 + f[0, j] * upper + f[1, j] * down
                g_y[j] += here if side == 1 else -here


@njit(**inner)
def through_border(x, size, count, g):
    """A clamped coordinate does not move."""
    T = x.dtype.type
    for j in range(count):
        g[j] = g[j] if x[j] >= T(0) and x[j] < T(size - 1) else T(0)
