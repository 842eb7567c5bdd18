"""dense: an answer by hand, gradients against finite differences, messages."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn.functional import dense


def test_by_hand():
    y = dense(Tensor([[1.0, 2.0, 3.0]]), Tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), Tensor([10.0, 20.0]))
    np.testing.assert_array_equal(y.data, [[11, 26]])


@pytest.mark.parametrize("bias", [True, False])
def test_gradients(rng, bias):
    shapes = (3, 4), (5, 4), (5,)
    gradcheck(dense, [Tensor(rng.standard_normal(s), requires_grad=True) for s in shapes[:2 + bias]])


def test_an_empty_batch(rng):
    x, weight = Tensor(np.zeros((0, 4))), Tensor(rng.standard_normal((5, 4)), requires_grad=True)
    y = dense(x, weight)
    y.sum().backward()
    assert y.shape == (0, 5) and not weight.grad.any()


def test_messages():
    weight = Tensor(np.zeros((10, 784), np.float32))
    with pytest.raises(ValueError, match=r"dense: x should be \(N, inputs\), received \(64, 1, 28, 28\).*Flatten"):
        dense(Tensor(np.zeros((64, 1, 28, 28), np.float32)), weight)
    with pytest.raises(ValueError, match=r"dense: weight should be \(outputs, inputs\) with inputs = 700 from x"):
        dense(Tensor(np.zeros((64, 700), np.float32)), weight)
    with pytest.raises(ValueError, match=r"dense: bias should be \(outputs,\) with outputs = 10 from weight"):
        dense(Tensor(np.zeros((64, 784), np.float32)), weight, Tensor(np.zeros(9, np.float32)))
    with pytest.raises(ValueError, match="dense: weight should be float64 like x"):
        dense(Tensor(np.zeros((64, 784))), weight)
