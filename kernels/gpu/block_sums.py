"""Sums and extremes over the threads of a block, in the order of a tree, so that they are the same on every run."""

from typing import Any

from numba import njit

cuda: Any = None


def tree(T, threads, join=lambda a, b: a + b):
    """A device function (value, begin, t, width): over the `width` threads of a block from number `begin` on, a power
    of two. The calling thread is the t-th of them; each receives the result. All threads of the block should call it.
    `join` makes one value of two.
    """
    global cuda  # imported late, for it takes a while; the simulator wants it in a global name
    from numba import cuda

    join = njit(join)

    def over_threads(value, begin, t, width):
        shared = cuda.shared.array(threads, T)
        shared[begin + t] = value
        cuda.syncthreads()
        half = width // 2
        while half > 0:
            if t < half:
                shared[begin + t] = join(shared[begin + t], shared[begin + t + half])
            cuda.syncthreads()
            half //= 2
        result = shared[begin]
        cuda.syncthreads()
        return result

    return cuda.jit(device=True)(over_threads)
