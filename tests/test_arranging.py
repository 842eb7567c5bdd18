"""Margins and turned axes against NumPy and PyTorch; the gradient is the adjoint; errors."""

import numpy as np
import pytest

from nanostn import Tensor
from nanostn import functional as F

WIDTHS = [0, 2, (1, 3), [(1, 0)], [(0, 1), (2, 3), (1, 0)], np.array([[0, 0], [1, 1], [0, 2]]), ((2, 4),) * 3]


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_pad_as_numpy(rng, mode, widths, dtype):
    x = (rng.standard_normal((2, 3, 4)) * 9).astype(dtype)
    y = F.pad(Tensor(x), widths, mode)
    np.testing.assert_array_equal(y.data, np.pad(x, widths, mode=mode))
    assert y.dtype == dtype


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_the_gradient_of_pad_is_its_adjoint(rng, mode, widths):
    x = Tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    y = F.pad(x, widths, mode)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    assert (y.data * dy).sum() == pytest.approx((x.data * x.grad).sum(), abs=1e-12)
    assert x.grad.shape == x.shape


def test_pad_against_torch(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 5, 6)).astype(np.float32)
    for mode, theirs in (("constant", "constant"), ("edge", "replicate"), ("reflect", "reflect")):
        ours, a = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        value = {"value": -0.5} if mode == "constant" else {}
        y = F.pad(ours, [(0, 0), (0, 0), (1, 2), (3, 4)], mode, **value)
        expected = torch.nn.functional.pad(a, (3, 4, 1, 2), theirs, **value)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        y.backward(dy)
        expected.backward(torch.tensor(dy))
        np.testing.assert_array_equal(y.data, expected.detach().numpy())
        np.testing.assert_allclose(ours.grad, a.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_pad_with_a_number():
    np.testing.assert_array_equal(F.pad(np.ones((1, 1)), ((0, 1), (1, 0)), value=-np.inf).data,
                                  [[-np.inf, 1], [-np.inf, -np.inf]])
    np.testing.assert_array_equal(F.pad(np.ones(1, np.float32), 1, value=np.nan).data, [np.nan, 1, np.nan])
    assert F.pad(np.ones(2, np.uint8), 1, value=255).data.tolist() == [255, 1, 1, 255]
    assert F.pad(Tensor(np.float32(2)), 1).data == 2  # no axes, no margin


def test_pad_of_nothing():
    assert F.pad(np.zeros((0, 3)), ((1, 2), (0, 0)), value=4).data.tolist() == [[4.0] * 3] * 3
    assert F.pad(np.zeros((0, 3)), ((0, 0), (1, 1)), "edge").shape == (0, 5)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_flip_as_numpy_and_back(rng, axis, dtype):
    x = rng.integers(-9, 9, (2, 3, 4)).astype(dtype)
    np.testing.assert_array_equal(F.flip(x, axis).data, np.flip(x, axis))
    if dtype in (np.float32, np.float64):
        tensor = Tensor(x, requires_grad=True)
        F.flip(tensor, axis).backward(x)
        np.testing.assert_array_equal(tensor.grad, np.flip(x, axis))
        assert tensor.grad.dtype == dtype


def test_what_follows_takes_a_flipped_array(rng):
    """It may be seen backwards: kernels want arrays without gaps."""
    x, w = rng.standard_normal((2, 1, 5, 4)), rng.standard_normal((3, 1, 2, 3))
    a, b = (Tensor(x, requires_grad=True) for _ in range(2))
    F.relu(F.conv2d(F.flip(a, axis=3), w)).sum().backward()
    c = Tensor(np.ascontiguousarray(x[..., ::-1]), requires_grad=True)
    F.relu(F.conv2d(c, w)).sum().backward()
    np.testing.assert_array_equal(a.grad, c.grad[..., ::-1])
    assert b.grad is None


X = np.zeros((2, 3))


@pytest.mark.parametrize("widths", [-1, (1, -1), 1.0, "1", None, (1, 2, 3), [(1, 1)] * 3, [(1, 2), (3,)], 10**400, True,
                                    [[(1, 1)]] * 2, np.nan])
def test_widths_are_checked(widths):
    message = r"pad: widths should be integers of 0 or more: one, a pair, or a pair for each axis of x \(2, 3\), rec"
    with pytest.raises(ValueError, match=message):
        F.pad(X, widths)


@pytest.mark.parametrize("call, message", [
    (lambda: F.pad(X, 1, "wrap"), "pad: mode should be 'constant', 'edge' or 'reflect', received 'wrap'"),
    (lambda: F.pad(X, 1, None), "pad: mode should be 'constant', 'edge' or 'reflect', received None"),
    (lambda: F.pad(X, 1, np.array(["edge", "edge"])), "pad: mode should be 'constant', 'edge' or 'reflect'"),
    (lambda: F.pad(X, 1, value="0"), "pad: value should be a number, received '0'"),
    (lambda: F.pad(X, 1, "edge", np.zeros(2)), r"pad: value should be a number, received \(2,\) float64"),
    (lambda: F.pad(X.astype(int), 1, value=np.nan), "pad: value should be a number of int64 like x, received nan"),
    (lambda: F.pad(X, 1, value=10**400), "pad: value should be a number, received 1000"),
    (lambda: F.pad(X.astype(int), 1, value=0.5), "pad: value should be a number of int64 like x, received 0.5"),
    (lambda: F.pad(X.astype(np.uint8), 1, value=-1), "pad: value should be a number of uint8 like x, received -1"),
    (lambda: F.pad(X.astype(int), 1, value=np.inf), "pad: value should be a number of int64 like x, received inf"),
    (lambda: F.pad(X, 1, "edge", 2.0), "pad: value should be left out with mode 'edge', received 2.0"),
    (lambda: F.pad(np.zeros((2, 0)), 1, "edge"),
     r"pad: x should be with entries along axis 1 to repeat, received \(2, 0\)"),
    (lambda: F.flip(X, 2), "flip: axis should be of an array with 2 axes, each once, received 2"),
    (lambda: F.flip(X, (0, -2)), "flip: axis should be of an array with 2 axes, each once"),
    (lambda: F.flip(X, "0"), "flip: axis should be of an array with 2 axes, each once"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
