"""Batch normalisation: statistics by hand, running statistics, gradients in both modes, messages."""

import numba
import numpy as np
import pytest

import nanostn
from nanostn import Tensor, gradcheck
from nanostn.functional import batch_norm


def state(channels, dtype=np.float64):
    return np.full(channels, 2.0, dtype), np.full(channels, 3.0, dtype)


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 4, 3)])
def test_training_gives_mean_beta_and_deviation_gamma(rng, shape):
    gamma, beta = np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0, 1.0])
    y = batch_norm(Tensor(rng.normal(7, 4, shape)), gamma, beta, *state(3), training=True, eps=0.0).data
    axes = (0, *range(2, len(shape)))
    np.testing.assert_allclose(y.mean(axis=axes), beta, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=axes), gamma)


def test_running_statistics_by_hand():
    mean, var = np.array([10.0]), np.array([1.0])
    x = Tensor(np.array([[1.0], [2.0], [6.0]]))  # mean 3, unbiased variance 7
    batch_norm(x, np.ones(1), np.zeros(1), mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose([mean[0], var[0]], [8.25, 2.5])
    y = batch_norm(x, np.ones(1), np.zeros(1), mean, var, training=False, eps=0.0)
    np.testing.assert_allclose(y.data, (x.data - 8.25) / np.sqrt(2.5))
    np.testing.assert_allclose([mean[0], var[0]], [8.25, 2.5])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (2, 3, 2, 4), (2, 3, 1, 2, 3)])
def test_gradients(rng, shape, training):
    inputs = [Tensor(rng.standard_normal(s), requires_grad=True) for s in (shape, (3,), (3,))]
    gradcheck(lambda *a: batch_norm(*a, *state(3), training=training), inputs, name="batch_norm")


def test_messages():
    x = Tensor(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"batch_norm: gamma should be \(C,\) with C = 3 from x"):
        batch_norm(x, np.ones(4), np.ones(4), *state(4), training=True)
    with pytest.raises(ValueError, match=r"batch_norm: x should be \(N, C\), \(N, C, L\), \(N, C, H, W\) or \("):
        batch_norm(Tensor(np.zeros((4, 3, 2, 1, 1, 2))), np.ones(3), np.ones(3), *state(3), training=True)
    with pytest.raises(ValueError, match="batch_norm: x should be more than one value per channel in training"):
        batch_norm(x[:1], np.ones(3), np.ones(3), *state(3), training=True)


@pytest.mark.parametrize("training", [True, False])
def test_like_pytorch(rng, training):
    torch = pytest.importorskip("torch")
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((4, 3, 5, 6), (3,), (3,))]
    ours = [Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    running, torch_running = state(3, np.float32), [torch.tensor(a) for a in state(3, np.float32)]
    y = batch_norm(*ours, *running, training=training)
    z = torch.nn.functional.batch_norm(theirs[0], *torch_running, *theirs[1:], training)
    np.testing.assert_allclose(y.data, z.detach().numpy(), atol=1e-5)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), atol=1e-4)
    for a, b in zip(running, torch_running, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5)


def test_running_statistics_may_move_before_backward(rng):
    x, (mean, var) = Tensor(rng.standard_normal((4, 3)), requires_grad=True), state(3)
    gamma = Tensor(np.ones(3), requires_grad=True)
    y = batch_norm(x, gamma, np.zeros(3), mean, var, training=False)
    mean += 100
    y.sum().backward()
    np.testing.assert_allclose(gamma.grad, y.data.sum(axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_planes_longer_than_a_sum_and_the_same_bits_for_any_number_of_threads(rng, dtype):
    """5,183 entries of a plane, far from zero; the sums are those of NumPy in float64."""
    shape, before, runs = (2, 3, 71, 73), numba.get_num_threads(), []
    x, dy = rng.normal(50, 2, shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    gamma, beta = np.array([1, 2, 3], dtype), np.array([0, 1, 2], dtype)
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            nanostn.set_threads(threads)
            inputs = [Tensor(array, requires_grad=True) for array in (x, gamma, beta)]
            y = batch_norm(*inputs, *state(3, dtype), training=True)
            y.backward(dy)
            runs.append([y.data, *(each.grad for each in inputs)])
    finally:
        nanostn.set_threads(before)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*runs, strict=True))
    exact, slope = x.astype(np.float64), dy.astype(np.float64)
    centred = exact - exact.mean(axis=(0, 2, 3), keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=(0, 2, 3), keepdims=True) + 1e-5)
    tolerance = 2e-5 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(runs[0][0], normal * gamma[:, None, None] + beta[:, None, None], atol=3 * tolerance)
    np.testing.assert_allclose(runs[0][2], (slope * normal).sum(axis=(0, 2, 3)), atol=50 * tolerance)
    np.testing.assert_allclose(runs[0][3], slope.sum(axis=(0, 2, 3)), rtol=1e-5, atol=tolerance)
