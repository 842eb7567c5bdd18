"""Nearest and bilinear sampling at one point, by a thread of a GPU: what `in_place.py` does for runs of points.

In the place of a neighbour that does not exist a pixel is read and forgotten, so that all reads of a point are under
way together; the neighbour is the value outside.
"""

import numpy as np

from ..gpu.launch import device_floor, device_function
from .bilinear import _cell, formulas
from .interpolation import NEAREST, ZEROS


def on_device(T, dims, add):
    """For kernels: `place`, `value`, `slopes`, `scatter`, which calls `add`, and `through_padding`."""
    folded, first, right = formulas(device_floor(T), device_function)
    cell = device_function(_cell)

    @device_function
    def axis(x, size, kind, padding, backward):
        """Weight of the second neighbour; whether the two exist; the pixel to read, and to the next one; the turn."""
        turn = T(1)
        if padding != ZEROS:
            x, turn = folded(x, size, padding)
        k, f = first(x, size, T(0.5) if kind == NEAREST else T(0))
        if backward and kind != NEAREST:  # which has no other neighbour
            k, f = right(k, f, turn)
        k = np.int64(k)
        one, two = k >= 0 and k < size, k >= -1 and k < size - 1
        return f, one, two, k if one else 0 if two else size - 1, 1 if one and two else 0, turn

    @device_function
    def place(x, y, z, widths, D, H, W, kind, radius, padding, backward):
        f_x, left, right, column, step_x, turn_x = axis(x, W, kind, padding, backward)
        f_y, upper, lower, line, step_y, turn_y = axis(y, H, kind, padding, backward)
        f_z, front, back, depth, step_z, turn_z = (
            axis(z, D, kind, padding, backward) if dims == 3 else (T(0), True, False, 0, 0, T(1)))
        at = (depth * H + line) * W + column
        return ((f_x, f_y, f_z), (left, right, upper, lower, front, back), at, (step_x, step_y * W, step_z * H * W),
                (turn_x, turn_y, turn_z), kind)

    @device_function
    def square(U, at, step_x, step_y, f_x, f_y, left, right, upper, lower, outside):
        """The cell whose first corner is `at`: its value, and the derivatives along x and y."""
        t00, t01, t10, t11 = U[at], U[at + step_x], U[at + step_y], U[at + step_y + step_x]
        return cell((t00 if left and upper else outside, t01 if right and upper else outside,
                     t10 if left and lower else outside, t11 if right and lower else outside), f_x, f_y)

    @device_function
    def value(U, base, spot, outside):
        (f_x, f_y, f_z), (left, right, upper, lower, front, back), at, (step_x, step_y, step_z), _, kind = spot
        at += base
        if kind == NEAREST:
            pixel = U[at]
            return pixel if left and upper and front else outside
        if dims == 2:
            return square(U, at, step_x, step_y, f_x, f_y, left, right, upper, lower, outside)[0]
        near = square(U, at, step_x, step_y, f_x, f_y, left, right, upper and front, lower and front, outside)
        at += step_z
        far = square(U, at, step_x, step_y, f_x, f_y, left, right, upper and back, lower and back, outside)
        return near[0] + f_z * (far[0] - near[0])

    @device_function
    def slopes(U, base, spot, outside):
        """Derivatives with respect to x, y and z; and to widths, which there are none of."""
        (f_x, f_y, f_z), (left, right, upper, lower, front, back), at, (step_x, step_y, step_z), _, _ = spot
        at += base
        if dims == 2:
            _, d_x, d_y = square(U, at, step_x, step_y, f_x, f_y, left, right, upper, lower, outside)
            return d_x, d_y, T(0), T(0), T(0), T(0)
        near, d_x, d_y = square(U, at, step_x, step_y, f_x, f_y, left, right, upper and front, lower and front, outside)
        at += step_z
        far, along, down = square(U, at, step_x, step_y, f_x, f_y, left, right, upper and back, lower and back, outside)
        return d_x + f_z * (along - d_x), d_y + f_z * (down - d_y), far - near, T(0), T(0), T(0)

    @device_function
    def add_square(sums, at, step_x, step_y, left, right, upper, lower):
        """Terms of neighbours that do not exist are 0, and not added."""
        add(sums, at, upper * left)
        add(sums, at + step_x, upper * right)
        add(sums, at + step_y, lower * left)
        add(sums, at + step_y + step_x, lower * right)

    @device_function
    def scatter(sums, base, spot, g):
        (f_x, f_y, f_z), (left, right, upper, lower, front, back), at, (step_x, step_y, step_z), _, kind = spot
        at += base
        w_left, w_right = T(1) - f_x if left else T(0), f_x if right else T(0)
        w_upper, w_lower = T(1) - f_y if upper else T(0), f_y if lower else T(0)
        if kind == NEAREST:
            add(sums, at, g if left and upper and front else T(0))
        elif dims == 2:
            add_square(sums, at, step_x, step_y, w_left, w_right, g * w_upper, g * w_lower)
        else:
            near, far = g * (T(1) - f_z) if front else T(0), g * f_z if back else T(0)
            add_square(sums, at, step_x, step_y, w_left, w_right, near * w_upper, near * w_lower)
            at += step_z
            add_square(sums, at, step_x, step_y, w_left, w_right, far * w_upper, far * w_lower)

    @device_function
    def through_padding(spot, a, g):
        """From the gradient of a folded coordinate to that of the coordinate."""
        turn = spot[4][a]
        return g if turn > T(0) else -g if turn < T(0) else T(0)

    return place, value, slopes, scatter, through_padding
