"""What a tensor's operators compute: the arithmetic, as functions of arrays that know their gradients.

Such a function is all that there is to an operation. It takes arrays and returns its value and, for each input, how a
cotangent of the value flows back to it. These gradient functions are closures: they keep exactly the arrays that they
name. `op` in tensor.py makes an operation on tensors of one; layers, losses and the sampler, in files of their own, are
written in the same way.

The two sides of a sum or a product have one shape here. Broadcasting is an operation of its own, so that no other needs
to undo it.
"""

import numpy as np

from nanostn.arrays import Array, contiguous, total
from nanostn.autograd import Gradients
from nanostn.checks import argument_error, check_axis, checked_flag, describe, is_float32, same_float
from nanostn.kernels.products import matmul as products

Result = tuple[Array, Gradients]


def broadcast_to(x: Array, *, shape: tuple[int, ...]) -> Result:
    """Repeated along axes of size 1 and new leading axes, without a copy; dx is the sum over the copies."""
    lead = len(shape) - x.ndim
    stretched = tuple(lead + i for i, size in enumerate(x.shape) if size == 1 and shape[lead + i] != 1)
    before = x.shape
    return np.broadcast_to(x, shape), (lambda dy: total(dy, tuple(range(lead)) + stretched).reshape(before),)


def add(x: Array, y: Array) -> Result:
    """x + y   torch: torch.add"""
    return x + y, (lambda dz: dz, lambda dz: dz)


def subtract(x: Array, y: Array) -> Result:
    """x - y   torch: torch.sub"""
    return x - y, (lambda dz: dz, lambda dz: -dz)


def multiply(x: Array, y: Array) -> Result:
    """x y   torch: torch.mul"""
    return x * y, (lambda dz: dz * y, lambda dz: dz * x)


def divide(x: Array, y: Array) -> Result:
    """x / y   torch: torch.div"""
    return x / y, (lambda dz: dz / y, lambda dz: -dz * x / (y * y))


def negative(x: Array) -> Result:
    """-x   torch: torch.neg"""
    if x.dtype.kind not in "fi":
        raise argument_error("negative", "x", "signed numbers", describe(x))
    return -x, (lambda dy: -dy,)


def power(x: Array, *, exponent: float) -> Result:
    """x ** exponent for a constant exponent; d/dx = exponent x ** (exponent - 1).   torch: torch.pow"""
    same_float("power", x=x)
    if not is_float32(exponent):
        raise argument_error("power", "exponent", "one finite number, the same for all entries", describe(exponent),
                             "exp(y * log(x)) has a gradient to both")

    def dx(dy: Array) -> Array:
        if exponent == 0:
            return np.zeros_like(x)
        return dy * (x.dtype.type(exponent) * x ** x.dtype.type(exponent - 1))

    return x ** x.dtype.type(exponent), (dx,)


def matmul(x: Array, y: Array) -> Result:
    """x (..., M, K), y (..., K, N) -> (..., M, N), the leading axes the same."""
    return _product(x, y), (lambda dz: _product(dz, y.swapaxes(-1, -2)), lambda dz: _product(x.swapaxes(-1, -2), dz))


def _product(x: Array, y: Array) -> Array:
    """Two matrices are spread over the cores by our kernel; stacks of small ones go one by one."""
    return products.matmul(contiguous(x), contiguous(y)) if x.ndim == 2 else products.batched_matmul(x, y)


def sum(x: Array, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Result:
    """The sum over one axis, several or all.   torch: torch.sum(x, axis, keepdims)"""
    check_axis("sum", x.ndim, axis)
    checked_flag("sum", "keepdims", keepdims)
    shape = x.shape

    def dx(dy: Array) -> Array:
        return np.broadcast_to(dy if keepdims or axis is None else np.expand_dims(dy, axis), shape)

    return total(x, axis, keepdims), (dx,)
