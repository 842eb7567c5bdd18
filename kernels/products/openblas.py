"""Products of matrices that OpenBLAS multiplies as they lie in memory, and the parts of larger ones that are so.

Of large matrices BLAS first makes copies in an order that suits it. Where a number is used a few dozen times only, as
with the filters of a convolution, that takes a third of the time. On processors with AVX-512 OpenBLAS spares small
products these copies: those of up to a million multiplications, and with B stored as its transpose of up to 1200
entries of the result. What is chosen here follows from the sizes of the matrices, and from the processor, only.
"""

import functools

from ..compiling.parallel import even
from ..compiling.threads import blas_libraries

WITH_AVX512 = {"SkylakeX", "Cooperlake", "SapphireRapids"}  # OpenBLAS's names for its kernels
SIDE = 32  # of a part of the result, if B is stored as its transpose
LONG = 96  # terms of a sum that make up for such small parts
COLUMNS, ROWS = 64, 16  # of a part at least, if B is stored as it is


@functools.cache
def small() -> int:
    """The multiplications that a product may have without being copied; 0 where BLAS always copies."""
    kinds = {library.architecture for library in blas_libraries() if library.internal_api == "openblas"}
    return 10**6 if kinds and kinds <= WITH_AVX512 else 0


def parts(rows: int, columns: int, inner: int, b_transposed: bool) -> tuple[int, int]:
    """Rows and columns of the parts of the result that are best computed one by one: all, or so few as are not copied.

    The product is one of (rows, inner) and (inner, columns).
    """
    if b_transposed:
        fits = inner >= LONG and SIDE**2 * inner <= small()
        return (SIDE, SIDE) if fits else (rows, columns)
    tall = small() // (COLUMNS * inner)
    if tall < ROWS:
        return rows, columns
    tall = even(rows, tall)
    return tall, small() // (tall * inner) // COLUMNS * COLUMNS
