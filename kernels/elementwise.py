"""Element by element: the rectifier. NumPy does small arrays and what is used on small arrays only."""

import numba as nb
import numpy as np

SMALL = 1 << 15  # entries up to which starting the threads costs more than they save


def relu(x):
    """max(x, 0), NaN for NaN, and where x was positive (or NaN), one byte each: all that the gradient needs."""
    y, positive = np.empty(x.shape, x.dtype), np.empty(x.shape, np.bool_)
    if x.size <= SMALL:
        np.maximum(x, 0, out=y)
        np.not_equal(y, 0, out=positive)
    else:
        _relu(x.reshape(-1), y.reshape(-1), positive.reshape(-1))
    return y, positive


def relu_dx(dy, positive):
    """dy where x was positive, 0 elsewhere."""
    dx = np.empty(dy.shape, dy.dtype)
    if dy.size <= SMALL:
        dx[...] = 0
        np.copyto(dx, dy, where=positive)
    else:
        _relu_dx(dy.reshape(-1), positive.reshape(-1), dx.reshape(-1))
    return dx


@nb.njit(cache=True, nogil=True, parallel=True)
def _relu(x, y, positive):
    zero = x.dtype.type(0)
    for i in nb.prange(x.size):
        rectified = zero if x[i] <= zero else x[i]
        y[i] = rectified
        positive[i] = rectified != zero


@nb.njit(cache=True, nogil=True, parallel=True)
def _relu_dx(dy, positive, dx):
    zero = dy.dtype.type(0)
    for i in nb.prange(dy.size):
        dx[i] = dy[i] if positive[i] else zero
