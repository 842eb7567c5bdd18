"""The sampler: V from U at M_theta B, and back, without the grid in memory (paper, sections 3.2 and 3.3).

    x[n, p] = sum over k of M[n, 0, k] B[k, p] + (W - 1) / 2,     y[n, p] = ... M[n, 1, k] ... + (H - 1) / 2
    V[n, c, p] = sum over h, w of U[n, c, h, w] max(0, 1 - |x - w|) max(0, 1 - |y - h|)                      eq. 5
    V[n, c, p] = U[n, c, floor(y + 0.5), floor(x + 0.5)]                                                     eq. 4

Coordinates are in pixels from the centre of the image: the caller has scaled M. An empty B stands for (x_t, y_t, 1),
in pixels from the centre of the output; a third row of M is a denominator (projective). Where there is a `grid`
(N, P, 2), coordinates are read from it instead.

Conventions. The derivative at an integer is the right-hand one: the neighbours are floor(x) and floor(x) + 1. Padding
acts on the coordinate: `border` clamps it. What then lies outside reads zero: NaN, infinities and huge numbers are sent
to a margin of zeros around the image before they become an index, so no access is outside an array. NaN gives NaN in V.

Schedule. A worker copies an image into a tile: with a margin, and channels last in `lanes` that become vectors (few
channels stay in planes, with one lane). It walks the output in runs of points: coordinates, taps and weights of a run
first, then its channels. The gradient of U is scattered into a tile and copied out. Where an image is divided into
bands of rows, each with an owner, a band is an image of its own with zeros around it: V is linear in U, so dU of a band
and its share of dM need no other band. How things are divided depends on shapes only, and so do all results.
"""

import numpy as np
from numba import njit

from .workers import Kernel

NEAREST, BILINEAR = 0, 1
ZEROS, BORDER = 0, 1

LANES = 32  # most channels of a tile
VALUES = 4096  # values of a run, all channels of a tile together: they stay in a first-level cache
TILE = 1 << 17  # entries of a tile, if a second-level cache is to hold two
ITEMS = 16  # pieces of work to aim at where the batch is small

index = np.uint64  # an unsigned index spares Numba's test for negative ones, which would prevent vectors

cpu = {"error_model": "numpy", "fastmath": {"contract"}}
options = {**cpu, "cache": True, "nogil": True}
summing = {**options, "fastmath": {"contract", "reassoc"}}  # sums in the order of vectors, fixed by the compiler


@njit(inline="always", **options)
def _place(x, size, low, high, shift):
    """Of a coordinate: the first neighbour, from -1 to `size`, and the weight of the second."""
    T = type(x)
    x = high if x > high else x
    x = (low if x < low else x) + shift
    x = x if x >= T(-1) and x < T(size) else T(size)  # outside is the margin, for NaN too
    k = np.int32(x)
    k = k - np.int32(1) if x < T(k) else k
    return k, x - T(k)


@njit(inline="always", **options)
def _range(T, size, mode, padding):
    """Where padding clamps a coordinate, and what rounding adds before the floor (eq. 4)."""
    low, high = (T(0), T(size - 1)) if padding == BORDER else (T(-np.inf), T(np.inf))
    return low, high, T(0.5) if mode == NEAREST else T(0)


