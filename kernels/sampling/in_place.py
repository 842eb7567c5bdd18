"""Sampling from the image itself, a run of points at a time: bilinear of few channels, nearest of any (eq. 4 to 7).

Cells of neighbours are those of `bilinear.py`. A line of a cell is two pixels side by side, read at once. At
the rim, where one of them does not exist, the line is moved inside, and its pixels have changed places. A pixel that is
no neighbour is forgotten, lest a NaN there be seen, and the value outside stands for a neighbour that there is not. So
no access is outside the image, whatever the coordinates.

What is known of a run stands in rows of one array, a constant apart: then the compiler need not ask whether they
overlap, and each loop over a run becomes vectors. `numbers`, `integers` and `pixels` below are these (`workspace`),
`shape` is (H, W) or (D, H, W); source and target are U and dU, V and dV the arrays, flat: an image's channel begins at
entry `base`, a run's values at `start`. Coordinates are in pixels.
"""

import numpy as np
from numba import njit

from ..compiling.blas import add2, move2
from ..compiling.linking import linked
from .bilinear import _cell, _first, _folded, _right, _weights
from .interpolation import NEAREST, ZEROS
from .source_points import index, inner, summing

RUN = 192  # most points of a run, whole vectors of 16: what is known of them stays in a first-level cache

# Rows of numbers: coordinates (and 1 / denominator), their gradients (and the denominator's); where padding moves a
# coordinate; along columns, slices and rows how it turns, and the weight of the second neighbour.
X, G, FOLDED, TURN, F = (RUN * row for row in (0, 4, 8, 9, 12))
NUMBERS = 15 * RUN
# Rows of integers: where the lines of a cell begin in an image, two for each cell; which neighbours exist, and whether
# they have changed places; the first neighbours along columns, slices and rows.
LINES, FLAGS, FIRST = (RUN * row for row in (0, 4, 5))
INTEGERS = 8 * RUN
LEFT, RIGHT, SWAPPED, UPPER, LOWER, FRONT, BACK = (np.int32(1 << bit) for bit in range(7))


@linked(**inner)
def workspace(dtype):
    """Numbers and integers of a run, and the pixels of its cells, [cell, line, point, column]."""
    return np.empty(NUMBERS, dtype), np.empty(INTEGERS, np.int32), np.empty(8 * RUN, dtype)


@njit(inline="always", **inner)
def _flag(exists, flag):
    return flag if exists else np.int32(0)


@njit(inline="always", **inner)
def _keep(axis, j, k, f, spoilt, numbers, integers):
    """Write down the first neighbour k of point j along an axis, and the weight f of the second, NaN if spoilt.

    Both in pixels, into rows of `integers` (INTEGERS,) and `numbers` (NUMBERS,).
    """
    integers[index(FIRST + axis * RUN + j)] = k
    numbers[index(F + axis * RUN + j)] = numbers.dtype.type(np.nan) if spoilt else f


# Images and volumes are told apart by the length of `shape`, (H, W) or (D, H, W), which the compiler knows: it leaves
# out the other half.


@linked(**inner)
def _neighbours(count, shape, kind, padding, backward, numbers, integers):
    """The first neighbours along columns, slices and rows, as in `bilinear.py`, in pixels; forwards NaN weighs NaN."""
    T = numbers.dtype.type
    shift, forward, turns = T(0.5) if kind == NEAREST else T(0), not backward, backward and kind != NEAREST  # eq. 4
    for axis in range(len(shape)):
        a = 0 if axis == 0 else len(shape) - axis  # the coordinate
        size = shape[-1] if axis == 0 else shape[axis - 1]
        if padding == ZEROS:
            for j in range(count):
                x = numbers[index(X + a * RUN + j)]
                k, f = _first(x, size, shift)
                _keep(axis, j, k, f, (x != x) & forward, numbers, integers)
            continue
        for j in range(count):
            numbers[index(FOLDED + j)], numbers[index(TURN + axis * RUN + j)] = _folded(
                numbers[index(X + a * RUN + j)], size, padding)
        for j in range(count):
            x = numbers[index(FOLDED + j)]
            k, f = _first(x, size, shift)
            k, f = _right(k, f, numbers[index(TURN + axis * RUN + j)] if turns else T(1))
            _keep(axis, j, k, f, (x != x) & forward, numbers, integers)


