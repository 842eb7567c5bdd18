"""Sums on the GPU that are the same bits on every run, in whatever order its threads come.

`Scatter` is for sums into places that the data choose, such as the pixels that a point reads. A sum of floats depends
on the order of its terms; one of integers does not. So a term is written as a multiple of a power of two, which is
chosen for each row so that the sum of all terms can never overflow 2^62, and added to an int64. What is lost by that is
at most a term's quantum, 2^-62 x (terms of a row) x (the largest term possible): with a million points to a row 2^-42
of the largest, which is far below one rounding of float32, and of float64 leaves twelve digits.

`sum_parts` adds what blocks of threads have added up, each for itself, in the order of the blocks.
"""

import math

import numpy as np

from .arrays.device_array import empty
from .launch import FULL, block, cuda, cuda_kernel, device_function

BITS = 62
LANES = 16  # of a block, for each of the sums that it ends with

_FLOATS = [(np.float32, FULL), (np.float64, FULL)]


@cuda_kernel("T* T* int64* int int", offered=_FLOATS)
def _largest(T, threads):
    """Of rows x (n, count), the largest |x| of a part, or NaN where there is one; and zeros for sums (n, zeros)."""
    def largest(x, maxima, sums, count, zeros):
        n, part, parts, t = cuda.blockIdx.x, cuda.blockIdx.y, cuda.gridDim.y, cuda.threadIdx.x
        for i in range(part * threads + t, zeros, parts * threads):
            sums[n * zeros + i] = 0
        most = T(0)
        for i in range(part * threads + t, count, parts * threads):
            size = abs(x[n * count + i])
            most = most if size <= most or most != most else size  # a NaN stays
        found = cuda.shared.array(threads, T)
        found[t] = most
        cuda.syncthreads()
        if t < LANES:
            for i in range(t, threads, LANES):
                size = found[i]
                most = most if size <= most or most != most else size
            found[t] = most
        cuda.syncthreads()
        if t == 0:
            for i in range(LANES):
                size = found[i]
                most = most if size <= most or most != most else size
            maxima[n * parts + part] = most

    return largest


def scaling(T):
    """For kernels: two powers of two whose product turns terms up to `most` into multiples of the quantum; or back."""
    def factors(most, bits, back):
        _, exponent = math.frexp(most)
        shift = exponent - bits if back else bits - exponent
        half = shift >> 1  # 2^shift itself may be more than a float32 holds
        return T(math.ldexp(T(1), half)), T(math.ldexp(T(1), shift - half))

    return device_function(factors)


@cuda_kernel("int64* T* T* int int", offered=[(np.float32,), (np.float64,)])
def _from_fixed(T):
    """Rows of sums (n, count) as T; NaN where a term may have been none or infinite."""
    factors = scaling(T)
    nan = T(np.nan)

    def from_fixed(sums, maxima, y, count, bits):
        n, most = cuda.blockIdx.x, maxima[cuda.blockIdx.x]
        finite = most - most == T(0)
        first, second = factors(most if finite else T(0), bits, True)
        for i in range(cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, count, cuda.gridDim.y * cuda.blockDim.x):
            y[n * count + i] = T(sums[n * count + i]) * first * second if finite else nan

    return from_fixed


@cuda_kernel("T* T*", offered=[(np.float32,), (np.float64,)])
def _times(T):
    def times(maxima, factors):
        maxima[cuda.blockIdx.x] *= factors[cuda.blockIdx.x]

    return times


def parts_of(rows, count, least=FULL, blocks=1024):
    """Into how many parts each row is divided, so that all of them are about so many blocks, of `least` entries."""
    return max(1, min(blocks // max(1, rows), -(-count // least)))


def largest(x, rows, sums=None):
    """(rows,), the largest |x| of each row of x, NaN where there is one. Sets `sums` to zero."""
    T, threads = x.dtype.type, block()
    zeros = 0 if sums is None else sums.size // rows
    parts = parts_of(rows, max(x.size // rows, zeros), 2048)
    maxima, zeroed = empty((rows, parts), T), empty(1, np.int64) if sums is None else sums
    _largest[T, threads]((rows, parts), threads, x, maxima, zeroed, x.size // rows, zeros)
    return maxima if parts == 1 else largest(maxima, rows)


class Scatter:
    """An array of sums, to be added to in a kernel: `terms` at most to each, each up to `bound` times the largest |x|.

    Rows of the array have a largest |x| of their own. `weights` (rows,) are a bound that only the device knows.
    """

    def __init__(self, shape, rows, x, terms, bound=1.0, weights=None):
        self.shape, self.rows, self.T = shape, rows, x.dtype.type
        self.sums = empty(shape, np.int64)
        self.maxima = largest(x, rows, self.sums)
        if weights is not None:
            _times[self.T](rows, 1, self.maxima, weights)
        self.bits = BITS - math.ceil(math.log2(terms * bound))

    def total(self):
        y, threads = empty(self.shape, self.T), block()
        count = y.size // self.rows
        _from_fixed[self.T]((self.rows, parts_of(self.rows, count, 2 * threads, 4096)), threads, self.sums, self.maxima,
                            y, count, self.bits)
        return y


@cuda_kernel("T* T* int int int int", offered=_FLOATS)
def _sum_parts(T, threads):
    def sum_parts(x, y, rows, parts, count, lanes):
        """y (rows, count) of x (rows, parts, count); `lanes` threads share the parts of an entry of y."""
        t = cuda.threadIdx.x
        entries = threads // lanes
        lane, i = t // entries, cuda.blockIdx.x * entries + t % entries
        found = cuda.shared.array(threads, T)
        for n in range(cuda.blockIdx.y, rows, cuda.gridDim.y):
            total = T(0)
            if i < count:
                for part in range(lane, parts, lanes):
                    total += x[(n * parts + part) * count + i]
            found[t] = total
            cuda.syncthreads()
            if lane == 0 and i < count:
                for other in range(1, lanes):
                    total += found[other * entries + t]
                y[n * count + i] = total
            cuda.syncthreads()

    return sum_parts


def sum_parts(x, rows, parts, shape):
    """Of x (rows, parts, count), flat, the sums of the parts, (rows, count), as an array of `shape`."""
    T, threads = x.dtype.type, block()
    y = empty(shape, T)
    count = y.size // rows
    lanes = 1 if parts <= LANES else LANES
    blocks = -(-count // (threads // lanes)), min(rows, 65535)
    _sum_parts[T, threads](blocks, threads, x, y, rows, parts, count, lanes)
    return y
