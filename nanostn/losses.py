"""Losses: one number to make small."""

from typing import Any

import numpy as np

from nanostn.activations import log_softmax
from nanostn.autograd import Gradients
from nanostn.checks import argument_error, as_numbers, checked_number, describe, is_float32, same_float, sizes
from nanostn.elementwise import where
from nanostn.kernels.gpu.arrays.numpy_functions import constant, device_of, is_device
from nanostn.kernels.gpu.arrays.totals import total
from nanostn.kernels.networks import losses as kernels
from nanostn.tensor import Array, Tensor, op


def cross_entropy(logits: Any, labels: Any, ignore_index: int | None = None, class_weights: Any = None,
                  label_smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
    """The mean negative log-likelihood of the labels under the softmax of the logits.

        loss[n] = log(sum over k of exp(logits[n, k])) - logits[n, labels[n]],    loss = mean over n of loss[n]

    logits (N, classes); labels (N,) integers from 0 to classes - 1. Raises ValueError for labels that are not.
    On a device labels are int64 and are not looked at: one that is no class makes the loss and its gradient NaN.

        ignore_index       samples with this label have loss 0 and do not count; where none counts, the mean is NaN and
                           the gradient 0
        class_weights      (classes,), constants w: loss[n] is multiplied by w[labels[n]], and the mean is the sum
                           divided by the sum of the w[labels[n]] that count
        label_smoothing    a part s, from 0 to 1, of each label goes to all classes alike:
                           (1 - s) loss[n] + s / classes times the sum over k of w[k] times the loss of label k
        reduction          "mean", "sum", or "none" for loss[n] itself, (N,)

    torch: F.cross_entropy(logits, labels, class_weights, ignore_index=..., reduction=..., label_smoothing=...), whose
    ignore_index is -100 unless it is given
    """
    labels = labels.data if isinstance(labels, Tensor) else labels
    there = is_device(logits.data if isinstance(logits, Tensor) else logits)
    if is_device(labels) != there:
        raise argument_error("cross_entropy", "labels", f"{'on the device' if there else 'a NumPy array'} like logits",
                             "a device array" if is_device(labels) else "a NumPy array", "Tensor.to() copies them")
    if not there:
        labels = as_numbers("cross_entropy", "labels", labels)
    N, classes = sizes("cross_entropy", logits=(logits, "N classes"), labels=(labels, "N"))
    same_float("cross_entropy", logits=logits)
    if labels.dtype != np.int64 if there else labels.dtype.kind not in "iu":
        raise argument_error("cross_entropy", "labels", "int64" if there else "integers", describe(labels),
                             "one class number per sample")
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise argument_error("cross_entropy", "reduction", "'mean', 'sum' or 'none'", describe(reduction))
    if N == 0 and reduction == "mean" or classes == 0:
        raise argument_error("cross_entropy", "logits", "at least one sample, of at least one class", describe(logits))
    counted = None
    if ignore_index is not None:
        if not isinstance(ignore_index, int | np.integer) or isinstance(ignore_index, bool):
            raise argument_error("cross_entropy", "ignore_index", "an integer or None", describe(ignore_index))
        if -(1 << 63) <= ignore_index < 1 << 63:  # others are no label
            labels = labels.astype(np.int64)
            counted = labels != int(ignore_index)
            labels = np.where(counted, labels, 0)
    if not there:
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            raise argument_error("cross_entropy", "labels",
                                 f"from 0 to {classes - 1}, as logits has {classes} classes", wrong[0])
    smoothing = checked_number("cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    weights = None if class_weights is None else _class_weights(class_weights, logits, classes)
    if counted is None and weights is None and smoothing == 0 and reduction == "mean":
        return _cross_entropy(logits, labels=labels)

    share = np.ones(N, logits.dtype, like=labels) if weights is None else _at_labels(weights, labels)
    losses = _cross_entropy_each(logits, labels=labels) * share
    if smoothing:
        likelihoods = log_softmax(logits, axis=1)
        spread = (likelihoods if weights is None else likelihoods * weights).sum(axis=1)
        losses = losses * (1 - smoothing) - spread * (smoothing / classes)
    if counted is not None:
        losses, share = where(counted, losses, 0), np.where(counted, share, share.dtype.type(0))
    if reduction == "none":
        return losses
    return losses.sum() / Tensor(share).sum() if reduction == "mean" else losses.sum()


def _class_weights(weights: Any, logits: Any, classes: int) -> Array:
    if isinstance(weights, Tensor):
        if weights.requires_grad:
            raise argument_error("cross_entropy", "class_weights", "constants", "a tensor that wants a gradient",
                                 "call .detach() first")
        weights = weights.data
    beside = logits.data if isinstance(logits, Tensor) else logits
    if isinstance(weights, list | tuple):
        weights = as_numbers("cross_entropy", "class_weights", weights)
        if weights.dtype.kind in "iuf":
            weights = constant(weights.astype(beside.dtype), like=beside)
    sizes("cross_entropy", logits=(logits, "N classes"), class_weights=(weights, "classes"))
    same_float("cross_entropy", logits=logits, class_weights=weights)
    if is_device(weights) != is_device(beside):
        raise argument_error("cross_entropy", "class_weights", f"on {device_of(beside)} like logits",
                             f"on {device_of(weights)}", "Tensor.to() copies them")
    if not is_device(weights) and not (np.isfinite(weights) & (weights >= 0)).all():
        raise argument_error("cross_entropy", "class_weights", "finite numbers of 0 or more", weights)
    return weights


def _at_labels(weights: Array, labels: Array) -> Array:
    """weights[labels] on either device; 0 for what is no class."""
    each = constant(np.arange(weights.size), like=labels) == labels[:, None]
    return np.where(each, weights, weights.dtype.type(0)).sum(axis=1)


@op
def _cross_entropy(logits: Array, *, labels: Array) -> tuple[Array, Gradients]:
    loss, slope = kernels.cross_entropy(logits, labels)
    return loss, (lambda dloss: kernels.cross_entropy_dx(slope, dloss),)


@op
def _cross_entropy_each(logits: Array, *, labels: Array) -> tuple[Array, Gradients]:
    losses, slope = kernels.cross_entropy_each(logits, labels)
    return losses, (lambda dlosses: slope * dlosses[:, None],)


def mse_loss(x: Any, target: Any) -> Tensor:
    """The mean squared difference, mean of (x - target)^2; both of one shape.   torch: F.mse_loss(x, target)"""
    same_float("mse_loss", x=x, target=target)
    if target is None or x.shape != target.shape or x.size == 0:
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
    if not is_float32(alpha) or alpha < 0:
        raise argument_error("triplet_hinge", "alpha", "a number of 0 or more", describe(alpha))
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