@linked(**inner)
def place(count, shape, top, bottom, kind, padding, backward, numbers, integers):
    """Weights, lines and flags of a run at X, in pixels, in the band of slices from `top` to `bottom`, not empty."""
    _neighbours(count, shape, kind, padding, backward, numbers, integers)
    W, step = np.int32(shape[-1]), np.int32(shape[-1])
    if len(shape) == 3:
        step = np.int32(step * np.int32(shape[1]))
    zero, last = np.int32(0), np.int32(W - np.int32(1) if kind == NEAREST else W - np.int32(2))
    above, first_slice, last_slice = np.int32(top - 1), np.int32(top), np.int32(bottom - 1)
    for j in range(count):
        k, s = integers[index(FIRST + j)], integers[index(FIRST + RUN + j)]
        begin = k if k > zero else zero
        begin = begin if begin < last else last  # a line of two ends in the image
        flags = np.int32(_flag((k >= zero) & (k < W), LEFT) | _flag(k < W - 1, RIGHT))
        flags = np.int32(flags | np.int32(_flag(k != begin, SWAPPED) | FRONT))
        upper, lower = (s >= first_slice) & (s <= last_slice), (s >= above) & (s < last_slice)
        line = s if s > first_slice else first_slice
        line = np.int32(np.int32((line if line < last_slice else last_slice) * step) + begin)
        integers[index(LINES + j)] = line
        integers[index(LINES + RUN + j)] = np.int32(line + (step if upper & lower else zero))
        integers[index(FLAGS + j)] = np.int32(flags | np.int32(_flag(upper, UPPER) | _flag(lower, LOWER)))
    if len(shape) == 3:
        last, step = np.int32(shape[1] - 1), W
        for j in range(count):
            k = integers[index(FIRST + 2 * RUN + j)]
            front, back = (k >= zero) & (k <= last), k < last
            row = k if k > zero else zero
            row = np.int32((row if row < last else last) * step)
            next = np.int32(row + (step if front & back else zero))
            upper, lower = integers[index(LINES + j)], integers[index(LINES + RUN + j)]
            integers[index(LINES + j)] = np.int32(upper + row)
            integers[index(LINES + RUN + j)] = np.int32(lower + row)
            integers[index(LINES + 2 * RUN + j)] = np.int32(upper + next)
            integers[index(LINES + 3 * RUN + j)] = np.int32(lower + next)
            flags = np.int32(integers[index(FLAGS + j)] - _flag(not front, FRONT))
            integers[index(FLAGS + j)] = np.int32(flags | _flag(back, BACK))


@linked(**inner)
def reach(count, shape, kind, padding, numbers, integers):
    """The first and last slice of pixels that a run of points reads, backwards."""
    _neighbours(count, shape, kind, padding, True, numbers, integers)
    low, high = np.int32(shape[0]), np.int32(-1)
    for j in range(count):
        k = integers[index(FIRST + RUN + j)]
        low, high = min(low, k), max(high, k if k < shape[0] else np.int32(-1))
    return np.int64(low), np.int64(high) + 1


@linked(**inner)
def read(source, base, count, shape, integers, pixels):
    """The pixels of the cells of a run, from the flat source into pixels (8 RUN,), [cell, line, point, column]."""
    for cell in range(len(shape) - 1):
        line = 2 * cell * RUN
        for k in range(count):
            j = np.int64(k)
            move2(pixels, 2 * line + 2 * j, source, base + np.int64(integers[index(LINES + line + j)]))
            move2(pixels, 2 * line + 2 * RUN + 2 * j, source, base + np.int64(integers[index(LINES + line + RUN + j)]))


@njit(inline="always", **inner)
def _exist(flags, cell):
    """Which corners of a cell do: upper left, upper right, lower left, lower right."""
    here = flags & (BACK if cell == 1 else FRONT) != 0
    left, right = (flags & LEFT != 0) & here, (flags & RIGHT != 0) & here
    upper, lower = flags & UPPER != 0, flags & LOWER != 0
    return left & upper, right & upper, left & lower, right & lower


@njit(inline="always", **inner)
def _corners(cell, j, outside, integers, pixels):
    """The corners of a cell in their order."""
    flags = integers[index(FLAGS + j)]
    swapped = flags & SWAPPED != 0
    e00, e01, e10, e11 = _exist(flags, cell)
    at = 4 * cell * RUN + 2 * j
    p, q = pixels[index(at)], pixels[index(at + 1)]
    r, s = pixels[index(at + 2 * RUN)], pixels[index(at + 2 * RUN + 1)]
    t00, t01 = (q if swapped else p), (p if swapped else q)
    t10, t11 = (s if swapped else r), (r if swapped else s)
    return t00 if e00 else outside, t01 if e01 else outside, t10 if e10 else outside, t11 if e11 else outside


@njit(inline="always", **inner)
def _value(cell, j, outside, numbers, integers, pixels):
    """Of a cell of point j, and its derivatives along x and along slices, in 1 / pixels; from the rows above."""
    return _cell(_corners(cell, j, outside, integers, pixels), numbers[index(F + j)], numbers[index(F + RUN + j)])


