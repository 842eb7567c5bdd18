"""Bilinear sampling of many channels, from tiles: `reference` with k = hat, from the neighbours alone (eq. 5 to 7).

Padding acts on the coordinate: `border` clamps it, `reflection` folds it. With other paddings a coordinate outside the
image, or NaN, is replaced by the index of the margin before it is converted to an integer, so no access is out of
bounds. The neighbours of x are floor(x) and floor(x) + 1: four in a cell of columns and slices; in a volume a second
cell, one row on, has the other four.
(`in_place.py` has the same for few channels, and the nearest pixel.)
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..compiling.linking import linked
from .interpolation import BORDER, FAR, REFLECT_CENTRES, ZEROS
from .source_points import index, inner, summing
from .tiles import steps


class Neighbours(NamedTuple):
    """Of a run of points, along x, slices and rows: (3, run), but for two."""
    at: Any  # (run,), the first neighbour of all axes, in entries of the tile
    first: Any  # the first neighbour, in pixels
    f: Any  # the weight of the second: that of the first is 1 - f
    folded: Any  # (run,), where padding moves the coordinate, along one axis at a time
    turn: Any  # the derivative of that: 1, -1 where mirrored, 0 where clamped


@linked(**inner)
def workspace(run, dtype):
    """Room for the neighbours of a run."""
    return Neighbours(np.empty(run, np.int32), np.empty((3, run), np.int32), np.empty((3, run), dtype),
                      np.empty(run, dtype), np.empty((3, run), dtype))


def formulas(floor, compiled):
    """The formulas of a coordinate; each device has a floor of its own."""

    @compiled
    def folded(x, size, padding):
        """The coordinate inside that is read for one outside; its derivative: 1, -1 where mirrored, 0 where clamped."""
        T = type(x)
        low, high, zero, one = T(0), T(size - 1), T(0), T(1)
        if padding == BORDER:
            moves = x >= low and x < high
            return high if x > high else low if x < low else x, one if moves else zero
        # Mirrored about 0 and size - 1, or about the edges half a pixel further out.
        out = zero if padding == REFLECT_CENTRES else T(0.5)
        far = T(size) + T(FAR)
        near = x > -far and x < far
        x = -far if x < -far else far if x > far else x
        half = high + out + out
        rate = one / half if half > zero else zero
        t = x + out
        t -= T(2) * half * floor(T(0.5) * t * rate)
        mirrored = t >= half
        t = (T(2) * half - t if mirrored else t) - out
        moves = (t > low and t <= high) if mirrored else (t >= low and t < high)
        t = high if t > high else low if t < low else t
        return t, (-one if mirrored else one) if moves and near else zero

    @compiled
    def first(x, size, shift):
        """Of a coordinate: the first neighbour, from -1 to `size`, and the weight of the second."""
        T = type(x)
        x += shift
        x = x if x >= T(-1) and x < T(size) else T(size)  # outside is the margin, for NaN too
        whole = floor(x)
        return np.int32(whole), x - whole

    @compiled
    def right(k, f, turn):
        """On the way back: to the right of a mirrored pixel, at a coordinate that is whole, is the one before it."""
        T = type(f)
        before = (turn < T(0)) & (f == T(0))
        return np.int32(k - np.int32(before)), T(1) if before else f

    return folded, first, right


_folded, _first, _right = formulas(np.floor, njit(inline="always", **inner))


@linked(**inner)
def _neighbours(x, count, size, padding, backward, first, f, buffer, turn):
    """The first neighbours of x (run,), in pixels, along an axis of `size` pixels, into rows (run,) of `Neighbours`.

    What is to the right of a mirrored pixel matters on the way back only.
    """
    T = x.dtype.type
    if padding == ZEROS:
        for j in range(count):
            first[j], f[j] = _first(x[j], size, T(0))
        return
    for j in range(count):
        buffer[j], turn[j] = _folded(x[j], size, padding)
    for j in range(count):
        k, weight = _first(buffer[j], size, T(0))
        first[j], f[j] = _right(k, weight, turn[j] if backward else T(1))


@linked(**inner)
def place(x, count, shape, first, slices, volume, lanes, padding, backward, near):
    """Find the neighbours of a run at x (dims, run), in pixels, in a tile of `slices` from `first` on; `shape` is
    (D, H, W) of the source."""
    S, R, W = shape
    at, neighbours, f, buffer, turn = near
    slice_step, row_step = steps(R, W, volume, lanes)
    slice_step, row_step, lane_step = np.int32(slice_step), np.int32(row_step), np.int32(lanes)
    _neighbours(x[0], count, W, padding, backward, neighbours[0], f[0], buffer, turn[0])
    _neighbours(x[2 if volume else 1], count, S, padding, backward, neighbours[1], f[1], buffer, turn[1])
    end, top = np.int32(slices), np.int32(first)
    corner = np.int32(slice_step + lane_step)  # Numba's sums of int32 are int64, unless they are told
    for j in range(count):
        s = np.int32(neighbours[1, j] - top)
        s = s if s >= np.int32(-1) and s < end else end
        at[j] = np.int32(np.int32(s * slice_step) + np.int32(neighbours[0, j] * lane_step)) + corner
    if volume:
        _neighbours(x[1], count, R, padding, backward, neighbours[2], f[2], buffer, turn[2])
        for j in range(count):
            at[j] += np.int32(np.int32(neighbours[2, j] * row_step) + row_step)


@linked(**inner)
def through_padding(count, volume, near, g):
    """From the gradients of folded coordinates to those of the coordinates."""
    turn = near.turn
    T = g.dtype.type
    for axis in range(3 if volume else 2):
        a = 0 if axis == 0 else 1 if axis == 2 or not volume else 2
        for j in range(count):
            g[a, j] = g[a, j] if turn[axis, j] > T(0) else -g[a, j] if turn[axis, j] < T(0) else T(0)


@njit(inline="always", **inner)
def _split(g, f):
    """g (1 - f) and g f."""
    second = g * f
    return g - second, second


@njit(inline="always", **inner)
def _weights(share, f_x, f_s):
    """Of the corners of a cell that has a `share` of its point: upper left, upper right, lower left, lower right."""
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


@linked(**inner)
def blend(tile, near, count, shape, volume, lanes, values):
    """values (run lanes,) += V of eq. 5; the tile is flat, `shape` as in `place`."""
    T = tile.dtype.type
    at, f = near.at, near.f
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    for j in range(count):
        shares = _split(T(1), f[2, j] if volume else T(0))
        for side in range(2 if volume else 1):
            a = at[j] + side * row_step
            b = a + slice_step
            w00, w01, w10, w11 = _weights(shares[side], f[0, j], f[1, j])
            for lane in range(lanes):
                values[index(j * lanes + lane)] += (
                    w00 * tile[index(a + lane)] + w01 * tile[index(a + lanes + lane)]
                    + w10 * tile[index(b + lane)] + w11 * tile[index(b + lanes + lane)])


@linked(**inner)
def scatter(values, near, count, shape, volume, lanes, tile):
    """The adjoint of `blend`: dU of eq. 6 into the flat tile, with dV in values (run lanes,)."""
    T = tile.dtype.type
    at, f = near.at, near.f
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    for j in range(count):
        shares = _split(T(1), f[2, j] if volume else T(0))
        for side in range(2 if volume else 1):
            a = at[j] + side * row_step
            b = a + slice_step
            w00, w01, w10, w11 = _weights(shares[side], f[0, j], f[1, j])
            for lane in range(lanes):
                g = values[index(j * lanes + lane)]
                tile[index(a + lane)] += w00 * g
                tile[index(a + lanes + lane)] += w01 * g
                tile[index(b + lane)] += w10 * g
                tile[index(b + lanes + lane)] += w11 * g


@njit(inline="always", **summing)
def _products(tile, values, a, b, j, lanes):
    """The corners of a cell, in two lines from entries a and b of the flat tile on, times dV in values (run lanes,),
    summed over the channels."""
    T = tile.dtype.type
    t00, t01, t10, t11 = T(0), T(0), T(0), T(0)
    for lane in range(lanes):
        g = values[index(j * lanes + lane)]
        t00 += g * tile[index(a + lane)]
        t01 += g * tile[index(a + lanes + lane)]
        t10 += g * tile[index(b + lane)]
        t11 += g * tile[index(b + lanes + lane)]
    return t00, t01, t10, t11


@linked(**summing)
def slopes(tile, values, near, count, shape, volume, lanes, g):
    """g[a] (run,) = dV dV/dx_a, in 1 / pixels, summed over the channels of the tile, with dV in values (run lanes,):
    eq. 7 with the right-hand derivative."""
    at, f = near.at, near.f
    slice_step, row_step = steps(shape[1], shape[2], volume, lanes)
    for j in range(count):
        a = at[j]
        b = a + slice_step
        value, d_x, d_s = _cell(_products(tile, values, a, b, j, lanes), f[0, j], f[1, j])
        if volume:
            products = _products(tile, values, a + row_step, b + row_step, j, lanes)
            other, right, down = _cell(products, f[0, j], f[1, j])
            g[1, j] = other - value
            d_x += f[2, j] * (right - d_x)
            d_s += f[2, j] * (down - d_s)
        g[0, j] = d_x
        g[2 if volume else 1, j] = d_s
