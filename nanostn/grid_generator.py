"""The grid generator: where in the source each point of the target comes from (paper, section 3.2).

Every family of transformations is T_theta(G) = M_theta B: a small matrix that depends on theta times a basis over the
target points that does not; a projective one divides by its last row. Coordinates are (x, y), x first, normalised.
With `align_corners=True`, as in the paper's code lineage, -1 and 1 are the centres of the first and the last pixel;
with False they are the edges of the image. An axis of size 1 has its target coordinate at 0. (`kernels/coordinates.py`)

The spatial transformer never makes this grid (see `sampler.py`); it is here to be looked at, compared and changed.
"""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, describe
from nanostn.tensor import Tensor, op
from nanostn.transformations import Affine, Transformation


@op
def _grid(M: np.ndarray, *, basis: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, Gradients]:
    """M (N, 2 or 3, K) times basis (K, P), divided by a third row -> (N, H', W', 2)."""
    rows = M @ basis                                                              # (N, 2 or 3, P)
    N, projective = len(M), M.shape[1] == 3
    last = rows[:, 2:] if projective else None
    points = rows[:, :2] / last if last is not None else rows                     # (N, 2, P)

    def dM(dgrid: np.ndarray) -> np.ndarray:
        d = dgrid.reshape(N, -1, 2).transpose(0, 2, 1)                            # (N, 2, P)
        if last is not None:
            d = d / last
            d = np.concatenate([d, -(d * points).sum(axis=1, keepdims=True)], axis=1)
        return d @ basis.T

    return np.ascontiguousarray(points.transpose(0, 2, 1)).reshape(N, *size, 2), (dM,)


def checked_size(name: str, size: Any) -> tuple[int, int]:
    """(H', W') as plain integers, or an error that names the operation."""
    whole = np.ndim(size) == 1 and all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in size)
    if not whole or len(size) != 2 or min(size) < 1:
        raise argument_error(name, "size", "(H', W'), two positive integers", repr(size))
    return int(size[0]), int(size[1])


def sampling_grid(theta: Any, transformation: Transformation, size: tuple[int, int],
                  align_corners: bool = True) -> Tensor:
    """The grid T_theta(G) = M_theta B of any family, for an output of `size` (H', W'), with its gradient to theta.

    theta (N, parameters) -> (N, H', W', 2), the last axis (x, y). `grid_sample(U, sampling_grid(theta, ...))` is
    `spatial_transform(U, theta, ...)` to rounding, with the grid in memory.   torch: affine_grid, for Affine
    """
    size = checked_size("sampling_grid", size)
    M = transformation.matrix(theta)
    return _grid(M, basis=transformation.basis(size, align_corners).astype(M.dtype), size=size)


def affine_grid(theta: Any, size: tuple[int, int, int, int], align_corners: bool = True) -> Tensor:
    """(x_s, y_s) = theta (x_t, y_t, 1) for every target point; paper, eq. 1.

    theta (N, 2, 3), `size` = (N, C, H', W') -> grid (N, H', W', 2). Raises ValueError where N differs.
    torch: affine_grid(theta, size, align_corners=True); PyTorch's own default is False
    """
    if np.ndim(size) != 1 or len(size) != 4 or tuple(np.shape(theta)) != (size[0], 2, 3):
        raise argument_error("affine_grid", "theta", "(N, 2, 3) with size (N, C, H', W')",
                             f"{describe(theta)} and size {size}")
    return sampling_grid(theta, Affine(), (size[2], size[3]), align_corners)