@linked(**inner)
def blend(count, shape, outside, numbers, integers, pixels, V, start):
    """V[start + j] += eq. 5 for a run, from `pixels` as `read` leaves them; V is flat."""
    for k in range(count):
        j = np.int64(k)
        value, _, _ = _value(0, j, outside, numbers, integers, pixels)
        if len(shape) == 3:
            other, _, _ = _value(1, j, outside, numbers, integers, pixels)
            value += numbers[index(F + 2 * RUN + j)] * (other - value)
        V[index(start + j)] += value


@linked(**inner)
def slopes(count, shape, outside, numbers, integers, pixels, dV, start):
    """G += dV dV/dx, in 1 / pixels, by dV (flat) and `pixels`: eq. 7 with the right-hand derivative."""
    for k in range(count):
        j = np.int64(k)
        value, d_x, d_s = _value(0, j, outside, numbers, integers, pixels)
        if len(shape) == 3:
            f_r = numbers[index(F + 2 * RUN + j)]
            other, right, down = _value(1, j, outside, numbers, integers, pixels)
            d_x, d_s = d_x + f_r * (right - d_x), d_s + f_r * (down - d_s)
            numbers[index(G + RUN + j)] += dV[index(start + j)] * (other - value)
        numbers[index(G + j)] += dV[index(start + j)] * d_x
        numbers[index(G + (len(shape) - 1) * RUN + j)] += dV[index(start + j)] * d_s


@linked(**inner)
def scatter(target, base, count, shape, numbers, integers, pixels, dV, start):
    """The adjoint of `blend`: eq. 6, by dV into target, both flat. What stood in `pixels` is lost.

    Neighbouring points add to lines that overlap, and a line that has just been written in part is read late: so every
    fourth point first, then those behind them.
    """
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    for cell in range(len(shape) - 1):
        for k in range(count):
            j = np.int64(k)
            share = dV[index(start + j)]
            if len(shape) == 3:
                f_r = numbers[index(F + 2 * RUN + j)]
                share *= f_r if cell == 1 else one - f_r
            w00, w01, w10, w11 = _weights(share, numbers[index(F + j)], numbers[index(F + RUN + j)])
            flags = integers[index(FLAGS + j)]
            e00, e01, e10, e11 = _exist(flags, cell)
            w00, w01, w10, w11 = w00 if e00 else zero, w01 if e01 else zero, w10 if e10 else zero, w11 if e11 else zero
            swapped = flags & SWAPPED != 0
            pixels[index(2 * j)], pixels[index(2 * j + 1)] = (w01 if swapped else w00), (w00 if swapped else w01)
            pixels[index(2 * RUN + 2 * j)] = w11 if swapped else w10
            pixels[index(2 * RUN + 2 * j + 1)] = w10 if swapped else w11
        line = 2 * cell * RUN
        for remainder in range(4):
            for k in range(remainder, count, 4):
                j = np.int64(k)
                add2(target, base + np.int64(integers[index(LINES + line + j)]), pixels, 2 * j)
                add2(target, base + np.int64(integers[index(LINES + line + RUN + j)]), pixels, 2 * RUN + 2 * j)


@linked(**inner)
def pick(source, base, count, shape, outside, numbers, integers, V, start):
    """V[start + j] += eq. 4 for a run, from the pixels of the flat source; V is flat, too."""
    for k in range(count):
        j = np.int64(k)
        pixel = source[index(base + np.int64(integers[index(LINES + j)]))]
        exists, _, _, _ = _exist(integers[index(FLAGS + j)], 0)
        spoilt = numbers[index(F + j)] + numbers[index(F + RUN + j)]
        if len(shape) == 3:
            spoilt += numbers[index(F + 2 * RUN + j)]
        V[index(start + j)] += spoilt if spoilt != spoilt else pixel if exists else outside


@linked(**inner)
def put(target, base, count, integers, dV, start):
    """The adjoint of `pick`, by dV into the pixels of target, both flat."""
    for k in range(count):
        j = np.int64(k)
        exists, _, _, _ = _exist(integers[index(FLAGS + j)], 0)
        if exists:
            target[index(base + np.int64(integers[index(LINES + j)]))] += dV[index(start + j)]


@linked(**inner)
def through_padding(count, shape, numbers):
    """From the gradients of folded coordinates to those of the coordinates."""
    zero = numbers.dtype.type(0)
    for axis in range(len(shape)):
        a = 0 if axis == 0 else len(shape) - axis
        for j in range(count):
            g, turn = numbers[index(G + a * RUN + j)], numbers[index(TURN + axis * RUN + j)]
            numbers[index(G + a * RUN + j)] = g if turn > zero else -g if turn < zero else zero


@linked(**summing)
def touched(source, first, last):
    """A sum of an entry of every line of memory, in order: the processor fetches ahead, as it cannot for points."""
    total = source.dtype.type(0)
    for k in range(first, last, 64 // source.itemsize):
        total += source[index(k)]
    return total
