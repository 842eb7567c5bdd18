"""Sums on the GPU that are the same bits on every run, in whatever order its threads come.

`Scatter` is for sums into places that the data choose, such as the pixels that a point reads. A sum of floats depends
on the order of its terms; one of integers does not. So a term is written as a multiple of a power of two, which is
chosen for each row so that the sum of all terms can never overflow 2^62, and added to an int64. What is lost by that is
at most a term's quantum, 2^-62 x (terms of a row) x (the largest term possible): with a million points to a row 2^-42
of the largest, which is far below one rounding of float32, and of float64 leaves twelve digits.
"""

import math

import numpy as np

from .arrays.device_array import empty
from .arrays.elementwise import mapped
from .block_sums import tree
from .extremes import maximum
from .launch import FULL, block, cuda, cuda_kernel, device_function

BITS = 62


@cuda_kernel("T* T* int64* int int", offered=[(np.float32, FULL), (np.float64, FULL)])
def _largest(T, threads):
    """Of rows x (n, count), the largest |x| of a part, or NaN where there is one; and zeros for sums (n, zeros)."""
    largest_of = tree(T, threads, maximum.py_func)

    def largest(x, maxima, sums, count, zeros):
        n, part, parts, t = cuda.blockIdx.x, cuda.blockIdx.y, cuda.gridDim.y, cuda.threadIdx.x
        for i in range(part * threads + t, zeros, parts * threads):
            sums[n * zeros + i] = 0
        most = T(0)
        for i in range(part * threads + t, count, parts * threads):
            most = maximum(most, abs(x[n * count + i]))
        most = largest_of(most, 0, t, threads)
        if t == 0:
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

    Rows of the array have a largest |x| of their own. `weights` (rows, 1) are a bound that only the device knows.
    """

    def __init__(self, shape, rows, x, terms, bound=1.0, weights=None):
        self.shape, self.rows, self.T = shape, rows, x.dtype.type
        self.sums = empty(shape, np.int64)
        self.maxima = largest(x, rows, self.sums)
        if weights is not None:
            mapped("multiply", self.maxima, weights, out=self.maxima)
        self.bits = BITS - math.ceil(math.log2(terms * bound))

    def total(self):
        y, threads = empty(self.shape, self.T), block()
        count = y.size // self.rows
        _from_fixed[self.T]((self.rows, parts_of(self.rows, count, 2 * threads, 4096)), threads, self.sums, self.maxima,
                            y, count, self.bits)
        return y
