"""Batch normalisation on the device against the CPU: parts of a channel, means far from zero, both modes."""

import numpy as np
import pytest

from nanostn.kernels.gpu.arrays.device_array import to_device
from nanostn.kernels.networks import normalisation

MOMENTUM, EPS = 0.1, 1e-5


def run(x, dy, per_channel, batch, put):
    gamma, beta, running_mean, running_var = (put(a.copy()) for a in per_channel)
    x, dy = put(x), put(dy)
    if batch:
        mean, scale = normalisation.batch_statistics(x, running_mean, running_var, MOMENTUM, EPS)
    else:
        mean, scale = normalisation.running_statistics(running_mean, running_var, EPS)
    y = normalisation.normalise(x, mean, scale, gamma, beta)
    dx, dgamma, dbeta = normalisation.normalise_dx(x, dy, mean, scale, gamma, batch, True)
    return [a if put is np.asarray else a.numpy()
            for a in (mean, scale, running_mean, running_var, y, dx, dgamma, dbeta)]


def same_as_cpu(rng, T, shape, batch, repeats=1):
    x, dy = rng.standard_normal((2, *shape)).astype(T)
    x += T(3)
    C = shape[1]
    per_channel = [a.astype(T) for a in (rng.standard_normal(C), rng.standard_normal(C), rng.standard_normal(C),
                                         rng.uniform(1, 2, C))]
    expected = run(*(a.astype(np.float64) for a in (x, dy)), [a.astype(np.float64) for a in per_channel], batch,
                   np.asarray)
    runs = [run(x, dy, per_channel, batch, to_device) for _ in range(repeats)]
    assert all(a.tobytes() == b.tobytes() for run in runs for a, b in zip(run, runs[0], strict=True))
    exact = T == np.float64
    for name, a, b in zip("mean scale running_mean running_var y dx dgamma dbeta".split(), runs[0], expected,
                          strict=True):
        assert a.dtype == T
        size = max(1.0, np.sqrt(x.size / C)) if name in ("dgamma", "dbeta") else 1.0
        np.testing.assert_allclose(a, b, rtol=1e-11 if exact else 1e-4, atol=1e-11 if exact else 2e-5 * size,
                                   err_msg=name)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 3, 2), (1, 2, 3, 7), (3, 1, 2, 2), (33, 2)])
def test_as_on_the_cpu(rng, T, shape, batch):
    same_as_cpu(rng, T, shape, batch)


@pytest.mark.parametrize("shape", [(5, 2, 1, 9), (1, 1, 17, 7), (2, 1, 7, 10), (40, 2)])
def test_parts(rng, monkeypatch, shape):
    monkeypatch.setattr(normalisation, "EACH", 1)
    monkeypatch.setattr(normalisation, "PARTS", 4)
    same_as_cpu(rng, np.float64, shape, True, repeats=2)


@pytest.mark.parametrize("first", [0.0, 1e4])
def test_a_mean_far_from_zero_does_not_swallow_the_variance(rng, first):
    """Even where what a thread sees first lies far from all others."""
    x = (1e4 + rng.integers(0, 2, (2, 1, 10, 16))).astype(np.float32)
    x[0, 0, 0, :8] = first
    _, scale = normalisation.batch_statistics(to_device(x), *(to_device(np.ones(1, np.float32)) for _ in "ab"), 0.1, 0)
    np.testing.assert_allclose(scale.numpy()[0], 1 / x.astype(np.float64).std(), rtol=1e-4)


def test_running_statistics_are_taken_as_they_were():
    mean, var = to_device(np.ones(2, np.float32)), to_device(np.ones(2, np.float32))
    kept, _ = normalisation.running_statistics(mean, var, 0.0)
    normalisation.batch_statistics(to_device(np.zeros((2, 2), np.float32)), mean, var, 0.5, 0.0)
    np.testing.assert_array_equal(mean.numpy(), 0.5)
    np.testing.assert_array_equal(kept.numpy(), 1)


def test_dx_is_left_out_where_it_is_not_wanted(rng):
    x, dy, *per_channel = (to_device(rng.standard_normal(shape).astype(np.float32))
                           for shape in ((2, 3, 4), (2, 3, 4), (3,), (3,), (3,)))
    (_, *expected), (dx, *found) = (normalisation.normalise_dx(x, dy, *per_channel, True, wanted)
                                    for wanted in (True, False))
    assert dx is None and [a.numpy().tobytes() for a in found] == [a.numpy().tobytes() for a in expected]


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("shape", [(4096, 16, 5, 7), (1, 3, 511, 1025), (256, 64, 28, 28), (4096, 512),
                                   (256, 1, 40, 40)])
def test_real_sizes(rng, T, shape, batch):
    same_as_cpu(rng, T, shape, batch, repeats=2)


@pytest.mark.gpu
def test_fifty_runs(rng):
    x = to_device(rng.standard_normal((64, 32, 31, 33)).astype(np.float32))
    runs = set()
    for _ in range(50):
        running = [to_device(np.ones(32, np.float32)) for _ in range(2)]
        mean, scale = normalisation.batch_statistics(x, *running, 0.1, 1e-5)
        found = normalisation.normalise_dx(x, x, mean, scale, scale, True, True)
        runs.add(b"".join(a.numpy().tobytes() for a in (mean, scale, *running, *found)))
    assert len(runs) == 1
