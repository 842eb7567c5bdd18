"""The softmax and the cross-entropy on the device against the CPU: axes, extremes, labels that are no classes."""

import numpy as np
import pytest

from nanostn.functional import cross_entropy
from nanostn.kernels.gpu.arrays.device_array import to_device
from nanostn.kernels.networks import losses


def close(found, expected, T):
    assert found.dtype == T and found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12 if T == np.float64 else 2e-5,
                               atol=1e-14 if T == np.float64 else 1e-6)


@pytest.mark.parametrize("shape, axis", [((3, 5), 1), ((5, 6), -1), ((2, 3, 4), 1), ((5, 3), 0), ((1, 41), 1),
                                         ((4,), 0), ((3, 1), 1), ((0, 3), 1), ((1, 2, 37), 1)])
def test_softmax(rng, T, shape, axis):
    x, dy = (rng.standard_normal((2, *shape)) * 3).astype(T)
    for forward, backward in ((losses.softmax, losses.softmax_dx), (losses.log_softmax, losses.log_softmax_dx)):
        y, there = forward(x, axis), forward(to_device(x), axis)
        close(there, y, T)
        close(backward(there, to_device(dy), axis), backward(y, dy, axis), T)


def test_softmax_at_the_extremes():
    x = np.array([[-1000, 0, 1000], [np.nan, 0, 1], [-np.inf, 0, 0], [np.inf, 0, 0]], np.float32)
    for forward in (losses.softmax, losses.log_softmax):
        with np.errstate(all="ignore"):
            expected = forward(x, 1)
        np.testing.assert_allclose(forward(to_device(x), 1).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("N, classes", [(1, 1), (5, 3), (3, 10), (2, 50), (17, 2)])
def test_cross_entropy(rng, T, N, classes):
    logits, labels = (rng.standard_normal((N, classes)) * 30).astype(T), rng.integers(0, classes, N)
    expected, slope = losses.cross_entropy(logits, labels)
    runs = []
    for _ in range(2):
        loss, there = losses.cross_entropy(to_device(logits), to_device(labels))
        dx = losses.cross_entropy_dx(there, to_device(np.array(0.7, T)))
        runs.append((loss.numpy().tobytes(), dx.numpy().tobytes()))
    assert runs[0] == runs[1]
    close(loss, np.asarray(expected), T)
    close(there, slope, T)
    close(dx, losses.cross_entropy_dx(slope, T(0.7)), T)


def test_labels_that_are_no_classes_give_nan():
    logits = np.zeros((4, 3), np.float32)
    for wrong in (-1, 3, 1 << 40, -(1 << 62)):
        loss, slope = losses.cross_entropy(to_device(logits), to_device(np.array([0, 1, wrong, 2])))
        assert np.isnan(loss.item())
        np.testing.assert_array_equal(np.isnan(slope.numpy()).all(axis=1), [False, False, True, False])
        assert not np.isnan(slope.numpy()[:2]).any()


def test_labels_lie_where_the_logits_do():
    logits, labels = np.zeros((2, 3), np.float32), np.array([0, 2])
    with pytest.raises(ValueError, match="cross_entropy: labels should be a NumPy array like logits, received a"):
        cross_entropy(logits, to_device(labels))
    with pytest.raises(ValueError, match="labels should be on the device like logits, received a NumPy array; Tensor"):
        cross_entropy(to_device(logits), labels)
    with pytest.raises(ValueError, match=r"cross_entropy: labels should be int64, received \(2,\) int32"):
        cross_entropy(to_device(logits), to_device(labels.astype(np.int32)))


@pytest.mark.gpu
@pytest.mark.parametrize("N, classes", [(1, 10), (256, 10), (4096, 1000), (3, 100_003), (100_003, 3)])
def test_real_sizes(rng, T, N, classes):
    logits, labels = rng.standard_normal((N, classes)).astype(T), rng.integers(0, classes, N)
    expected, slope = losses.cross_entropy(logits, labels)
    x, there = to_device(logits), to_device(labels)
    runs = [losses.cross_entropy(x, there) for _ in range(50)]
    assert len({loss.numpy().tobytes() for loss, _ in runs}) == 1
    close(runs[0][0], np.asarray(expected), T)
    close(runs[0][1], slope, T)
    for axis in (0, 1):
        close(losses.log_softmax(x, axis), losses.log_softmax(logits, axis), T)
