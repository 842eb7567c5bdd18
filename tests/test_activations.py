"""Activations: values at the edges, gradients against finite differences, dropout's scale and seed."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn.functional import dropout, log_softmax, relu, sigmoid, softmax, tanh


@pytest.mark.parametrize("activation", [relu, tanh, sigmoid])
def test_gradients(rng, activation):
    gradcheck(activation, [Tensor(rng.standard_normal((3, 4, 5)), requires_grad=True)])


@pytest.mark.parametrize("activation", [softmax, log_softmax])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_gradients(rng, activation, axis):
    x = Tensor(rng.standard_normal((3, 4, 5)), requires_grad=True)
    gradcheck(lambda x: activation(x, axis=axis), [x], name=activation.__name__)


def test_relu_promises_the_left_derivative_at_zero():
    gradcheck(relu, [Tensor(np.array([-1.0, 0.0, 2.0]), requires_grad=True)], kinks="left")


def test_nothing_overflows():
    x = np.array([-1000, -80, 0, 80, 1000], np.float32)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(sigmoid(Tensor(x)).data, [0, 0, 0.5, 1, 1], atol=1e-7)
        np.testing.assert_array_equal(softmax(Tensor(x)).data, [0, 0, 0, 0, 1])
        np.testing.assert_array_equal(log_softmax(Tensor(x)).data, x - 1000)


@pytest.mark.parametrize("activation", [relu, tanh, sigmoid, softmax, log_softmax])
def test_dtype_is_kept(rng, activation):
    for dtype in (np.float32, np.float64):
        x = Tensor(rng.standard_normal((2, 3)).astype(dtype), requires_grad=True)
        y = activation(x)
        y.backward(np.ones(y.shape, dtype))
        assert y.dtype == x.grad.dtype == dtype


@pytest.mark.parametrize("activation", [softmax, log_softmax])
@pytest.mark.parametrize("axis", [2, -3, None, (0, 1), (1,), 1.0, "1", True, np.nan, [0], np.array([0, 1]), 10**400])
def test_axis_is_checked(activation, axis):
    with pytest.raises(ValueError, match=rf"{activation.__name__}: axis should be an axis of x \(2, 3\), received "):
        activation(Tensor(np.zeros((2, 3))), axis=axis)


@pytest.mark.parametrize("activation", [softmax, log_softmax])
@pytest.mark.parametrize("shape, axis", [((2, 0), 1), ((0, 3), 0), ((0, 3), 1), ((0,), -1), ((0, 0), 0)])
def test_softmax_over_no_entries_is_empty(activation, shape, axis):
    x = Tensor(np.zeros(shape, np.float32), requires_grad=True)
    y = activation(x, axis=axis)
    y.backward(np.zeros(shape, np.float32))
    assert y.shape == x.grad.shape == shape and y.dtype == np.float32


def test_dropout_scales_and_is_decided_by_the_seed():
    x = Tensor(np.ones((200, 301), np.float32), requires_grad=True)
    y = dropout(x, 0.25, np.random.default_rng(3))
    assert set(np.unique(y.data)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y.data == 0).mean() - 0.25) < 0.01
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.data)  # an entry that was dropped has no gradient, the others the scale
    np.testing.assert_array_equal(dropout(x, 0.25, np.random.default_rng(3)).data, y.data)


def test_dropout_does_nothing_in_evaluation_and_checks_its_rate(rng):
    x = Tensor(np.ones((2, 3)))
    assert dropout(x, 0.5, rng, training=False) is x and dropout(x, 0.0, rng) is x
    for rate in (1.0, -0.1, np.nan, None, "0.5", True, 10**400):
        with pytest.raises(ValueError, match="dropout: rate should be at least 0 and below 1"):
            dropout(x, rate, rng)
    for generator in (42, None, np.random.RandomState(1)):
        with pytest.raises(ValueError, match="dropout: generator should be a numpy.random.Generator, received "):
            dropout(x, 0.5, generator)
    with pytest.raises(ValueError, match="dropout: training should be True or False, received 'False'"):
        dropout(x, 0.5, rng, training="False")


def test_small_sigmoids_are_kept():
    x = np.array([-20, -80, 0, 20], np.float32)
    np.testing.assert_allclose(sigmoid(x).data, 1 / (1 + np.exp(-x.astype(np.float64))), rtol=2e-6)


def test_relu_of_a_number():
    x = Tensor(np.float32(-2), requires_grad=True)
    relu(x).backward()
    assert x.grad == 0 and x.grad.shape == ()


def test_an_infinite_cotangent_does_not_leak_through_a_closed_relu():
    x = Tensor(np.array([-1.0, 1.0]), requires_grad=True)
    relu(x).backward(np.array([np.inf, 2.0]))
    np.testing.assert_array_equal(x.grad, [0, 2])


@pytest.mark.parametrize("function", [relu, tanh, sigmoid, softmax, log_softmax])
def test_integers_are_refused(function):
    with pytest.raises(ValueError, match=f"{function.__name__}: x should be a float32 or float64 array"):
        function(np.array([[1, 2]]))
