"""Pooling: answers by hand, ties, gradients against finite differences, messages, PyTorch where it is installed."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn.functional import avg_pool2d, max_pool2d


def test_by_hand():
    x = Tensor(np.array([[[[1, 5, 2, 0, 9], [4, 3, 8, 7, 9]]]], dtype=np.float32), requires_grad=True)
    y = max_pool2d(x, 2)
    np.testing.assert_array_equal(y.data, [[[[5, 8]]]])  # the last column fills no window
    y.backward(np.array([[[[10, 20]]]], np.float32))
    np.testing.assert_array_equal(x.grad, [[[[0, 10, 0, 0, 0], [0, 0, 20, 0, 0]]]])
    np.testing.assert_array_equal(avg_pool2d(x, 2).data, [[[[3.25, 4.25]]]])
    padded = avg_pool2d(x, (2, 3), stride=(1, 4), padding=1)  # rows -1..0, 0..1, 1..2; columns -1..1 and 3..5
    np.testing.assert_allclose(padded.data, np.array([[[[6, 9], [13, 25], [7, 16]]]]) / 6, rtol=1e-6)


def test_the_first_of_equal_maxima_takes_the_gradient():
    x = Tensor(np.zeros((1, 1, 2, 6), np.float32), requires_grad=True)
    max_pool2d(x, (2, 3)).sum().backward()
    np.testing.assert_array_equal(x.grad, [[[[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]]]])


def test_padding_never_wins():
    x = Tensor(np.full((1, 1, 3, 2), -7.0, np.float32))
    assert (max_pool2d(x, 2, padding=1).data == -7).all()


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)}])
def test_gradients(rng, pool, options):
    x = Tensor(rng.permutation(2 * 3 * 5 * 7).reshape(2, 3, 5, 7) / 7.0, requires_grad=True)
    gradcheck(lambda x: pool(x, **options), [x], name=pool.__name__)


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize("options, message", [
    ({"kernel_size": 0}, "kernel_size should be a positive integer or a pair of them, received 0"),
    ({"kernel_size": (7, 2)}, r"kernel_size should be at most the image \(5, 6\) with its padding \(0, 0\), received"),
    ({"kernel_size": 3, "padding": 2}, r"padding should be at most half of kernel_size \(3, 3\), received \(2, 2\)"),
    ({"kernel_size": 2, "stride": "2"}, "stride should be"),
])
def test_messages(pool, options, message):
    with pytest.raises(ValueError, match=f"{pool.__name__}: {message}"):
        pool(Tensor(np.zeros((2, 3, 5, 6))), **options)
    with pytest.raises(ValueError, match=rf"{pool.__name__}: x should be \(N, C, H, W\)"):
        pool(Tensor(np.zeros((3, 5, 6))), 2)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("options", [(2, None, 0), (3, 2, 1), ((2, 4), (1, 3), (1, 2))])
def test_like_pytorch(rng, name, options):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 9, 11)).astype(np.float32)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = {"max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d}[name](ours, *options)
    z = getattr(torch.nn.functional, name)(theirs, *options)
    np.testing.assert_allclose(y.data, z.detach().numpy(), atol=1e-6)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), atol=1e-6)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="max_pool2d: x should be images of at least one pixel"):
        max_pool2d(np.ones((1, 1, 0, 4), np.float32), 2, padding=1)
