"""The family whose basis is trained with the network: T_theta = M_theta B, B a Parameter (paper, section 3.2)."""

from typing import Any

import numpy as np

from nanostn.checks import LARGE, argument_error, checked_dtype, checked_flag, checked_size, describe
from nanostn.kernels.sampling.conventions import target_points
from nanostn.module import Module, Parameter
from nanostn.tensor import Tensor
from nanostn.transformations.base import Transformation, source_points
from nanostn.transformations.control_points import numbers

NOISE = 0.1  # standard deviation of the rows that are not coordinates, beside coordinates up to 1


class LearnedBasis(Transformation, Module):  # type: ignore[misc]  # `parameters`: see below
    """theta (N, 2 K) or (N, 2, K), with 3 for 2 in a volume: M is theta, B (K, P) is a Parameter; paper, section 3.2.

    grid = M B, dM = dgrid B^T, dB = the sum over the batch of M^T dgrid. Each row of B is a field over the target
    points, and theta says how much of it x and y (and z) take: what deformations there are is learned from data.

    `size` is (H', W') or (D', H', W'), P its product. B starts as the rows x_t, y_t(, z_t), 1, the affine family's, and
    K - dims - 1 rows of small noise from `generator`, so that theta has a gradient there; or as `initial` (K, P). The
    identity is the theta that is one at the coordinates' rows; where `initial` does not begin with these, it is the
    theta nearest to it in least squares. B belongs to its points: the grid of another size, or with other corners
    than `align_corners`, is refused.

    A module too: a SpatialTransformer that holds one finds B among what it trains. `parameters` is the length of theta,
    as for every family; the trained one is `B`, as `named_parameters()` says.   torch: theta @ B, B an nn.Parameter
    """

    plane = False
    fused = False

    def __init__(self, size: tuple[int, ...], K: int, initial: Any = None, generator: np.random.Generator | None = None,
                 align_corners: bool = True, dtype: Any = np.float32):
        self.size = checked_size("LearnedBasis", size, None)
        self.dims, self.align_corners = len(self.size), checked_flag("LearnedBasis", "align_corners", align_corners)
        dtype = checked_dtype("LearnedBasis", dtype)
        if generator is not None and not isinstance(generator, np.random.Generator):
            raise argument_error("LearnedBasis", "generator", "a np.random.Generator or None", describe(generator))
        if isinstance(K, bool) or not isinstance(K, int | np.integer) or not self.dims < K < LARGE:
            raise argument_error("LearnedBasis", "K", f"an integer, {self.dims + 1} or more", describe(K),
                                 "an affine transformation has as many rows")
        self.K = int(K)
        self.entries = np.arange(self.dims * self.K).reshape(self.dims, self.K)
        target = target_points(self.size, align_corners)
        if initial is None:
            noise = (generator or np.random.default_rng()).normal(0, NOISE, (self.K - self.dims - 1, target.shape[1]))
            initial = np.concatenate([target, noise])
        B = numbers(initial)
        if B.shape != (self.K, target.shape[1]) or not np.isfinite(B).all():
            raise argument_error("LearnedBasis", "initial", f"finite numbers ({self.K}, {target.shape[1]})",
                                 describe(initial))
        self._identity = _identity(B, target[:self.dims])
        self.B = Parameter(B.astype(dtype))

    def identity(self) -> np.ndarray:
        """The identity over the basis as it was at the start."""
        return self._identity.copy()

    def basis(self, size: tuple[int, ...], align_corners: bool = True) -> np.ndarray:
        """B as it is now, a copy."""
        self._check(size, align_corners)
        return self.B.numpy().astype(np.float64)

    def grid(self, theta: Any, size: tuple[int, ...], align_corners: bool = True) -> Tensor:
        self._check(size, align_corners)
        M = self.matrix(theta)
        return source_points(M, self.B.astype(M.dtype), size=self.size)

    def forward(self, theta: Any) -> Tensor:
        """The grid at the size and the corners that B was made for."""
        return self.grid(theta, self.size, self.align_corners)

    def _check(self, size: tuple[int, ...], align_corners: bool) -> None:
        size = checked_size(repr(self), size, self.dims)
        checked_flag(repr(self), "align_corners", align_corners)
        if size != self.size or bool(align_corners) != bool(self.align_corners):
            raise argument_error(repr(self), "size", f"{self.size} with align_corners={self.align_corners}",
                                 f"{size} with align_corners={align_corners}", "the basis was made for these points")

    def __repr__(self) -> str:
        corners = "" if self.align_corners else ", align_corners=False"
        return f"LearnedBasis({self.size}, {self.K}{corners})"


def _identity(B: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """The theta whose M B is the coordinates: exactly, where B begins with them, else by least squares."""
    dims = len(coordinates)
    if np.array_equal(B[:dims], coordinates):
        return np.eye(dims, len(B)).ravel()
    return np.linalg.lstsq(B.T, coordinates.T, rcond=None)[0].T.ravel()
