"""Batch normalisation (Ioffe and Szegedy 2015)."""

from typing import Any

from nanostn import overwrites
from nanostn.autograd import Gradients
from nanostn.checks import LARGEST, argument_error, checked_flag, checked_number, describe, same_float, sizes
from nanostn.kernels.gpu.arrays.numpy_functions import contiguous, device_of
from nanostn.kernels.networks import normalisation as kernels
from nanostn.tensor import Array, Tensor, op

_AXES = {2: "N C", 3: "N C L", 4: "N C H W", 5: "N C D H W"}


def batch_norm(x: Any, gamma: Any, beta: Any, running_mean: Array, running_var: Array, training: bool,
               momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Give every channel mean beta and standard deviation gamma.

        y = gamma (x - mean) / sqrt(var + eps) + beta

    x is (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), the others (C,). In training, mean and (biased) variance
    are the batch's, and the running ones move in place by `momentum` towards the batch's mean and unbiased variance;
    otherwise they are the running ones.
    torch: F.batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)
    """
    if getattr(x, "ndim", 0) not in _AXES:
        raise argument_error("batch_norm", "x", "(N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W)", describe(x))
    per_channel = {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    patterns: dict[str, Any] = {name: (value, "C") for name, value in per_channel.items()}
    sizes("batch_norm", x=(x, _AXES[x.ndim]), **patterns)
    same_float("batch_norm", x=x, **per_channel)
    if isinstance(running_mean, Tensor) or isinstance(running_var, Tensor):
        raise argument_error("batch_norm", "running_mean and running_var", "arrays", "tensors",
                             "they move in place; hand over their .data")
    running = running_mean, running_var
    device = device_of(x.data if isinstance(x, Tensor) else x)
    if any(device_of(array) != device for array in running):
        raise argument_error("batch_norm", "running_mean and running_var", f"on {device} like x",
                             " and ".join(map(device_of, running)), "Module.to(device) moves a layer's")
    checked_number("batch_norm", "eps", eps, 0, LARGEST), checked_number("batch_norm", "momentum", momentum, 0, 1)
    if not checked_flag("batch_norm", "training", training):
        return _batch_norm(x, gamma, beta, running=running, momentum=None, eps=eps)
    count = x.size // x.shape[1] if x.shape[1] else 0
    if count < 2:
        raise argument_error("batch_norm", "x", "more than one value per channel in training", describe(x),
                             "their variance is not known")
    return _batch_norm(x, gamma, beta, running=running, momentum=momentum, eps=eps)


@op
def _batch_norm(x: Array, gamma: Array, beta: Array, *, running: tuple[Array, Array], momentum: float | None,
                eps: float) -> tuple[Array, Gradients]:
    x = contiguous(x)
    if momentum is None:
        mean, scale = kernels.running_statistics(*running, eps)
    else:
        mean, scale = kernels.batch_statistics(x, *running, momentum, eps)
        for name, array in zip(("running_mean", "running_var"), running, strict=True):
            overwrites.note(array, "batch_norm in training", name)

    def gradients(dy, wanted):
        return kernels.normalise_dx(x, contiguous(dy), mean, scale, gamma, momentum is not None, wanted[0])

    return kernels.normalise(x, mean, scale, gamma, beta), gradients
