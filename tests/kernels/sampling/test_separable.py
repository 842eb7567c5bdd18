"""A widened point reads as many taps as its own width allows, whatever points stand beside it."""

import numpy as np
import pytest
from numba import njit

from nanostn.kernels.sampling import separable
from nanostn.kernels.sampling.interpolation import NEAREST, ZEROS


@njit
def flat(u):
    return u


@pytest.mark.parametrize("beside", [3, 6])
def test_taps_of_a_point_do_not_depend_on_its_neighbour(beside):
    x, width = np.float32(15.499999046), np.float32(3)
    points = np.zeros((separable.WIDTHS + 3, 2), np.float32)
    points[0], points[separable.WIDTHS] = x, (width, beside)
    reading = separable.Reading(NEAREST, flat, flat, np.float32(0.5), ZEROS)
    tables = separable.workspace(2, 8, True, np.float32)
    separable._axis(points, 0, 0, 2, 32, 0, 32, 1, reading, tables)
    assert tables.used[0, 0] == 3
