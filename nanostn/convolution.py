"""Convolution of images and volumes, in the sense of neural networks: cross-correlation with a bank of filters."""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import LARGE, argument_error, describe, same_float, sizes
from nanostn.kernels import convolution
from nanostn.kernels.gpu.arrays.numpy_functions import contiguous
from nanostn.tensor import Array, Tensor, op

PerAxis = int | tuple[int, ...]

AXES = {2: ("H", "W"), 3: ("D", "H", "W")}
WORDS = {2: ("pair", "image"), 3: ("triple", "volume")}  # what messages call a number per axis, and the thing itself
METHODS = ("auto", "direct", "spectra")


def per_axis(name: str, argument: str, value: PerAxis, least: int, axes: int) -> tuple[int, ...]:
    """An option that is one number or one for each axis, (depth,) vertical, horizontal, as integers from `least` on."""
    each = (value,) * axes if not isinstance(value, tuple | list) else tuple(value)
    if len(each) != axes or not all(
            isinstance(v, int | np.integer) and not isinstance(v, bool) and least <= v < LARGE for v in each):
        kind = "a positive integer" if least == 1 else "an integer, 0 or more,"
        raise argument_error(name, argument, f"{kind} or a {WORDS[axes][0]} of them", describe(value))
    return tuple(map(int, each))


def checked_method(name: str, method: Any) -> str:
    if not isinstance(method, str) or method not in METHODS:
        raise argument_error(name, "method", "'auto', 'direct' or 'spectra'", describe(method))
    return method


def conv2d(x: Any, weight: Any, bias: Any = None, stride: PerAxis = 1, padding: PerAxis = 0,
           method: str = "auto") -> Tensor:
    """Every filter's weighted sum over each window of the image, with zeros outside.

        y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] x[n, c, h, w],
        h = p stride + i - padding,  w = q stride + j - padding

    x (N, C, H, W), weight (F, C, kH, kW), bias (F,) or None -> (N, F, H', W'), H' = (H + 2 padding - kH) // stride + 1.
    `stride` and `padding` are numbers or pairs (vertical, horizontal). Raises ValueError for shapes that do not fit.

    On the CPU there are two ways, and `method` "auto" takes the one that has fewer multiplications for these shapes:

        "direct"   the sums as they stand
        "spectra"  for a stride of 1: one product per frequency of tiles of up to 20 x 20 pixels. Of large windows and
                   many channels several times as quick. Its rounding errors follow the largest pixel of a tile, exact
                   zeros become rounding errors too, and a pixel that is NaN or infinite makes its whole tile NaN.

    NANOSTN_SPECTRA=0 in the environment makes "auto" the direct way always.
    torch: F.conv2d(x, weight, bias, stride, padding)
    """
    return _checked("conv2d", 2, x, weight, bias, stride, padding, method)


def conv3d(x: Any, weight: Any, bias: Any = None, stride: PerAxis = 1, padding: PerAxis = 0,
           method: str = "auto") -> Tensor:
    """Every filter's weighted sum over each window of the volume, with zeros outside.

        y[n, f, o, p, q] = bias[f] + sum over c, i, j, k of  weight[f, c, i, j, k] x[n, c, d, h, w],
        d = o stride + i - padding,  h = p stride + j - padding,  w = q stride + k - padding

    x (N, C, D, H, W), weight (F, C, kD, kH, kW), bias (F,) or None -> (N, F, D', H', W'), sizes as in `conv2d`.
    `stride` and `padding` are numbers or triples (depth, vertical, horizontal), `method` is as for `conv2d` (depth is
    summed directly either way). Raises ValueError for shapes that do not fit.
    torch: F.conv3d(x, weight, bias, stride, padding)
    """
    return _checked("conv3d", 3, x, weight, bias, stride, padding, method)


def _checked(name: str, axes: int, x: Any, weight: Any, bias: Any, stride: PerAxis, padding: PerAxis,
             method: str) -> Tensor:
    space = AXES[axes]
    arguments: dict[str, Any] = {"x": (x, " ".join(("N", "C", *space))),
                                 "weight": (weight, " ".join(("F", "C", *(f"k{axis}" for axis in space))))}
    if bias is not None:
        arguments["bias"] = (bias, "F")
    found = sizes(name, **arguments)
    size, window = tuple(found[2:2 + axes]), tuple(found[3 + axes:])
    same_float(name, x=x, weight=weight, bias=bias)
    if len(weight) < 1:
        raise argument_error(name, "weight", "at least one filter", describe(weight))
    stride, padding = per_axis(name, "stride", stride, 1, axes), per_axis(name, "padding", padding, 0, axes)
    if min(window) < 1 or any(n + 2 * p < k for n, p, k in zip(size, padding, window, strict=True)):
        raise argument_error(name, "weight", f"with windows of at most the {WORDS[axes][1]} {size} with padding "
                             f"{padding}", f"windows {window}")
    if checked_method(name, method) == "spectra" and max(stride) > 1:
        raise argument_error(name, "method", f"'auto' or 'direct' for a stride of {stride}", describe(method))
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return _convolve(*inputs, stride=stride, padding=padding, method=method)


@op
def _convolve(x: Array, weight: Array, bias: Array | None = None, *, stride: tuple[int, ...],
              padding: tuple[int, ...], method: str) -> tuple[Array, Gradients]:
    y, back = convolution.convolve(contiguous(x), contiguous(weight), bias, stride, padding, method)

    def gradients(dy, wanted):
        return back(contiguous(dy), wanted[0], any(wanted[1:]))[:len(wanted)]

    return y, gradients
