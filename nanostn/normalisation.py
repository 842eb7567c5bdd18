"""Batch normalisation (Ioffe and Szegedy 2015)."""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, describe, same_float, sizes
from nanostn.tensor import Array, Tensor, op


def batch_norm(x: Any, gamma: Any, beta: Any, running_mean: Array, running_var: Array, training: bool,
               momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Give every channel mean beta and standard deviation gamma.

        y = gamma (x - mean) / sqrt(var + eps) + beta        x (N, C) or (N, C, H, W), the others (C,)

    In training, mean and (biased) variance are the batch's, and the running ones move in place by `momentum`
    towards the batch's mean and unbiased variance; otherwise they are the running ones.
    torch: F.batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)
    """
    if getattr(x, "ndim", 0) not in (2, 4):
        raise argument_error("batch_norm", "x", "(N, C) or (N, C, H, W)", describe(x))
    per_channel = {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    patterns: dict[str, Any] = {name: (value, "C") for name, value in per_channel.items()}
    sizes("batch_norm", x=(x, "N C" if x.ndim == 2 else "N C H W"), **patterns)
    same_float("batch_norm", x=x, **per_channel)
    if isinstance(running_mean, Tensor) or isinstance(running_var, Tensor):
        raise argument_error("batch_norm", "running_mean and running_var", "arrays", "tensors",
                             "they move in place; hand over their .data")
    if not training:
        return _normalise(x, gamma, beta, mean=running_mean, var=running_var, eps=eps)
    count = x.size // x.shape[1] if x.shape[1] else 0
    if count < 2:
        raise argument_error("batch_norm", "x", "more than one value per channel in training", describe(x),
                             "their variance is not known")
    data = x.data if isinstance(x, Tensor) else x
    axes = (0, 2, 3)[:x.ndim - 1]
    mean, var = data.mean(axis=axes), data.var(axis=axes)
    T = data.dtype.type
    running_mean += T(momentum) * (mean - running_mean)
    running_var += T(momentum) * (var * T(count / (count - 1)) - running_var)
    return _normalise(x, gamma, beta, mean=mean, var=var, eps=eps, batch=True)


@op
def _normalise(x: Array, gamma: Array, beta: Array, *, mean: Array, var: Array, eps: float,
               batch: bool = False) -> tuple[Array, Gradients]:
    axes, shape = (0, 2, 3)[:x.ndim - 1], (-1, 1, 1)[:x.ndim - 1]
    scale = 1 / np.sqrt(var + var.dtype.type(eps))
    mean, scale = mean.reshape(shape), scale.reshape(shape)
    T = x.dtype.type

    def gradients(dy, wanted):
        centred = (x - mean) * scale
        dbeta, dgamma = dy.sum(axis=axes), (dy * centred).sum(axis=axes)
        dx = None
        if wanted[0]:
            dx = dy
            if batch:  # mean and variance move with x
                share = T(x.shape[1] / x.size)
                dx = dy - share * dbeta.reshape(shape) - centred * (share * dgamma).reshape(shape)
            dx = dx * (gamma.reshape(shape) * scale)
        return dx, dgamma, dbeta

    return (x - mean) * (scale * gamma.reshape(shape)) + beta.reshape(shape), gradients
