"""The sampler forwards: V = sum over m of U_m k(x - m), for runs of points, or for each point by a thread of a GPU."""

import math

import numpy as np

from ..compiling.linking import linked
from ..compiling.parallel import Kernel
from ..gpu.arrays.device_array import empty
from ..gpu.arrays.elementwise import full
from ..gpu.launch import block, cuda, cuda_kernel
from . import bilinear, bilinear_gpu, separable, separable_gpu, source_points
from .interpolation import BILINEAR, CUSTOM, NEAREST, WRAP, hat, hat_slope
from .separable_gpu import FOUR, MANY, WIDENED
from .source_points import BASIS, GRID, PLANE, WIDTHS, coordinates, index, summing
from .tiles import read_tile, steps, write_run

cpu = {"error_model": "numpy", "fastmath": {"contract"}}


@linked(**summing)
def _spoil(x, dims, count, lanes, values):
    """A NaN coordinate gives NaN."""
    total = values.dtype.type(0)
    for a in range(dims):
        for j in range(count):
            total += x[a, j] - x[a, j]  # 0, or NaN for infinity too: worth a closer look
    if total == 0:
        return
    for j in range(count):
        bad = False
        for a in range(dims):
            bad |= x[a, j] != x[a, j]
        if bad:
            for p in range(len(values)):
                for lane in range(lanes):
                    values[p, index(j * lanes + lane)] = np.nan


# Where neighbours stand together k is None, and then `separable` is left out when a function is compiled.


