"""The sampler: V from U at M_theta B, and back, without the grid in memory (paper, sections 3.2 and 3.3).

    V[n, c, p] = sum over the pixels m of U[n, c, m] k(x[n, p] - m) k(y[n, p] - ...) ...                     eq. 3

Coordinates are in pixels from the centre of the image (`source_points.py`): the caller has scaled M. Depth flattening
adds up the layers of an output where a point's values are made, so the volume V never exists. Nearest and bilinear
kernels with the paddings that keep neighbours next to each other have two ways of their own: in place for few channels,
and for the nearest pixel of any (`in_place.py`), in tiles for many (`bilinear.py`). Everything else goes through tables
(`separable.py`).

A worker walks the output in runs of points: coordinates, taps and weights of a run first, then its channels. It reads
the image itself and writes dU itself, or a tile, which is a copy with a margin and its channels last (`tiles.py`).
Where an image is divided into bands of slices, each with an owner, a band is an image of its own with zeros around it:
V is linear in U, so dU of a band and its share of dM need no other band. If many outputs share one image or one theta,
their gradients are summed within fixed groups first, then over the groups. How things are divided depends on shapes
only, and so do all results: they are the same bits for any number of threads. NaN coordinates give NaN in V, so that a
localisation network that diverges is seen.

On a GPU a thread has a point of the output: it computes the coordinates once, walks the channels, and reads U itself
(files that end in `_gpu.py`). dU is added up in integers, whose sum has no order (`gpu/fixed_point.py`); dM in
registers or shared memory by blocks of threads, and the blocks' shares in their order: the same bits every time, too.
"""

import numpy as np

from ..compiling.parallel import Kernel, even
from ..gpu.arrays.device_array import is_device
from ..gpu.arrays.totals import ROWS
from .forward import cpu
from .forward import forward as _forward
from .forward_gpu import sample_on_device
from .gradients import backward as _backward
from .gradients import reach as _reach
from .gradients_gpu import gradients_on_device
from .in_place import RUN
from .in_place_schedule import backward as _backward_in_place
from .in_place_schedule import forward as _forward_in_place
from .interpolation import NEAREST
from .tiles import entries, layout, read_tile

TILE = 1 << 18  # entries of a tile, if a second-level cache is to hold two
ITEMS = 8  # pieces of work to aim at where the batch is small
PLACES = 2**31  # in a tile, or in a channel of an image, that 32 bits tell apart
TABLE = 4096  # entries of a table of taps


