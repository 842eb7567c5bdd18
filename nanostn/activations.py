"""Activations: the rectifier, the sigmoids, the softmax, and dropout."""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, same_float
from nanostn.kernels import elementwise
from nanostn.tensor import Array, Tensor, op


@op
def relu(x: Array) -> tuple[Array, Gradients]:
    """max(x, 0); the derivative at 0 is 0, and NaN stays NaN.   torch: F.relu(x)"""
    same_float("relu", x=x)
    y, positive = elementwise.relu(np.asarray(x, order="C"))
    return y, (lambda dy: elementwise.relu_dx(np.asarray(dy, order="C"), positive),)


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
    y = _exponentials("softmax", x, axis)
    y /= y.sum(axis=axis, keepdims=True)
    return y, (lambda dy: y * (dy - (y * dy).sum(axis=axis, keepdims=True)),)


@op
def log_softmax(x: Array, *, axis: int = -1) -> tuple[Array, Gradients]:
    """x - log of the sum of exp(x) along `axis`; dx = dy - softmax(x) sum of dy.   torch: F.log_softmax(x, dim=axis)"""
    total = _exponentials("log_softmax", x, axis).sum(axis=axis, keepdims=True)
    y = x - x.max(axis=axis, keepdims=True) - np.log(total)
    return y, (lambda dy: dy - np.exp(y) * dy.sum(axis=axis, keepdims=True),)


def _exponentials(name: str, x: Array, axis: int) -> Array:
    """exp(x - max x): the shift cancels in the quotient and keeps exp from overflowing."""
    same_float(name, x=x)
    if not -x.ndim <= axis < x.ndim:
        raise argument_error(name, "axis", f"an axis of x {x.shape}", axis)
    return np.exp(x - x.max(axis=axis, keepdims=True))


@op
def _dropout(x: Array, *, rate: float, generator: np.random.Generator) -> tuple[Array, Gradients]:
    kept = generator.random(x.shape, dtype=np.float32) >= rate
    scale = x.dtype.type(1 / (1 - rate))
    return x * kept * scale, (lambda dy: dy * kept * scale,)


def dropout(x: Any, rate: float, generator: np.random.Generator, training: bool = True) -> Tensor:
    """In training, zero each entry with probability `rate` and divide the others by 1 - rate; else x itself.

    The entries are drawn from `generator`, so a seed decides them.   torch: F.dropout(x, rate, training)
    """
    if not 0 <= rate < 1:
        raise argument_error("dropout", "rate", "at least 0 and below 1", rate)
    x = x if isinstance(x, Tensor) else Tensor(x)
    same_float("dropout", x=x)
    return _dropout(x, rate=rate, generator=generator) if training and rate else x
