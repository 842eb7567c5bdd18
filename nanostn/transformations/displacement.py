"""The dense displacement field: every point of the output is moved by itself (VoxelMorph, Balakrishnan et al. 2019)."""

from typing import Any, NoReturn

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, checked_flag, checked_size, describe
from nanostn.kernels.gpu.arrays.numpy_functions import constant, contiguous
from nanostn.kernels.sampling.conventions import half_extent, target_points
from nanostn.tensor import Tensor, op
from nanostn.transformations.base import Transformation


class Displacement(Transformation):
    """theta (N, 2 P) or (N, 2, H', W'), with 3 and (D', H', W') in a volume: (x_s, y_s) = (x_t, y_t) + theta.

    Channels first, (x, y) or (x, y, z), as a convolutional localisation network puts them out; zeros are the identity.
    `unit` says what theta counts: "normalised" coordinates, or "pixels" of an image of `size`, (size - 1) / 2 of which
    are 1 with aligned corners, else size / 2. The family does not know the source's size; where that differs from the
    output's, a pixel is still one of the output. theta has no parameters to be shared among points: there is no
    M_theta B with a small M, and `matrix` and `basis` say so.
    torch: none; affine_grid of the identity, plus theta.permute(0, 2, 3, 1); VoxelMorph: SpatialTransformer
    """

    plane = False
    fused = False

    def __init__(self, size: tuple[int, ...], unit: str = "normalised"):
        self.size = checked_size("Displacement", size, None)
        self.dims = len(self.size)
        if not isinstance(unit, str) or unit not in ("normalised", "pixels"):
            raise argument_error("Displacement", "unit", "'normalised' or 'pixels'", describe(unit))
        self.unit = unit

    @property
    def parameters(self) -> int:
        return self.dims * int(np.prod(self.size))

    @property
    def natural(self) -> tuple[int, ...]:
        return (self.dims, *self.size)

    def identity(self) -> np.ndarray:
        return np.zeros(self.parameters)

    def matrix(self, theta: Any) -> NoReturn:
        raise argument_error(repr(self), "the call", "grid(theta, size)", "matrix(theta)", "a field has no small M")

    def basis(self, size: tuple[int, ...], align_corners: bool = True) -> NoReturn:
        raise argument_error(repr(self), "the call", "grid(theta, size)", "basis(size)", "a field has no basis")

    def grid(self, theta: Any, size: tuple[int, ...], align_corners: bool = True) -> Tensor:
        size = checked_size(repr(self), size, self.dims)
        checked_flag(repr(self), "align_corners", align_corners)
        if size != self.size:
            raise argument_error(repr(self), "size", self.size, size, "the field has a vector for each of its points")
        theta = self.checked_theta(theta)
        unit = np.ones(self.dims)
        if self.unit == "pixels":
            unit = np.array([1 / half_extent(n, align_corners) for n in reversed(self.size)])
        target = target_points(self.size, align_corners)[:self.dims]
        return _moved(theta, target=target.astype(theta.dtype), unit=unit[:, None].astype(theta.dtype), size=self.size)

    def __repr__(self) -> str:
        return f"Displacement({self.size}" + (")" if self.unit == "normalised" else f", unit={self.unit!r})")


@op
def _moved(theta: np.ndarray, *, target: np.ndarray, unit: np.ndarray,
           size: tuple[int, ...]) -> tuple[np.ndarray, Gradients]:
    """Target points (dims, P) plus theta (N, dims P) in units (dims, 1) -> (N, *size, dims)."""
    shape, dims = theta.shape, len(size)
    target, unit = constant(target, theta), constant(unit, theta)
    points = target + theta.reshape(len(theta), *target.shape) * unit                     # (N, dims, P)

    def dtheta(dgrid: np.ndarray) -> np.ndarray:
        return (dgrid.reshape(len(dgrid), target.shape[1], dims).transpose(0, 2, 1) * unit).reshape(shape)

    return contiguous(points.transpose(0, 2, 1)).reshape(len(theta), *size, dims), (dtheta,)