@njit(**options)
def _coordinates(M, basis, grid, scale_x, scale_y, n, start, count, H, W, H_out, W_out, x, y, z):
    """Pixel coordinates of the output points start, start + 1, ...; z is one over the denominator."""
    T = type(scale_x)
    half = T(0.5)
    c_x, c_y = half * T(W - 1), half * T(H - 1)
    if grid.size > 0:
        for j in range(count):
            x[j] = scale_x * grid[n, index(start + j), 0] + c_x
            y[j] = scale_y * grid[n, index(start + j), 1] + c_y
    elif basis.shape[1] > 0:
        for j in range(count):
            x[j] = c_x
            y[j] = c_y
        for k in range(basis.shape[0]):
            a, b = M[n, 0, k], M[n, 1, k]
            for j in range(count):
                x[j] += a * basis[k, index(start + j)]
                y[j] += b * basis[k, index(start + j)]
    else:
        a, b = M[n, 0, 0], M[n, 1, 0]
        done = 0
        while done < count:
            i, left = divmod(start + done, W_out)
            length = min(W_out - left, count - done)
            y_t = T(i) - half * T(H_out - 1)
            x_t = T(left) - half * T(W_out - 1)
            a_row, b_row = M[n, 0, 1] * y_t + M[n, 0, 2], M[n, 1, 1] * y_t + M[n, 1, 2]
            if M.shape[1] == 2:
                for j in range(length):
                    x[index(done + j)] = a * (T(np.int32(j)) + x_t) + a_row + c_x
                    y[index(done + j)] = b * (T(np.int32(j)) + x_t) + b_row + c_y
            else:
                d, d_row = M[n, 2, 0], M[n, 2, 1] * y_t + M[n, 2, 2]
                for j in range(length):
                    right = T(np.int32(j)) + x_t
                    z_j = T(1) / (d * right + d_row)
                    z[index(done + j)] = z_j
                    x[index(done + j)] = (a * right + a_row) * z_j + c_x
                    y[index(done + j)] = (b * right + b_row) * z_j + c_y
            done += length


@njit(**options)
def _taps(x, y, count, H, W, first_row, rows, lanes, mode, padding, at, f_x, f_y):
    """Where the first of a point's neighbours stands in the tile, and weights; returns whether there is a NaN."""
    T = x.dtype.type
    low_x, high_x, shift = _range(T, W, mode, padding)
    low_y, high_y, _ = _range(T, H, mode, padding)
    width, height, top = np.int32(W + 3), np.int32(rows), np.int32(first_row)
    nan = False
    for j in range(count):
        column, f_x[j] = _place(x[j], W, low_x, high_x, shift)
        row, f_y[j] = _place(y[j], H, low_y, high_y, shift)
        row -= top
        row = row if row >= np.int32(-1) and row < height else height
        at[j] = ((row + np.int32(1)) * width + column + np.int32(1)) * np.int32(lanes)
        nan |= (x[j] != x[j]) | (y[j] != y[j])
    return nan


@njit(**options)
def _read_tile(U, n, c, first_row, rows, planes, lanes, tile):
    """Rows of an image with their margin: one pixel before, two behind. What does not exist reads zero."""
    C, H, W = U.shape[1:]
    zero = tile.dtype.type(0)
    at = 0
    for p in range(planes):
        for h in range(first_row - 1, first_row + rows + 2):
            exists = first_row <= h < min(first_row + rows, H)
            for w in range(lanes if exists else (W + 3) * lanes):
                tile[index(at + w)] = zero
            at += lanes
            if exists:
                for lane in range(lanes):
                    if c + p + lane < C:
                        row = U[n, c + p + lane, h]
                        for w in range(W):
                            tile[index(at + w * lanes + lane)] = row[w]
                    else:
                        for w in range(W):
                            tile[index(at + w * lanes + lane)] = zero
                for w in range(2 * lanes):
                    tile[index(at + W * lanes + w)] = zero
            at += (W + 2) * lanes


@njit(**options)
def _write_tile(tile, n, c, first_row, rows, planes, lanes, dU):
    C, H, W = dU.shape[1:]
    for p in range(planes):
        for r in range(min(rows, H - first_row)):
            at = ((p * (rows + 3) + r + 1) * (W + 3) + 1) * lanes
            for lane in range(min(lanes, C - c - p)):
                row = dU[n, c + p + lane, first_row + r]
                for w in range(W):
                    row[w] = tile[index(at + w * lanes + lane)]


@njit(**options)
def _read_run(V, n, c, start, count, lanes, values):
    for lane in range(lanes):
        if c + lane < V.shape[1]:
            row = V[n, c + lane]
            for j in range(count):
                values[index(j * lanes + lane)] = row[index(start + j)]
        else:
            for j in range(count):
                values[index(j * lanes + lane)] = values.dtype.type(0)


