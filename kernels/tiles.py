"""Tiles: an image as the sampler's workers read it, with a margin and its channels last.

A volume (N, C, D, H, W) is counted here by slices, rows and columns; an image (N, C, H, W) is the volume of its H rows
as slices of one row each, so that bands of the first axis serve both. A tile holds one block of channels: several
`planes` of one channel, or one plane of `lanes` channels that become vectors. Around every slice, row and column that
exists lies a margin, one before and two behind, which reads the value outside; the single rows of an image have none.
"""

from numba import njit

from .points import index, inner

LANES = 32  # most channels of a tile
VALUES = 6144  # values of a run of points, all channels of a tile together: they stay in a first-level cache


def layout(C, lone=False):
    """Planes and lanes of a tile, tiles for all channels of an image, points of a run.

    Lanes pay where channels share work at a point; what is `lone`, copied without arithmetic, stays in planes.
    """
    if C < 8 or lone:
        planes = max(1, min(C, 8))
        return planes, 1, max(1, -(-C // planes)), 2048
    blocks = -(-C // LANES)
    lanes = -(-C // (8 * blocks)) * 8
    return 1, lanes, -(-C // lanes), VALUES // lanes


def entries(planes, slices, rows, columns, volume, lanes):
    """Entries of a tile of whole images, with its margin."""
    return planes * (slices + 3) * steps.py_func(rows, columns, volume, lanes)[0]


@njit(**inner)
def steps(rows, columns, volume, lanes):
    """Entries from a slice to the next, and from a row to the next."""
    row = (columns + 3) * lanes
    return (rows + 3 if volume else 1) * row, row


@njit(**inner)
def read_tile(U, n, c, first, slices, volume, planes, lanes, outside, tile):
    """Slices of an image with their margin. Slices of other bands count as outside."""
    C, S, R, W = U.shape[1:]
    before, behind = (1, 2) if volume else (0, 0)
    at = 0
    for p in range(planes):
        for s in range(first - 1, first + slices + 2):
            for r in range(-before, R + behind):
                exists = first <= s < min(first + slices, S) and 0 <= r < R
                for w in range(lanes if exists else (W + 3) * lanes):
                    tile[index(at + w)] = outside
                at += lanes
                if exists:
                    for lane in range(lanes):
                        if c + p + lane < C:
                            row = U[n, c + p + lane, s, r]
                            for w in range(W):
                                tile[index(at + w * lanes + lane)] = row[w]
                        else:
                            for w in range(W):
                                tile[index(at + w * lanes + lane)] = outside
                    for w in range(2 * lanes):
                        tile[index(at + W * lanes + w)] = outside
                at += (W + 2) * lanes


@njit(**inner)
def write_tile(tile, n, c, first, slices, volume, planes, lanes, dU):
    C, S, R, W = dU.shape[1:]
    slice_step, row_step = steps(R, W, volume, lanes)
    for p in range(planes):
        for s in range(min(slices, S - first)):
            for r in range(R):
                at = (p * (slices + 3) + s + 1) * slice_step + (r + 1 if volume else 0) * row_step + lanes
                for lane in range(min(lanes, C - c - p)):
                    row = dU[n, c + p + lane, first + s, r]
                    for w in range(W):
                        row[w] = tile[index(at + w * lanes + lane)]


@njit(**inner)
def read_run(V, n, c, start, count, lanes, values):
    """Channels c, c + 1, ... of a run of points, channels last; what does not exist reads zero."""
    for lane in range(lanes):
        if c + lane < V.shape[1]:
            row = V[n, c + lane]
            for j in range(count):
                values[index(j * lanes + lane)] = row[index(start + j)]
        else:
            for j in range(count):
                values[index(j * lanes + lane)] = values.dtype.type(0)


@njit(**inner)
def write_run(values, n, c, start, count, lanes, V):
    for lane in range(min(lanes, V.shape[1] - c)):
        row = V[n, c + lane]
        for j in range(count):
            row[index(start + j)] = values[index(j * lanes + lane)]
