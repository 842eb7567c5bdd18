"""Convolution of images, in the sense of neural networks: cross-correlation with a bank of filters."""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, same_float, sizes
from nanostn.kernels import convolution as kernels
from nanostn.tensor import Array, Tensor, op

Pair = int | tuple[int, int]


def pair(name: str, argument: str, value: Pair, least: int) -> tuple[int, int]:
    """An option that is a number or a pair (vertical, horizontal), as a pair of integers from `least` on."""
    both = (value, value) if not isinstance(value, tuple | list) else tuple(value)
    if len(both) != 2 or not all(isinstance(v, int | np.integer) and v >= least for v in both):
        kind = "a positive integer" if least == 1 else "an integer, 0 or more,"
        raise argument_error(name, argument, f"{kind} or a pair of them", repr(value))
    return int(both[0]), int(both[1])


def conv2d(x: Any, weight: Any, bias: Any = None, stride: Pair = 1, padding: Pair = 0) -> Tensor:
    """Every filter's weighted sum over each window of the image, with zeros outside.

        y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] x[n, c, h, w],
        h = p stride + i - padding,  w = q stride + j - padding

    x (N, C, H, W), weight (F, C, kH, kW), bias (F,) or None -> (N, F, H', W'), H' = (H + 2 padding - kH) // stride + 1.
    `stride` and `padding` are numbers or pairs (vertical, horizontal). Raises ValueError for shapes that do not fit.
    torch: F.conv2d(x, weight, bias, stride, padding)
    """
    arguments: dict[str, Any] = {"x": (x, "N C H W"), "weight": (weight, "F C kH kW")}
    if bias is not None:
        arguments["bias"] = (bias, "F")
    _, _, H, W, _, kH, kW = sizes("conv2d", **arguments)
    same_float("conv2d", x=x, weight=weight, bias=bias)
    stride, padding = pair("conv2d", "stride", stride, 1), pair("conv2d", "padding", padding, 0)
    if min(kH, kW) < 1 or H + 2 * padding[0] < kH or W + 2 * padding[1] < kW:
        raise argument_error("conv2d", "weight", f"with windows of at most the image {(H, W)} with padding {padding}",
                             f"windows {(kH, kW)}")
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return _conv2d(*inputs, stride=stride, padding=padding)


@op
def _conv2d(x: Array, weight: Array, bias: Array | None = None, *, stride: tuple[int, int],
            padding: tuple[int, int]) -> tuple[Array, Gradients]:
    x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
    has_bias = bias is not None
    y = kernels.convolve(x, weight, bias if has_bias else np.zeros(len(weight), x.dtype), stride, padding)

    def gradients(dy, wanted):
        dy = np.ascontiguousarray(dy)
        dx = kernels.convolve_dx(dy, weight, x.shape[2:], stride, padding) if wanted[0] else None
        dweight = dbias = None
        if any(wanted[1:]):
            dweight, dbias = kernels.convolve_dweight(x, dy, weight.shape[2:], stride, padding)
        return (dx, dweight, dbias) if has_bias else (dx, dweight)

    return y, gradients