@njit(**options)
def _write_run(values, n, c, start, count, lanes, V):
    for lane in range(min(lanes, V.shape[1] - c)):
        row = V[n, c + lane]
        for j in range(count):
            row[index(start + j)] = values[index(j * lanes + lane)]


@njit(inline="always", **options)
def _weights(f_x, f_y):
    T = type(f_x)
    both = f_x * f_y
    return (T(1) - f_x) * (T(1) - f_y), f_x - both, f_y - both, both


@njit(**options)
def _blend(tile, base, at, f_x, f_y, count, stride, lanes, mode, values):
    """eq. 5 (or 4) for a run."""
    for j in range(count):
        a = base + at[j]
        b = a + stride
        if mode == NEAREST:
            for lane in range(lanes):
                values[index(j * lanes + lane)] = tile[index(a + lane)]
            continue
        w00, w01, w10, w11 = _weights(f_x[j], f_y[j])
        if lanes == 1:
            values[j] = (w00 * tile[index(a)] + w01 * tile[index(a + 1)]
                         + w10 * tile[index(b)] + w11 * tile[index(b + 1)])
            continue
        for lane in range(lanes):
            values[index(j * lanes + lane)] = (
                w00 * tile[index(a + lane)] + w01 * tile[index(a + lanes + lane)]
                + w10 * tile[index(b + lane)] + w11 * tile[index(b + lanes + lane)])


@njit(**options)
def _spoil(x, y, count, lanes, values):
    """A NaN coordinate gives NaN, so that a localisation network that diverges is seen."""
    for j in range(count):
        if x[j] != x[j] or y[j] != y[j]:
            for lane in range(lanes):
                values[index(j * lanes + lane)] = np.nan


@njit(**options)
def _scatter(values, base, at, f_x, f_y, count, stride, lanes, mode, tile):
    """The adjoint of `_blend`: eq. 6."""
    for j in range(count):
        a = base + at[j]
        b = a + stride
        if mode == NEAREST:
            for lane in range(lanes):
                tile[index(a + lane)] += values[index(j * lanes + lane)]
            continue
        w00, w01, w10, w11 = _weights(f_x[j], f_y[j])
        if lanes == 1:
            g = values[j]
            tile[index(a)] += w00 * g
            tile[index(a + 1)] += w01 * g
            tile[index(b)] += w10 * g
            tile[index(b + 1)] += w11 * g
            continue
        for lane in range(lanes):
            g = values[index(j * lanes + lane)]
            tile[index(a + lane)] += w00 * g
            tile[index(a + lanes + lane)] += w01 * g
            tile[index(b + lane)] += w10 * g
            tile[index(b + lanes + lane)] += w11 * g


@njit(**summing)
def _slopes(tile, values, base, at, f_x, f_y, count, stride, lanes, g_x, g_y):
    """Add dV dV/dx and dV dV/dy, summed over the channels of the tile: eq. 7 with the right-hand derivative."""
    T = tile.dtype.type
    for j in range(count):
        a = base + at[j]
        b = a + stride
        if lanes == 1:
            g = values[j]
            t00, t01, t10, t11 = g * tile[index(a)], g * tile[index(a + 1)], g * tile[index(b)], g * tile[index(b + 1)]
        else:
            t00, t01, t10, t11 = T(0), T(0), T(0), T(0)
            for lane in range(lanes):
                g = values[index(j * lanes + lane)]
                t00 += g * tile[index(a + lane)]
                t01 += g * tile[index(a + lanes + lane)]
                t10 += g * tile[index(b + lane)]
                t11 += g * tile[index(b + lanes + lane)]
        upper, lower, left, right = t01 - t00, t11 - t10, t10 - t00, t11 - t01
        g_x[j] += upper + f_y[j] * (lower - upper)
        g_y[j] += left + f_x[j] * (right - left)


@njit(**options)
def _through_border(x, size, count, g):
    """A clamped coordinate does not move."""
    T = x.dtype.type
    for j in range(count):
        g[j] = g[j] if x[j] >= T(0) and x[j] < T(size - 1) else T(0)


