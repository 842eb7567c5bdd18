"""The sampler as the paper defines it: eq. 3 in full, for the tests of `kernels/sampling`. And what they sample.

Coordinates are drawn as odd multiples of 1/64: exact in single precision, and never at a kink.
"""

import math

import numpy as np

from nanostn.kernels.sampling import interpolation
from nanostn.kernels.sampling.interpolation import BORDER, REFLECT_CENTRES, REFLECT_EDGES, WRAP, ZEROS, Interpolation


def lopsided(u):
    """A user's kernel: the quadratic B-spline, a quarter of a pixel to the right. Not even, and a sum of 1."""
    r = abs(u - 0.25)
    return 0.75 - r * r if r < 0.5 else (1.5 - r) ** 2 / 2 if r < 1.5 else 0.0


def lopsided_slope(u):
    v = u - 0.25
    return -2 * v if abs(v) < 0.5 else v - math.copysign(1.5, v) if abs(v) < 1.5 else 0.0


def keys(u, a):
    """Keys 1981, eq. 4 with any a, its pieces written out."""
    r = abs(u)
    near = (a + 2) * r ** 3 - (a + 3) * r ** 2 + 1
    far = a * r ** 3 - 5 * a * r ** 2 + 8 * a * r - 4 * a
    return np.where(r < 1, near, np.where(r < 2, far, 0))


def b_spline(u):
    r = abs(u)
    return np.where(r < 1, 2 / 3 - r ** 2 + r ** 3 / 2, np.where(r < 2, (2 - r) ** 3 / 6, 0))


def quadratic_b_spline(u):
    """`lopsided`, for arrays."""
    r = abs(u - 0.25)
    return np.where(r < 0.5, 0.75 - r ** 2, np.maximum(0, 1.5 - r) ** 2 / 2)


KERNELS = {
    "nearest": (Interpolation(interpolation.NEAREST), lambda u: ((u >= -0.5) & (u < 0.5)).astype(float)),
    "bilinear": (Interpolation(interpolation.BILINEAR), lambda u: np.maximum(0, 1 - abs(u))),
    "bicubic": (Interpolation(interpolation.BICUBIC), lambda u: keys(u, -0.75)),
    "catmull-rom": (Interpolation(interpolation.CATMULL_ROM), lambda u: keys(u, -0.5)),
    "bspline": (Interpolation(interpolation.BSPLINE), b_spline),
    "lopsided": (Interpolation(interpolation.CUSTOM, 1.75, lopsided, lopsided_slope), quadratic_b_spline),
}
PADDINGS = {  # what the kernels are told, the number outside, and how np.pad continues an axis
    "zeros": (ZEROS, 0.0, {"mode": "constant", "constant_values": -1}),
    "number": (ZEROS, 0.75, {"mode": "constant", "constant_values": -1}),
    "border": (BORDER, 0.0, {"mode": "edge"}),
    "wrap": (WRAP, 0.0, {"mode": "wrap"}),
    "centres": (REFLECT_CENTRES, 0.0, {"mode": "reflect"}),
    "edges": (REFLECT_EDGES, 0.0, {"mode": "symmetric"}),
}

# U, output. Planes of one channel, lanes, lanes in two blocks; runs that end within a row; axes of one and two pixels;
# one point; images in bands, whose outputs are divided, too, and not evenly.
IMAGES = [((2, 3, 4, 5), (3, 7)), ((2, 7, 5, 4), (6, 3)), ((1, 8, 3, 6), (5, 4)), ((2, 9, 2, 5), (3, 4)),
          ((1, 35, 3, 6), (5, 4)), ((2, 1, 1, 6), (4, 1)), ((2, 2, 5, 1), (1, 5)), ((1, 1, 2, 2), (1, 1)),
          ((1, 2, 37, 6), (41, 33))]
VOLUMES = [((2, 3, 4, 5, 3), (3, 2, 4)), ((2, 9, 3, 2, 4), (2, 4, 3)), ((1, 35, 2, 3, 1), (1, 1, 1)),
           ((2, 1, 1, 1, 3), (1, 3, 1)), ((1, 2, 37, 3, 4), (21, 9, 7))]


