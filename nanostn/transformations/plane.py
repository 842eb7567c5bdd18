"""The families over the plane (x_t, y_t, 1) and over space (x_t, y_t, z_t, 1): theta's numbers stand in M.

The sampler knows this basis: two or three multiply-adds a point, and nothing is read from memory.
"""

from typing import Any

import numpy as np

from nanostn.autograd import Gradients
from nanostn.checks import argument_error, describe, is_float32
from nanostn.tensor import Tensor, op
from nanostn.transformations.base import Transformation


class Affine(Transformation):
    """theta (N, 6) or (N, 2, 3): x_s = theta_11 x_t + theta_12 y_t + theta_13, y_s likewise; paper, eq. 1.

    torch: affine_grid(theta, size, align_corners=True)
    """

    entries = np.arange(6).reshape(2, 3)

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0, 0, 1, 0])


class Attention(Transformation):
    """theta (N, 3) = (s, t_x, t_y): M = [[s, 0, t_x], [0, s, t_y]]; cropping, translation, one scale; paper, eq. 2.

    torch: affine_grid of such an M
    """

    entries = np.array([[0, -1, 1], [-1, 0, 2]])

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0])


class Translation(Transformation):
    """theta (N, 2) = (t_x, t_y): attention at a fixed `scale`, as the paper's birds have it (A.6, scale 0.5).

    torch: affine_grid of [[scale, 0, t_x], [0, scale, t_y]]
    """

    entries = np.array([[-1, -1, 0], [-1, -1, 1]])

    def __init__(self, scale: float = 1.0):
        if not is_float32(scale) or not scale > 0:
            raise argument_error("Translation", "scale", "a positive number", describe(scale))
        self.scale = float(scale)
        self.constants = np.array([[self.scale, 0, 0], [0, self.scale, 0]])

    def identity(self) -> np.ndarray:
        """No translation; the picture is the same only at scale 1."""
        return np.zeros(2)

    def __repr__(self) -> str:
        return f"Translation({self.scale:g})"


class Similarity(Transformation):
    """theta (N, 4) = (s, angle, t_x, t_y): M = [[s cos, -s sin, t_x], [s sin, s cos, t_y]], the angle in radians.

    One scale, a rotation and a translation, of normalised coordinates: where height and width of the source differ, a
    turn of them is not a turn of the pixels. A positive angle turns the x axis towards the y axis, which points down,
    and turns where to read; the picture itself turns the other way.
    torch: affine_grid of such an M
    """

    parameters = 4

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0, 0])

    def matrix(self, theta: Any) -> Tensor:
        return _similarity(self.checked_theta(theta))


@op
def _similarity(theta: np.ndarray) -> tuple[np.ndarray, Gradients]:
    """d/ds is the rotation; d/dangle is s times the rotation a quarter turn further on."""
    s = theta[:, 0]
    with np.errstate(invalid="ignore"):  # an infinite angle is NaN
        cos, sin = np.cos(theta[:, 1]), np.sin(theta[:, 1])
    M = np.stack([s * cos, -s * sin, theta[:, 2], s * sin, s * cos, theta[:, 3]], axis=1).reshape(-1, 2, 3)

    def dtheta(dM: np.ndarray) -> np.ndarray:
        along = dM[:, 0, 0] + dM[:, 1, 1]
        across = dM[:, 1, 0] - dM[:, 0, 1]
        return np.stack([along * cos + across * sin, s * (across * cos - along * sin), dM[:, 0, 2], dM[:, 1, 2]],
                        axis=1)

    return M, (dtheta,)


class Projective(Transformation):
    """theta (N, 8): (x_s, y_s, 1) ~ [[1, 2, 3], [4, 5, 6], [7, 8, and 1 fixed]] (x_t, y_t, 1), a plane homography.

    Points where the denominator is 0 lie at infinity, outside the image; where a numerator is 0 too, V is NaN.
    torch: none; kornia: homography_warp
    """

    entries = np.array([[0, 1, 2], [3, 4, 5], [6, 7, -1]])
    constants = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 1]])

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0, 0, 1, 0, 0, 0])


class Affine3d(Transformation):
    """theta (N, 12) or (N, 3, 4): (x_s, y_s, z_s) = theta (x_t, y_t, z_t, 1); paper, A.3.

    torch: affine_grid(theta, (N, C, D', H', W'), align_corners=True)
    """

    dims = 3
    entries = np.arange(12).reshape(3, 4)

    def identity(self) -> np.ndarray:
        return np.eye(3, 4).ravel()


class Attention3d(Transformation):
    """theta (N, 4) = (s, t_x, t_y, t_z): M = [[s, 0, 0, t_x], [0, s, 0, t_y], [0, 0, s, t_z]]; paper, eq. 2 and A.3.

    torch: affine_grid of such an M
    """

    dims = 3
    entries = np.array([[0, -1, -1, 1], [-1, 0, -1, 2], [-1, -1, 0, 3]])

    def identity(self) -> np.ndarray:
        return np.array([1.0, 0, 0, 0])
