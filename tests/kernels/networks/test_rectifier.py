"""The rectifier, in its small and its parallel form."""

import numpy as np
import pytest

from nanostn.kernels.networks import rectifier


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5), (2, rectifier.SMALL + 7)])
def test_relu(rng, shape, dtype):
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    x[0, :4] = 0, -0.0, np.nan, np.inf
    y, positive = rectifier.relu(x)
    assert y.dtype == dtype and positive.dtype == bool
    np.testing.assert_array_equal(y, np.where(x > 0, x, np.where(np.isnan(x), np.nan, 0)))
    np.testing.assert_array_equal(rectifier.relu_dx(dy, positive), np.where((x > 0) | np.isnan(x), dy, 0))
