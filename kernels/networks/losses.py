"""The softmax along an axis, its logarithm, and the cross-entropy of labels, each with its gradient.

A maximum is taken off before exp, which cancels in the quotient and keeps it from overflowing.
On a GPU, threads side by side share a row of classes, or, where rows lie side by side, each has a row to itself.
"""

import math

import numpy as np

from ..gpu.arrays.device_array import empty, is_device
from ..gpu.arrays.numpy_functions import contiguous
from ..gpu.arrays.totals import total
from ..gpu.block_sums import tree
from ..gpu.launch import FULL, block, cuda, cuda_kernel, over


def softmax(x, axis):
    """y = exp(x) / sum of exp(x) along `axis`."""
    if is_device(x):
        return _along(_softmax_device, axis, False, x)
    y = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))  # for want of entries there is no maximum
    y /= total(y, axis, keepdims=True)
    return y


def softmax_dx(y, dy, axis):
    """dx = y (dy - sum of y dy)."""
    if is_device(y):
        return _along(_softmax_dx_device, axis, False, y, dy)
    return y * (dy - total(y * dy, axis, keepdims=True))


def log_softmax(x, axis):
    """y = x - log of the sum of exp(x) along `axis`."""
    if is_device(x):
        return _along(_softmax_device, axis, True, x)
    largest = x.max(axis=axis, keepdims=True, initial=-np.inf)
    return x - largest - np.log(total(np.exp(x - largest), axis, keepdims=True))


def log_softmax_dx(y, dy, axis):
    """dx = dy - softmax(x) sum of dy."""
    if is_device(y):
        return _along(_softmax_dx_device, axis, True, y, dy)
    return dy - np.exp(y) * total(dy, axis, keepdims=True)


def cross_entropy_each(logits, labels):
    """For each n, log(sum over k of exp(logits[n, k])) - logits[n, labels[n]], and its slope, which is the softmax,
    minus 1 where the label is.

    On the CPU labels should be classes; on a device they cannot be looked at, and one that is no class makes the loss
    and the slope of its sample NaN.
    """
    if is_device(logits):
        N, classes = logits.shape
        T, losses, slope = logits.dtype.type, empty(N, logits.dtype), empty(logits.shape, logits.dtype)
        blocks, threads, most = _rows(N, classes, 1)
        _cross_entropy_device[T, most](blocks, threads, contiguous(logits), contiguous(labels), losses, slope, N,
                                        classes)
        return losses, slope
    samples = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    slope = np.exp(shifted)
    sums = slope.sum(axis=1, keepdims=True)
    slope /= sums
    slope[samples, labels] -= 1
    return np.log(sums[:, 0]) - shifted[samples, labels], slope


def cross_entropy(logits, labels):
    """The mean of the losses of each sample, and its slope times N."""
    losses, slope = cross_entropy_each(logits, labels)
    if not is_device(logits):
        return np.mean(losses), slope
    loss, threads = empty((), losses.dtype), block()
    _mean_device[losses.dtype.type, threads](1, threads, losses, loss, losses.size)
    return loss, slope


def cross_entropy_dx(slope, dloss):
    """dlogits = slope dloss / N."""
    if is_device(slope):
        dx = empty(slope.shape, slope.dtype)
        _cross_entropy_dx_device[dx.dtype.type](*over(dx.size), slope, dloss, dx, dx.size, len(dx))
        return dx
    return slope * (dloss / slope.dtype.type(len(slope)))


