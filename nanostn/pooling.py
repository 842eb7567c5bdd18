"""Max and average pooling of images."""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, describe, same_float, sizes
from nanostn.convolution import Pair, pair
from nanostn.kernels import pooling as kernels
from nanostn.tensor import Array, Tensor, op


def max_pool2d(x: Any, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The largest entry of each window; the first of several equal ones takes the gradient.

        y[n, c, p, q] = max over i, j of x[n, c, p stride + i - padding, q stride + j - padding]

    x (N, C, H, W) -> (N, C, H', W'), H' = (H + 2 padding - kernel_size) // stride + 1; `stride` is `kernel_size` where
    it is not given; padding never wins. Sizes are numbers or pairs (vertical, horizontal).
    torch: F.max_pool2d(x, kernel_size, stride, padding)
    """
    return _max_pool2d(x, **_options("max_pool2d", x, kernel_size, stride, padding))


def avg_pool2d(x: Any, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The mean of each window, where padding counts as zeros; shapes and options as in `max_pool2d`.

    torch: F.avg_pool2d(x, kernel_size, stride, padding)
    """
    return _avg_pool2d(x, **_options("avg_pool2d", x, kernel_size, stride, padding))


def _options(name: str, x: Any, kernel_size: Pair, stride: Pair | None, padding: Pair) -> dict[str, Any]:
    *_, H, W = sizes(name, x=(x, "N C H W"))
    same_float(name, x=x)
    if min(H, W) < 1:
        raise argument_error(name, "x", "images of at least one pixel", describe(x))
    window = pair(name, "kernel_size", kernel_size, 1)
    stride = window if stride is None else pair(name, "stride", stride, 1)
    padding = pair(name, "padding", padding, 0)
    if any(2 * p > k for p, k in zip(padding, window, strict=True)):
        raise argument_error(name, "padding", f"at most half of kernel_size {window}", padding,
                             "a window would lie outside the image")
    if any(size + 2 * p < k for size, p, k in zip((H, W), padding, window, strict=True)):
        raise argument_error(name, "kernel_size", f"at most the image {(H, W)} with its padding {padding}", window)
    return {"window": window, "stride": stride, "padding": padding}


@op
def _max_pool2d(x: Array, *, window: tuple[int, int], **options: tuple[int, int]) -> tuple[Array, Gradients]:
    H, W = x.shape[2:]
    y, place = kernels.max_pool(np.ascontiguousarray(x), window, **options)
    return y, (lambda dy: kernels.max_pool_dx(np.ascontiguousarray(dy), place, H, W, window, **options),)


@op
def _avg_pool2d(x: Array, *, window: tuple[int, int], **options: tuple[int, int]) -> tuple[Array, Gradients]:
    H, W = x.shape[2:]
    y = kernels.avg_pool(np.ascontiguousarray(x), window, **options)
    return y, (lambda dy: kernels.avg_pool_dx(np.ascontiguousarray(dy), H, W, window, **options),)
