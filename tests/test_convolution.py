"""conv2d and conv3d: answers by hand, finite differences, messages, and PyTorch where it is installed."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn.functional import conv2d, conv3d


def test_by_hand():
    x = Tensor(np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4))
    weight = Tensor(np.array([[[[1, 0], [0, 10]]]], dtype=np.float32))  # correlation: not flipped
    y = conv2d(x, weight, Tensor([100.0]))
    np.testing.assert_array_equal(y.data[0, 0], [[150, 161, 172], [194, 205, 216]])
    padded = conv2d(x, weight, stride=(2, 3), padding=1)
    np.testing.assert_array_equal(padded.data[0, 0], [[0, 30], [80, 116]])


def test_a_volume_by_hand():
    x = Tensor(np.arange(18, dtype=np.float32).reshape(1, 1, 3, 2, 3))
    weight = np.zeros((1, 1, 2, 1, 2), np.float32)
    weight[0, 0, 0, 0, 0], weight[0, 0, 1, 0, 1] = 1, 10  # x[d, h, w] + 10 x[d + 1, h, w + 1]
    y = conv3d(x, weight, Tensor([100.0]))
    np.testing.assert_array_equal(y.data[0, 0], [[[170, 181], [203, 214]], [[236, 247], [269, 280]]])
    padded = conv3d(x, weight, stride=(3, 1, 2), padding=(1, 0, 1))  # depths -1 and 2, columns -1 and 1
    np.testing.assert_array_equal(padded.data[0, 0], [[[0, 20], [30, 50]], [[0, 13], [0, 16]]])


@pytest.mark.parametrize("stride, padding", [(1, 0), ((2, 1, 3), (1, 0, 2))])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_volumes(rng, stride, padding, bias):
    shapes = (2, 3, 5, 4, 7), (4, 3, 2, 3, 2), (4,)
    inputs = [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes[:2 + bias]]
    gradcheck(lambda *a: conv3d(*a, stride=stride, padding=padding), inputs, name="conv3d", full=False, directions=4)


@pytest.mark.parametrize("stride, padding", [(1, 0), ((2, 3), (1, 2))])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(rng, stride, padding, bias):
    shapes = (2, 3, 5, 7), (4, 3, 3, 2), (4,)
    inputs = [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes[:2 + bias]]
    gradcheck(lambda *a: conv2d(*a, stride=stride, padding=padding), inputs, name="conv2d", full=False, directions=4)


def test_only_wanted_gradients(rng):
    x, weight = Tensor(rng.standard_normal((2, 1, 4, 5))), Tensor(rng.standard_normal((3, 1, 2, 2)), requires_grad=True)
    conv2d(x, weight).sum().backward()
    assert x.grad is None and weight.grad.shape == weight.shape


def test_views_are_taken(rng):
    x = rng.standard_normal((5, 4, 3, 2)).transpose(3, 2, 1, 0)
    weight = rng.standard_normal((3, 3, 2, 2))[::-1]
    np.testing.assert_array_equal(conv2d(x, weight).data, conv2d(x.copy(), weight.copy()).data)
    volume, weight = x[:, :, None].transpose(0, 1, 4, 3, 2), weight[:, :, None]
    np.testing.assert_array_equal(conv3d(volume, weight, padding=1).data,
                                  conv3d(volume.copy(), weight.copy(), padding=1).data)


@pytest.mark.parametrize("change, message", [
    ({"x": (2, 4, 5, 6)}, r"conv2d: weight should be \(F, C, kH, kW\) with C = 4 from x, received"),
    ({"x": (3, 5, 6)}, r"conv2d: x should be \(N, C, H, W\), received"),
    ({"x": (2, 3, 1, 6)}, r"conv2d: weight should be with windows of at most the image \(1, 6\)"),
    ({"bias": (3,)}, r"conv2d: bias should be \(F,\) with F = 4 from weight, received"),
    ({"stride": 0}, "conv2d: stride should be a positive integer or a pair of them, received 0"),
    ({"stride": (1, 2, 3)}, "conv2d: stride should be"),
    ({"padding": -1}, "conv2d: padding should be an integer, 0 or more, or a pair of them, received -1"),
    ({"padding": 0.5}, "conv2d: padding should be"),
])
def test_messages(change, message):
    given = {"x": (2, 3, 5, 6), "weight": (4, 3, 2, 2), "bias": (4,)} | change
    arguments = {k: Tensor(np.zeros(v)) if k in ("x", "weight", "bias") else v for k, v in given.items()}
    with pytest.raises(ValueError, match=message):
        conv2d(**arguments)


@pytest.mark.parametrize("change, message", [
    ({"x": (2, 4, 3, 5, 6)}, r"conv3d: weight should be \(F, C, kD, kH, kW\) with C = 4 from x, received"),
    ({"x": (2, 3, 5, 6)}, r"conv3d: x should be \(N, C, D, H, W\), received"),
    ({"x": (2, 3, 1, 5, 6)}, r"conv3d: weight should be with windows of at most the volume \(1, 5, 6\) with padding "
                             r"\(0, 0, 0\), received windows \(2, 2, 2\)"),
    ({"stride": (1, 2)}, r"conv3d: stride should be a positive integer or a triple of them, received \(1, 2\)"),
    ({"padding": -1}, "conv3d: padding should be an integer, 0 or more, or a triple of them, received -1"),
])
def test_messages_of_volumes(change, message):
    given = {"x": (2, 3, 4, 5, 6), "weight": (4, 3, 2, 2, 2), "bias": (4,)} | change
    arguments = {k: Tensor(np.zeros(v)) if k in ("x", "weight", "bias") else v for k, v in given.items()}
    with pytest.raises(ValueError, match=message):
        conv3d(**arguments)


def test_one_dtype():
    with pytest.raises(ValueError, match="conv2d: weight should be float64 like x"):
        conv2d(Tensor(np.zeros((1, 1, 3, 4))), Tensor(np.zeros((1, 1, 2, 2), np.float32)))


@pytest.mark.parametrize("stride, padding", [(1, 0), (2, 1), ((1, 3), (2, 0))])
def test_like_pytorch(rng, stride, padding):
    torch = pytest.importorskip("torch")
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((3, 2, 9, 11), (4, 2, 3, 5), (4,))]
    ours = [Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = conv2d(*ours, stride, padding), torch.nn.functional.conv2d(*theirs, stride, padding)
    np.testing.assert_allclose(y.data, z.detach().numpy(), atol=1e-4)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), atol=1e-3)


@pytest.mark.parametrize("stride, padding", [(1, 0), (2, 1), ((2, 1, 3), (0, 2, 1)), ((1, 2, 1), (3, 0, 1))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_volumes_like_pytorch(rng, stride, padding, dtype):
    torch = pytest.importorskip("torch")
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((3, 2, 5, 7, 6), (4, 2, 2, 3, 5), (4,))]
    ours = [Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = conv3d(*ours, stride, padding), torch.nn.functional.conv3d(*theirs, stride, padding)
    tolerance = 1e-3 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(y.data, z.detach().numpy(), atol=tolerance)
    dy = rng.standard_normal(y.shape).astype(dtype)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), atol=tolerance)
