"""Batch normalisation per channel: statistics, the normalised, and its gradients.

    y = gamma (x - mean) scale + beta,    scale = 1 / sqrt(var + eps)

x (N, C) or (N, C, ...), C-contiguous; the others (C,). On the CPU a worker owns channels: what it reads to sum up is
still in its cache when it is read again. SHORT entries are summed as they come, in several sums side by side, and these
sums in float64. On a GPU sums over a channel are made in parts, by blocks that depend on the shape only, and the parts
are added in their order. A thread sums differences from the first entry that it sees, so that no mean, however far from
zero, swallows the variance.
"""

import math

import numpy as np

from ..compiling.linking import linked
from ..compiling.parallel import Kernel
from ..gpu.arrays.device_array import empty, is_device
from ..gpu.block_sums import sum_parts, tree
from ..gpu.launch import FULL, block, cuda, cuda_kernel, over

SHORT = 4096  # entries
PARTS = 64  # of a channel, at most
EACH = 16  # entries that a thread sums, at least, where there are several parts


def batch_statistics(x, running_mean, running_var, momentum, eps):
    """Mean and scale of the batch; the running mean and (unbiased) variance move towards it in place."""
    count = x.size // x.shape[1]
    unbiased = count / (count - 1)
    if is_device(x):
        T, C = x.dtype.type, x.shape[1]
        blocks, threads, sizes, most = _grid(x, EACH, PARTS)
        parts = blocks[1] * blocks[2]
        counts, means, squares = (empty((parts, C), T) for _ in range(3))
        _parts_device[T, most](blocks, threads, x, counts, means, squares, *sizes)
        mean, scale = empty(C, T), empty(C, T)
        _batch_device[T](*over(C), counts, means, squares, running_mean, running_var, mean, scale, parts, C, momentum,
                         eps, unbiased)
        return mean, scale
    T = x.dtype.type
    mean, var = np.empty_like(running_mean), np.empty_like(running_var)
    _statistics(len(mean), x.size, _planes(x), 1 / count, mean, var)
    running_mean += T(momentum) * (mean - running_mean)
    running_var += T(momentum) * (var * T(unbiased) - running_var)
    return mean, 1 / np.sqrt(var + T(eps))


def running_statistics(running_mean, running_var, eps):
    """Mean and scale from the running ones, which may move later."""
    if is_device(running_mean):
        C, T = running_mean.size, running_mean.dtype.type
        mean, scale = empty(C, T), empty(C, T)
        _running_device[T](*over(C), running_mean, running_var, mean, scale, C, eps)
        return mean, scale
    return running_mean.copy(), 1 / np.sqrt(running_var + running_var.dtype.type(eps))


def normalise(x, mean, scale, gamma, beta):
    """y."""
    if is_device(x):
        y = empty(x.shape, x.dtype)
        blocks, threads, sizes, _ = _grid(x, 4, 1 << 20)
        _normalise_device[x.dtype.type](blocks, threads, x, mean, scale, gamma, beta, y, *sizes)
        return y
    y = np.empty_like(x)
    _normalise(x.shape[0] * x.shape[1], 2 * x.size, _planes(x), mean, scale * gamma, beta, _planes(y))
    return y


def normalise_dx(x, dy, mean, scale, gamma, batch, wanted):
    """dx (None if not wanted), dgamma (C,) and dbeta (C,); with `batch`, mean and scale are of x and move with it."""
    share = x.shape[1] / max(x.size, 1)
    if is_device(x):
        T, C = x.dtype.type, x.shape[1]
        blocks, threads, sizes, most = _grid(x, EACH, PARTS)
        parts = blocks[1] * blocks[2]
        products = empty((parts, 2, C), T)
        _products_device[T, most](blocks, threads, x, dy, mean, scale, products, *sizes)
        both = sum_parts(products, parts, empty((2, C), T))
        dgamma, dbeta = both[0], both[1]
        if not wanted:
            return None, dgamma, dbeta
        dx = empty(x.shape, T)
        blocks, threads, sizes, _ = _grid(x, 4, 1 << 20)
        _dx_device[T](blocks, threads, x, dy, mean, scale, gamma, dgamma, dbeta, dx, share, bool(batch), *sizes)
        return dx, dgamma, dbeta
    dgamma, dbeta = np.empty_like(gamma), np.empty_like(gamma)
    dx = np.empty_like(x if wanted else x[:0])
    _gradients(len(gamma), 2 * x.size + dx.size, _planes(x), _planes(dy), np.stack([mean, scale, gamma]),
               share if batch else 0.0, _planes(dx), dgamma, dbeta)
    return dx if wanted else None, dgamma, dbeta


