"""Sampling with any separable kernel k at one point, by a thread of a GPU: what `separable.py` does for runs of points.

Up to FOUR taps of each axis, with their weights, are kept in registers. With MANY taps, or a WIDENED kernel, a weight
is computed again each time it is used: registers hold no table of them.
"""

import types
from typing import Any, NamedTuple

import numpy as np

from ..gpu.launch import device_floor, device_function
from . import interpolation as of
from .bilinear_gpu import Functions
from .separable import formulas

FOUR, MANY, WIDENED = range(1, 4)  # ways of a thread of the GPU with a point's taps


class Along(NamedTuple):
    """The taps of an axis, and what their weights follow from."""

    first: int
    centre: float  # x - the first tap
    rate: float  # 1 / s
    used: int  # number of taps
    stays: bool  # whether weights have a slope
    total: float  # of the weights, before they are divided by it; and its derivatives with respect to x and s
    slope: float
    growth: float
    size: int  # pixels of the axis
    kind: int
    padding: int
    radius: float


class Tap(NamedTuple):
    pixel: int  # that it reads, or -1
    weight: float
    slope: float  # the derivatives of the weight with respect to x and s
    growth: float


class Four(NamedTuple):
    """The taps of an axis in registers."""

    taps: tuple[Tap, Tap, Tap, Tap]
    used: int


class Spot(NamedTuple):
    x: Any  # Along or Four
    y: Any
    z: Any  # where there is one
    H: int
    W: int


def _retyped(function, T):
    """A user's function with its float constants as T: as doubles they would make all of it double."""
    function = getattr(function, "py_func", function)
    code = function.__code__
    constants = tuple(T(value) if isinstance(value, float) else value for value in code.co_consts)
    return types.FunctionType(code.replace(co_consts=constants), function.__globals__, function.__name__,
                              function.__defaults__, function.__closure__)


def _weight_on_device(T, functions):
    """(k, slope) of a kernel at u; a user's k may end at its radius, which rounding may overstep."""
    if functions is not None:
        k, slope = (device_function(_retyped(f, T)) for f in functions)

        @device_function
        def inside(u, kind, radius):
            u = min(max(u, -radius), radius)
            return T(k(u)), T(slope(u))

        return inside
    weight = device_function(of.weight)

    @device_function
    def known(u, kind, radius):
        return weight(u, kind)

    return known