@njit(**options)
def _through_quotient(x, y, z, count, H, W, g_x, g_y, g_z):
    """From the gradients of a quotient to those of its numerators and its denominator."""
    T = x.dtype.type
    c_x, c_y = T(0.5) * T(W - 1), T(0.5) * T(H - 1)
    for j in range(count):
        finite = abs(x[j]) < T(1e9) and abs(y[j]) < T(1e9)  # nothing flows from far outside: no 0 times infinity
        g_x[j] = g_x[j] * z[j] if finite else T(0)
        g_y[j] = g_y[j] * z[j] if finite else T(0)
        g_z[j] = -(g_x[j] * (x[j] - c_x) + g_y[j] * (y[j] - c_y)) if finite else T(0)


@njit(**summing)
def _add_dM(g, basis, start, count, H_out, W_out, dM):
    """dM = sum over points of g B^T, for one row of M."""
    T = g.dtype.type
    if basis.shape[1] > 0:
        for k in range(basis.shape[0]):
            total = T(0)
            for j in range(count):
                total += g[j] * basis[k, index(start + j)]
            dM[k] += total
        return
    done = 0
    while done < count:
        i, left = divmod(start + done, W_out)
        length = min(W_out - left, count - done)
        x_t = T(left) - T(0.5) * T(W_out - 1)
        total, moment = T(0), T(0)
        for j in range(length):
            total += g[index(done + j)]
            moment += g[index(done + j)] * (T(np.int32(j)) + x_t)
        dM[0] += moment
        dM[1] += total * (T(i) - T(0.5) * T(H_out - 1))
        dM[2] += total
        done += length