def _planes(x):
    """x as (N, C, entries of a plane)."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


# Sums may be made in any order, else they are made one by one; which order is the compiler's choice, for good.
_ANY_ORDER = {"nogil": True, "fastmath": {"reassoc"}}


@linked(**_ANY_ORDER)
def _sum(x, at, count):
    total = x.dtype.type(0)
    for i in range(count):
        total += x[np.uint64(at + i)]
    return total


@linked(**_ANY_ORDER)
def _sum_of_squares(x, at, count, mean):
    total = x.dtype.type(0)
    for i in range(count):
        difference = x[np.uint64(at + i)] - mean
        total += difference * difference
    return total


@linked(**_ANY_ORDER)
def _sum_of_products(x, dy, at, count, mean):
    total = x.dtype.type(0)
    for i in range(count):
        total += (x[np.uint64(at + i)] - mean) * dy[np.uint64(at + i)]
    return total


def _statistics_items(first, last, x, share, mean, var):
    """An item is a channel of x (N, C, plane), of whose entries each is a `share`."""
    N, C, plane = x.shape
    source = x.reshape(-1)
    for c in range(first, last):
        total, squares = 0.0, 0.0
        for n in range(N):
            for at in range(0, plane, SHORT):
                total += _sum(source, (n * C + c) * plane + at, min(SHORT, plane - at))
        middle = x.dtype.type(total * share)
        for n in range(N):
            for at in range(0, plane, SHORT):
                squares += _sum_of_squares(source, (n * C + c) * plane + at, min(SHORT, plane - at), middle)
        mean[c], var[c] = middle, squares * share


def _normalise_items(first, last, x, mean, factor, beta, y):
    """An item is a plane (n, c)."""
    C, plane = x.shape[1], x.shape[2]
    source, target = x.reshape(-1), y.reshape(-1)
    for item in range(first, last):
        c = item % C
        middle, slope, shift = mean[c], factor[c], beta[c]
        for i in range(item * plane, (item + 1) * plane):
            target[np.uint64(i)] = (source[np.uint64(i)] - middle) * slope + shift


def _gradients_items(first, last, x, dy, known, share, dx, dgamma, dbeta):
    """An item is a channel; `known` are mean, scale and gamma (3, C). A `share` of 0: they do not move with x."""
    N, C, plane = x.shape
    source, cotangent, target = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    T = x.dtype.type
    for c in range(first, last):
        middle, scale, gamma = known[0, c], known[1, c], known[2, c]
        total, product = 0.0, 0.0
        for n in range(N):
            for at in range(0, plane, SHORT):
                begin, count = (n * C + c) * plane + at, min(SHORT, plane - at)
                total += _sum(cotangent, begin, count)
                product += _sum_of_products(source, cotangent, begin, count, middle)
        dgamma[c], dbeta[c] = product * scale, total
        if target.size == 0:
            continue
        factor, shift, slope = gamma * scale, T(share * total), T(share * product * scale * scale)
        for n in range(N):
            begin = (n * C + c) * plane
            if share == 0:
                for i in range(begin, begin + plane):
                    target[np.uint64(i)] = cotangent[np.uint64(i)] * factor
            else:
                for i in range(begin, begin + plane):
                    difference = source[np.uint64(i)] - middle
                    target[np.uint64(i)] = (cotangent[np.uint64(i)] - shift - difference * slope) * factor


_statistics, _normalise, _gradients = Kernel(_statistics_items), Kernel(_normalise_items), Kernel(_gradients_items)


def _power(n):
    """The smallest power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def _grid(x, each, most):
    """Blocks (channel, parts of the samples, parts of a plane), threads (of a plane, of the samples), the sizes (N, C,
    entries of a plane) and the most threads, for `each` entries a thread or more, in `most` parts at most.
    """
    N, C = x.shape[:2]
    plane = math.prod(x.shape[2:])
    total = block()
    high = min(_power(N), total // min(_power(plane), 32, total))
    wide = min(_power(plane), total // high)
    parts = min(max(N * plane // (wide * high * each), 1), most)
    samples = min(parts, -(-N // high) or 1, 65535)
    planes = min(max(parts // samples, 1), -(-plane // wide) or 1, 65535)
    return (C, samples, planes), (wide, high), (N, C, plane), total


_TYPES = [(T, FULL) for T in (np.float32, np.float64)]


@cuda_kernel("T* T* T* T* int int int", offered=_TYPES)
def _parts_device(T, threads):
    sum_of = tree(T, threads)

    def parts(x, counts, means, squares, N, C, plane):
        """Of each part of a channel: how many entries, their mean, and the sum of squares of what they differ from it.
        """
        c, t, width = cuda.blockIdx.x, cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockDim.x
        first_n = cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y
        first_i = cuda.blockIdx.z * width + cuda.threadIdx.x
        count, first, total, square = T(0), T(0), T(0), T(0)
        if first_n < N and first_i < plane:
            first = x[(first_n * C + c) * plane + first_i]
        for n in range(first_n, N, cuda.gridDim.y * cuda.blockDim.y):
            for i in range(first_i, plane, cuda.gridDim.z * width):
                difference = x[(n * C + c) * plane + i] - first
                total += difference
                square += difference * difference
                count += T(1)
        if count > T(0):
            square -= total * total / count
            first += total / count
        width *= cuda.blockDim.y
        all_counts = sum_of(count, 0, t, width)
        mean = sum_of(count * first, 0, t, width) / all_counts
        square = sum_of(square + count * (first - mean) * (first - mean), 0, t, width)
        if t == 0:
            at = (cuda.blockIdx.y * cuda.gridDim.z + cuda.blockIdx.z) * C + c
            counts[at], means[at], squares[at] = all_counts, mean, square
    return parts


@cuda_kernel("T* T* T* T* T* T* T* int int T T T")
def _batch_device(T):
    """`batch_statistics` from counts, means and squares (parts, C) of `_parts_device`; the others (C,)."""
    def batch(counts, means, squares, running_mean, running_var, mean, scale, parts, C, momentum, eps, unbiased):
        for c in range(cuda.grid(1), C, cuda.gridsize(1)):
            count, shift, square = T(0), T(0), T(0)
            for part in range(parts):
                count += counts[part * C + c]
                shift += counts[part * C + c] * (means[part * C + c] - means[c])
            shift /= count
            for part in range(parts):
                difference = means[part * C + c] - means[c] - shift
                square += squares[part * C + c] + counts[part * C + c] * difference * difference
            middle, var = means[c] + shift, square / count
            mean[c], scale[c] = middle, T(1) / math.sqrt(var + eps)
            running_mean[c] += momentum * (middle - running_mean[c])
            running_var[c] += momentum * (var * unbiased - running_var[c])
    return batch


@cuda_kernel("T* T* T* T* int T")
def _running_device(T):
    """`running_statistics`; all (C,)."""
    def running(running_mean, running_var, mean, scale, C, eps):
        for c in range(cuda.grid(1), C, cuda.gridsize(1)):
            mean[c], scale[c] = running_mean[c], T(1) / math.sqrt(running_var[c] + eps)
    return running


@cuda_kernel("T* T* T* T* T* T* int int int")
def _normalise_device(T):
    """x and y (N, C, plane), the others (C,)."""
    def normalise(x, mean, scale, gamma, beta, y, N, C, plane):
        c = cuda.blockIdx.x
        middle, factor, shift = mean[c], scale[c] * gamma[c], beta[c]
        for n in range(cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y, N, cuda.gridDim.y * cuda.blockDim.y):
            for i in range(cuda.blockIdx.z * cuda.blockDim.x + cuda.threadIdx.x, plane,
                           cuda.gridDim.z * cuda.blockDim.x):
                at = (n * C + c) * plane + i
                y[at] = (x[at] - middle) * factor + shift
    return normalise


@cuda_kernel("T* T* T* T* T* int int int", offered=_TYPES)
def _products_device(T, threads):
    sum_of = tree(T, threads)

    def products(x, dy, mean, scale, found, N, C, plane):
        """found[part] = dgamma (C,) and dbeta (C,), as far as the entries of a part of each channel go."""
        c, t, width = cuda.blockIdx.x, cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockDim.x
        middle, dgamma, dbeta = mean[c], T(0), T(0)
        for n in range(cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y, N, cuda.gridDim.y * cuda.blockDim.y):
            for i in range(cuda.blockIdx.z * width + cuda.threadIdx.x, plane, cuda.gridDim.z * width):
                at = (n * C + c) * plane + i
                dgamma += dy[at] * (x[at] - middle)
                dbeta += dy[at]
        width *= cuda.blockDim.y
        dgamma, dbeta = sum_of(dgamma, 0, t, width), sum_of(dbeta, 0, t, width)
        if t == 0:
            at = (cuda.blockIdx.y * cuda.gridDim.z + cuda.blockIdx.z) * 2 * C + c
            found[at], found[at + C] = dgamma * scale[c], dbeta
    return products


@cuda_kernel("T* T* T* T* T* T* T* T* T bool int[3]")
def _dx_device(T):
    def dx(x, dy, mean, scale, gamma, dgamma, dbeta, result, share, batch, sizes):
        """result (N, C, plane), as x and dy; the others (C,). `share` is 1 / the entries of a channel."""
        c, (N, C, plane) = cuda.blockIdx.x, sizes
        middle, factor, shift = mean[c], gamma[c] * scale[c], share * dbeta[c]
        slope = scale[c] * (share * dgamma[c])
        for n in range(cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y, N, cuda.gridDim.y * cuda.blockDim.y):
            for i in range(cuda.blockIdx.z * cuda.blockDim.x + cuda.threadIdx.x, plane,
                           cuda.gridDim.z * cuda.blockDim.x):
                at = (n * C + c) * plane + i
                if batch:
                    result[at] = (dy[at] - shift - (x[at] - middle) * slope) * factor
                else:
                    result[at] = dy[at] * factor
    return dx