def _forward_items(first, last, U, M, basis, grid, scale, centre, D_out, H_out, W_out, layers, kind, k, slope, radius,
                   taps_used, padding, outside, planes, lanes, run, parts, images, V):
    N, C, P = V.shape
    size, shape, dims = (D_out, H_out, W_out), U.shape[2:], centre.size
    volume = dims == 3
    blocks = max(1, -(-C // (planes * lanes)))
    plane = (shape[0] + 3) * steps(shape[1], shape[2], volume, lanes)[0]
    share = -(-P // parts)
    x = np.empty((WIDTHS + 3, run), U.dtype)
    values = np.empty((planes, run * lanes), U.dtype)
    own = np.empty(0 if len(images) else planes * plane, U.dtype)
    target_points = np.empty((M.shape[2], run), U.dtype)
    near = bilinear.workspace(run, U.dtype)
    tables = separable.workspace(run, taps_used, grid.shape[2] > dims, U.dtype)
    for item in range(first, last):
        image, part = divmod(item, parts)
        n, block = divmod(image, blocks)
        n_U, n_M = n if len(U) == N else 0, n if max(len(M), len(grid)) == N else 0
        c = block * planes * lanes
        tile = images[n_U * blocks + block] if len(images) else own
        if not len(images):
            read_tile(U, n_U, c, 0, shape[0], volume, planes, lanes, outside, tile)
        end = min((part + 1) * share, P)
        for start in range(part * share, end, run):
            count = min(run, end - start)
            for p in range(planes):
                for j in range(count * lanes):
                    values[p, j] = U.dtype.type(0)
            for layer in range(layers):
                coordinates(M, basis, grid, scale, centre, n_M, layer * P + start, count, size, target_points, x)
                if k is None:
                    bilinear.place(x, count, shape, 0, shape[0], volume, lanes, padding, False, near)
                    bilinear.blend(tile, near, count, shape, volume, lanes, values[0])
                else:
                    separable.place(x, count, shape, 0, shape[0], volume, lanes, kind, k, slope, radius, padding,
                                    tables)
                    for p in range(min(planes, C - c)):
                        separable.blend(tile, p * plane, tables, count, lanes, values[p])
                _spoil(x, dims, count, lanes, values)
            for p in range(min(planes, C - c)):
                write_run(values[p], n, c + p, start, count, lanes, V)


forward = Kernel(_forward_items, **cpu)


# A thread of a GPU has a point of the output: its coordinates and weights are reckoned once, for all its channels.

ADJACENT = 0  # a way from a point to its pixels; the others are those of `separable_gpu`
BLOCKS = 2048  # to aim at: about twice as many as an H200 has room for, the same on every GPU, so that results are

# What a launch says about a sampling problem: numbers of entries and pixels, then options (`Problem.arguments`).
PROBLEM = "int int int int int int int int int int int int int int int T T T T T"
USERS = (hat.py_func, hat_slope.py_func)  # an example of somebody's functions
WAYS: list[tuple] = [(source, way, None) for source in (PLANE, BASIS, GRID)
                     for way in (ADJACENT, FOUR)]
WAYS += [(GRID, WIDENED, None), (PLANE, FOUR, USERS), (BASIS, MANY, USERS),
         (GRID, WIDENED, USERS)]


def steps_of_a_point(T, dims, way, functions, add=None):
    """The functions of `bilinear_gpu` or `separable_gpu` for this way."""
    if way == ADJACENT:
        return bilinear_gpu.on_device(T, dims, add)
    return separable_gpu.on_device(T, dims, way, functions, add)


@cuda_kernel(f"T* T* T* T* T* {PROBLEM}", offered=[
    (T, dims, *way) for T in (np.float32, np.float64) for dims in (2, 3) for way in WAYS])
def _sample(T, dims, source, way, functions):
    point, widths_of, _ = source_points.on_device(T, dims)
    place, value = steps_of_a_point(T, dims, way, functions)[:2]
    nan = T(np.nan)

    def sample(U, M, basis, grid, V, step, C, P, layers, D, H, W, D_out, H_out, W_out, rows, K, columns, kind,
               padding, radius, outside, s_x, s_y, s_z):
        n = cuda.blockIdx.x
        p = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        while p < P:  # a range with a step would divide, and be unrolled, at the price of registers
            for layer in range(layers):
                q = layer * P + p
                x, y, z, _, _ = point(M, basis, grid, n, q, layers * P, source, rows, K, columns, (D_out, H_out, W_out),
                                      (D, H, W), (s_x, s_y, s_z))
                widths = widths_of(grid, n, q, layers * P) if way == WIDENED else (T(1), T(1), T(1))
                spot = place(x, y, z, widths, D, H, W, kind, radius, padding, False)
                number = x == x and y == y and z == z
                c = np.int64(cuda.blockIdx.z)
                while c < C:
                    at = (n * C + c) * P + p
                    v = value(U, n * step + c * (D * H * W), spot, outside) if number else nan
                    V[at] = v if layer == 0 else V[at] + v
                    c += cuda.gridDim.z
            p += cuda.gridDim.y * cuda.blockDim.x

    return sample


class Problem:
    """A sampling problem as it is launched.

    One set of points for many images is one image with all their channels.
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
        self.rows, self.K = M.shape[1:]
        self.functions = kernel.functions if kernel.kind == CUSTOM else None
        widened = grid.shape[2] > self.dims
        adjacent = kernel.kind in (NEAREST, BILINEAR) and padding != WRAP
        self.way = WIDENED if widened else ADJACENT if adjacent else FOUR if kernel.radius <= 2 else MANY
        self.step = 0 if len(U) == 1 and self.images > 1 else self.C * inside  # from an image to the next
        self.Q, self.columns = self.layers * self.P, grid.shape[2]
        three = (1,) * (3 - self.dims)
        self.arguments = (self.step, self.C, self.P, self.layers, *three, *U.shape[2:], *three, *size, self.rows,
                          self.K, self.columns, kernel.kind, padding,
                          *map(self.T, (kernel.radius_in(self.T), outside, *scale, *three)))

    @property
    def constants(self):
        return self.T, self.dims, self.source, self.way, self.functions

    def groups(self, blocks):
        """Into how many groups the channels are divided where there are so many blocks without.

        Each group reckons the coordinates anew, and a long basis is worth some channels.
        """
        least = 1 + self.K // 8 if self.source == BASIS else 1
        return max(1, min(BLOCKS // blocks, self.C // least))


def sample_on_device(U, *arguments):
    problem = Problem(U, *arguments)
    if problem.layers == 0:
        return full(problem.shape, 0, problem.T)
    V = empty(problem.shape, problem.T)
    if V.size:
        threads = block()
        blocks = min(-(-problem.P // threads), 65535)
        groups = problem.groups(problem.images * blocks)
        _sample[problem.constants]((problem.images, blocks, groups), threads, *problem.arrays, V, *problem.arguments)
    return V
