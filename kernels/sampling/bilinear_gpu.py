"""Nearest and bilinear sampling at one point, by a thread of a GPU: what `in_place.py` does for runs of points.

For a neighbour outside the image a valid pixel is loaded and discarded, and the value outside taken: then the loads
need no branch, and all of a point are issued together.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..gpu.launch import device_floor, device_function
from .bilinear import _cell, formulas
from .interpolation import NEAREST, ZEROS


class Functions(NamedTuple):
    """Device functions of a kernel k at one point, whose pixels are found once for all channels."""

    place: Callable[..., Any]  # (point, widths, problem, backward) -> spot
    value: Callable[..., Any]  # (U, base, spot, problem): V of the channel that begins at U[base], eq. 3
    slopes: Callable[..., Any]  # as `value`: derivatives with respect to x, y, z, and to the widths there, eq. 7
    scatter: Callable[..., Any]  # (sums, base, spot, g): g times the weights added to sums, eq. 6
    through_padding: Callable[..., Any]  # (spot.x, g): from the gradient of a folded coordinate to the coordinate's
    absolute: Callable[..., Any] | None = None  # (spot): the sum of all weights, without their signs


class Pair(NamedTuple):
    """The two neighbours of a point along an axis."""

    f: float  # weight of the second
    one: bool  # whether they exist
    two: bool
    first: int  # the pixel to read in place of the first
    step: int  # to that of the second, in entries
    turn: float  # the derivative of the folded coordinate


class Spot(NamedTuple):
    x: Pair
    y: Pair
    z: Pair
    at: int  # the first entry to read
    kind: int


def on_device(T, dims, add):
    """The functions, for dtype T; `scatter` calls `add`."""
    folded, first, right = formulas(device_floor(T), device_function)
    cell = device_function(_cell)

    @device_function
    def pair(x, size, step, problem, backward):
        turn, nearest = T(1), problem.kind == NEAREST
        if problem.padding != ZEROS:
            x, turn = folded(x, size, problem.padding)
        k, f = first(x, size, T(0.5) if nearest else T(0))
        if backward and not nearest:  # which has no other neighbour
            k, f = right(k, f, turn)
        k = np.int64(k)
        one, two = k >= 0 and k < size, k >= -1 and k < size - 1
        return Pair(f, one, two, k if one else 0 if two else size - 1, step if one and two else 0, turn)

    @device_function
    def place(point, widths, problem, backward):
        D, H, W = problem.shape
        x, y = pair(point.x, W, 1, problem, backward), pair(point.y, H, W, problem, backward)
        if dims == 2:
            return Spot(x, y, Pair(T(0), True, False, 0, 0, T(1)), y.first * W + x.first, problem.kind)
        z = pair(point.z, D, H * W, problem, backward)
        return Spot(x, y, z, (z.first * H + y.first) * W + x.first, problem.kind)

    @device_function
    def square(U, at, spot, exists, outside):
        """The cell whose first corner is `at`, of a slice that may not exist: value, and slopes along x and y."""
        x, y = spot.x, spot.y  # eq. 5 and 7
        upper, lower = y.one and exists, y.two and exists
        t00, t01, t10, t11 = U[at], U[at + x.step], U[at + y.step], U[at + y.step + x.step]
        return cell((t00 if x.one and upper else outside, t01 if x.two and upper else outside,
                     t10 if x.one and lower else outside, t11 if x.two and lower else outside), x.f, y.f)

    @device_function
    def value(U, base, spot, problem):
        at, z, outside = base + spot.at, spot.z, problem.outside
        if problem.kind == NEAREST:  # eq. 4
            pixel = U[at]
            return pixel if spot.x.one and spot.y.one and z.one else outside
        near = square(U, at, spot, z.one, outside)
        if dims == 2:
            return near[0]
        far = square(U, at + z.step, spot, z.two, outside)
        return near[0] + z.f * (far[0] - near[0])

    @device_function
    def slopes(U, base, spot, problem):
        at, z = base + spot.at, spot.z
        near, d_x, d_y = square(U, at, spot, z.one, problem.outside)
        if dims == 2:
            return d_x, d_y, T(0), T(0), T(0), T(0)
        far, along, down = square(U, at + z.step, spot, z.two, problem.outside)
        return d_x + z.f * (along - d_x), d_y + z.f * (down - d_y), far - near, T(0), T(0), T(0)

    @device_function
    def add_square(sums, at, spot, g):
        """Terms of neighbours that do not exist are 0, and not added."""
        x, y = spot.x, spot.y
        left, right = T(1) - x.f if x.one else T(0), x.f if x.two else T(0)
        upper, lower = g * (T(1) - y.f if y.one else T(0)), g * (y.f if y.two else T(0))
        add(sums, at, upper * left)
        add(sums, at + x.step, upper * right)
        add(sums, at + y.step, lower * left)
        add(sums, at + y.step + x.step, lower * right)

    @device_function
    def scatter(sums, base, spot, g):
        at, z = base + spot.at, spot.z
        if spot.kind == NEAREST:
            add(sums, at, g if spot.x.one and spot.y.one and z.one else T(0))
        elif dims == 2:
            add_square(sums, at, spot, g)
        else:
            add_square(sums, at, spot, g * (T(1) - z.f) if z.one else T(0))
            add_square(sums, at + z.step, spot, g * z.f if z.two else T(0))

    @device_function
    def through_padding(pair, g):
        return g if pair.turn > T(0) else -g if pair.turn < T(0) else T(0)

    return Functions(place, value, slopes, scatter, through_padding)
