"""The fully connected layer as an operation."""

from typing import Any

from nanostn.autograd import Gradients
from nanostn.checks import same_float, sizes
from nanostn.kernels.gpu.arrays.numpy_functions import contiguous
from nanostn.kernels.gpu.arrays.totals import total
from nanostn.kernels.products.matmul import matmul
from nanostn.tensor import Array, Tensor, op


def dense(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """Every output is a weighted sum of all inputs.

        y = x W^T + b        x (N, inputs), weight (outputs, inputs), bias (outputs,) or None -> y (N, outputs)

    Raises ValueError for other shapes or unequal dtypes.   torch: F.linear(x, weight, bias)
    """
    arguments = {"x": (x, "N inputs"), "weight": (weight, "outputs inputs")}
    if bias is not None:
        arguments["bias"] = (bias, "outputs")
    sizes("dense", hint="nn.Flatten() makes an image batch (N, inputs)", **arguments)
    same_float("dense", x=x, weight=weight, bias=bias)
    return _dense(x, weight) if bias is None else _dense(x, weight, bias)


@op
def _dense(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Gradients]:
    x, weight = contiguous(x), contiguous(weight)
    y = matmul(x, weight, transpose_b=True, bias=bias)

    def dx(dy):
        return matmul(contiguous(dy), weight)

    def dweight(dy):
        return matmul(contiguous(dy), x, transpose_a=True)

    def dbias(dy):
        return total(dy, 0)

    return y, (dx, dweight) if bias is None else (dx, dweight, dbias)