def _forward_items(first, last, U, M, basis, grid, scale_x, scale_y, W_out, mode, padding, planes, lanes, run, parts,
                   images, V):
    _, C, H, W = U.shape
    P = V.shape[2]
    blocks = max(1, -(-C // (planes * lanes)))
    plane = (H + 3) * (W + 3) * lanes
    share = -(-P // parts)
    buffers = np.empty((5, run), U.dtype)
    x, y, z, f_x, f_y = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
    at = np.empty(run, np.int32)
    values = np.empty(run * lanes, U.dtype)
    own = np.empty(planes * plane if parts == 1 else 0, U.dtype)
    for item in range(first, last):
        image, part = divmod(item, parts)
        n, block = divmod(image, blocks)
        c = block * planes * lanes
        tile = own if parts == 1 else images[image]
        if parts == 1:
            _read_tile(U, n, c, 0, H, planes, lanes, tile)
        end = min((part + 1) * share, P)
        for start in range(part * share, end, run):
            count = min(run, end - start)
            _coordinates(M, basis, grid, scale_x, scale_y, n, start, count, H, W, P // W_out, W_out, x, y, z)
            nan = _taps(x, y, count, H, W, 0, H, lanes, mode, padding, at, f_x, f_y)
            for p in range(min(planes, C - c)):
                _blend(tile, p * plane, at, f_x, f_y, count, (W + 3) * lanes, lanes, mode, values)
                if nan:
                    _spoil(x, y, count, lanes, values)
                _write_run(values, n, c + p, start, count, lanes, V)


def _backward_items(first, last, U, M, basis, grid, scale_x, scale_y, W_out, mode, padding, planes, lanes, run, parts,
                    images, reach, dV, wanted_U, wanted_points, dU, dM, dgrid):
    _, C, H, W = U.shape
    P = dV.shape[2]
    blocks = max(1, -(-C // (planes * lanes)))
    # Parts are bands of rows of U, which their owner alone writes; or, where dU is not wanted, of the output.
    rows = -(-H // parts) if wanted_U else H
    share = P if wanted_U else -(-P // parts)
    plane = (rows + 3) * (W + 3) * lanes
    zero = U.dtype.type(0)
    buffers = np.empty((8, run), U.dtype)
    x, y, z, f_x, f_y, g_x, g_y, g_z = (buffers[0], buffers[1], buffers[2], buffers[3], buffers[4], buffers[5],
                                        buffers[6], buffers[7])
    at = np.empty(run, np.int32)
    values = np.empty(run * lanes, U.dtype)
    shared = images.shape[0] > 0
    own = np.empty(planes * plane if wanted_points and not shared else 0, U.dtype)
    target = np.empty(planes * plane if wanted_U else 0, U.dtype)
    for item in range(first, last):
        image, part = divmod(item, parts)
        n, block = divmod(image, blocks)
        c = block * planes * lanes
        row = part * rows if wanted_U else 0
        begin = 0 if wanted_U else part * share
        tile = images[image] if shared else own
        if wanted_points and not shared:
            _read_tile(U, n, c, row, rows, planes, lanes, tile)
        target[:] = zero
        dM_part = dM[n, block * parts + part]
        end = min(begin + share, P)
        for start in range(begin, end, run):
            if reach.size > 0:
                low, high = reach[n, start // run, 0], reach[n, start // run, 1]
                if high < row or low >= row + rows:
                    continue
            count = min(run, end - start)
            _coordinates(M, basis, grid, scale_x, scale_y, n, start, count, H, W, P // W_out, W_out, x, y, z)
            _taps(x, y, count, H, W, row, rows, lanes, mode, padding, at, f_x, f_y)
            g_x[:] = zero
            g_y[:] = zero
            for p in range(min(planes, C - c)):
                _read_run(dV, n, c + p, start, count, lanes, values)
                if wanted_points:
                    _slopes(tile, values, p * plane, at, f_x, f_y, count, (W + 3) * lanes, lanes, g_x, g_y)
                if wanted_U:
                    _scatter(values, p * plane, at, f_x, f_y, count, (W + 3) * lanes, lanes, mode, target)
            if not wanted_points:
                continue
            if padding == BORDER:
                _through_border(x, W, count, g_x)
                _through_border(y, H, count, g_y)
            if grid.size > 0:
                for j in range(count):
                    dgrid[block, n, index(start + j), 0] = g_x[j] * scale_x
                    dgrid[block, n, index(start + j), 1] = g_y[j] * scale_y
            else:
                if M.shape[1] == 3:
                    _through_quotient(x, y, z, count, H, W, g_x, g_y, g_z)
                    _add_dM(g_z, basis, start, count, P // W_out, W_out, dM_part[2])
                _add_dM(g_x, basis, start, count, P // W_out, W_out, dM_part[0])
                _add_dM(g_y, basis, start, count, P // W_out, W_out, dM_part[1])
        if wanted_U:
            _write_tile(target, n, c, row, rows, planes, lanes, dU)


def _reach_items(first, last, M, basis, grid, scale_x, scale_y, H, W, H_out, W_out, mode, padding, run, reach):
    """The first and last row of U that each run of points reads."""
    buffers = np.empty((3, run), M.dtype)
    x, y, z = buffers[0], buffers[1], buffers[2]
    low_y, high_y, shift = _range(M.dtype.type, H, mode, padding)
    for item in range(first, last):
        n, r = divmod(item, reach.shape[1])
        count = min(run, H_out * W_out - r * run)
        _coordinates(M, basis, grid, scale_x, scale_y, n, r * run, count, H, W, H_out, W_out, x, y, z)
        low, high = H, -1
        for j in range(count):
            k, _ = _place(y[j], H, low_y, high_y, shift)
            if k < H:
                low, high = min(low, k), max(high, k + 1)
        reach[n, r, 0], reach[n, r, 1] = low, high


def _read_images_items(first, last, U, planes, lanes, images):
    for image in range(first, last):
        n, block = divmod(image, images.shape[0] // U.shape[0])
        _read_tile(U, n, block * planes * lanes, 0, U.shape[2], planes, lanes, images[image])


_forward = Kernel(_forward_items, **cpu)
_backward = Kernel(_backward_items, **cpu)
_reach = Kernel(_reach_items, **cpu)
_read_images = Kernel(_read_images_items, **cpu)


def _layout(C):
    """Planes and lanes of a tile, tiles for all channels of an image, points of a run."""
    if C < 8:
        return max(1, C), 1, 1, 512
    blocks = -(-C // LANES)
    lanes = -(-C // (8 * blocks)) * 8
    return 1, lanes, -(-C // lanes), VALUES // lanes


def tile_entries(shape):
    """Entries of a whole image with its margin, for the channels of one tile: they are counted by 32-bit integers."""
    planes, lanes, _, _ = _layout(shape[1])
    return planes * (shape[2] + 3) * (shape[3] + 3) * lanes


def _parts(images, rows, tile):
    """Into how many bands of rows each image is divided, so that small batches occupy many cores."""
    wanted = max(-(-ITEMS // max(1, images)), -(-tile // TILE))
    return max(1, min(wanted, rows // 16))


def _margins(U, planes, lanes, blocks):
    """All images with their margin, for workers that share an image."""
    images = np.empty((U.shape[0] * blocks, planes * (U.shape[2] + 3) * (U.shape[3] + 3) * lanes), U.dtype)
    _read_images(len(images), U.size, U, planes, lanes, images)
    return images


def sample(U, M, basis, grid, scale, size, mode, padding):
    """V (N, C) + size."""
    N, C = U.shape[:2]
    planes, lanes, blocks, run = _layout(C)
    V = np.empty((N, C, size[0] * size[1]), U.dtype)
    parts = _parts(N * blocks, size[0], 0)
    images = _margins(U, planes, lanes, blocks) if parts > 1 else np.empty((0, 0), U.dtype)
    _forward(N * blocks * parts, U.size + V.size, U, M, basis, grid, *scale, size[1], mode, padding,
             planes, lanes, run, parts, images, V)
    return V.reshape(N, C, *size)


def sample_gradients(U, M, basis, grid, scale, dV, mode, padding, wanted_U, wanted_points):
    """dU and dM, or dU and dgrid where there is a grid; None for one that is not wanted."""
    N, C, H, W = U.shape
    H_out, W_out = dV.shape[2:]
    if mode == NEAREST and wanted_points:  # constant between its jumps
        dU, _ = sample_gradients(U, M, basis, grid, scale, dV, mode, padding, True, False) if wanted_U else (None, None)
        return dU, np.zeros_like(grid if grid.size else M)
    planes, lanes, blocks, run = _layout(C)
    if wanted_U:
        parts = _parts(N * blocks, H, planes * (H + 3) * (W + 3) * lanes)
    else:
        parts = _parts(N * blocks, H_out, 0)
    if grid.size and wanted_U and wanted_points and parts > 1:  # a point of the grid may read two bands of U
        dU, _ = sample_gradients(U, M, basis, grid, scale, dV, mode, padding, True, False)
        return dU, sample_gradients(U, M, basis, grid, scale, dV, mode, padding, False, True)[1]
    images, reach = np.empty((0, 0), U.dtype), np.empty((N, 0, 2), np.int32)
    if parts > 1 and wanted_U:
        run = min(run, 128)
        reach = np.empty((N, -(-H_out * W_out // run), 2), np.int32)
        _reach(reach.size // 2, N * H_out * W_out, M, basis, grid, *scale, H, W, H_out, W_out, mode, padding, run,
               reach)
    elif parts > 1:
        images = _margins(U, planes, lanes, blocks)
    dU = np.empty(U.shape if wanted_U else (0, 0, 0, 0), U.dtype)
    dM = np.zeros((N, blocks * parts) + M.shape[1:], U.dtype)
    dgrid = np.empty((blocks,) + (grid.shape if wanted_points else (0, 0, 2)), U.dtype)
    _backward(N * blocks * parts, U.size + dV.size, U, M, basis, grid, *scale, W_out, mode, padding, planes, lanes, run,
              parts, images, reach, dV.reshape(N, C, H_out * W_out), wanted_U, wanted_points, dU, dM, dgrid)
    dpoints = dgrid.sum(axis=0) if grid.size else dM.sum(axis=1)
    return dU if wanted_U else None, dpoints if wanted_points else None
