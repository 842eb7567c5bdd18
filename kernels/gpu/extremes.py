"""Which of two numbers is the larger, on both devices: as in NumPy a NaN is, and the first of equals stays."""

from ..compiling.linking import linked


@linked(nogil=True)
def larger(value, best):
    """Whether `value` takes the place of the largest so far."""
    return (not value <= best) & (best == best)


@linked(nogil=True)
def maximum(a, b):
    return b if larger(b, a) else a


@linked(nogil=True)
def minimum(a, b):
    """A NaN on either side is the result."""
    return a if a <= b or a != a else b