def on_device(T, dims, way, functions, add):
    """The functions (eq. 3, 6 and 7) for dtype T, a way, and a user's (k, slope) or None; `scatter` calls `add`."""
    floor, weight, read_by = device_floor(T), _weight_on_device(T, functions), device_function(of.padded)
    width_of, taps_at = formulas(floor, device_function)
    custom = functions is not None

    @device_function
    def axis(x, size, width, problem):
        kind, radius, padding = problem.kind, problem.radius, problem.padding
        s = width_of(width, size) if way == WIDENED else T(1)
        first, centre, used, near = taps_at(x, size, radius * s, padding)
        used, rate = np.int64(used), T(1) / s
        total, slope, growth = T(0), T(0), T(0)
        if way == WIDENED:
            for t in range(used):
                u = (centre - T(t)) * rate
                w, d = weight(u, kind, radius)
                total, slope, growth = total + w, slope + d * rate, growth - u * d * rate
        if total == T(0):
            total, slope, growth = T(1), T(0), T(0)
        stays = near or custom  # the sum of other kernels' weights is 1 and has no slope
        return Along(np.int64(first), centre, rate, used, stays, total, slope, growth, size, kind, padding, radius)

    @device_function
    def tap(along, t):
        u = (along.centre - T(t)) * along.rate
        w, d = weight(u, along.kind, along.radius)
        e = T(0)
        if way == WIDENED:
            w, d = w / along.total, d * along.rate
            e = (-u * d - w * along.growth) / along.total
            d = (d - w * along.slope) / along.total
        pixel = np.int32(read_by(along.first + t, along.size, along.padding))
        return Tap(pixel, w, d if along.stays else T(0), e if along.stays else T(0))

    @device_function
    def tap_of_four(along, t):
        if t < along.used:
            return tap(along, t)
        return Tap(np.int32(-1), T(0), T(0), T(0))  # a user's k may end at the radius

    if way == FOUR:
        @device_function
        def taps_of(x, size, width, problem):
            along = axis(x, size, width, problem)
            return Four((tap_of_four(along, 0), tap_of_four(along, 1), tap_of_four(along, 2), tap_of_four(along, 3)),
                        along.used)

        @device_function
        def take(four, t):
            taps = four.taps
            return taps[0] if t == 0 else taps[1] if t == 1 else taps[2] if t == 2 else taps[3]

        @device_function
        def columns(four):
            return 4  # a constant, so that they stay in registers
    else:
        taps_of, take = axis, tap

        @device_function
        def columns(along):
            return along.used

    @device_function
    def place(point, widths, problem, backward):
        D, H, W = problem.shape
        x, y = taps_of(point.x, W, widths[0], problem), taps_of(point.y, H, widths[1], problem)
        return Spot(x, y, taps_of(point.z, D, widths[2], problem) if dims == 3 else y, H, W)

    @device_function
    def slices(along_z):
        return along_z.used if dims == 3 else 1

    @device_function
    def slice_of(along_z, t):
        return take(along_z, t) if dims == 3 else Tap(np.int32(0), T(1), T(0), T(0))

    @device_function
    def read(U, base, at, inside, outside):
        """A pixel is read in any case, so that all reads of a row are under way together."""
        pixel = U[at if inside else base]
        return pixel if inside else outside

    @device_function
    def value(U, base, spot, problem):
        along_x, along_y, along_z, H, W = spot
        total = T(0)
        for s in range(slices(along_z)):
            m_z, w_z, _, _ = slice_of(along_z, s)
            r = 0
            while r < along_y.used:
                m_y, w_y, _, _ = take(along_y, r)
                inside, line, here = m_z >= 0 and m_y >= 0, base + (np.int64(m_z) * H + np.int64(m_y)) * W, T(0)
                for c in range(columns(along_x)):
                    m, w, _, _ = take(along_x, c)
                    here += w * read(U, base, line + m, inside and m >= 0, problem.outside)
                total += w_z * w_y * here
                r += 1
        return total

    @device_function
    def slopes(U, base, spot, problem):
        along_x, along_y, along_z, H, W = spot
        g_x, g_y, g_z, e_x, e_y, e_z = T(0), T(0), T(0), T(0), T(0), T(0)
        for s in range(slices(along_z)):
            m_z, w_z, d_z, s_z = slice_of(along_z, s)
            r = 0
            while r < along_y.used:
                m_y, w_y, d_y, s_y = take(along_y, r)
                inside, line = m_z >= 0 and m_y >= 0, base + (np.int64(m_z) * H + np.int64(m_y)) * W
                here, right, spread = T(0), T(0), T(0)
                for c in range(columns(along_x)):
                    m, w, d, e = take(along_x, c)
                    u = read(U, base, line + m, inside and m >= 0, problem.outside)
                    here, right, spread = here + w * u, right + d * u, spread + e * u
                g_x, g_y, g_z = g_x + w_z * w_y * right, g_y + w_z * d_y * here, g_z + d_z * w_y * here
                e_x, e_y, e_z = e_x + w_z * w_y * spread, e_y + w_z * s_y * here, e_z + s_z * w_y * here
                r += 1
        return g_x, g_y, g_z, e_x, e_y, e_z

    @device_function
    def scatter(sums, base, spot, g):
        along_x, along_y, along_z, H, W = spot
        for s in range(slices(along_z)):
            m_z, w_z, _, _ = slice_of(along_z, s)
            r = 0
            while r < along_y.used:
                m_y, w_y, _, _ = take(along_y, r)
                inside, line = m_z >= 0 and m_y >= 0, base + (np.int64(m_z) * H + np.int64(m_y)) * W
                share = w_z * w_y * g
                for c in range(columns(along_x)):
                    m, w, _, _ = take(along_x, c)
                    if inside and m >= 0:
                        add(sums, line + m, share * w)
                r += 1

    @device_function
    def through_padding(taps, g):
        return g  # padding acted on the taps

    @device_function
    def absolute(spot):
        along_x, along_y, along_z, _, _ = spot
        x, y, z = T(0), T(0), T(0)
        for t in range(along_x.used):
            x += abs(take(along_x, t)[1])
        for t in range(along_y.used):
            y += abs(take(along_y, t)[1])
        for t in range(slices(along_z)):
            z += abs(slice_of(along_z, t)[1])
        return x * y * z

    return Functions(place, value, slopes, scatter, through_padding, absolute)