def _read_images_items(first, last, U, volume, planes, lanes, outside, images):
    """An item is a row of images (tiles, entries): a block of channels of a whole image of U (N, C, S, R, W)."""
    for image in range(first, last):
        n, block = divmod(image, images.shape[0] // U.shape[0])
        read_tile(U, n, block * planes * lanes, 0, U.shape[2], volume, planes, lanes, outside, images[image])


_read_images = Kernel(_read_images_items, **cpu)


def _few(U, kernel):
    """Whether the channels are so few, or so little is done with them, that they are read from the image itself."""
    return kernel.kind == NEAREST or U.shape[1] < 8 and U.shape[-1] > 1


def _places(U, volume, kernel):
    """Places of a channel of an image, or of a tile of it, that are told apart."""
    if _few(U, kernel):
        return int(np.prod(U.shape[2:]))
    planes, lanes, _, _ = layout(U.shape[1], False)
    return entries(planes, *U.shape[2:], volume, lanes)


def _way(U, volume, grid, kernel, padding):
    """Kind, k, slope and radius of a kernel and its taps along an axis; no k, where neighbours stand together."""
    dims = 3 if volume else 2
    widened = grid.shape[2] > dims
    radius = kernel.radius_in(U.dtype)
    if kernel.adjacent(padding, widened) and _places(U, volume, kernel) < PLACES:
        return kernel.kind, None, None, radius, 0
    width = 1.0
    if widened and grid.size:
        width = min(np.fmax.reduce(grid[..., dims:], axis=None, initial=1.0), max(U.shape[2:]))
    return kernel.kind, *kernel.pointers(U.dtype), radius, int(np.ceil(2 * kernel.radius * width))


def _volume(U):
    """Images (N, C, H, W) as volumes of H slices of one row each."""
    return U if U.ndim == 5 else U.reshape(*U.shape[:3], 1, U.shape[3])


def _depth_height_width(size):
    return (1,) * (3 - len(size)) + tuple(size)


def _centre(U):
    return np.array([(n - 1) / 2 for n in reversed(U.shape[2:])], U.dtype)


def _run(run, taps_used):
    """Points of a run, so that its tables of taps stay small."""
    return max(1, min(run, TABLE // max(taps_used, 1)))


def _even(P):
    """Points of a run, so that runs are of one length, and of whole vectors."""
    return -(-even(max(P, 1), RUN) // 16) * 16


def _shares(images, P):
    """Into how many parts the points of each image's output are divided, so that small batches occupy many cores."""
    return max(1, min(-(-ITEMS // max(1, images)), P // 512))


def _bands(images, slices, tile):
    """The same for slices of an image; and that a tile of them fits a cache."""
    wanted = max(-(-ITEMS // max(1, images)), -(-tile // TILE))
    return max(1, min(wanted, slices // 8))


def _margins(U, volume, planes, lanes, blocks, outside):
    """All images of U (N, C, S, R, W) with their margin, (tiles, entries), for workers that share an image."""
    images = np.empty((len(U) * blocks, entries(planes, *U.shape[2:], volume, lanes)), U.dtype)
    _read_images(len(images), U.size, U, volume, planes, lanes, outside, images)
    return images


def sample(U, M, basis, grid, scale, size, kernel, padding, outside=0.0, flatten=False):
    """V (N, C) + size, or without its first axis where `flatten` sums the depth. eq. 3.

    U (N, C, H, W) or (N, C, D, H, W). Points are either M (N, rows, K) with a basis (K, P), or (K, 0) for the target
    points themselves, and an empty grid (0, 0, dims); or a grid (N, P, dims), or (N, P, 2 dims) with widths, and an
    empty M (0, dims, 0). U or the points may be one for all. M, and the grid times `scale` (dims,), are in pixels.
    """
    if is_device(U):
        return sample_on_device(U, M, basis, grid, scale, size, kernel, padding, outside, flatten)
    volume, centre, outside, given = U.ndim == 5, _centre(U), U.dtype.type(outside), U
    U, size = _volume(U), _depth_height_width(size)
    way = _way(U, volume, grid, kernel, padding)
    layers, P = (size[0], size[1] * size[2]) if flatten else (1, size[0] * size[1] * size[2])
    count, C = max(len(M), len(grid)), U.shape[1]
    N = count if len(U) == 1 else len(U)
    V, problem = np.empty((N, C, P), U.dtype), (M, basis, grid, scale, centre, *size, layers)
    work = U.size + V.size * layers
    if way[1] is None and _few(U, kernel):
        parts = _shares(N, P)
        _forward_in_place(N * parts, work, given, *problem, way[0], padding, outside, _even(-(-P // parts)), parts, V)
    else:
        planes, lanes, blocks, run = layout(C, way[1] is not None)
        parts = _shares(N * blocks, P)
        shared = parts > 1 or len(U) < N
        images = _margins(U, volume, planes, lanes, blocks, outside) if shared else np.empty((0, 0), U.dtype)
        _forward(N * blocks * parts, work, U, *problem, *way, padding, outside, planes, lanes, _run(run, way[-1]),
                 parts, images, V)
    return V.reshape(N, C, *(size[1:] if flatten or not volume else size))


def sample_gradients(U, M, basis, grid, scale, size, dV, kernel, padding, outside, flatten, wanted):
    """dU and dM, or dU and dgrid where there is a grid; None for one that is not `wanted`, a pair. eq. 6 and 7.

    Arguments are those of `sample`, and dV, of its result's shape. M and dM are in pixels: the caller rescales them.
    On a GPU a dV that is not finite gives NaN in all of dU that shares a sum with it (`gpu/fixed_point.py`).
    """
    if is_device(U):
        return gradients_on_device(U, M, basis, grid, scale, size, dV, kernel, padding, outside, flatten, wanted)
    same = kernel, padding, outside, flatten
    wanted_U, wanted_points = wanted
    on_grid = grid.shape[1] > 0
    nothing = np.zeros_like(grid if on_grid else M) if wanted_points else None
    wanted_points = wanted_points and kernel.kind != NEAREST  # which is constant between its jumps
    if dV.size == 0 or not (wanted_U or wanted_points):
        return np.zeros_like(U) if wanted_U else None, nothing
    volume, centre, outside, given = U.ndim == 5, _centre(U), U.dtype.type(outside), U
    U, size3 = _volume(U), _depth_height_width(size)
    way = _way(U, volume, grid, kernel, padding)
    layers = size3[0] if flatten else 1
    N, C = dV.shape[:2]
    P = int(np.prod(dV.shape[2:]))
    few = way[1] is None and _few(U, kernel)
    planes, lanes, blocks, run = (1, 1, 1, _even(P)) if few else layout(C, way[1] is not None)
    run = _run(run, way[-1])
    one_U, one_M = len(U) < N, max(len(M), len(grid)) < N
    groups = min(N, ITEMS) if one_U or one_M else N
    tile = 0 if few else entries(planes, *U.shape[2:], volume, lanes)
    parts = _bands(groups * blocks, U.shape[2], tile) if wanted_U else _shares(groups * blocks, P)
    if wanted_U and wanted_points and parts > 1 and (on_grid or outside != 0):
        # A point between two bands of U gets dgrid from both, and a padding value other than 0 would count in every
        # band: dU is computed with bands, the gradient of the points without.
        dU, _ = sample_gradients(given, M, basis, grid, scale, size, dV, *same, (True, False))
        return dU, sample_gradients(given, M, basis, grid, scale, size, dV, *same, (False, True))[1]
    images, reach = np.empty((0, 0), U.dtype), np.empty((0, 0, 0, 2), np.int64)
    if parts > 1 and wanted_U:
        run = min(run, 256)  # a run that a band does not meet costs it nothing
        reach = np.empty((max(len(M), len(grid)), layers, -(-P // run), 2), np.int64)
        _reach(reach.size // 2, N * layers * P, given, M, basis, grid, scale, centre, *size3, P, *way, padding, run,
               reach)
    elif parts > 1 and not few:
        images = _margins(U, volume, planes, lanes, blocks, outside)
    dU = np.empty((groups if one_U else N, *given.shape[1:]) if wanted_U else (0,) * given.ndim, U.dtype)
    dM = np.zeros((N, blocks * parts, *M.shape[1:]))  # the sums of runs, however many, are added up in float64
    dgrid = np.empty((blocks, groups if one_M else N, *grid.shape[1:]) if wanted_points else (0, 0, 0, 0),
                     np.float64 if one_M and N > ROWS else U.dtype)
    items, work, problem = groups * blocks * parts, U.size + dV.size * layers, (M, basis, grid, scale, centre, *size3)
    dV = dV.reshape(N, C, P)
    if few:
        _backward_in_place(items, work, given, *problem, layers, way[0], padding, outside, run, parts, groups, reach,
                           dV, wanted_U, wanted_points, dU, dM, dgrid)
    else:
        _backward(items, work, U, *problem, layers, *way, padding, outside, planes, lanes, run, parts, groups, images,
                  reach, dV, wanted_U, wanted_points, _volume(dU), dM, dgrid)
    dpoints = dgrid.sum(axis=0) if on_grid else dM.sum(axis=1)
    if one_M:
        dpoints = dpoints.sum(axis=0, keepdims=True)
    dpoints = dpoints.astype(U.dtype, copy=False)
    if one_U:
        dU = dU.sum(axis=0, keepdims=True)
    return dU if wanted_U else None, dpoints if wanted_points else nothing
