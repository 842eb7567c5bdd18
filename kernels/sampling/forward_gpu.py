"""The sampler forwards on a GPU: a thread has a point, whose coordinates and weights serve all its channels (eq. 3)."""

import math

import numpy as np

from ..gpu.arrays.device_array import empty
from ..gpu.arrays.elementwise import full
from ..gpu.kinds import flat
from ..gpu.launch import block, cuda, cuda_kernel
from . import bilinear_gpu, separable_gpu, source_points_gpu
from .interpolation import CUSTOM, hat, hat_slope
from .separable_gpu import FOUR, MANY, WIDENED
from .source_points_gpu import BASIS, GRID, PLANE, Problem

ADJACENT = 0  # a way from a point to its pixels; the others are those of `separable_gpu`
BLOCKS = 2048  # to aim at: about twice as many as an H200 has room for, the same on every GPU, so that results are

USERS = (hat.py_func, hat_slope.py_func)  # an example of a user's functions
WAYS: list[tuple] = [(source, way, None) for source in (PLANE, BASIS, GRID) for way in (ADJACENT, FOUR)]
WAYS += [(GRID, WIDENED, None), (PLANE, FOUR, USERS), (BASIS, MANY, USERS), (GRID, WIDENED, USERS)]


def steps_of_a_point(T, dims, way, functions, add=None):
    """The functions of `bilinear_gpu` or `separable_gpu` for this way."""
    if way == ADJACENT:
        return bilinear_gpu.on_device(T, dims, add)
    return separable_gpu.on_device(T, dims, way, functions, add)


@cuda_kernel("T* T* T* T* T*", Problem, offered=[
    (T, dims, *way) for T in (np.float32, np.float64) for dims in (2, 3) for way in WAYS])
def _sample(T, dims, source, way, functions):
    point, widths_of, _ = source_points_gpu.on_device(T, dims, source)
    steps = steps_of_a_point(T, dims, way, functions)
    place, value = steps.place, steps.value
    nan = T(np.nan)

    def sample(U, M, basis, grid, V, problem):
        """V (n, C, P) of U (n, C, D, H, W), at the points of M (n, rows, K), in pixels, over basis (K, points), or of
        grid (n, points, columns): eq. 3, see `Problem`."""
        step, C, P, layers = problem[:4]
        D, H, W = problem.shape
        n = cuda.blockIdx.x
        p = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        while p < P:  # a range with a step would divide, and be unrolled, at the price of registers
            for layer in range(layers):
                q = layer * P + p
                here = point(M, basis, grid, n, q, problem)
                widths = widths_of(grid, n, q, problem) if way == WIDENED else (T(1), T(1), T(1))
                spot = place(here, widths, problem, False)
                number = here.x == here.x and here.y == here.y and here.z == here.z
                c = np.int64(cuda.blockIdx.z)
                while c < C:
                    at = (n * C + c) * P + p
                    v = value(U, n * step + c * (D * H * W), spot, problem) if number else nan
                    V[at] = v if layer == 0 else V[at] + v
                    c += cuda.gridDim.z
            p += cuda.gridDim.y * cuda.blockDim.x

    return sample


class Plan:
    """How a sampling problem is launched: arrays, constants, and the numbers of its `Problem` in a row.

    The arguments are those of `schedule.sample`: U (N, C, H, W) or (N, C, D, H, W), and so on. One set of points for
    many images is one image of all their channels.
    """

    def __init__(self, U, M, basis, grid, scale, size, kernel, padding, outside, flatten):
        self.T, self.dims = U.dtype.type, U.ndim - 2
        count = max(len(M), len(grid))
        self.images = N = count if len(U) == 1 else len(U)
        self.C = U.shape[1]
        inside, self.layers = math.prod(U.shape[2:]), size[0] if flatten else 1
        self.P = math.prod(size) // max(self.layers, 1)
        self.shape = (N, self.C, *(size[1:] if flatten else size))
        if count == 1:
            self.images, self.C = 1, N * self.C
        if self.layers * self.P >= 2**31:
            raise ValueError(f"sampler: size should be of less than 2^31 points on a GPU, received {tuple(size)}")
        self.source = GRID if grid.shape[1] > 0 else PLANE if basis.shape[1] == 0 else BASIS
        self.arrays = (U, M if self.source != GRID else U, basis if self.source == BASIS else U,
                       grid if self.source == GRID else U)  # what there is none of is not read
        self.K, columns = M.shape[2], grid.shape[2]
        self.functions = kernel.functions if kernel.kind == CUSTOM else None
        widened = columns > self.dims
        adjacent = kernel.adjacent(padding, widened)
        self.way = ADJACENT if adjacent else WIDENED if widened else FOUR if kernel.radius <= 2 else MANY
        self.step = 0 if len(U) == 1 and self.images > 1 else self.C * inside  # from an image to the next
        self.Q = self.layers * self.P
        three = (1,) * (3 - self.dims)
        self.numbers = flat(Problem(
            self.step, self.C, self.P, self.layers, (*three, *U.shape[2:]), (*three, *size), M.shape[1], self.K,
            columns, kernel.kind, padding, self.T(kernel.radius_in(self.T)), self.T(outside),
            tuple(map(self.T, (*scale, *three)))))

    @property
    def constants(self):
        return self.T, self.dims, self.source, self.way, self.functions

    def groups(self, blocks):
        """Into how many groups the channels are divided where there are so many blocks without.

        Each group computes the coordinates again, and a long basis is worth some channels.
        """
        least = 1 + self.K // 8 if self.source == BASIS else 1
        return max(1, min(BLOCKS // blocks, self.C // least))


def sample_on_device(U, *arguments):
    """V on a device; the arguments are those of `Plan`."""
    plan = Plan(U, *arguments)
    if plan.layers == 0:
        return full(plan.shape, 0, plan.T)
    V = empty(plan.shape, plan.T)
    if V.size:
        threads = block()
        blocks = min(-(-plan.P // threads), 65535)
        groups = plan.groups(plan.images * blocks)
        _sample[plan.constants]((plan.images, blocks, groups), threads, *plan.arrays, V, *plan.numbers)
    return V
