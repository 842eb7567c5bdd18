"""Sampling kernels k(x), their slopes, and what padding makes of a tap: one scalar function each (paper, eq. 3 to 5).

A slope is the derivative from the right. Beyond its radius a kernel is not asked. Those here sum to 1 over the pixels,
wherever x lies.
"""

import numpy as np
from numba import cfunc, njit

from ..compiling.caching import c_function

NEAREST, BILINEAR, BICUBIC, CATMULL_ROM, BSPLINE, CUSTOM = range(6)
RADIUS = {NEAREST: 0.5, BILINEAR: 1.0, BICUBIC: 2.0, CATMULL_ROM: 2.0, BSPLINE: 2.0}

ZEROS, BORDER, WRAP, REFLECT_CENTRES, REFLECT_EDGES = range(5)  # ZEROS reads any number outside

FAR = 4e6  # pixels beyond an image from where float32 no longer tells neighbours apart

formula = {"inline": "always", "error_model": "numpy", "fastmath": {"contract"}}


@njit(**formula)
def hat(x):
    """eq. 5: max(0, 1 - |x|)."""
    T = type(x)
    return max(T(0), T(1) - abs(x))


@njit(**formula)
def hat_slope(x):
    """eq. 7: its three cases."""
    T = type(x)
    inside = T(1) if x < T(0) else T(-1)
    return inside if x >= T(-1) and x < T(1) else T(0)


@njit(**formula)
def keys(x, a):
    """Cubic convolution (Keys 1981): pieces on |x| < 1 and 1 <= |x| < 2 that join with their slopes.

    a = -0.75 is PyTorch's and OpenCV's bicubic; a = -0.5, Catmull-Rom, is the only one to reproduce quadratics.
    """
    T = type(x)
    r = abs(x)
    near = ((a + T(2)) * r - (a + T(3))) * r * r + T(1)
    far = ((r - T(5)) * r + T(8)) * r * a - T(4) * a
    return near if r < T(1) else far if r < T(2) else T(0)


@njit(**formula)
def keys_slope(x, a):
    T = type(x)
    r = abs(x)
    near = (T(3) * (a + T(2)) * r - T(2) * (a + T(3))) * r
    far = ((T(3) * r - T(10)) * r + T(8)) * a
    slope = near if r < T(1) else far if r < T(2) else T(0)
    return slope if x >= T(0) else -slope


@njit(**formula)
def b_spline(x):
    """The cubic B-spline: the box, smoothed by itself three times (Unser 1999, eq. 4). It smooths what it samples."""
    T = type(x)
    r = abs(x)
    far = max(T(0), T(2) - r)
    near = (r * T(0.5) - T(1)) * r * r + T(2) / T(3)
    return near if r < T(1) else far * far * far / T(6)


@njit(**formula)
def b_spline_slope(x):
    T = type(x)
    r = abs(x)
    far = max(T(0), T(2) - r)
    slope = (T(1.5) * r - T(2)) * r if r < T(1) else far * far * T(-0.5)
    return slope if x >= T(0) else -slope


@njit(**formula)
def weight(x, kind):
    """k(x) and its slope, of a kind that is known here."""
    T = type(x)
    if kind == NEAREST:  # eq. 4: floor(x + 0.5) is the only pixel m with x - m from -1/2 (outside) to 1/2 (inside)
        return T(1), T(0)
    if kind == BILINEAR:
        return hat(x), hat_slope(x)
    if kind == BSPLINE:
        return b_spline(x), b_spline_slope(x)
    a = T(-0.75) if kind == BICUBIC else T(-0.5)
    return keys(x, a), keys_slope(x, a)


@njit(**formula)
def padded(m, size, padding):
    """The pixel that a tap at m reads: itself inside, else as padding says; -1 is the value outside."""
    if m >= 0 and m < size:
        return m
    if padding == ZEROS:
        return -1
    if padding == BORDER:
        return 0 if m < 0 else size - 1
    if padding == WRAP:
        return m % size
    if padding == REFLECT_EDGES:  # ... 1 0 | 0 1 2 | 2 1 ...
        m %= 2 * size
        return m if m < size else 2 * size - 1 - m
    period = max(2 * (size - 1), 1)  # ... 2 1 | 0 1 2 | 1 0 ...
    m %= period
    return m if m < size else period - m


class Interpolation:
    """A sampling kernel as the sampler takes it: its kind, its radius, and pointers to k and its slope if it is CUSTOM.

    A pointer lets one compiled sampler serve any function; kinds that are known here are part of it.
    """

    def __init__(self, kind, radius=None, k=hat, slope=hat_slope):
        self.kind, self.radius, self.functions = kind, float(radius or RADIUS[kind]), (k, slope)
        self._pointers = {}

    def __getstate__(self):
        return {**self.__dict__, "_pointers": {}}  # compiled code is not copied

    def adjacent(self, padding, widened):
        """Whether what a point reads are neighbours: a pixel and the next one along each axis."""
        return self.kind in (NEAREST, BILINEAR) and padding != WRAP and not widened

    def radius_in(self, dtype):
        """The largest number of a dtype that is not beyond the radius: 1.7 in float32 is."""
        radius = np.dtype(dtype).type(self.radius)
        return float(radius if float(radius) <= self.radius else np.nextafter(radius, radius.dtype.type(0)))

    def pointers(self, dtype):
        if dtype not in self._pointers:
            kind, options = f"{dtype}({dtype})", {"error_model": "numpy"}
            self._pointers[dtype] = tuple(
                cfunc(kind, **options)(getattr(f, "py_func", f)) if self.kind == CUSTOM
                else c_function(f.py_func, kind, **options)  # not called: stands in their place, compiled once for all
                for f in self.functions)
        return self._pointers[dtype]
