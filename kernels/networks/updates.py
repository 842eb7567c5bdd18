"""The updates of the optimisers, in place, in one pass over a parameter; on a GPU over eight of them in one launch.

p: parameter, g: its gradient; all arrays of one shape and dtype, C-contiguous. Options are Python numbers.
"""

import itertools
import math

import numba as nb
import numpy as np

from ..compiling.parallel import Kernel
from ..gpu.arrays.device_array import is_device, to_device
from ..gpu.arrays.numpy_functions import contiguous
from ..gpu.launch import TOGETHER, cuda, cuda_kernel, over


def sgd(arrays, learning_rate, momentum, weight_decay, nesterov):
    """For each (p, g, velocity) of a list:

    v <- momentum v + g + weight_decay p;  p <- p - learning_rate v  (nesterov: g + weight_decay p + momentum v).
    """
    options = float(learning_rate), float(momentum), float(weight_decay), bool(nesterov)
    _step(_sgd, _sgd_device, arrays, options)


def adam(arrays, step, learning_rate, beta1, beta2, eps, weight_decay, decoupled):
    """For each (p, g, m, v) of a list:

    m, v <- moving means of g and g^2 (g with weight_decay p);  p <- p - learning_rate m^ / (sqrt(v^) + eps).

    Step 1 is the first: m^ = m / (1 - beta1^step), v^ = v / (1 - beta2^step). Kingma and Ba 2015, algorithm 1. A
    `decoupled` decay is not in g, but makes (1 - learning_rate weight_decay) p of p before the step (AdamW).
    """
    decay, kept = (0.0, 1 - learning_rate * weight_decay) if decoupled else (float(weight_decay), 1.0)
    options = (learning_rate / (1 - beta1**step), float(beta1), float(beta2), 1 / math.sqrt(1 - beta2**step),
               float(eps), decay, kept)
    _step(_adam, _adam_device, arrays, options)


def zeros_like(p):
    """What is remembered of a parameter before the first step."""
    return to_device(np.zeros(p.shape, p.dtype)) if is_device(p) else np.zeros_like(p)


def copy_like(saved, array):
    """A copy of what was saved, of either device, in the dtype of `array` and where it is."""
    saved = np.array(saved.numpy() if is_device(saved) else saved, array.dtype, order="C")
    return to_device(saved) if is_device(array) else saved


def _step(on_cores, on_device, arrays, options):
    """On a GPU eight parameters of one dtype at a time; where fewer are left the last again, but no block is on it."""
    for entry in arrays:
        if not is_device(entry[0]):
            on_cores(entry[0].size, len(entry) * entry[0].size, *(array.reshape(-1) for array in entry), *options)
    for dtype in (np.float32, np.float64):
        entries = [entry for entry in arrays if is_device(entry[0]) and entry[0].dtype == dtype]
        for first in range(0, len(entries), TOGETHER):
            some = [(p, contiguous(g), *memory) for p, g, *memory in entries[first:first + TOGETHER]]
            blocks, threads = over(max(entry[0].size for entry in some))
            eight = some + some[-1:] * (TOGETHER - len(some))
            with np.errstate(over="ignore"):  # a rate beyond float32 is infinite, as it is on the CPU
                numbers = [dtype(option) if isinstance(option, float) else option for option in options]
            on_device[dtype]((blocks, len(some)), threads, *itertools.chain(*zip(*eight, strict=True)),
                          *(entry[0].size for entry in eight), *numbers)


@nb.njit(inline="always")
def _sgd_step(p, g, velocity, rate, momentum, decay, nesterov):
    """An entry p and its velocity after the step."""
    slope = g + decay * p
    velocity = momentum * velocity + slope
    return p - rate * (slope + momentum * velocity if nesterov else velocity), velocity


@nb.njit(inline="always")
def _adam_step(p, g, m, v, rate, beta1, beta2, correction, eps, decay, kept):
    """An entry p, its m and its v after the step."""
    one = type(p)(1)
    slope = g + decay * p
    m = m + (one - beta1) * (slope - m)
    v = v + (one - beta2) * (slope * slope - v)
    return kept * p - rate * m / (math.sqrt(v) * correction + eps), m, v


def _sgd_items(first, last, p, g, velocity, learning_rate, momentum, weight_decay, nesterov):
    """An item is an entry."""
    T = p.dtype.type
    rate, momentum_, decay = T(learning_rate), T(momentum), T(weight_decay)
    for item in range(first, last):
        i = np.uint64(item)  # a loop over signed ones is not made of vectors: Numba tests each for being negative
        p[i], velocity[i] = _sgd_step(p[i], g[i], velocity[i], rate, momentum_, decay, nesterov)


def _adam_items(first, last, p, g, m, v, rate, beta1, beta2, correction, eps, weight_decay, kept):
    """An item is an entry."""
    T = p.dtype.type
    rate_, b1, b2, correction_, eps_ = T(rate), T(beta1), T(beta2), T(correction), T(eps)
    decay, kept_ = T(weight_decay), T(kept)
    for item in range(first, last):
        i = np.uint64(item)
        p[i], m[i], v[i] = _adam_step(p[i], g[i], m[i], v[i], rate_, b1, b2, correction_, eps_, decay, kept_)


_sgd = Kernel(_sgd_items)
_adam = Kernel(_adam_items, error_model="numpy")


@cuda_kernel(f"{f'T*[{TOGETHER}] ' * 3} int[{TOGETHER}] T T T bool")
def _sgd_device(T):
    """A step of the k-th parameter by the blocks (., k): arrays ps[k], gs[k], vs[k] of sizes[k] entries."""
    def sgd(ps, gs, vs, sizes, rate, momentum, decay, nesterov):
        k = np.uint32(cuda.blockIdx.y)
        p, g, v = ps[k], gs[k], vs[k]
        for i in range(cuda.grid(1), sizes[k], cuda.gridsize(1)):
            p[i], v[i] = _sgd_step(p[i], g[i], v[i], rate, momentum, decay, nesterov)
    return sgd


@cuda_kernel(f"{f'T*[{TOGETHER}] ' * 4} int[{TOGETHER}] T T T T T T T")
def _adam_device(T):
    """As `_sgd_device`, of sizes[k] entries; the options are those of `_adam_step`."""
    def adam(ps, gs, ms, vs, sizes, rate, beta1, beta2, correction, eps, decay, kept):
        k = np.uint32(cuda.blockIdx.y)
        p, g, m, v = ps[k], gs[k], ms[k], vs[k]
        for i in range(cuda.grid(1), sizes[k], cuda.gridsize(1)):
            p[i], m[i], v[i] = _adam_step(p[i], g[i], m[i], v[i], rate, beta1, beta2, correction, eps, decay, kept)
    return adam
