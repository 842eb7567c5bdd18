"""The sampler's gradients on a GPU: dU in integers, whose sum has no order; dM by blocks of threads (eq. 6 and 7)."""

import numpy as np

from ..gpu.arrays.device_array import empty
from ..gpu.arrays.elementwise import full
from ..gpu.block_sums import LANES, sum_parts
from ..gpu.fixed_point import Scatter, largest, scaling
from ..gpu.launch import FULL, block, cuda, cuda_kernel, device_function
from . import source_points_gpu
from .forward_gpu import BLOCKS, USERS, WAYS, WIDENED, Plan, steps_of_a_point
from .interpolation import BICUBIC, CATMULL_ROM, NEAREST
from .source_points_gpu import GRID, PLANE, Problem


def _reduced(T, dims, source, threads):
    """How a block adds up dM: `gather` what a run of its points adds, `finish` when it has walked them all.

    Over the target points each thread keeps sums of its own, in registers. Over a long basis (K, points) the gradients
    of a run from point `first` on go to shared memory, and LANES threads have an entry of a row each. g are a point's
    (4,), in 1 / pixels, `at` its target; dM (rows, K) of the block begins at entry `out`.
    """
    sums_of_all, shares_of_all, four = (dims + 1) ** 2 * threads, (dims + 1) ** 2 * LANES, 4 * threads

    if source == PLANE:
        @device_function
        def plus(sums, g, at):
            return sums[0] + g * at[0], sums[1] + g * at[1], sums[2] + g * at[2], sums[3] + g * at[3]

        @device_function
        def gather(sums, g, at, basis, first, problem, begins, dM, out):
            return plus(sums[0], g[0], at), plus(sums[1], g[1], at), plus(sums[2], g[2], at), plus(sums[3], g[3], at)

        @device_function
        def keep(found, sums, a, t):
            for k in range(dims + 1):
                found[(a * (dims + 1) + k) * threads + t] = (
                    sums[0] if k == 0 else sums[1] if k == 1 else sums[2] if k == 2 else sums[3])

        @device_function
        def finish(sums, rows, dM, out):
            found = cuda.shared.array(sums_of_all, T)
            shares = cuda.shared.array(shares_of_all, T)
            t = cuda.threadIdx.x
            keep(found, sums[0], 0, t)
            keep(found, sums[1], 1, t)
            if rows > 2:
                keep(found, sums[2], 2, t)
            if dims == 3 and rows > 3:
                keep(found, sums[3], 3, t)
            cuda.syncthreads()
            for job in range(t, rows * (dims + 1) * LANES, threads):
                total = T(0)
                for i in range(job % LANES, threads, LANES):
                    total += found[job // LANES * threads + i]
                shares[job] = total
            cuda.syncthreads()
            if t < rows * (dims + 1):
                total = T(0)
                for i in range(LANES):
                    total += shares[t * LANES + i]
                dM[out + t] = total
    else:
        @device_function
        def gather(sums, g, at, basis, first, problem, begins, dM, out):
            rows, K, Q = problem.rows, problem.K, problem.layers * problem.P
            run = cuda.shared.array(four, T)
            shares = cuda.shared.array(four, T)
            t = cuda.threadIdx.x
            for a in range(rows):
                run[a * threads + t] = g[0] if a == 0 else g[1] if a == 1 else g[2] if a == 2 else g[3]
            cuda.syncthreads()
            entries, count = threads // LANES, min(threads, Q - first)
            for start in range(0, K, entries):
                k = start + t // LANES
                s_0, s_1, s_2, s_3 = T(0), T(0), T(0), T(0)
                if k < K:
                    j = t % LANES
                    while j < count:
                        b = basis[k * Q + first + j]
                        s_0 += run[j] * b
                        s_1 += run[threads + j] * b
                        if rows > 2:
                            s_2 += run[2 * threads + j] * b
                        if dims == 3 and rows > 3:
                            s_3 += run[3 * threads + j] * b
                        j += LANES
                shares[t], shares[threads + t] = s_0, s_1
                shares[2 * threads + t], shares[3 * threads + t] = s_2, s_3
                cuda.syncthreads()
                a, k = t // entries, start + t % entries
                if a < rows and k < K:
                    total = T(0) if begins else dM[out + a * K + k]
                    for i in range(LANES):
                        total += shares[a * threads + t % entries * LANES + i]
                    dM[out + a * K + k] = total
                cuda.syncthreads()
            return sums

        @device_function
        def finish(sums, rows, dM, out):
            pass

    return gather, finish


@cuda_kernel("T* T* T* T* T* T* int64[] T*", Problem, "int bool bool", offered=[
    (T, dims, *way, FULL) for T in (np.float32, np.float64) for dims in (2, 3) for way in WAYS])
def _gradients(T, dims, source, way, functions, threads):
    """Both gradients of the sampler: dU by eq. 6 and dpoints by eq. 7, a block of `threads` points at a time.

    dV (images, C, P), dpoints as M or the grid, maxima and sums as in `Scatter`; the others as for `sample`, in pixels.
    """
    point, widths_of, through_quotient = source_points_gpu.on_device(T, dims, source)

    @device_function
    def add(sums, at, value):
        """A term of dU, in multiples of its quantum (`gpu/fixed_point.py`)."""
        whole = np.int64(value)
        if whole != 0:
            cuda.atomic.add(sums, at, whole)

    steps = steps_of_a_point(T, dims, way, functions, add)
    place, slopes, scatter, through_padding = steps.place, steps.slopes, steps.scatter, steps.through_padding
    gather, finish = _reduced(T, dims, source, threads)
    factors = scaling(T)

    def gradients(U, M, basis, grid, dV, maxima, sums, dpoints, problem, bits, wanted_U, wanted_points):
        """Adds dU to `sums`, as multiples of a quantum that follows from maxima, the largest |dV| of each image, and
        bits (`gpu/fixed_point.py`). Writes dpoints: parts of dgrid (blocks z, n, points, columns), or of dM (n, blocks
        z and y, rows, K). The other arrays are those of `sample`."""
        step, C, P, layers = problem[:4]
        D, H, W = problem.shape
        rows, K, columns = problem.rows, problem.K, problem.columns
        n, Q = cuda.blockIdx.x, layers * P
        most = maxima[n if step > 0 else 0] if wanted_U else T(0)
        scatters = wanted_U and most - most == T(0)
        f_1, f_2 = factors(most if scatters else T(0), bits, False)
        out = ((n * cuda.gridDim.z + cuda.blockIdx.z) * cuda.gridDim.y + cuda.blockIdx.y) * rows * K
        nothing = T(0), T(0), T(0), T(0)
        own = nothing, nothing, nothing, nothing
        first = cuda.blockIdx.y * threads
        while first < Q:  # a range with a step would divide, and be unrolled, at the price of registers
            q = first + cuda.threadIdx.x
            g, at = nothing, nothing
            if q < Q:
                here = point(M, basis, grid, n, q, problem)
                at = here.target
                widths = widths_of(grid, n, q, problem) if way == WIDENED else (T(1), T(1), T(1))
                spot = place(here, widths, problem, True)
                p = q if layers == 1 else q - np.int64(np.uint32(q) // np.uint32(P)) * P
                g_x, g_y, g_z, e_x, e_y, e_z = T(0), T(0), T(0), T(0), T(0), T(0)
                c = np.int64(cuda.blockIdx.z)
                while c < C:
                    d, base = dV[(n * C + c) * P + p], n * step + c * (D * H * W)
                    if wanted_points:
                        d_x, d_y, d_z, w_x, w_y, w_z = slopes(U, base, spot, problem)
                        g_x, g_y, g_z = g_x + d * d_x, g_y + d * d_y, g_z + d * d_z
                        e_x, e_y, e_z = e_x + d * w_x, e_y + d * w_y, e_z + d * w_z
                    if scatters:
                        scatter(sums, base, spot, d * f_1 * f_2)
                    c += cuda.gridDim.z
                g_x, g_y = through_padding(spot.x, g_x), through_padding(spot.y, g_y)
                g_z = through_padding(spot.z, g_z) if dims == 3 else T(0)
                g = g_x, g_y, g_z, T(0)
                if source == GRID and wanted_points:
                    to = ((cuda.blockIdx.z * cuda.gridDim.x + n) * Q + q) * columns
                    dpoints[to], dpoints[to + 1] = g_x * problem.scale[0], g_y * problem.scale[1]
                    if dims == 3:
                        dpoints[to + 2] = g_z * problem.scale[2]
                    if way == WIDENED:
                        dpoints[to + dims], dpoints[to + dims + 1] = e_x, e_y
                        if dims == 3:
                            dpoints[to + 5] = e_z
                if source != GRID and rows > dims:
                    g = through_quotient(here, g, problem.shape)
            if source != GRID and wanted_points:
                own = gather(own, g, at, basis, first, problem, first == cuda.blockIdx.y * threads, dpoints, out)
            first += cuda.gridDim.y * threads
        if source != GRID and wanted_points:
            finish(own, rows, dpoints, out)

    return gradients


@cuda_kernel("T* T* T* T* T*", Problem, offered=[
    (T, dims, *way) for T in (np.float32, np.float64) for dims in (2, 3) for way in WAYS if way[-1] is USERS])
def _weight_of_points(T, dims, source, way, functions):
    """Of a user's kernel: the sum of the weights of each point, without their signs, which bounds what it adds."""
    point, widths_of, _ = source_points_gpu.on_device(T, dims, source)
    steps = steps_of_a_point(T, dims, way, functions)
    place, absolute = steps.place, steps.absolute

    def weight_of_points(U, M, basis, grid, found, problem):
        """found (n, points); the other arrays are those of `sample`."""
        n, Q = cuda.blockIdx.x, problem.layers * problem.P
        q = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        while q < Q:
            here = point(M, basis, grid, n, q, problem)
            widths = widths_of(grid, n, q, problem) if way == WIDENED else (T(1), T(1), T(1))
            found[n * Q + q] = absolute(place(here, widths, problem, True))
            q += cuda.gridDim.y * cuda.blockDim.x

    return weight_of_points


def gradients_on_device(U, M, basis, grid, scale, size, dV, kernel, padding, outside, flatten, wanted):
    """dU or None, and dgrid or dM in pixels, or None, as the pair `wanted` says; the others are those of `Plan`."""
    wanted_U, wanted_points = wanted
    given = grid if grid.shape[1] > 0 else M
    nothing = full(given.shape, 0, dV.dtype) if wanted_points and (kernel.kind == NEAREST or dV.size == 0) else None
    wanted_points = wanted_points and nothing is None
    if dV.size == 0 or not (wanted_U or wanted_points):
        return full(U.shape, 0, dV.dtype) if wanted_U else None, nothing
    plan = Plan(U, M, basis, grid, scale, size, kernel, padding, outside, flatten)
    T, threads, images, on_grid = plan.T, block(), plan.images, plan.source == GRID
    # A block adds up its share of dM by itself: the more points it has, the less is left to sum afterwards.
    most = -(-plan.Q // (threads if on_grid else 4 * threads))
    blocks = min(most, 65535 if on_grid else max(1, BLOCKS // images))
    groups = plan.groups(images * blocks)
    parts = 1 if not wanted_points else groups if on_grid else groups * blocks
    dpoints = empty((parts, *given.shape) if parts > 1 else given.shape if wanted_points else 1, T)
    scatter = _scatter(plan, U, dV, kernel, threads) if wanted_U else None
    maxima, sums, bits = (scatter.maxima, scatter.sums, scatter.bits) if wanted_U else (U, empty(1, np.int64), 0)
    _gradients[(*plan.constants, threads)](
        (images, blocks, groups), threads, *plan.arrays, dV, maxima, sums, dpoints, *plan.numbers, bits,
        wanted_U, wanted_points)
    if parts > 1:
        dpoints = sum_parts(dpoints, parts, empty(given.shape, T), 1 if on_grid else images)
    return scatter.total() if wanted_U else None, dpoints if wanted_points else nothing


def _scatter(plan, U, dV, kernel, threads):
    """Room for dU: sums for each image that has its own, of as many terms as there are points."""
    rows, weights = 1 if plan.step == 0 else plan.images, None
    if plan.functions is not None:
        weights = empty((plan.images, plan.Q), plan.T)
        blocks = plan.images, min(-(-plan.Q // threads), 65535)
        _weight_of_points[plan.constants](blocks, threads, *plan.arrays, weights, *plan.numbers)
        weights = largest(weights, rows)
    # What a point adds to one pixel: with cubic weights, which may be negative, less than twice dV along each axis.
    bound = 2.0**plan.dims if kernel.kind in (BICUBIC, CATMULL_ROM) else 1.0
    return Scatter(U.shape, rows, dV, plan.Q * plan.images // rows, bound, weights)
