"""Tiles: an image as the sampler's workers read it, with a margin and its channels last.

A volume (N, C, D, H, W) is counted here by slices, rows and columns. An image is treated as a volume with D = H and one
row per slice; then both are split along the first axis, in bands. A tile holds one block of channels: several
`planes` of one channel, or one plane of `lanes` channels that become vectors. Around every slice, row and column that
exists lies a margin, one before and two behind, which reads the value outside; the single rows of an image have none.
"""

from ..compiling.blas import turn16
from ..compiling.linking import linked
from .source_points import index, inner

LANES = 16  # most channels of a tile: two of them fit a second-level cache
VALUES = 6144  # values of a run of points, all channels of a tile together: they stay in a first-level cache


def layout(C, in_planes):
    """Planes and lanes of a tile, tiles for all channels of an image, points of a run."""
    if C < 8 and in_planes:
        return max(1, C), 1, 1, 2048
    blocks = max(1, -(-C // LANES))
    lanes = max(1, -(-C // (8 * blocks))) * 8
    return 1, lanes, max(1, -(-C // lanes)), VALUES // lanes


def entries(planes, slices, rows, columns, volume, lanes):
    """Entries of a tile of whole images, with its margin."""
    return planes * (slices + 3) * steps.py_func(rows, columns, volume, lanes)[0]


@linked(**inner)
def steps(rows, columns, volume, lanes):
    """Entries from a slice to the next, and from a row to the next."""
    row = (columns + 3) * lanes
    return (rows + 3 if volume else 1) * row, row


@linked(**inner)
def turned(source, start, source_step, rows, columns, target, at, target_step):
    """target[at + j target_step + i] = source[start + i source_step + j], of rows x columns entries."""
    if rows == target_step == 1 or columns == source_step == 1:  # planes: nothing is turned
        for j in range(rows * columns):
            target[index(at + j)] = source[index(start + j)]
        return
    if rows < 16 or columns < 16:
        for i in range(rows):
            for j in range(columns):
                target[index(at + j * target_step + i)] = source[index(start + i * source_step + j)]
        return
    for block in range((rows + 15) // 16):
        i = min(16 * block, rows - 16)  # the last block may overlap the one before
        for other in range((columns + 15) // 16):
            j = min(16 * other, columns - 16)
            turn16(target, at + j * target_step + i, target_step, source, start + i * source_step + j, source_step)


@linked(**inner)
def read_tile(U, n, c, first, slices, volume, planes, lanes, outside, tile):
    """Slices of image n of U (N, C, S, R, W), from channel c on, with their margin, into the flat tile. Slices of other
    bands count as outside."""
    C, S, R, W = U.shape[1:]
    source = U.reshape(-1)
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
                    known = min(lanes, C - c - p)
                    turned(source, (((n * C + c + p) * S + s) * R + r) * W, S * R * W, known, W, tile, at, lanes)
                    for lane in range(known, lanes):
                        for w in range(W):
                            tile[index(at + w * lanes + lane)] = outside
                    for w in range(2 * lanes):
                        tile[index(at + W * lanes + w)] = outside
                at += (W + 2) * lanes


@linked(**inner)
def write_tile(tile, n, c, first, slices, volume, planes, lanes, dU):
    """The pixels of a tile into channels c, c + 1, ... of dU[n] (N, C, S, R, W), slices from `first` on."""
    C, S, R, W = dU.shape[1:]
    slice_step, row_step = steps(R, W, volume, lanes)
    target = dU.reshape(-1)
    for p in range(planes):
        for s in range(min(slices, S - first)):
            for r in range(R):
                at = (p * (slices + 3) + s + 1) * slice_step + (r + 1 if volume else 0) * row_step + lanes
                turned(tile, at, lanes, W, min(lanes, C - c - p), target,
                       (((n * C + c + p) * S + first + s) * R + r) * W, S * R * W)


@linked(**inner)
def move_on(dU, first, C, pixels, count, sums, back):
    """What points have added to `count` entries of each channel of the flat dU, from `first` on with `pixels` between
    channels, moves on to float64, sums (C count,); or, on the way back, the sums come to it."""
    for c in range(C):
        for i in range(count):
            at, pixel = index(c * count + i), index(first + c * pixels + i)
            if back:
                dU[pixel] += sums[at]
            else:
                sums[at], dU[pixel] = sums[at] + dU[pixel], dU.dtype.type(0)


@linked(**inner)
def read_run(V, n, c, start, count, lanes, values):
    """Channels c, c + 1, ... of a run of points of V (N, C, P), into values (run lanes,), or 0 where there is none."""
    C, P = V.shape[1:]
    known = min(lanes, C - c)
    turned(V.reshape(-1), (n * C + c) * P + start, P, known, count, values, 0, lanes)
    for lane in range(known, lanes):
        for j in range(count):
            values[index(j * lanes + lane)] = values.dtype.type(0)


@linked(**inner)
def write_run(values, n, c, start, count, lanes, V):
    """values (run lanes,) of a run of points, channels last, into V (N, C, P)."""
    C, P = V.shape[1:]
    turned(values, 0, lanes, count, min(lanes, C - c), V.reshape(-1), (n * C + c) * P + start, P)
