"""Element by element: the rectifier. NumPy does small arrays and what is used on small arrays only."""

import numpy as np

from ..compiling.parallel import Kernel
from ..gpu.arrays.device_array import empty, is_device
from ..gpu.arrays.numpy_functions import contiguous
from ..gpu.launch import cuda, cuda_kernel, over

SMALL = 1 << 15  # entries up to which starting the threads costs more than they save


def relu(x):
    """max(x, 0), NaN for NaN, and where x was positive (or NaN), one byte each: all that the gradient needs."""
    new = empty if is_device(x) else np.empty
    y, positive = new(x.shape, x.dtype), new(x.shape, np.bool_)
    if is_device(x):
        _relu_device[x.dtype.type](*over(x.size), contiguous(x), y, positive, x.size)
    elif x.size <= SMALL:
        np.maximum(x, 0, out=y)
        np.not_equal(y, 0, out=positive)
    else:
        _relu(x.size, 2 * x.size, x.reshape(-1), y.reshape(-1), positive.reshape(-1))
    return y, positive


def relu_dx(dy, positive):
    """dy where x was positive, 0 elsewhere."""
    dx = (empty if is_device(dy) else np.empty)(dy.shape, dy.dtype)
    if is_device(dy):
        _relu_dx_device[dy.dtype.type](*over(dy.size), contiguous(dy), positive, dx, dy.size)
    elif dy.size <= SMALL:
        dx[...] = 0
        np.copyto(dx, dy, where=positive)
    else:
        _relu_dx(dy.size, 2 * dy.size, dy.reshape(-1), positive.reshape(-1), dx.reshape(-1))
    return dx


def _relu_items(first, last, x, y, positive):
    zero = x.dtype.type(0)
    for item in range(first, last):
        i = np.uint64(item)
        rectified = zero if x[i] <= zero else x[i]
        y[i] = rectified
        positive[i] = rectified != zero


def _relu_dx_items(first, last, dy, positive, dx):
    zero = dy.dtype.type(0)
    for item in range(first, last):
        i = np.uint64(item)
        dx[i] = dy[i] if positive[i] else zero


_relu = Kernel(_relu_items)
_relu_dx = Kernel(_relu_dx_items)


@cuda_kernel("T* T* bool* int")
def _relu_device(T):
    def relu(x, y, positive, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rectified = T(0) if x[i] <= T(0) else x[i]
            y[i] = rectified
            positive[i] = rectified != T(0)
    return relu


@cuda_kernel("T* bool* T* int")
def _relu_dx_device(T):
    def relu_dx(dy, positive, dx, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            dx[i] = dy[i] if positive[i] else T(0)
    return relu_dx
