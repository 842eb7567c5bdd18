"""Where the points of the output lie in the source: M_theta B, or a grid; and back, from coordinates to M (sec. 3.2):
`reference.source_points` and `source_points_gradient`, with denominators, in pixels.

Coordinates are in pixels, in the order of the paper, (x, y) or (x, y, z): rows of an array that holds a run of points.
M has a row for each, and one more if it is projective: a denominator. An empty B stands for (x_t, y_t[, z_t], 1), in
pixels from the centre of the output.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..compiling.linking import linked

FAR_OUT = 1e9  # pixels: nothing flows back from farther away, where a quotient is about to be infinite: no 0 times it
WIDTHS = 4  # rows of coordinates before those of widths

index = np.uint64  # an unsigned index spares Numba's test for negative ones, which would prevent vectors

inner = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
summing = {**inner, "fastmath": {"contract", "reassoc"}}  # sums in the order of vectors, fixed by the compiler


class Points(NamedTuple):
    """Where the points of the output come from: M over a basis, or a grid; what is not used is empty."""
    M: Any  # (N, rows, K), gives pixels from the centre of the source; a row more than dims is a denominator
    basis: Any  # (K, P), or (K, 0) for the target points themselves
    grid: Any  # (N, P, dims), multiplied by `scale`; or (N, P, 2 dims) with widths of widened kernels, in pixels
    scale: Any  # (dims,)
    centre: Any  # (dims,), of the source, in pixels
    size: tuple[int, int, int]  # D', H', W' of the output


@linked(**inner)
def _fill_targets(start, count, size, target):
    """Rows x_t, y_t, z_t (if there are four) and 1 of the output's points, in pixels from its centre."""
    T = target.dtype.type
    D_out, H_out, W_out = size
    last = len(target) - 1
    done = 0
    while done < count:
        line, left = divmod(start + done, W_out)
        length = min(W_out - left, count - done)
        depth, line = divmod(line, H_out)
        x_t, y_t = T(left) - T(0.5) * T(W_out - 1), T(line) - T(0.5) * T(H_out - 1)
        z_t = T(depth) - T(0.5) * T(D_out - 1)
        for j in range(length):
            at = index(done + j)
            target[0, at], target[1, at] = x_t + T(np.int32(j)), y_t
            if last == 3:
                target[2, at] = z_t
            target[last, at] = T(1)
        done += length


@njit(inline="always", **inner)
def _four_rows(B, k):
    """Rows k to k + 3, the last one in the place of those that there are not."""
    last = len(B) - 1
    return B[k], B[min(k + 1, last)], B[min(k + 2, last)], B[min(k + 3, last)]


@linked(**inner)
def coordinates(points, n, start, count, target, x):
    """x[a, j] (rows, run), the coordinates of the output's points start, start + 1, ... of image n: eq. 1, in pixels.

    The row behind them has 1 / denominator; the widths of widened kernels stand in x from row WIDTHS on. `target`
    (K, run) takes the target points where there is no other basis, and keeps them for `add_dM`.
    """
    M, basis, grid, scale, centre, size = points
    T = x.dtype.type
    dims, rows, K = centre.size, M.shape[1], M.shape[2]
    if grid.shape[1] > 0:
        for a in range(dims):
            for j in range(count):
                x[a, j] = scale[a] * grid[n, index(start + j), a] + centre[a]
        for a in range(grid.shape[2] - dims):
            for j in range(count):
                x[WIDTHS + a, j] = grid[n, index(start + j), dims + a]
        return
    plane = basis.shape[1] == 0
    if plane:
        _fill_targets(start, count, size, target)
    B, first = (target, 0) if plane else (basis, start)
    for a in range(rows):
        m, row = M[n, a], x[a]
        shift = centre[a] if rows == dims else T(0)
        for k in range(0, K, 4):  # four terms for one load and store of the coordinate
            b0, b1, b2, b3 = _four_rows(B, k)
            m0, m1 = m[k], m[k + 1] if k + 1 < K else T(0)
            m2, m3 = m[k + 2] if k + 2 < K else T(0), m[k + 3] if k + 3 < K else T(0)
            for j in range(count):
                p = index(first + j)
                before = row[j] if k > 0 else shift
                row[j] = (m0 * b0[p] + m1 * b1[p]) + (m2 * b2[p] + m3 * b3[p]) + before
    if rows > dims:
        z = x[dims]
        for j in range(count):
            z[j] = T(1) / z[j]
        for a in range(dims):
            for j in range(count):
                x[a, j] = x[a, j] * z[j] + centre[a]


@linked(**inner)
def through_quotient(x, centre, count, g):
    """From the gradients g of quotients to those of their numerators, and of the denominator in a last row."""
    T = x.dtype.type
    dims = centre.size
    z, last = x[dims], g[dims]
    for a in range(dims):
        for j in range(count):
            z[j] = z[j] if abs(x[a, j]) < T(FAR_OUT) else T(0)
    for j in range(count):
        last[j] = T(0)
    for a in range(dims):
        for j in range(count):
            flow = g[a, j] * z[j]
            g[a, j] = flow if z[j] != T(0) else T(0)
            last[j] -= flow * (x[a, j] - centre[a]) if z[j] != T(0) else T(0)


@linked(**summing)
def add_dM(g, basis, start, count, target, dM):
    """dM (K,) += sum over points of g B^T, for one row of M; g (run,), basis and target as in `coordinates`."""
    T = g.dtype.type
    K = dM.size
    B, first = (target, 0) if basis.shape[1] == 0 else (basis, start)
    for k in range(0, K, 4):
        b0, b1, b2, b3 = _four_rows(B, k)
        s0, s1, s2, s3 = T(0), T(0), T(0), T(0)
        for j in range(count):
            p = index(first + j)
            s0 += g[j] * b0[p]
            s1 += g[j] * b1[p]
            s2 += g[j] * b2[p]
            s3 += g[j] * b3[p]
        sums = s0, s1, s2, s3
        for i in range(min(4, K - k)):
            dM[k + i] += sums[i]


@linked(**inner)
def back_to_points(points, start, count, x, g, target, add, dM, dgrid):
    """From the gradients g of coordinates x, rows of `count` points from `start` on, to those of M or the grid.

    They are added to dM (rows, K), in pixels. Where there is a grid they are written, with those of widths, into dgrid
    (P, dims or 2 dims), or added to it; widths are in pixels. `target` is what `coordinates` has left there.
    """
    M, basis, grid, scale, centre, _ = points
    T = g.dtype.type
    dims = centre.size
    if grid.shape[1] == 0:
        if M.shape[1] > dims:
            through_quotient(x, centre, count, g)
        for a in range(M.shape[1]):
            add_dM(g[a], basis, start, count, target, dM[a])
        return
    for a in range(dgrid.shape[1]):
        row, factor = (g[a], scale[a]) if a < dims else (g[WIDTHS + a - dims], T(1))
        for j in range(count):
            p = index(start + j)
            dgrid[p, a] = row[j] * factor + (dgrid[p, a] if add else T(0))
