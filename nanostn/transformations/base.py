"""What the families share: each is T_theta(G) = M_theta B (paper, section 3.2).

A family is a small class. It says what its theta is and how theta becomes M; the grid, the sampling and the gradients
are the same for all of them:

    dims                         2, coordinates (x, y), or 3, (x, y, z)
    parameters                   how many numbers theta has
    identity()                   the theta that moves nothing, float64 (parameters,)
    matrix(theta)                theta (N, parameters), or its natural shape, -> M (N, R, K), with its gradient
    basis(size, align_corners)   B (K, P) over the target points in the order of memory, float64
    grid(theta, size, ...)       M B as points (N, *size, dims), with its gradient
    plane                        B is (x_t, y_t, 1) or (x_t, y_t, z_t, 1), which the sampler makes by itself
    fused                        M and `basis` say all: V needs no grid in memory

R is `dims`, or one more: the last row is then what the others are divided by. Coordinates are normalised, and theta
leads from *target to source*: it says where each point of the output is read, so a scale of 2 makes things look half
as large.
"""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, checked_flag, checked_size, describe, same_float
from nanostn.kernels.gpu.arrays.numpy_functions import constant, contiguous, device_of, move
from nanostn.kernels.products.matmul import matmul as product
from nanostn.kernels.sampling.conventions import target_points
from nanostn.tensor import Tensor, op

KEPT = 4  # bases that a family keeps, for as many sizes and dtypes


class Transformation:
    """Base of the families: the check of theta, M as theta's numbers put into their places, and M B as a grid.

    A family of one's own sets `entries` (R, K), which number of theta stands where in M, -1 for that of `constants`
    (0 where none are given), and defines `identity`. One whose M is another function of theta sets `parameters` and
    defines `matrix`; one over another basis sets `plane = False` and defines `basis`.
    """

    dims: int = 2
    entries: np.ndarray
    constants: np.ndarray | float = 0.0
    plane: bool = True
    fused: bool = True

    @property
    def parameters(self) -> int:
        return int(self.entries.max()) + 1

    @property
    def natural(self) -> tuple[int, ...] | None:
        """The other shape that theta may have, less the batch: that of M, where M is theta row by row."""
        entries = getattr(self, "entries", None)  # there are none where M is another function of theta
        if entries is None or not np.array_equal(entries.ravel(), np.arange(entries.size)):
            return None
        return entries.shape

    def identity(self) -> np.ndarray:
        raise TypeError(f"{type(self).__name__}: a transformation should define identity(), received none")

    def checked_theta(self, theta: Any) -> Tensor:
        """theta as a tensor (N, parameters), or an error that names the family."""
        theta = theta if isinstance(theta, Tensor) else Tensor(theta)
        same_float(repr(self), theta=theta)
        natural = self.natural
        if theta.shape[1:] == natural:
            return theta.reshape(len(theta), self.parameters)
        if theta.ndim != 2 or theta.shape[1] != self.parameters:
            also = f" or (N, {', '.join(map(str, natural))})" if natural else ""
            raise argument_error(repr(self), "theta", f"(N, {self.parameters}){also}", describe(theta),
                                 "a localisation network ends in as many outputs as theta has numbers")
        return theta

    def matrix(self, theta: Any) -> Tensor:
        """M (N, R, K) of theta (N, parameters); or of theta as M itself, where it has no constants."""
        theta = self.checked_theta(theta)
        if self.natural:
            return theta.reshape(len(theta), *self.natural)
        return _place(theta, entries=self.entries, constants=np.asarray(self.constants))

    def basis(self, size: tuple[int, ...], align_corners: bool = True) -> np.ndarray:
        return target_points(size, align_corners)

    def kept_basis(self, size: tuple[int, ...], align_corners: bool, M: Any) -> np.ndarray:
        """`basis` in the dtype and on the device of M, not to be written to: the last ones are kept, since some cost
        much to make."""
        kept = self.__dict__.setdefault("_kept", {})
        device = device_of(M.data if isinstance(M, Tensor) else M)
        key = (size, bool(align_corners), np.dtype(M.dtype), device)
        found = kept.pop(key) if key in kept else move(self.basis(size, align_corners).astype(M.dtype), device)
        kept[key] = found
        if len(kept) > KEPT:
            del kept[next(iter(kept))]
        return found

    def grid(self, theta: Any, size: tuple[int, ...], align_corners: bool = True) -> Tensor:
        """Where each point of an output of `size` is read, (N, *size, dims), the last axis (x, y) or (x, y, z)."""
        size = checked_size(repr(self), size, self.dims)
        checked_flag(repr(self), "align_corners", align_corners)
        M = self.matrix(theta)
        return source_points(M, self.kept_basis(size, align_corners, M), size=size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@op
def _place(theta: np.ndarray, *, entries: np.ndarray, constants: np.ndarray) -> tuple[np.ndarray, Gradients]:
    """M filled with entries of theta (by their number) and with constants (where the number is -1)."""
    chosen = entries >= 0
    parameters = theta.shape[1]
    fixed = np.broadcast_to(constants, entries.shape).astype(theta.dtype)
    M = np.where(constant(chosen, theta), theta[:, np.maximum(entries, 0)], constant(fixed, theta))

    def dtheta(dM: np.ndarray) -> np.ndarray:
        out = np.zeros((len(dM), parameters), dM.dtype, like=dM)
        places: Any = slice(None), entries[chosen]
        np.add.at(out, places, dM.reshape(len(dM), entries.size)[:, np.flatnonzero(chosen)])
        return out

    return M, (dtheta,)


@op
def source_points(M: np.ndarray, B: np.ndarray, *, size: tuple[int, ...]) -> tuple[np.ndarray, Gradients]:
    """M (N, R, K) times B (K, P), divided by a row R = dims + 1 -> (N, *size, dims); dM = d B^T, dB = sum of M^T d."""
    N, R, K = M.shape
    dims, P = len(size), B.shape[1]
    if R not in (dims, dims + 1) or len(B) != K:
        raise argument_error("source_points", "M", f"(N, {dims} or {dims + 1}, {len(B)}), as the basis has rows",
                             M.shape, "a family with another basis than (x, y, 1) defines basis()")
    flat, B = contiguous(M).reshape(N * R, K), contiguous(B)
    rows = product(flat, B).reshape(N, R, P)
    last = rows[:, dims:] if R > dims else None
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # infinity is far outside, 0 / 0 is NaN
        points = rows if last is None else rows[:, :dims] / last                  # (N, dims, P)

    def gradients(dgrid: np.ndarray, wanted: tuple[bool, ...]) -> tuple:
        d = dgrid.reshape(N, P, dims).transpose(0, 2, 1)                          # (N, dims, P)
        if last is not None:
            near = np.isfinite(points).all(axis=1, keepdims=True)  # nothing flows from infinity
            d = np.where(near, d, 0) / np.where(near, last, 1)
            d = np.concatenate([d, -(d * np.where(near, points, 0)).sum(axis=1, keepdims=True)], axis=1)
        drows = contiguous(d).reshape(N * R, P)
        dM = product(drows, B, transpose_b=True).reshape(M.shape) if wanted[0] else None
        # Nor from an M that has diverged, whose points have no gradient: 0 times NaN would spread to all of B.
        dB = product(contiguous(np.where(np.isfinite(flat), flat, 0)), drows, transpose_a=True) if wanted[1] else None
        return dM, dB

    return contiguous(points.transpose(0, 2, 1)).reshape(N, *size, dims), gradients
