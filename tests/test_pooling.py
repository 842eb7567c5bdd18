"""Pooling: answers by hand, ties, gradients against finite differences, messages, PyTorch where it is installed."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn.functional import avg_pool2d, avg_pool3d, max_pool2d, max_pool3d


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


def test_volumes_by_hand():
    x = Tensor(np.array([[[1, 5, 2], [4, 3, 8]], [[0, 6, 9], [7, 2, 1]], [[9, 9, 9], [9, 9, 9]]],
                        np.float32)[None, None], requires_grad=True)
    y = max_pool3d(x, (2, 2, 1))  # the last slice fills no window
    np.testing.assert_array_equal(y.data, [[[[[7, 6, 9]]]]])
    y.backward(np.array([[[[[10, 20, 30]]]]], np.float32))
    np.testing.assert_array_equal(x.grad[0, 0, 1], [[0, 20, 30], [10, 0, 0]])
    assert not x.grad[0, 0, ::2].any()
    np.testing.assert_array_equal(avg_pool3d(x, (2, 2, 1)).data, [[[[[3, 4, 5]]]]])
    padded = avg_pool3d(x, (2, 1, 3), stride=(3, 1, 3), padding=(1, 0, 0))  # depths -1..0 and 2..3
    np.testing.assert_allclose(padded.data[0, 0], np.array([[[8], [15]], [[27], [27]]]) / 6, rtol=1e-6)


def by_search(x, dy, window, stride, padding):
    """Values and dx of max-pooling: of each window the first of the largest, where NaN is larger than all numbers."""
    y, dx = np.empty_like(dy), np.zeros_like(x)
    for n, c, *place in np.ndindex(*dy.shape):
        begin = [o * s - p for o, s, p in zip(place, stride, padding, strict=True)]
        inside = tuple(slice(max(0, b), b + k) for b, k in zip(begin, window, strict=True))
        values = x[n, c][inside]
        order = np.isnan(values) if np.isnan(values).any() else values
        first = np.unravel_index(np.argmax(order), values.shape)  # NumPy's is the first
        y[(n, c, *place)] = values[first]
        dx[(n, c, *(i + s.start for i, s in zip(first, inside, strict=True)))] += dy[(n, c, *place)]
    return y, dx


@pytest.mark.parametrize("special", [[0.0, 1.0, 2.0], [np.nan, 1.0, np.inf, -np.inf, -2.0], [np.nan, -np.inf]])
@pytest.mark.parametrize("pool, options", [
    (max_pool2d, (2, None, 0)), (max_pool2d, ((3, 2), (1, 2), 1)), (max_pool2d, (3, 2, (0, 1))),
    (max_pool3d, (2, None, 0)), (max_pool3d, ((2, 3, 2), (1, 2, 1), (1, 1, 0))), (max_pool3d, (3, 2, 1))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_of_the_largest(rng, special, pool, options, dtype):
    """First in the order (d,) h, w of what a window has inside; NaN wins, the first of several too."""
    axes = 2 if pool is max_pool2d else 3
    x = Tensor(rng.choice(special, (2, 2, *[5, 6, 4][-axes:])).astype(dtype), requires_grad=True)
    window, stride, padding = (v if isinstance(v, tuple) else (v,) * axes
                               for v in (options[0], options[1] or options[0], options[2]))
    y = pool(x, *options)
    dy = rng.integers(1, 9, y.shape).astype(dtype)
    y.backward(dy)
    values, dx = by_search(x.data, dy, window, stride, padding)
    np.testing.assert_array_equal(y.data, values)
    np.testing.assert_array_equal(x.grad, dx)


def test_ceil_mode_by_hand():
    """A last window that reaches beyond the image, or begins behind it and is left out; of 2 x 2 pixels too."""
    x = Tensor(np.array([[[[1, 5, 2, 0, 9], [4, 3, 8, 7, -1], [0, 0, 0, 0, -2]]]], np.float32), requires_grad=True)
    y = max_pool2d(x, 2, ceil_mode=True)
    np.testing.assert_array_equal(y.data, [[[[5, 8, 9], [0, 0, -2]]]])
    y.backward(np.array([[[[1, 2, 3], [4, 5, 6]]]], np.float32))
    np.testing.assert_array_equal(x.grad, [[[[0, 1, 0, 0, 3], [0, 0, 2, 0, 0], [4, 0, 5, 0, 6]]]])
    assert max_pool2d(x, 1, stride=3, ceil_mode=True).shape == (1, 1, 1, 2)  # rows 0, and 3, which is not there
    volume = Tensor(-np.arange(27, dtype=np.float32).reshape(1, 1, 3, 3, 3))
    np.testing.assert_array_equal(max_pool3d(volume, 2, ceil_mode=True).data,
                                  [[[[[0, -2], [-6, -8]], [[-18, -20], [-24, -26]]]]])
    with pytest.raises(ValueError, match="max_pool2d: ceil_mode should be True or False, received 1"):
        max_pool2d(x, 2, ceil_mode=1)


@pytest.mark.parametrize("options", [(2, None, 0), (3, 2, 0), (3, 2, 1), ((2, 4), (3, 3), (1, 2))])
@pytest.mark.parametrize("size", [(8, 7), (9, 10)])
def test_ceil_mode_like_pytorch(rng, options, size):
    torch = pytest.importorskip("torch")
    x = rng.integers(-3, 3, (2, 3, *size)).astype(np.float32)  # with ties
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = max_pool2d(ours, *options, ceil_mode=True), torch.nn.functional.max_pool2d(theirs, *options, ceil_mode=True)
    np.testing.assert_array_equal(y.data, z.detach().numpy())
    dy = rng.integers(1, 9, y.shape).astype(np.float32)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    np.testing.assert_array_equal(ours.grad, theirs.grad.numpy())


def test_padding_never_wins():
    x = Tensor(np.full((1, 1, 3, 2), -7.0, np.float32))
    assert (max_pool2d(x, 2, padding=1).data == -7).all()
    assert (max_pool3d(np.full((1, 1, 3, 2, 5), -7.0, np.float32), 2, padding=1).data == -7).all()


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)}])
def test_gradients(rng, pool, options):
    x = Tensor(rng.permutation(2 * 3 * 5 * 7).reshape(2, 3, 5, 7) / 7.0, requires_grad=True)
    gradcheck(lambda x: pool(x, **options), [x], name=pool.__name__)


@pytest.mark.parametrize("pool", [max_pool3d, avg_pool3d])
@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": (2, 3, 2), "stride": (1, 2, 3), "padding": 1}])
def test_gradients_of_volumes(rng, pool, options):
    x = Tensor(rng.permutation(2 * 2 * 3 * 5 * 4).reshape(2, 2, 3, 5, 4) / 7.0, requires_grad=True)
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


@pytest.mark.parametrize("pool", [max_pool3d, avg_pool3d])
@pytest.mark.parametrize("options, message", [
    ({"kernel_size": (2, 2)}, r"kernel_size should be a positive integer or a triple of them, received \(2, 2\)"),
    ({"kernel_size": (5, 2, 2)}, r"kernel_size should be at most the volume \(4, 5, 6\) with its padding "
                                 r"\(0, 0, 0\), received"),
    ({"kernel_size": 3, "padding": (2, 1, 1)}, r"padding should be at most half of kernel_size \(3, 3, 3\), received "
                                               r"\(2, 1, 1\); a window would lie outside the volume"),
])
def test_messages_of_volumes(pool, options, message):
    with pytest.raises(ValueError, match=f"{pool.__name__}: {message}"):
        pool(Tensor(np.zeros((2, 3, 4, 5, 6))), **options)
    with pytest.raises(ValueError, match=rf"{pool.__name__}: x should be \(N, C, D, H, W\)"):
        pool(Tensor(np.zeros((3, 4, 5, 6))), 2)
    with pytest.raises(ValueError, match=f"{pool.__name__}: x should be volumes of at least one pixel"):
        pool(Tensor(np.zeros((3, 4, 0, 5, 6))), 2)


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


@pytest.mark.parametrize("name, pool", [("max_pool3d", max_pool3d), ("avg_pool3d", avg_pool3d)])
@pytest.mark.parametrize("options", [(2, None, 0), (3, 2, 1), ((2, 4, 1), (1, 3, 2), (1, 2, 0))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_volumes_like_pytorch(rng, name, pool, options, dtype):
    torch = pytest.importorskip("torch")
    x = rng.integers(-3, 3, (2, 3, 5, 9, 7)).astype(dtype)  # with ties
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = pool(ours, *options), getattr(torch.nn.functional, name)(theirs, *options)
    np.testing.assert_allclose(y.data, z.detach().numpy(), atol=1e-6)
    dy = rng.standard_normal(y.shape).astype(dtype)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), atol=1e-5)


def test_an_empty_batch_of_volumes():
    x = Tensor(np.ones((0, 2, 4, 5, 6), np.float32), requires_grad=True)
    for pool in (max_pool3d, avg_pool3d):
        y = pool(x, (2, 1, 2))
        assert y.shape == (0, 2, 2, 5, 3)
        y.sum().backward()
    assert x.grad.shape == x.shape


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="max_pool2d: x should be images of at least one pixel"):
        max_pool2d(np.ones((1, 1, 0, 4), np.float32), 2, padding=1)
