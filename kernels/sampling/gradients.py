"""The sampler's gradients: dU, scattered to the pixels that a point reads, and dM or dgrid, reduced over its pixels."""

import numpy as np

from ..compiling.parallel import Kernel
from ..gpu.arrays.device_array import empty
from ..gpu.arrays.elementwise import full
from ..gpu.arrays.totals import ROWS
from ..gpu.fixed_point import LANES, Scatter, largest, scaling, sum_parts
from ..gpu.launch import FULL, block, cuda, cuda_kernel, device_function
from . import bilinear, separable, source_points
from .forward import BLOCKS, PROBLEM, USERS, WAYS, WIDENED, Problem, cpu, steps_of_a_point
from .interpolation import BICUBIC, CATMULL_ROM, NEAREST, ZEROS
from .source_points import GRID, PLANE, WIDTHS, add_dM, coordinates, through_quotient, write_dgrid
from .tiles import read_run, read_tile, steps, write_tile


def _backward_items(first, last, U, M, basis, grid, scale, centre, D_out, H_out, W_out, layers, kind, k, slope, radius,
                    taps_used, padding, outside, planes, lanes, run, parts, groups, images, reach, dV, wanted_U,
                    wanted_points, dU, dM, dgrid):
    N, C, P = dV.shape
    size, shape, dims = (D_out, H_out, W_out), U.shape[2:], centre.size
    volume = dims == 3
    blocks = max(1, -(-C // (planes * lanes)))
    # Parts are bands of slices of U, which their owner alone writes; or, where dU is not wanted, of the output.
    slices = -(-shape[0] // parts) if wanted_U else shape[0]
    share = P if wanted_U else -(-P // parts)
    plane = (slices + 3) * steps(shape[1], shape[2], volume, lanes)[0]
    zero = U.dtype.type(0)
    x, g = np.empty((WIDTHS + 3, run), U.dtype), np.empty((WIDTHS + 3 if k is not None else dims + 1, run), U.dtype)
    values = np.empty((planes, run * lanes), U.dtype)
    own = np.empty(planes * plane if wanted_points and not len(images) else 0, U.dtype)
    target = np.empty(planes * plane if wanted_U else 0, U.dtype)
    # A tile takes so many points in U's dtype; then what they have added moves on to float64.
    leg, most = max(ROWS, 2 * plane // lanes), (-(-N // groups) if len(U) < N else 1) * layers * P
    sums, walked = np.empty(target.size if most > leg else 0, np.float64), 0
    target_points = np.empty((M.shape[2], run), U.dtype)
    near = bilinear.workspace(run, U.dtype)
    tables = separable.workspace(run, taps_used, grid.shape[2] > dims, U.dtype)
    one_U, one_M = len(U) < N, max(len(M), len(grid)) < N
    for item in range(first, last):
        image, part = divmod(item, parts)
        group, block = divmod(image, blocks)
        c = block * planes * lanes
        top = part * slices if wanted_U else 0
        begin = 0 if wanted_U else part * share
        end = min(begin + share, P)
        first_n, last_n = group * N // groups, (group + 1) * N // groups
        for n in range(first_n, last_n):
            n_U, n_M = 0 if one_U else n, 0 if one_M else n
            tile = images[n_U * blocks + block] if len(images) else own
            if wanted_points and not len(images) and (n == first_n or not one_U):
                read_tile(U, n_U, c, top, slices, volume, planes, lanes, outside, tile)
            if wanted_U and (n == first_n or not one_U):
                target[:], sums[:], walked = zero, 0.0, 0
            dM_part = dM[n, block * parts + part]
            for start in range(begin, end, run):
                count = min(run, end - start)
                loaded = False
                for layer in range(layers):
                    if reach.size > 0:
                        low, high = reach[n_M, layer, start // run, 0], reach[n_M, layer, start // run, 1]
                        if high < top or low >= top + slices:
                            continue
                    if not loaded:
                        for p in range(min(planes, C - c)):
                            read_run(dV, n, c + p, start, count, lanes, values[p])
                        loaded = True
                    point = layer * P + start
                    coordinates(M, basis, grid, scale, centre, n_M, point, count, size, target_points, x)
                    if k is None:
                        bilinear.place(x, count, shape, top, slices, volume, lanes, padding, True, near)
                        if wanted_points:
                            bilinear.slopes(tile, values[0], near, count, shape, volume, lanes, g)
                        if wanted_U:
                            bilinear.scatter(values[0], near, count, shape, volume, lanes, target)
                    else:
                        separable.place(x, count, shape, top, slices, volume, lanes, kind, k, slope, radius, padding,
                                        tables)
                        for p in range(min(planes, C - c)):
                            if wanted_points:
                                separable.slopes(tile, values[p], p * plane, tables, count, volume, lanes, p > 0, g)
                            if wanted_U:
                                separable.scatter(values[p], p * plane, tables, count, lanes, target)
                    walked += count
                    if sums.size > 0 and walked >= leg:
                        for i in range(target.size):
                            sums[i], target[i] = sums[i] + target[i], zero
                        walked = 0
                    if not wanted_points:
                        continue
                    if k is None and padding != ZEROS:
                        bilinear.through_padding(count, volume, near, g)
                    if grid.shape[1] > 0:
                        own_grid = dgrid[block, group if one_M else n]
                        write_dgrid(g, scale, point, count, one_M and n > first_n, own_grid)
                        continue
                    if M.shape[1] > dims:
                        through_quotient(x, centre, count, g)
                    for a in range(M.shape[1]):
                        add_dM(g[a], basis, point, count, target_points, dM_part[a])
            if wanted_U and (n == last_n - 1 or not one_U):
                for i in range(sums.size):
                    target[i] += sums[i]
                write_tile(target, group if one_U else n, c, top, slices, volume, planes, lanes, dU)


def _reach_items(first, last, U, M, basis, grid, scale, centre, D_out, H_out, W_out, P, kind, k, slope, radius,
                 taps_used, padding, run, reach):
    """The first and last slice of U that each run of points reads."""
    size, shape = (D_out, H_out, W_out), U.shape[2:]
    x = np.empty((WIDTHS + 3, run), scale.dtype)
    volume = centre.size == 3
    layers, runs = reach.shape[1:3]
    target_points = np.empty((M.shape[2], run), scale.dtype)
    near = bilinear.workspace(run, scale.dtype)
    tables = separable.workspace(run, taps_used, grid.shape[2] > centre.size, scale.dtype)
    for item in range(first, last):
        image, r = divmod(item, runs)
        n, layer = divmod(image, layers)
        count = min(run, P - r * run)
        coordinates(M, basis, grid, scale, centre, n, layer * P + r * run, count, size, target_points, x)
        if k is None:
            reach[n, layer, r] = bilinear.reach(x[2 if volume else 1], count, shape[0], padding, near)
        else:
            reach[n, layer, r] = separable.reach(x, count, shape, volume, kind, k, slope, radius, padding, tables)


backward = Kernel(_backward_items, **cpu)
reach = Kernel(_reach_items, **cpu)


def _add():
    """A term of dU, in multiples of its quantum (`gpu/fixed_point.py`)."""
    def add(sums, at, value):
        whole = np.int64(value)
        if whole != 0:
            cuda.atomic.add(sums, at, whole)

    return device_function(add)


def _reduced(T, dims, source, threads):
    """How a block adds up dM: `gather` what a run of its points adds, `finish` when it has walked them all.

    Over the target points each thread keeps sums of its own, in registers. Over a long basis the gradients of a run go
    to shared memory, and LANES threads have an entry of a row each.
    """
    sums_of_all, shares_of_all, four = (dims + 1) ** 2 * threads, (dims + 1) ** 2 * LANES, 4 * threads

    if source == PLANE:
        @device_function
        def plus(sums, g, at):
            return sums[0] + g * at[0], sums[1] + g * at[1], sums[2] + g * at[2], sums[3] + g * at[3]

        @device_function
        def gather(sums, g, at, basis, first, Q, rows, K, begins, dM, out):
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
        def gather(sums, g, at, basis, first, Q, rows, K, begins, dM, out):
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


@cuda_kernel(f"T* T* T* T* T* T* int64[] T* {PROBLEM} int bool bool", offered=[
    (T, dims, *way, FULL) for T in (np.float32, np.float64) for dims in (2, 3) for way in WAYS])
def _gradients(T, dims, source, way, functions, threads):
    point, widths_of, through_quotient = source_points.on_device(T, dims)
    place, _, slopes, scatter, through_padding = steps_of_a_point(T, dims, way, functions, _add())[:5]
    gather, finish = _reduced(T, dims, source, threads)
    factors = scaling(T)

    def gradients(U, M, basis, grid, dV, maxima, sums, dpoints, step, C, P, layers, D, H, W, D_out, H_out, W_out,
                  rows, K, columns, kind, padding, radius, outside, s_x, s_y, s_z, bits, wanted_U, wanted_points):
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
                x, y, z, rate, at = point(M, basis, grid, n, q, Q, source, rows, K, columns, (D_out, H_out, W_out),
                                          (D, H, W), (s_x, s_y, s_z))
                widths = widths_of(grid, n, q, Q) if way == WIDENED else (T(1), T(1), T(1))
                spot = place(x, y, z, widths, D, H, W, kind, radius, padding, True)
                p = q if layers == 1 else q - np.int64(np.uint32(q) // np.uint32(P)) * P
                g_x, g_y, g_z, e_x, e_y, e_z = T(0), T(0), T(0), T(0), T(0), T(0)
                c = np.int64(cuda.blockIdx.z)
                while c < C:
                    d, base = dV[(n * C + c) * P + p], n * step + c * (D * H * W)
                    if wanted_points:
                        d_x, d_y, d_z, w_x, w_y, w_z = slopes(U, base, spot, outside)
                        g_x, g_y, g_z = g_x + d * d_x, g_y + d * d_y, g_z + d * d_z
                        e_x, e_y, e_z = e_x + d * w_x, e_y + d * w_y, e_z + d * w_z
                    if scatters:
                        scatter(sums, base, spot, d * f_1 * f_2)
                    c += cuda.gridDim.z
                g_x, g_y = through_padding(spot, 0, g_x), through_padding(spot, 1, g_y)
                g_z = through_padding(spot, 2, g_z) if dims == 3 else T(0)
                g = g_x, g_y, g_z, T(0)
                if source == GRID and wanted_points:
                    to = ((cuda.blockIdx.z * cuda.gridDim.x + n) * Q + q) * columns
                    dpoints[to], dpoints[to + 1] = g_x * s_x, g_y * s_y
                    if dims == 3:
                        dpoints[to + 2] = g_z * s_z
                    if way == WIDENED:
                        dpoints[to + dims], dpoints[to + dims + 1] = e_x, e_y
                        if dims == 3:
                            dpoints[to + 5] = e_z
                if source != GRID and rows > dims:
                    g = through_quotient(x, y, z, rate, g, (D, H, W))
            if source != GRID and wanted_points:
                own = gather(own, g, at, basis, first, Q, rows, K, first == cuda.blockIdx.y * threads, dpoints, out)
            first += cuda.gridDim.y * threads
        if source != GRID and wanted_points:
            finish(own, rows, dpoints, out)

    return gradients


@cuda_kernel(f"T* T* T* T* T* {PROBLEM}", offered=[
    (T, dims, *way) for T in (np.float32, np.float64) for dims in (2, 3) for way in WAYS if way[-1] is USERS])
def _weight_of_points(T, dims, source, way, functions):
    """Of somebody's kernel: the sum of the weights of each point, without their signs, which bounds what it adds."""
    point, widths_of, _ = source_points.on_device(T, dims)
    place, *_, absolute = steps_of_a_point(T, dims, way, functions)

    def weight_of_points(U, M, basis, grid, found, step, C, P, layers, D, H, W, D_out, H_out, W_out, rows,
                         K, columns, kind, padding, radius, outside, s_x, s_y, s_z):
        n, Q = cuda.blockIdx.x, layers * P
        q = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        while q < Q:
            x, y, z, _, _ = point(M, basis, grid, n, q, Q, source, rows, K, columns, (D_out, H_out, W_out), (D, H, W),
                                  (s_x, s_y, s_z))
            widths = widths_of(grid, n, q, Q) if way == WIDENED else (T(1), T(1), T(1))
            found[n * Q + q] = absolute(place(x, y, z, widths, D, H, W, kind, radius, padding, True))
            q += cuda.gridDim.y * cuda.blockDim.x

    return weight_of_points


def gradients_on_device(U, M, basis, grid, scale, size, dV, kernel, padding, outside, flatten, wanted_U, wanted_points):
    given = grid if grid.shape[1] > 0 else M
    nothing = full(given.shape, 0, dV.dtype) if wanted_points and (kernel.kind == NEAREST or dV.size == 0) else None
    wanted_points = wanted_points and nothing is None
    if dV.size == 0 or not (wanted_U or wanted_points):
        return full(U.shape, 0, dV.dtype) if wanted_U else None, nothing
    problem = Problem(U, M, basis, grid, scale, size, kernel, padding, outside, flatten)
    T, threads, images, on_grid = problem.T, block(), problem.images, problem.source == GRID
    # A block adds up its share of dM by itself: the more points it has, the less is left to sum afterwards.
    most = -(-problem.Q // (threads if on_grid else 4 * threads))
    blocks = min(most, 65535 if on_grid else max(1, BLOCKS // images))
    groups = problem.groups(images * blocks)
    parts = 1 if not wanted_points else groups if on_grid else groups * blocks
    dpoints = empty((parts, *given.shape) if parts > 1 else given.shape if wanted_points else 1, T)
    scatter = _scatter(problem, U, dV, kernel, threads) if wanted_U else None
    maxima, sums, bits = (scatter.maxima, scatter.sums, scatter.bits) if wanted_U else (U, empty(1, np.int64), 0)
    _gradients[(*problem.constants, threads)](
        (images, blocks, groups), threads, *problem.arrays, dV, maxima, sums, dpoints, *problem.arguments, bits,
        wanted_U, wanted_points)
    if parts > 1:
        dpoints = sum_parts(dpoints, 1 if on_grid else images, parts, given.shape)
    return scatter.total() if wanted_U else None, dpoints if wanted_points else nothing


def _scatter(problem, U, dV, kernel, threads):
    """Room for dU: sums for each image that has its own, of as many terms as there are points."""
    rows, weights = 1 if problem.step == 0 else problem.images, None
    if problem.functions is not None:
        weights = empty((problem.images, problem.Q), problem.T)
        blocks = problem.images, min(-(-problem.Q // threads), 65535)
        _weight_of_points[problem.constants](blocks, threads, *problem.arrays, weights, *problem.arguments)
        weights = largest(weights, rows)
    # What a point adds to one pixel: with cubic weights, which may be negative, less than twice dV along each axis.
    bound = 2.0**problem.dims if kernel.kind in (BICUBIC, CATMULL_ROM) else 1.0
    return Scatter(U.shape, rows, dV, problem.Q * problem.images // rows, bound, weights)
