"""Losses: values by hand, gradients against finite differences, labels that are not classes."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn.functional import cross_entropy, log_softmax, mse_loss, triplet_hinge


def test_cross_entropy_by_hand():
    logits = Tensor(np.log(np.array([[1.0, 2.0, 1.0], [3.0, 1.0, 4.0]])))
    loss = cross_entropy(logits, np.array([1, 0]))
    assert loss.shape == () and loss.item() == pytest.approx(-(np.log(2 / 4) + np.log(3 / 8)) / 2)


def test_cross_entropy_is_the_mean_of_log_softmax(rng):
    logits, labels = Tensor(rng.standard_normal((6, 5)) * 30), rng.integers(0, 5, 6)
    expected = -log_softmax(logits).data[np.arange(6), labels].mean()
    assert cross_entropy(logits, Tensor(labels)).item() == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_does_not_overflow():
    loss = cross_entropy(Tensor(np.array([[1000, -1000]], np.float32), requires_grad=True), np.array([1]))
    assert loss.item() == 2000 and loss.dtype == np.float32


def test_gradients(rng):
    def draw(*shape):
        return Tensor(rng.standard_normal(shape), requires_grad=True)

    labels = np.array([4, 0, 2], np.uint8)
    gradcheck(lambda x: cross_entropy(x, labels), [draw(3, 5)], name="cross_entropy")
    gradcheck(mse_loss, [draw(3, 4, 2), draw(3, 4, 2)])
    gradcheck(triplet_hinge, [draw(7, 3), draw(7, 3), draw(7, 3)])


def test_mse_by_hand():
    assert mse_loss(Tensor([1.0, 2.0]), Tensor([0.0, 4.0])).item() == 2.5


def test_triplet_hinge_by_hand():
    """The first triplet is far enough apart, the second lacks 0.5 and the third all of alpha."""
    anchor = Tensor(np.zeros((3, 2)), requires_grad=True)
    positive = Tensor(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    negative = Tensor(np.array([[0.0, 2.0], [0.5, np.sqrt(1.25)], [1.0, 0.0]]))
    loss = triplet_hinge(anchor, positive, negative, alpha=1.0)
    assert loss.item() == pytest.approx(0 + 0.5 + 1.0)
    loss.backward()
    np.testing.assert_allclose(anchor.grad[0], 0)
    np.testing.assert_allclose(anchor.grad[2], [2, -2])


@pytest.mark.parametrize("labels, message", [
    (np.array([0, 1, 5]), "labels should be from 0 to 4, as logits has 5 classes, received 5"),
    (np.array([0, 1, -1]), "labels should be from 0 to 4"),
    (np.array([0.0, 1.0, 2.0]), r"labels should be integers, received \(3,\) float64; one class number per sample"),
    (np.array([0, 1]), r"labels should be \(N,\) with N = 3 from logits"),
])
def test_labels_are_checked(labels, message):
    with pytest.raises(ValueError, match=f"cross_entropy: {message}"):
        cross_entropy(Tensor(np.zeros((3, 5))), labels)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"mse_loss: target should be \(2, 3\) like x, and not empty, received \(3,\)"):
        mse_loss(Tensor(np.zeros((2, 3))), Tensor(np.zeros(3)))
    with pytest.raises(ValueError, match="cross_entropy: logits should be at least one sample"):
        cross_entropy(Tensor(np.zeros((0, 5))), np.zeros(0, int))
    with pytest.raises(ValueError, match=r"triplet_hinge: negative should be \(N, features\) with N = 2"):
        triplet_hinge(Tensor(np.zeros((2, 3))), Tensor(np.zeros((2, 3))), Tensor(np.zeros((4, 3))))


def test_labels_may_change_before_backward():
    logits = Tensor(np.array([[1.0, 2.0, 0.5]]), requires_grad=True)
    labels = np.array([2])
    loss = cross_entropy(logits, labels)
    labels[0] = 0
    loss.backward()
    assert logits.grad[0, 2] < 0 < logits.grad[0, 0]


def test_labels_may_be_a_list():
    logits = Tensor(np.array([[0.0, np.log(3.0)]]))  # probabilities 1/4 and 3/4
    np.testing.assert_allclose(cross_entropy(logits, [1]).data, np.log(4 / 3), rtol=1e-12)


@pytest.mark.parametrize("alpha", [-0.1, np.nan, np.inf, None, "1", True, 1e300, 10**400, np.ones(2)])
def test_alpha_is_checked(alpha):
    x = Tensor(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="triplet_hinge: alpha should be a number of 0 or more, received "):
        triplet_hinge(x, x, x, alpha)


def test_a_loss_without_its_arrays():
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"mse_loss: target should be \(2, 3\) like x, and not empty, received None"):
        mse_loss(x, None)
    with pytest.raises(ValueError, match="mse_loss: x should be a float32 or float64 array, received None"):
        mse_loss(None, x)
