"""The grid generator: where in the source each point of the target comes from (paper, section 3.2).

Every family of transformations is T_theta(G) = M_theta B: a small matrix that depends on theta times a basis over the
target points that does not; a projective one divides by its last row. Coordinates are (x, y) or (x, y, z), x first,
normalised. With `align_corners=True`, as in the paper's code lineage, -1 and 1 are the centres of the first and the
last pixel; with False they are the edges of the image. An axis of size 1 has its target coordinate at 0.
(`kernels/sampling/conventions.py`)

The spatial transformer makes this grid only for families that are a grid to begin with (see `sampler.py`); it is here
to be looked at, compared and changed.
"""

from typing import Any

import numpy as np

from nanostn.checks import argument_error, checked_size, describe
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Affine3d, Transformation

__all__ = ["affine_grid", "sampling_grid"]


def sampling_grid(theta: Any, transformation: Transformation, size: tuple[int, ...],
                  align_corners: bool = True) -> Tensor:
    """The grid T_theta(G) = M_theta B of any family, for an output of `size`, with its gradient to theta.

    theta (N, parameters) -> (N, H', W', 2), the last axis (x, y); (N, D', H', W', 3), (x, y, z), for a family over
    volumes. `grid_sample(U, sampling_grid(theta, ...))` is `spatial_transform(U, theta, ...)` to rounding, with the
    grid in memory. Raises ValueError where theta or size is not the family's.
    torch: affine_grid, for Affine and Affine3d
    """
    if not isinstance(transformation, Transformation):
        raise argument_error("sampling_grid", "transformation", "a family such as Affine()", repr(transformation))
    size = checked_size("sampling_grid", size, transformation.dims)
    return transformation.grid(theta, size, align_corners)


def affine_grid(theta: Any, size: tuple[int, ...], align_corners: bool = True) -> Tensor:
    """(x_s, y_s) = theta (x_t, y_t, 1) for every target point, or (x_s, y_s, z_s) in a volume; paper, eq. 1.

    theta (N, 2, 3), `size` = (N, C, H', W') -> grid (N, H', W', 2); theta (N, 3, 4), (N, C, D', H', W') -> (N, D', H',
    W', 3). Raises ValueError where N differs.
    torch: affine_grid(theta, size, align_corners=True); PyTorch's own default is False
    """
    theta = theta if isinstance(theta, Tensor) else Tensor(theta)
    dims = len(size) - 2 if isinstance(size, tuple | list) or isinstance(size, np.ndarray) and size.ndim == 1 else 0
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in size[:2]) if dims else False
    if dims not in (2, 3) or not whole or theta.shape != (size[0], dims, dims + 1):
        raise argument_error("affine_grid", "theta", "(N, 2, 3) with size (N, C, H', W'), or (N, 3, 4) with size "
                             "(N, C, D', H', W')", f"{describe(theta)} and size {describe(size)}")
    return sampling_grid(theta, Affine() if dims == 2 else Affine3d(), tuple(size[2:]), align_corners)
