"""Grids as arrays: conventions, families, gradients."""

import numpy as np
import pytest

from nanostn.gradcheck import gradcheck
from nanostn.grid_generator import affine_grid, sampling_grid
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Attention, Projective, ThinPlateSpline, Translation


def test_corners_by_hand():
    theta = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    aligned = affine_grid(theta, (1, 1, 2, 3)).data[0]
    assert aligned[..., 0].tolist() == [[-1, 0, 1], [-1, 0, 1]]
    assert aligned[..., 1].tolist() == [[-1, -1, -1], [1, 1, 1]]
    edges = affine_grid(theta, (1, 1, 2, 4), align_corners=False).data[0]
    assert np.allclose(edges[..., 0], [[-0.75, -0.25, 0.25, 0.75]] * 2)
    assert np.allclose(edges[..., 1].T, [[-0.5, 0.5]] * 4)


@pytest.mark.parametrize("align_corners", [True, False])
def test_an_axis_of_one_point_is_at_0(align_corners):
    grid = affine_grid(np.array([[[2.0, 0, 0.5], [0, 3, 0.25]]]), (1, 1, 1, 1), align_corners).data
    assert grid.ravel().tolist() == [0.5, 0.25]


def test_affine_by_hand():
    theta = np.array([[[1.0, 2, 3], [4, 5, 6]]])
    assert affine_grid(theta, (1, 1, 2, 2)).data[0, 0, 1].tolist() == [1 - 2 + 3, 4 - 5 + 6]  # x_t = 1, y_t = -1


def test_projective_by_hand():
    grid = sampling_grid(np.array([[1.0, 0, 0, 0, 1, 0, 0.5, 0]]), Projective(), (2, 2)).data
    assert np.allclose(grid[0, 0], [[-2, -2], [2 / 3, -2 / 3]])  # divided by 1 + x_t / 2


FAMILIES = [Affine(), Attention(), Translation(2.0), Projective(), ThinPlateSpline(3)]


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_gradients(rng, family):
    theta = Tensor(family.identity() + 0.1 * rng.normal(size=(2, family.parameters)), requires_grad=True)
    assert sampling_grid(theta, family, (3, 5)).shape == (2, 3, 5, 2)
    gradcheck(lambda theta: sampling_grid(theta, family, (3, 5), align_corners=False), [theta])


def test_errors():
    with pytest.raises(ValueError, match=r"affine_grid: theta should be \(N, 2, 3\)"):
        affine_grid(np.zeros((3, 2, 3)), (2, 1, 4, 5))
    with pytest.raises(ValueError, match="affine_grid: theta"):
        affine_grid(np.zeros((2, 2, 3)), (4, 5))
    with pytest.raises(ValueError, match="sampling_grid: size should be"):
        sampling_grid(np.zeros((2, 6)), Affine(), (4, -5))
