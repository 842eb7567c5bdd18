"""Max and average pooling of images and volumes.

A window of a volume is pooled over (H, W) slice by slice, and then over D. For the mean that is clear; of equal maxima
the first in the order (d, h, w) stays, since it is the first of the first slice that has one.

NaN counts as larger than every number, infinity too, and as equal to NaN: a window that holds any is NaN, and the first
of them takes its gradient (PyTorch gives it to the last). So on both devices.
"""

import functools
from typing import Any

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, checked_flag, describe, same_float, sizes
from nanostn.convolution import AXES, WORDS, PerAxis, per_axis
from nanostn.kernels.gpu.arrays.numpy_functions import contiguous
from nanostn.kernels.networks import pooling as kernels
from nanostn.tensor import Array, Tensor, op


def max_pool2d(x: Any, kernel_size: PerAxis, stride: PerAxis | None = None, padding: PerAxis = 0,
               ceil_mode: bool = False) -> Tensor:
    """The largest entry of each window, NaN if it has one; the first of several equal ones takes the gradient.

        y[n, c, p, q] = max over i, j of x[n, c, p stride + i - padding, q stride + j - padding]

    x (N, C, H, W) -> (N, C, H', W'), H' = (H + 2 padding - kernel_size) // stride + 1; `stride` is `kernel_size` where
    it is not given; padding never wins. Sizes are numbers or pairs (vertical, horizontal). With `ceil_mode` H' is
    rounded up: a last window reaches beyond the image, unless it has nothing of it.
    torch: F.max_pool2d(x, kernel_size, stride, padding, ceil_mode=ceil_mode)
    """
    options = _options("max_pool2d", 2, x, kernel_size, stride, padding)
    return _max_pool2d(x, **options, ceil_mode=checked_flag("max_pool2d", "ceil_mode", ceil_mode))


def max_pool3d(x: Any, kernel_size: PerAxis, stride: PerAxis | None = None, padding: PerAxis = 0,
               ceil_mode: bool = False) -> Tensor:
    """The largest entry of each window, NaN if it has one; the first of several equal ones takes the gradient.

        y[n, c, o, p, q] = max over i, j, k of
                           x[n, c, o stride + i - padding, p stride + j - padding, q stride + k - padding]

    x (N, C, D, H, W) -> (N, C, D', H', W'), sizes and options as in `max_pool2d`, with triples (depth, vertical,
    horizontal).   torch: F.max_pool3d(x, kernel_size, stride, padding, ceil_mode=ceil_mode)
    """
    pool = functools.partial(_max_pool2d, ceil_mode=checked_flag("max_pool3d", "ceil_mode", ceil_mode))
    return _slices_then_depth(pool, x, **_options("max_pool3d", 3, x, kernel_size, stride, padding))


def avg_pool2d(x: Any, kernel_size: PerAxis, stride: PerAxis | None = None, padding: PerAxis = 0) -> Tensor:
    """The mean of each window, where padding counts as zeros; shapes and options as in `max_pool2d`.

    torch: F.avg_pool2d(x, kernel_size, stride, padding)
    """
    return _avg_pool2d(x, **_options("avg_pool2d", 2, x, kernel_size, stride, padding))


def avg_pool3d(x: Any, kernel_size: PerAxis, stride: PerAxis | None = None, padding: PerAxis = 0) -> Tensor:
    """The mean of each window, where padding counts as zeros; shapes and options as in `max_pool3d`.

    torch: F.avg_pool3d(x, kernel_size, stride, padding)
    """
    return _slices_then_depth(_avg_pool2d, x, **_options("avg_pool3d", 3, x, kernel_size, stride, padding))


def _options(name: str, axes: int, x: Any, kernel_size: PerAxis, stride: PerAxis | None,
             padding: PerAxis) -> dict[str, tuple[int, ...]]:
    _, _, *found = sizes(name, x=(x, " ".join(("N", "C", *AXES[axes]))))
    size, thing = tuple(found), WORDS[axes][1]
    same_float(name, x=x)
    if min(size) < 1:
        raise argument_error(name, "x", f"{thing}s of at least one pixel", describe(x))
    window = per_axis(name, "kernel_size", kernel_size, 1, axes)
    stride = window if stride is None else per_axis(name, "stride", stride, 1, axes)
    padding = per_axis(name, "padding", padding, 0, axes)
    if any(2 * p > k for p, k in zip(padding, window, strict=True)):
        raise argument_error(name, "padding", f"at most half of kernel_size {window}", padding,
                             f"a window would lie outside the {thing}")
    if any(n + 2 * p < k for n, p, k in zip(size, padding, window, strict=True)):
        raise argument_error(name, "kernel_size", f"at most the {thing} {size} with its padding {padding}", window)
    return {"window": window, "stride": stride, "padding": padding}


def _slices_then_depth(pool: Any, x: Any, window: tuple[int, ...], stride: tuple[int, ...],
                       padding: tuple[int, ...]) -> Tensor:
    """Pooling of volumes by `pool` for images: slices (N, C D, H, W) first, columns (N, C, D, H' W') second."""
    N, C, D, H, W = x.shape
    slices = pool(x.reshape(N, C * D, H, W), window=window[1:], stride=stride[1:], padding=padding[1:])
    H_out, W_out = slices.shape[2:]
    columns = pool(slices.reshape(N, C, D, H_out * W_out), window=(window[0], 1), stride=(stride[0], 1),
                   padding=(padding[0], 0))
    return columns.reshape(N, C, columns.shape[2], H_out, W_out)


@op
def _max_pool2d(x: Array, *, window: tuple[int, int], ceil_mode: bool,
                **options: tuple[int, int]) -> tuple[Array, Gradients]:
    H, W = x.shape[2:]
    y, place = kernels.max_pool(contiguous(x), window, **options, ceil_mode=ceil_mode)
    return y, (lambda dy: kernels.max_pool_dx(contiguous(dy), place, H, W, window, **options),)


@op
def _avg_pool2d(x: Array, *, window: tuple[int, int], **options: tuple[int, int]) -> tuple[Array, Gradients]:
    H, W = x.shape[2:]
    y = kernels.avg_pool(contiguous(x), window, **options)
    return y, (lambda dy: kernels.avg_pool_dx(contiguous(dy), H, W, window, **options),)
