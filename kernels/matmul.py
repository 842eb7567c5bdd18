"""The product of two matrices, spread over the cores in tiles of the result: the dense layer and its gradients.

    out = A B + bias,    A = a or a^T,   B = b or b^T

Tiles depend on shapes only and each is one BLAS product on one thread, so results are the same bits for any number of
threads. Both axes are cut, so a batch of one sample occupies all cores too.
"""

import numba as nb
import numpy as np

from .blas import gemm
from .threads import one_blas_thread

ROWS, COLUMNS = 128, 256  # of a tile


@one_blas_thread
def matmul(a, b, transpose_a=False, transpose_b=False, bias=None):
    """A B + bias for C-contiguous a and b of one dtype; bias (columns,)."""
    rows = a.shape[1] if transpose_a else a.shape[0]
    columns = b.shape[0] if transpose_b else b.shape[1]
    out = np.empty((rows, columns), a.dtype)
    if a.size == 0 or b.size == 0:
        out[...] = 0 if bias is None else bias
    else:
        _matmul(a, b, transpose_a, transpose_b, np.zeros(columns, a.dtype) if bias is None else bias, out)
    return out


@nb.njit(cache=True, nogil=True, parallel=True)
def _matmul(a, b, transpose_a, transpose_b, bias, out):
    rows, columns = out.shape
    inner = a.shape[0] if transpose_a else a.shape[1]
    across = (columns + COLUMNS - 1) // COLUMNS
    for tile in nb.prange((rows + ROWS - 1) // ROWS * across):
        i, j = tile // across * ROWS, tile % across * COLUMNS
        i_end, j_end = min(rows, i + ROWS), min(columns, j + COLUMNS)
        for r in range(i, i_end):
            for c in range(j, j_end):
                out[r, c] = bias[c]
        gemm(i_end - i, j_end - j, inner, a, i if transpose_a else i * inner, a.shape[1], transpose_a,
             b, j * inner if transpose_b else j, b.shape[1], transpose_b, out, i * columns + j, columns, True)
