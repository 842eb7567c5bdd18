"""Where a point of the output lies in the source, found by a thread of a GPU: what `source_points.py` does for runs."""

from typing import NamedTuple

import numpy as np

from ..gpu.launch import device_function
from .source_points import FAR_OUT

PLANE, BASIS, GRID = range(3)  # where a thread of the GPU takes its points from


class Problem(NamedTuple):
    """What a launch says about a sampling problem: numbers of entries and pixels, then options. An image has D = 1."""

    step: int  # entries of U from an image to the next; 0 where all points read one
    C: int
    P: int  # points of a layer of the output: V (n, C, P) is the sum of all layers
    layers: int
    shape: tuple[int, int, int]  # D, H, W of U
    size: tuple[int, int, int]  # and of the output
    rows: int  # of M
    K: int  # columns of M
    columns: int  # of the grid
    kind: int  # of the kernel
    padding: int
    radius: float  # of the kernel, in pixels
    outside: float  # the value there
    scale: tuple[float, float, float]  # pixels to one of the grid, along x, y, z


class Point(NamedTuple):
    x: float  # in pixels from the centre of the first
    y: float
    z: float
    rate: float  # 1 / denominator
    target: tuple[float, float, float, float]  # the target point, where it is the basis


def on_device(T, dims, source):
    """For points of a `source`: `point`, where one lies, in registers; `widths`, those of its kernel along x, y and z;
    `through_quotient`."""

    @device_function
    def target(p, size):
        """(x_t, y_t, 1, 0) or (x_t, y_t, z_t, 1), in pixels from the centre of the output."""
        D_out, H_out, W_out = size
        line = np.int64(np.uint32(p) // np.uint32(W_out))  # a division of 64 bits is slow there
        x_t = T(p - line * W_out) - T(0.5) * T(W_out - 1)
        if dims == 2:
            return x_t, T(line) - T(0.5) * T(H_out - 1), T(1), T(0)
        depth = np.int64(np.uint32(line) // np.uint32(H_out))
        y_t = T(line - depth * H_out) - T(0.5) * T(H_out - 1)
        return x_t, y_t, T(depth) - T(0.5) * T(D_out - 1), T(1)

    @device_function
    def of_basis(M, m, basis, p, problem):
        rows, K, points = problem.rows, problem.K, problem.layers * problem.P
        x, y, z, last = T(0), T(0), T(0), T(0)
        for k in range(K):
            b = basis[k * points + p]
            x += M[m + k] * b
            y += M[m + K + k] * b
            if rows > 2:
                z += M[m + 2 * K + k] * b
            if dims == 3 and rows > 3:
                last += M[m + 3 * K + k] * b
        return x, y, z, last

    @device_function
    def row(M, m, at):
        if dims == 2:
            return (M[m] * at[0] + M[m + 1] * at[1]) + M[m + 2]
        return (M[m] * at[0] + M[m + 1] * at[1]) + (M[m + 2] * at[2] + M[m + 3])

    @device_function
    def of_plane(M, m, at, rows, K):
        return (row(M, m, at), row(M, m + K, at), row(M, m + 2 * K, at) if rows > 2 else T(0),
                row(M, m + 3 * K, at) if dims == 3 and rows > 3 else T(0))

    @device_function
    def point(M, basis, grid, n, p, problem):
        """Point p of image n, eq. 1 in pixels: by M (N, rows, K), basis (K, points); or grid (N, points, columns)."""
        rows, K = problem.rows, problem.K
        D, H, W = problem.shape
        c_x, c_y, c_z = T(0.5) * T(W - 1), T(0.5) * T(H - 1), T(0.5) * T(D - 1)
        at = (T(0), T(0), T(0), T(0))
        if source == GRID:
            g, scale = (n * problem.layers * problem.P + p) * problem.columns, problem.scale
            return Point(scale[0] * grid[g] + c_x, scale[1] * grid[g + 1] + c_y,
                         scale[2] * grid[g + 2] + c_z if dims == 3 else T(0), T(1), at)
        if source == PLANE:
            at = target(p, problem.size)
            x, y, z, last = of_plane(M, n * rows * K, at, rows, K)
        else:
            x, y, z, last = of_basis(M, n * rows * K, basis, p, problem)
        rate = T(1)
        if rows > dims:
            rate = T(1) / (z if dims == 2 else last)
            x, y, z = x * rate, y * rate, z * rate
        return Point(x + c_x, y + c_y, z + c_z if dims == 3 else T(0), rate, at)

    @device_function
    def widths(grid, n, p, problem):
        g = (n * problem.layers * problem.P + p) * 2 * dims + dims
        return grid[g], grid[g + 1], grid[g + 2] if dims == 3 else T(1)

    @device_function
    def through_quotient(here, g, shape):
        """From the gradients of quotients to those of their numerators, and of the denominator."""
        x, y, z, rate, _ = here
        D, H, W = shape
        far = T(FAR_OUT)
        near = abs(x) < far and abs(y) < far and (dims == 2 or abs(z) < far)
        if not near or rate == T(0):
            return T(0), T(0), T(0), T(0)
        f_x, f_y, f_z = g[0] * rate, g[1] * rate, g[2] * rate
        last = f_x * (x - T(0.5) * T(W - 1)) + f_y * (y - T(0.5) * T(H - 1))
        if dims == 2:
            return f_x, f_y, -last, T(0)
        return f_x, f_y, f_z, -(last + f_z * (z - T(0.5) * T(D - 1)))

    return point, widths, through_quotient