def weights(x, size, k, pad, width):
    """(N, P, size): the weight of each pixel, summed over all taps that read it; (N, P): that of all taps."""
    s = np.clip(width, 1, size)[..., None] if width is not None else 1.0
    reach = 2 * max(s if width is None else s.max(initial=1), 1) + 1
    low, high = (int(np.floor(f(x, initial=0))) for f in (np.min, np.max))
    margin = max(int(reach) + max(-low, high - size) + 2, 1)
    taps = np.arange(-margin, size + margin)
    w = k((x[..., None] - taps) / s)
    if width is not None:
        w = w / w.sum(axis=-1, keepdims=True)
    reads = np.pad(np.arange(size), margin, **pad)[:, None] == np.arange(size)
    return w @ reads, w.sum(axis=-1)


def spec(U, x, kernel, padding, widths=None):
    """eq. 3: V = sum over the pixels of U k(x - m) k(y - n) ..., with x (N, P, dims) in pixels from the first one."""
    k, (_, outside, pad) = KERNELS[kernel][1], PADDINGS[padding]
    axes = range(x.shape[2])
    found = [weights(x[..., a], U.shape[-1 - a], k, pad, None if widths is None else widths[..., a]) for a in axes]
    pixels, total = [f[0] for f in found], np.prod([f[1] for f in found], axis=0)
    U = np.broadcast_to(U, (len(x), *U.shape[1:]))
    V = np.einsum("nchw,npw,nph->ncp" if len(axes) == 2 else "ncdhw,npw,nph,npd->ncp", U, *pixels, optimize=True)
    inside = np.prod([w.sum(axis=-1) for w in pixels], axis=0)
    return V + outside * (total - inside)[:, None]


def centre(shape):
    return np.array([(n - 1) / 2 for n in reversed(shape[2:])])


def target(size):
    """(x_t, y_t[, z_t], 1) in pixels from the centre of the output, (K, P)."""
    points = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij")[::-1]
    return np.stack([*points, np.ones(size)]).reshape(len(size) + 1, -1)


def transformations(rng, N, shape, size, rows=None):
    """M (N, rows, K) near the map that fits source and target; with a row more than coordinates, projective."""
    dims = len(size)
    rows = rows or dims
    M = np.zeros((N, rows, dims + 1))
    for a in range(dims):
        M[:, a, a] = shape[-1 - a] / size[-1 - a]
    M[:, :dims] += rng.normal(size=(N, dims, dims + 1)) * ([0.2] * dims + [2.0])
    if rows > dims:
        M[:, dims] = rng.normal(size=(N, dims + 1)) * ([0.01] * dims + [0]) + ([0] * dims + [1.25])
    return M


def coordinates(M, points, shape):
    """M points, in pixels from the first one: (N, P, dims)."""
    x = np.einsum("nrk,kp->npr", M.astype(float), points)
    dims = len(shape) - 2
    return x[..., :dims] / (x[..., dims:] if x.shape[2] > dims else 1) + centre(shape)


def drawn(rng, N, P, shape):
    """Points in and around the image, up to twice its size away: (N, P, dims), odd multiples of 1/64."""
    pixels = np.array(shape[:1:-1])
    return np.round(rng.uniform(-1.2 * pixels - 3, 2.2 * pixels + 3, (N, P, len(pixels))) * 32) / 32 + 1 / 64


def drawn_widths(rng, x):
    """Widths below 1, which stand for 1, to some above the image's size: (N, P, dims), multiples of 1/16."""
    return np.round(rng.uniform(0.5, 5, x.shape) * 16) / 16


def given_M(M, basis=None):
    """The arguments of the kernels for M and a basis, by default the target points."""
    dims = M.shape[1] if M.shape[1] < M.shape[2] else M.shape[2] - 1
    return M, np.empty((M.shape[2], 0), M.dtype) if basis is None else basis, np.empty((0, 0, dims), M.dtype), np.ones(
        dims, M.dtype)


def given_grid(x, shape, dtype, widths=None):
    """The same for a grid, in units of 1/2, 4 and 2 pixels; the widths are pixels."""
    scale = np.array([0.5, 4.0, 2.0])[:x.shape[2]]
    grid = (x - centre(shape)) / scale
    grid = grid if widths is None else np.concatenate([grid, widths], axis=2)
    return np.empty((0, x.shape[2], 0), dtype), np.empty((0, 0), dtype), grid.astype(dtype), scale.astype(dtype)