def _rows(rows, classes, inner):
    """Blocks, threads (for one row, rows) and how many these are, for `rows` of `classes`, `inner` side by side."""
    threads = block()
    across = 1 if inner > 1 else min(1 << max(classes - 1, 0).bit_length(), threads)
    return -(-rows // (threads // across)), (across, threads // across), threads


def _along(kernel, axis, log, *arrays):
    shape = arrays[0].shape
    classes, inner = shape[axis], math.prod(shape[axis % len(shape) + 1:])
    result = empty(shape, arrays[0].dtype)
    rows = result.size // max(classes, 1)
    blocks, threads, most = _rows(rows, classes, inner)
    kernel[result.dtype.type, most, log](blocks, threads, *map(contiguous, arrays), result, rows, classes, inner)
    return result


_EITHER = [(T, FULL, log) for T in (np.float32, np.float64) for log in (False, True)]
_TYPES = [(T, FULL) for T in (np.float32, np.float64)]


@cuda_kernel("T* T* int int int", offered=_EITHER)
def _softmax_device(T, threads, log):
    """x and y (rows, classes), or, with `inner` rows side by side, (rows / inner, classes, inner)."""
    largest_of, sum_of = tree(T, threads, lambda a, b: max(a, b)), tree(T, threads)
    lowest = T(-math.inf)

    def softmax(x, y, rows, classes, inner):
        t, width = cuda.threadIdx.x, cuda.blockDim.x
        row, begin = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, cuda.threadIdx.y * width
        first = row * classes if inner == 1 else row // inner * inner * classes + row % inner
        end = classes if row < rows else 0  # threads beyond the last row come along to the barriers
        largest = lowest
        for k in range(t, end, width):
            largest = max(largest, x[first + k * inner])
        largest = largest_of(largest, begin, t, width)
        total = T(0)
        for k in range(t, end, width):
            total += math.exp(x[first + k * inner] - largest)
        total = sum_of(total, begin, t, width)
        if log and row < rows:
            total = math.log(total)
        for k in range(t, end, width):
            shifted = x[first + k * inner] - largest
            y[first + k * inner] = shifted - total if log else math.exp(shifted) / total
    return softmax


@cuda_kernel("T* T* T* int int int", offered=_EITHER)
def _softmax_dx_device(T, threads, log):
    """Arrays as for `_softmax_device`, (rows, classes)."""
    sum_of = tree(T, threads)

    def softmax_dx(y, dy, dx, rows, classes, inner):
        t, width = cuda.threadIdx.x, cuda.blockDim.x
        row, begin = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, cuda.threadIdx.y * width
        first = row * classes if inner == 1 else row // inner * inner * classes + row % inner
        end = classes if row < rows else 0
        total = T(0)
        for k in range(t, end, width):
            at = first + k * inner
            total += dy[at] if log else y[at] * dy[at]
        total = sum_of(total, begin, t, width)
        for k in range(t, end, width):
            at = first + k * inner
            dx[at] = dy[at] - math.exp(y[at]) * total if log else y[at] * (dy[at] - total)
    return softmax_dx


@cuda_kernel("T* int64* T* T* int int", offered=_TYPES)
def _cross_entropy_device(T, threads):
    """logits and slope (N, classes), labels and losses (N,)."""
    largest_of, sum_of = tree(T, threads, lambda a, b: max(a, b)), tree(T, threads)
    lowest, nan = T(-math.inf), T(math.nan)

    def cross_entropy(logits, labels, losses, slope, N, classes):
        t, width = cuda.threadIdx.x, cuda.blockDim.x
        n, begin = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, cuda.threadIdx.y * width
        end = classes if n < N else 0
        largest = lowest
        for k in range(t, end, width):
            largest = max(largest, logits[n * classes + k])
        largest = largest_of(largest, begin, t, width)
        total = T(0)
        for k in range(t, end, width):
            total += math.exp(logits[n * classes + k] - largest)
        total = sum_of(total, begin, t, width)
        if n < N:
            label = labels[n]
            known = label >= 0 and label < classes
            if t == 0:
                losses[n] = math.log(total) - (logits[n * classes + label] - largest) if known else nan
            for k in range(t, end, width):
                probability = math.exp(logits[n * classes + k] - largest) / total
                one = T(1) if k == label else T(0)
                slope[n * classes + k] = probability - one if known else nan
    return cross_entropy


@cuda_kernel("T* T* int", offered=_TYPES)
def _mean_device(T, threads):
    sum_of = tree(T, threads)

    def mean(values, result, n):
        total = T(0)
        for i in range(cuda.threadIdx.x, n, threads):
            total += values[i]
        total = sum_of(total, 0, cuda.threadIdx.x, threads)
        if cuda.threadIdx.x == 0:
            result[0] = total / T(n)
    return mean


@cuda_kernel("T* T* T* int int")
def _cross_entropy_dx_device(T):
    def cross_entropy_dx(slope, dloss, dx, n, samples):
        scale = dloss[0] / T(samples)
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            dx[i] = slope[i] * scale
    return cross_entropy_dx
