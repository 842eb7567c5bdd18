"""Products of matrices on a GPU: what the dense layer and the convolutions share there.

A block of threads computes a tile of the result, a step of `depth` along the inner axis at a time. Both operands' parts
for a step lie in shared memory, line k holding the entries of all the tile's rows (or columns) for that k; a thread
multiplies `tall` of one with `wide` of the other into sums that stay in registers. While it does, its share of the
next step is on its way from memory: the step's parts are kept twice.

Where the result has too few tiles for the whole GPU and the inner axis is long, that axis is cut into parts, whose
products a second kernel adds in their order. Tiles and parts depend on shapes only, so results are the same bits on
every run.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..gpu.arrays.device_array import DeviceArray, empty
from ..gpu.device import simulated
from ..gpu.integer_division import split

PAD = 4  # entries behind a line: neighbours along the inner axis are stored to different banks, vectors stay aligned


class Tile(NamedTuple):
    """The schedule of a block: a constant of its kernel, with what follows from it."""

    rows: int
    columns: int
    depth: int
    tall: int  # rows of a thread
    wide: int  # columns of a thread

    @property
    def threads(self) -> int:
        return self.rows // self.tall * (self.columns // self.wide)

    @property
    def lines(self) -> tuple[int, int]:
        """Entries of a line in shared memory."""
        return self.rows + PAD, self.columns + PAD

    @property
    def loads(self) -> tuple[int, int]:
        """Entries of a step that a thread fetches."""
        return self.rows * self.depth // self.threads, self.columns * self.depth // self.threads

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Threads, and blocks on a multiprocessor: two, so that one computes while the other waits. A large tile would
        take a few registers more than that leaves it; the others fit without being told."""
        return (self.threads, 2) if self.threads == 256 else None


LARGE, WIDE = Tile(128, 128, 8, 8, 8), Tile(32, 128, 8, 8, 4)
MEDIUM, SMALL = Tile(64, 64, 16, 8, 4), Tile(32, 32, 16, 4, 4)
SPEED = {LARGE: 1.0, MEDIUM: 0.8, WIDE: 0.7, SMALL: 0.5}  # more multiplications for a read from shared memory, or fewer
TINY = Tile(8, 8, 4, 2, 2)  # for the simulator
TILES = [(np.float32, tile) for tile in SPEED] + [(np.float64, MEDIUM)]  # float64 is for verification

FULL = 1 << 16  # threads that occupy a large GPU
SHORTEST, MOST = 256, 512  # inner entries of a part, and parts


def alignment() -> int | None:
    """Of shared memory that is read in vectors; the simulator knows none."""
    return None if simulated() else 16


class Plan(NamedTuple):
    tile: Tile
    parts: int
    part: int  # inner entries of each


@functools.lru_cache(4096)
def plan(rows: int, columns: int, inner: int, T: Any, batch: int = 1, among: tuple[Tile, ...] = tuple(SPEED)) -> Plan:
    """The tile among these that wastes least, empty multiprocessors included, and the parts.

    For a stack of `batch` results (rows, columns) of sums of `inner` entries each.
    """
    full, shortest = (32, 8) if simulated() else (FULL, SHORTEST)
    most = max(1, min(MOST, inner // shortest))

    def threads(tile):
        return max(1, batch * tiles(tile, rows, columns) * tile.threads)

    def cost(tile):
        return threads(tile) * tile.tall * tile.wide / SPEED[tile] / min(1, threads(tile) * most / full)

    tile = TINY if simulated() else min(among, key=cost) if T == np.float32 else MEDIUM
    parts = max(1, min(full // threads(tile), most))
    part = max(1, -(-inner // (parts * tile.depth))) * tile.depth
    return Plan(tile, max(1, -(-inner // part)), part)


def tiles(tile: Tile, rows: int, columns: int) -> int:
    return -(-rows // tile.rows) * -(-columns // tile.columns)


@functools.cache
def place(tile):
    """tid -> the thread's row and column in its block; a warp is 4 rows of 8, so that its reads are few and wide."""
    across = tile.columns // tile.wide
    X = min(8, across)
    Y = min(4, tile.rows // tile.tall)

    @njit(inline="always")
    def place(tid):
        warp, lane = split(tid, X * Y)
        warp_y, warp_x = split(warp, across // X)
        y, x = split(lane, X)
        return warp_y * Y + y, warp_x * X + x

    return place


def groups(tile):
    """A thread's rows and columns stand in groups of at most 4, a vector each, spread evenly over the tile.

    Returns (entries of a group, step from group to group) for rows and for columns.
    """
    tall, wide = min(4, tile.tall), min(4, tile.wide)
    return (tall, tile.rows * tall // tile.tall), (wide, tile.columns * wide // tile.wide)


@functools.cache
def multiply(tile):
    """A step: sums += a^T b, where a's and b's lines begin at entries `at_a` and `at_b` for this thread."""
    DEPTH, TALL, WIDE = tile.depth, tile.tall, tile.wide
    A_LINE, B_LINE = tile.lines
    (A_GROUP, A_STEP), (B_GROUP, B_STEP) = groups(tile)

    # Indices are unsigned: for signed ones each access would test for being negative, and not become a vector.
    @njit
    def add_line(a_tile, b_tile, at_a, at_b, a, b, sums):
        for i in range(TALL):
            a[i] = a_tile[np.uint64(at_a + i // A_GROUP * A_STEP + i % A_GROUP)]
        for j in range(WIDE):
            b[j] = b_tile[np.uint64(at_b + j // B_GROUP * B_STEP + j % B_GROUP)]
        for i in range(TALL):
            for j in range(WIDE):
                sums[i * WIDE + j] += a[i] * b[j]

    # Lines are unrolled, as halves of halves: the compiler leaves a loop of this length as it is, and is then blind to
    # addresses being those of vectors.
    def lines(count):
        if count == 1:
            return add_line
        half = lines(count // 2)
        A_HALF, B_HALF = count // 2 * A_LINE, count // 2 * B_LINE

        @njit
        def add_lines(a_tile, b_tile, at_a, at_b, a, b, sums):
            half(a_tile, b_tile, at_a, at_b, a, b, sums)
            half(a_tile, b_tile, at_a + A_HALF, at_b + B_HALF, a, b, sums)

        return add_lines

    return lines(DEPTH)


def room_for_parts(count: int, out: DeviceArray) -> DeviceArray:
    """Where a product in parts writes: `out` itself if there is one."""
    return out if count == 1 else empty((count, out.size), out.dtype)
