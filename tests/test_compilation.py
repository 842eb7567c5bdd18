"""What is compiled is said once, by topic, and only while it is asked for."""

import io

from numba import cfunc, njit

from nanostn.compilation import announced_compilation


def kernel(topic, compiler=njit):
    """A new function, as if from the file kernels/`topic`.py."""
    def double(x):
        return x + x
    double.__module__ = f"nanostn.kernels.{topic}"
    return compiler(double)


def test_names_topics_once_and_the_seconds():
    out = io.StringIO()
    with announced_compilation(out) as names:
        for topic in ("pooling", "sampling", "pooling"):
            kernel(topic)(1.0)
        njit(lambda x: x - 1)(1.0)  # somebody else's
        kernel("updates", cfunc("float64(float64)"))
    kernel("late")(1.0)
    assert names == ["pooling", "sampling", "updates"]
    assert out.getvalue().startswith("compiling kernels (first run on this machine, cached afterwards): pooling, samp")
    assert out.getvalue().endswith(" s)\n")


def test_silent_where_nothing_is_compiled():
    compiled = kernel("pooling")
    compiled(1.0)
    out = io.StringIO()
    with announced_compilation(out):
        compiled(2.0)
    assert out.getvalue() == ""
