"""Few channels, sampled in place: no line of a cell is outside its band, whatever the coordinates.

(Numba's check of indices does not see the reads of two pixels at once, so this looks at where they would begin.)
"""

import itertools

import numpy as np
import pytest

from nanostn.kernels.sampling import in_place
from nanostn.kernels.sampling.in_place import (
    BACK,
    FLAGS,
    FRONT,
    INTEGERS,
    LEFT,
    LINES,
    LOWER,
    NUMBERS,
    RIGHT,
    RUN,
    SWAPPED,
    UPPER,
)
from nanostn.kernels.sampling.interpolation import BILINEAR, BORDER, NEAREST, REFLECT_CENTRES, REFLECT_EDGES, ZEROS

HOSTILE = [np.nan, np.inf, -np.inf, 3e38, -1e20, 2.0**31, -2.0**31, 1e-45, -1.0, -0.5, 0.0, 0.3, 1.0, 1.7, 2.5,
           3.9999998, 4.0, 5.0]


def runs(dims):
    """All combinations of such coordinates, as many as a run has points."""
    points = np.array(list(itertools.product(HOSTILE, repeat=dims)))
    return [points[first:first + RUN].T for first in range(0, len(points), RUN)]


def placed(x, shape, band, kind, padding, backward, dtype):
    """Lines (cell and line, point) and flags, which hold what is left from another run where nothing was written."""
    numbers, integers = np.full(NUMBERS, np.nan, dtype), np.full(INTEGERS, -2**31, np.int32)
    numbers[:4 * RUN].reshape(4, RUN)[:len(x), :x.shape[1]] = x
    in_place.place(x.shape[1], shape, *band, kind, padding, backward, numbers, integers)
    lines = integers[LINES:FLAGS].reshape(4, RUN)[:2 * len(shape) - 2, :x.shape[1]]
    return lines.astype(np.int64), integers[FLAGS:FLAGS + x.shape[1]], numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding", [ZEROS, BORDER, REFLECT_CENTRES, REFLECT_EDGES])
@pytest.mark.parametrize("kind", [BILINEAR, NEAREST])
@pytest.mark.parametrize("shape, band", [((5, 4), (0, 5)), ((9, 2), (3, 4)), ((1, 5), (0, 1)), ((6, 2), (2, 5)),
                                         ((4, 3, 5), (0, 4)), ((5, 1, 4), (1, 3)), ((1, 4, 3), (0, 1)),
                                         ((2**15, 2**16 - 1), (0, 2**15)), ((2**10, 2**10, 2**11 - 1), (0, 2**10))])
def test_lines_lie_in_their_band(shape, band, kind, padding, dtype):
    """In images of up to 2^31 pixels, too."""
    width = 1 if kind == NEAREST else 2  # pixels of a line
    for backward in (False, True):
        for x in runs(len(shape)):
            lines, _, _ = placed(x, shape, band, kind, padding, backward, dtype)
            column = lines % shape[-1]
            used = lines[:1] if kind == NEAREST else lines
            assert used.min() >= band[0] * np.prod(shape[1:])
            assert used.max() <= band[1] * np.prod(shape[1:]) - width
            assert column.max() <= shape[-1] - width


@pytest.mark.parametrize("shape", [(5, 1), (1, 1), (2**31 - 1, 1), (3, 2, 1)])
def test_the_nearest_pixel_lies_in_a_narrow_image(shape):
    for x in runs(len(shape)):
        lines, _, _ = placed(x, shape, (0, shape[0]), NEAREST, BORDER, False, np.float64)
        assert lines[0].min() >= 0 and lines[0].max() < np.prod(shape)


@pytest.mark.parametrize("y, expected", [([0.5, -5], (0, 1)), ([-5, 0.5], (0, 1)), ([np.nan, 70, 3], (3, 4)),
                                         ([2, 6.5], (2, 7)), ([-0.5], (-1, 0)), ([100.0, -7], (64, 0))])
def test_slices_that_a_run_reads(y, expected):
    """Of a run that is all outside the first comes after the last."""
    numbers, integers = np.zeros(NUMBERS), np.zeros(INTEGERS, np.int32)
    numbers[RUN:RUN + len(y)] = y
    assert in_place.reach(len(y), (64, 9), BILINEAR, ZEROS, numbers, integers) == expected


def test_what_is_known_of_a_point():
    """Known answers: inside, left of the image and right of it, above a band and below, a NaN."""
    x = np.array([[1.25, -0.5, 3.5, 1.0, 1.0, np.nan, 9.0], [2.5, 2.5, 2.5, 1.5, 3.75, 2.5, 2.5]])
    lines, flags, numbers = placed(x, (6, 4), (2, 4), BILINEAR, ZEROS, False, np.float64)
    both, inside = LEFT | RIGHT, UPPER | LOWER
    assert list(flags) == [FRONT | f for f in (both | inside, RIGHT | SWAPPED | inside, LEFT | SWAPPED | inside,
                                               both | LOWER, both | UPPER, SWAPPED | inside, SWAPPED | inside)]
    assert lines.tolist() == [[9, 8, 10, 9, 13, 10, 10], [13, 12, 14, 9, 13, 14, 14]]
    weights = numbers[in_place.F:].reshape(-1, RUN)[:2, :7]
    np.testing.assert_array_equal(weights, [[0.25, 0.5, 0.5, 0, 0, np.nan, 0], [0.5, 0.5, 0.5, 0.5, 0.75, 0.5, 0.5]])


def test_cells_of_a_volume():
    """Rows: in front of the first, between, behind the last, and far away."""
    x = np.array([[1.0, 1.0, 1.0, 1.0], [-0.5, 0.5, 2.0, 9.0], [0.0, 0.0, 0.0, 0.0]])  # x, y (rows), z (slices)
    lines, flags, _ = placed(x, (2, 3, 5), (0, 2), BILINEAR, ZEROS, True, np.float64)
    assert [int(f & (FRONT | BACK)) for f in flags] == [BACK, FRONT | BACK, FRONT, 0]
    assert lines.tolist() == [[1, 1, 11, 11], [16, 16, 26, 26], [1, 6, 11, 11], [16, 21, 26, 26]]


def test_points_that_share_pixels_add_up(rng):
    """Many points on the same and on neighbouring lines, in an order of fours: the sum has them all, once."""
    for count in (1, 2, 3, 5, 16, 37, RUN):
        numbers, integers = np.zeros(NUMBERS), np.zeros(INTEGERS, np.int32)
        numbers[:RUN], numbers[RUN:2 * RUN] = rng.integers(-4, 24, RUN) / 4, rng.integers(-4, 24, RUN) / 4
        in_place.place(count, (5, 5), 0, 5, BILINEAR, ZEROS, True, numbers, integers)
        dV, dU, expected = rng.integers(-8, 8, RUN).astype(float), np.zeros(25), np.zeros((7, 7))
        in_place.scatter(dU, 0, count, (5, 5), numbers, integers, np.empty(8 * RUN), dV, 0)
        for x, y, g in zip(numbers[:count], numbers[RUN:RUN + count], dV, strict=False):
            if -1 <= x < 5 and -1 <= y < 5:
                i, j = int(np.floor(y)), int(np.floor(x))
                expected[i + 1:i + 3, j + 1:j + 3] += g * np.outer([1 - (y - i), y - i], [1 - (x - j), x - j])
        np.testing.assert_array_equal(dU.reshape(5, 5), expected[1:-1, 1:-1])
