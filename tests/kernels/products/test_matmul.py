"""The product against NumPy's, over tile borders, and the same bits for any number of threads."""

import numba
import numpy as np
import pytest

from nanostn.kernels.compiling.threads import set_threads
from nanostn.kernels.products.matmul import matmul


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(2, 3, 5), (1, 70, 300), (300, 40, 1), (130, 7, 260), (3, 0, 2), (0, 3, 2)])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_product(rng, sizes, transpose_a, transpose_b, dtype):
    M, K, N = sizes
    a, b, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N), (N,)))
    stored_a = np.ascontiguousarray(a.T) if transpose_a else a
    stored_b = np.ascontiguousarray(b.T) if transpose_b else b
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    for shift in (None, bias):
        found = matmul(stored_a, stored_b, transpose_a, transpose_b, shift)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, a @ b + (0 if shift is None else shift), atol=tolerance, rtol=tolerance)


def test_same_bits_for_any_number_of_threads(rng):
    a, b = rng.standard_normal((150, 33)).astype(np.float32), rng.standard_normal((33, 520)).astype(np.float32)
    before, runs = numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            set_threads(threads)
            runs.append(matmul(a, b).tobytes())
    finally:
        set_threads(before)
    assert runs[0] == runs[1]
