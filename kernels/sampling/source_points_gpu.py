"""Where a point of the output lies in the source, found by a thread of a GPU: what `source_points.py` does for runs."""

import numpy as np

from ..gpu.launch import device_function

PLANE, BASIS, GRID = range(3)  # where a thread of the GPU takes its points from


def on_device(T, dims):
    """`point`, the coordinates of one point, in a register each; `widths`, those of its kernel; `through_quotient`."""

    @device_function
    def target(p, D_out, H_out, W_out):
        """(x_t, y_t, 1, 0) or (x_t, y_t, z_t, 1), in pixels from the centre of the output."""
        line = np.int64(np.uint32(p) // np.uint32(W_out))  # a division of 64 bits is slow there
        x_t = T(p - line * W_out) - T(0.5) * T(W_out - 1)
        if dims == 2:
            return x_t, T(line) - T(0.5) * T(H_out - 1), T(1), T(0)
        depth = np.int64(np.uint32(line) // np.uint32(H_out))
        y_t = T(line - depth * H_out) - T(0.5) * T(H_out - 1)
        return x_t, y_t, T(depth) - T(0.5) * T(D_out - 1), T(1)

    @device_function
    def of_basis(M, m, basis, p, points, rows, K):
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
    def point(M, basis, grid, n, p, points, source, rows, K, columns, size, shape, scale):
        """x, y, z, 1 / denominator, and the target point where it is the basis."""
        D, H, W = shape
        c_x, c_y, c_z = T(0.5) * T(W - 1), T(0.5) * T(H - 1), T(0.5) * T(D - 1)
        at = (T(0), T(0), T(0), T(0))
        if source == GRID:
            g = (n * points + p) * columns
            return (scale[0] * grid[g] + c_x, scale[1] * grid[g + 1] + c_y,
                    scale[2] * grid[g + 2] + c_z if dims == 3 else T(0), T(1), at)
        if source == PLANE:
            at = target(p, size[0], size[1], size[2])
            x, y, z, last = of_plane(M, n * rows * K, at, rows, K)
        else:
            x, y, z, last = of_basis(M, n * rows * K, basis, p, points, rows, K)
        rate = T(1)
        if rows > dims:
            rate = T(1) / (z if dims == 2 else last)
            x, y, z = x * rate, y * rate, z * rate
        return x + c_x, y + c_y, z + c_z if dims == 3 else T(0), rate, at

    @device_function
    def widths(grid, n, p, points):
        g = (n * points + p) * 2 * dims + dims
        return grid[g], grid[g + 1], grid[g + 2] if dims == 3 else T(1)

    @device_function
    def through_quotient(x, y, z, rate, g, shape):
        """From the gradients of quotients to those of their numerators, and of the denominator."""
        D, H, W = shape
        far = T(1e9)
        near = abs(x) < far and abs(y) < far and (dims == 2 or abs(z) < far)
        if not near or rate == T(0):  # nothing flows from far outside: no 0 times infinity
            return T(0), T(0), T(0), T(0)
        f_x, f_y, f_z = g[0] * rate, g[1] * rate, g[2] * rate
        last = f_x * (x - T(0.5) * T(W - 1)) + f_y * (y - T(0.5) * T(H - 1))
        if dims == 2:
            return f_x, f_y, -last, T(0)
        return f_x, f_y, f_z, -(last + f_z * (z - T(0.5) * T(D - 1)))

    return point, widths, through_quotient
