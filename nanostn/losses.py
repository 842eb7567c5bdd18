"""Losses: one number to make small."""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, describe, same_float, sizes
from nanostn.kernels import losses as kernels
from nanostn.kernels.device_array import is_device
from nanostn.kernels.totals import total
from nanostn.tensor import Array, Tensor, op


def cross_entropy(logits: Any, labels: Any) -> Tensor:
    """The mean negative log-likelihood of the labels under the softmax of the logits.

        loss = mean over n of  log(sum over k of exp(logits[n, k])) - logits[n, labels[n]]

    logits (N, classes); labels (N,) integers from 0 to classes - 1. Raises ValueError for labels that are not.
    On a device labels are int64 and are not looked at: one that is no class makes the loss and its gradient NaN.
    torch: F.cross_entropy(logits, labels)
    """
    labels = labels.data if isinstance(labels, Tensor) else labels
    there = is_device(logits.data if isinstance(logits, Tensor) else logits)
    if is_device(labels) != there:
        raise argument_error("cross_entropy", "labels", f"{'on the device' if there else 'a NumPy array'} like logits",
                             "a device array" if is_device(labels) else "a NumPy array", "Tensor.to() copies them")
    if not there:
        labels = np.asarray(labels)
    N, classes = sizes("cross_entropy", logits=(logits, "N classes"), labels=(labels, "N"))
    same_float("cross_entropy", logits=logits)
    if labels.dtype != np.int64 if there else labels.dtype.kind not in "iu":
        raise argument_error("cross_entropy", "labels", "int64" if there else "integers", describe(labels),
                             "one class number per sample")
    if N == 0:
        raise argument_error("cross_entropy", "logits", "at least one sample", describe(logits))
    if not there:
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            raise argument_error("cross_entropy", "labels",
                                 f"from 0 to {classes - 1}, as logits has {classes} classes", wrong[0])
    return _cross_entropy(logits, labels=labels)


@op
def _cross_entropy(logits: Array, *, labels: Array) -> tuple[Array, Gradients]:
    loss, slope = kernels.cross_entropy(logits, labels)
    return loss, (lambda dloss: kernels.cross_entropy_dx(slope, dloss),)


def mse_loss(x: Any, target: Any) -> Tensor:
    """The mean squared difference, mean of (x - target)^2; both of one shape.   torch: F.mse_loss(x, target)"""
    same_float("mse_loss", x=x, target=target)
    if x.shape != target.shape or x.size == 0:
        raise argument_error("mse_loss", "target", f"{tuple(x.shape)} like x, and not empty", describe(target))
    return _mse_loss(x, target)


@op
def _mse_loss(x: Array, target: Array) -> tuple[Array, Gradients]:
    difference = x - target
    scale = x.dtype.type(2 / x.size)
    return np.mean(difference * difference), (lambda dloss: dloss * scale * difference,
                                              lambda dloss: -dloss * scale * difference)


def triplet_hinge(anchor: Any, positive: Any, negative: Any, alpha: float = 1.0) -> Tensor:
    """The co-localisation loss: an embedding should be nearer to one of its own kind than to a random crop's.

        loss = sum over n of max(0, |anchor - positive|^2 - |anchor - negative|^2 + alpha)          (paper, A.2)

    Embeddings (N, features). The derivative where the hinge is exactly 0 is 0.
    torch: relu(((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + alpha).sum()
    """
    sizes("triplet_hinge", anchor=(anchor, "N features"), positive=(positive, "N features"),
          negative=(negative, "N features"))
    same_float("triplet_hinge", anchor=anchor, positive=positive, negative=negative)
    return _triplet_hinge(anchor, positive, negative, alpha=alpha)


@op
def _triplet_hinge(anchor: Array, positive: Array, negative: Array, *, alpha: float) -> tuple[Array, Gradients]:
    to_positive, to_negative = anchor - positive, anchor - negative
    hinge = total(to_positive**2, 1) - total(to_negative**2, 1) + anchor.dtype.type(alpha)
    twice = 2 * (hinge > 0).astype(anchor.dtype)[:, None]

    def gradients(dloss, wanted):
        scale = dloss * twice
        return scale * (to_positive - to_negative), -scale * to_positive, scale * to_negative

    return np.maximum(hinge, 0).sum(), gradients
