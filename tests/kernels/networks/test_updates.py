"""The updates of the optimisers against their formulas in NumPy, over several steps."""

import numpy as np
import pytest

from nanostn.kernels.networks import updates


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("momentum, decay, nesterov", [(0.0, 0.0, False), (0.9, 0.0, False), (0.9, 0.1, True)])
def test_sgd(rng, momentum, decay, nesterov, dtype):
    p = rng.standard_normal((3, 5)).astype(dtype)
    expected, v = p.astype(np.float64), np.zeros((3, 5))
    velocity = np.zeros_like(p)
    for _ in range(3):
        g = rng.standard_normal(p.shape).astype(dtype)
        updates.sgd([(p, g, velocity)], 0.1, momentum, decay, nesterov)
        slope = g + decay * expected
        v = momentum * v + slope
        expected = expected - 0.1 * (slope + momentum * v if nesterov else v)
    np.testing.assert_allclose(p, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(rng, dtype, decoupled):
    p = rng.standard_normal((3, 5)).astype(dtype)
    expected, mean, square = p.astype(np.float64), 0, 0
    m, v = np.zeros_like(p), np.zeros_like(p)
    for step in (1, 2, 3):
        g = rng.standard_normal(p.shape).astype(dtype)
        updates.adam([(p, g, m, v)], step, 0.1, 0.9, 0.99, 1e-8, 0.3, decoupled)
        slope = g + (0.0 if decoupled else 0.3) * expected
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        expected = ((1 - 0.1 * 0.3 if decoupled else 1) * expected
                    - 0.1 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8))
    np.testing.assert_allclose(p, expected, rtol=1e-4 if dtype == np.float32 else 1e-10)
