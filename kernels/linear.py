"""Nearest and bilinear sampling of a tile: a point's neighbours stand next to each other (paper, eq. 4 to 7).

Padding acts on the coordinate: `border` clamps it; what then lies outside, NaN included, is sent to the margin before
it becomes an index, so no access is outside the tile. The neighbours of x are floor(x) and floor(x) + 1: four in a cell
of columns and slices; in a volume a second cell, one row on, has the other four.
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
    """Of each point of a run: where its first neighbour stands, and the weights of the second along x, slices, rows."""
    return np.empty(run, np.int32), np.empty((3, run), dtype)


@njit(**inner)
def place(x, count, shape, first, slices, volume, lanes, kind, padding, work):
    """Fill the workspace for a run at x, in a tile of `slices` from `first` on; returns whether there is a NaN."""
    T = x.dtype.type
    S, R, W = shape
    at, f = work
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
            row, f[2, j] = _place(rows[j], R, low, high, shift)
            at[j] += (row + np.int32(1)) * row_step
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
def _split(g, f):
    """g (1 - f) and g f."""
    second = g * f
    return g - second, second


@njit(inline="always", **inner)
def _weights(share, f_x, f_s):
    """Of the four corners of a cell that has a `share` of its point: upper left, upper right, lower left, lower right."""
    upper, lower = _split(share, f_s)
    return (*_split(upper, f_x), *_split(lower, f_x))


@njit(inline="always", **inner)
def _cell(corners, f_x, f_s):
    """The value between four corners, and its derivatives along x and along slices: eq. 5 and 7."""
    t00, t01, t10, t11 = corners
    upper, lower = t01 - t00, t11 - t10
    left, right = t00 + f_x * upper, t10 + f_x * lower
    down = right - left
    return left + f_s * down, upper + f_s * (lower - upper), down


@njit(inline="always", **inner)
def _corners(tile, a, b):
    return tile[index(a)], tile[index(a + 1)], tile[index(b)], tile[index(b + 1)]


@njit(**inner)
def blend(tile, base, work, count, shape, volume, lanes, kind, values):
    """values += eq. 5 (or 4) for a run."""
    T = tile.dtype.type
    at, f = work
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    if kind == NEAREST:
        for j in range(count):
            a = base + at[j]
            for lane in range(lanes):
                values[index(j * lanes + lane)] += tile[index(a + lane)]
    elif lanes == 1:
        for j in range(count):
            a = base + at[j]
            b = a + slice_step
            value, _, _ = _cell(_corners(tile, a, b), f[0, j], f[1, j])
            if volume:
                other, _, _ = _cell(_corners(tile, a + row_step, b + row_step), f[0, j], f[1, j])
                value += f[2, j] * (other - value)
            values[j] += value
    else:
        for j in range(count):
            shares = _split(T(1), f[2, j] if volume else T(0))
            for side in range(2 if volume else 1):
                a = base + at[j] + side * row_step
                b = a + slice_step
                w00, w01, w10, w11 = _weights(shares[side], f[0, j], f[1, j])
                for lane in range(lanes):
                    values[index(j * lanes + lane)] += (
                        w00 * tile[index(a + lane)] + w01 * tile[index(a + lanes + lane)]
                        + w10 * tile[index(b + lane)] + w11 * tile[index(b + lanes + lane)])


@njit(**inner)
def scatter(values, base, work, count, shape, volume, lanes, kind, tile):
    """The adjoint of `blend`: eq. 6."""
    T = tile.dtype.type
    at, f = work
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    if kind == NEAREST:
        for j in range(count):
            a = base + at[j]
            for lane in range(lanes):
                tile[index(a + lane)] += values[index(j * lanes + lane)]
        return
    for j in range(count):
        shares = _split(values[j] if lanes == 1 else T(1), f[2, j] if volume else T(0))
        for side in range(2 if volume else 1):
            a = base + at[j] + side * row_step
            b = a + slice_step
            w00, w01, w10, w11 = _weights(shares[side], f[0, j], f[1, j])
            if lanes == 1:
                tile[index(a)] += w00
                tile[index(a + 1)] += w01
                tile[index(b)] += w10
                tile[index(b + 1)] += w11
                continue
            for lane in range(lanes):
                g = values[index(j * lanes + lane)]
                tile[index(a + lane)] += w00 * g
                tile[index(a + lanes + lane)] += w01 * g
                tile[index(b + lane)] += w10 * g
                tile[index(b + lanes + lane)] += w11 * g


@njit(inline="always", **summing)
def _products(tile, values, a, b, j, lanes):
    """The four corners of a cell times dV, summed over the channels."""
    T = tile.dtype.type
    t00, t01, t10, t11 = T(0), T(0), T(0), T(0)
    for lane in range(lanes):
        g = values[index(j * lanes + lane)]
        t00 += g * tile[index(a + lane)]
        t01 += g * tile[index(a + lanes + lane)]
        t10 += g * tile[index(b + lane)]
        t11 += g * tile[index(b + lanes + lane)]
    return t00, t01, t10, t11


@njit(**summing)
def slopes(tile, values, base, work, count, shape, volume, lanes, add, g):
    """g[a] = dV dV/dx_a, or added to it, summed over the channels of the tile: eq. 7 with the right-hand derivative."""
    T = tile.dtype.type
    at, f = work
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    g_x, g_y, g_s = g[0], g[1], g[2 if volume else 1]
    if not add:
        for a in range(3 if volume else 2):
            for j in range(count):
                g[a, j] = T(0)
    for j in range(count):
        a = base + at[j]
        b = a + slice_step
        if lanes == 1:
            value, d_x, d_s = _cell(_corners(tile, a, b), f[0, j], f[1, j])
            if volume:
                other, right, down = _cell(_corners(tile, a + row_step, b + row_step), f[0, j], f[1, j])
                g_y[j] += values[j] * (other - value)
                d_x += f[2, j] * (right - d_x)
                d_s += f[2, j] * (down - d_s)
            g_x[j] += values[j] * d_x
            g_s[j] += values[j] * d_s
        else:
            value, d_x, d_s = _cell(_products(tile, values, a, b, j, lanes), f[0, j], f[1, j])
            if volume:
                products = _products(tile, values, a + row_step, b + row_step, j, lanes)
                other, right, down = _cell(products, f[0, j], f[1, j])
                g_y[j] += other - value
                d_x += f[2, j] * (right - d_x)
                d_s += f[2, j] * (down - d_s)
            g_x[j] += d_x
            g_s[j] += d_s


@njit(**inner)
def through_border(x, size, count, g):
    """A clamped coordinate does not move."""
    T = x.dtype.type
    for j in range(count):
        g[j] = g[j] if x[j] >= T(0) and x[j] < T(size - 1) else T(0)
