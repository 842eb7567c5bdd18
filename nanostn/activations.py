"""Activations: the rectifier, the sigmoids, the softmax, and dropout."""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, checked_flag, describe, is_float32, same_float
from nanostn.kernels.networks import losses, rectifier
from nanostn.kernels.networks.dropout import dropout as drop
from nanostn.tensor import Array, Tensor, op


@op
def relu(x: Array) -> tuple[Array, Gradients]:
    """max(x, 0); the derivative at 0 is 0, and NaN stays NaN.   torch: F.relu(x)"""
    same_float("relu", x=x)
    y, positive = rectifier.relu(x)
    return y, (lambda dy: rectifier.relu_dx(dy, positive),)


@op
def tanh(x: Array) -> tuple[Array, Gradients]:
    """The hyperbolic tangent; dx = dy (1 - y^2).   torch: torch.tanh(x)"""
    same_float("tanh", x=x)
    y = np.tanh(x)
    return y, (lambda dy: dy * (1 - y * y),)


@op
def sigmoid(x: Array) -> tuple[Array, Gradients]:
    """1 / (1 + exp(-x)); dx = dy y (1 - y).   torch: torch.sigmoid(x)"""
    same_float("sigmoid", x=x)
    y = np.exp(-np.logaddexp(x.dtype.type(0), -x))  # neither overflows, nor loses what is small
    return y, (lambda dy: dy * (y * (1 - y)),)


@op
def softmax(x: Array, *, axis: int = -1) -> tuple[Array, Gradients]:
    """exp(x) / sum of exp(x) along `axis`; dx = y (dy - sum of y dy).   torch: F.softmax(x, dim=axis)"""
    _check_axis("softmax", x, axis)
    y = losses.softmax(x, axis)
    return y, (lambda dy: losses.softmax_dx(y, dy, axis),)


@op
def log_softmax(x: Array, *, axis: int = -1) -> tuple[Array, Gradients]:
    """x - log of the sum of exp(x) along `axis`; dx = dy - softmax(x) sum of dy.   torch: F.log_softmax(x, dim=axis)"""
    _check_axis("log_softmax", x, axis)
    y = losses.log_softmax(x, axis)
    return y, (lambda dy: losses.log_softmax_dx(y, dy, axis),)


def _check_axis(name: str, x: Array, axis: int) -> None:
    same_float(name, x=x)
    if not isinstance(axis, int | np.integer) or isinstance(axis, bool) or not -x.ndim <= axis < x.ndim:
        raise argument_error(name, "axis", f"an axis of x {x.shape}", describe(axis))


@op
def _dropout(x: Array, *, rate: float, generator: np.random.Generator) -> tuple[Array, Gradients]:
    key = generator.integers(1 << 64, dtype=np.uint64)
    return drop(x, rate, key), (lambda dy: drop(dy, rate, key),)


def dropout(x: Any, rate: float, generator: np.random.Generator, training: bool = True) -> Tensor:
    """In training, zero each entry with probability `rate` and divide the others by 1 - rate; else x itself.

    `generator` gives a key from which the entries follow, so a seed decides them, the same on either device.
    torch: F.dropout(x, rate, training)
    """
    if not is_float32(rate) or not 0 <= rate < 1:
        raise argument_error("dropout", "rate", "at least 0 and below 1", describe(rate))
    if not isinstance(generator, np.random.Generator):
        raise argument_error("dropout", "generator", "a numpy.random.Generator", describe(generator),
                             "np.random.default_rng(seed) makes one")
    checked_flag("dropout", "training", training)
    x = x if isinstance(x, Tensor) else Tensor(x)
    same_float("dropout", x=x)
    return _dropout(x, rate=rate, generator=generator) if training and rate else x
