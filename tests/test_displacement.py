"""The dense displacement field: units, layouts, what it does to an image, refusals."""

import numpy as np
import pytest

from nanostn import functional as F
from nanostn.grid_generator import sampling_grid
from nanostn.kernels.sampling.conventions import target_points
from nanostn.transformations import Displacement


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("unit", ["normalised", "pixels"])
@pytest.mark.parametrize("size", [(3, 5), (2, 3, 4), (1, 4)])
def test_zeros_are_the_identity(size, unit, align_corners):
    family, dims = Displacement(size, unit), len(size)
    assert family.dims == dims and not family.fused and not family.plane
    assert family.identity().shape == (family.parameters,) == (dims * np.prod(size),)
    grid = sampling_grid(family.identity()[None], family, size, align_corners).data
    assert np.array_equal(grid.reshape(-1, dims), target_points(size, align_corners)[:dims].T)


def test_layouts(rng):
    field = rng.normal(size=(2, 2, 3, 5))  # channels first: x, then y
    grid = sampling_grid(field, Displacement((3, 5)), (3, 5)).data
    x, y, _ = target_points((3, 5), True).reshape(3, 3, 5)
    assert np.allclose(grid[..., 0], x + field[:, 0]) and np.allclose(grid[..., 1], y + field[:, 1])
    assert np.array_equal(sampling_grid(field.reshape(2, 30), Displacement((3, 5)), (3, 5)).data, grid)
    field = rng.normal(size=(1, 3, 2, 3, 5))
    grid = sampling_grid(field, Displacement((2, 3, 5)), (2, 3, 5)).data
    assert np.allclose(grid - sampling_grid(0 * field, Displacement((2, 3, 5)), (2, 3, 5)).data,
                       field.transpose(0, 2, 3, 4, 1))


@pytest.mark.parametrize("align_corners", [True, False])
def test_pixels_are_pixels(rng, align_corners):
    """Whole pixels shift an image exactly: one to the right in x, two down in y."""
    U = rng.normal(size=(1, 2, 5, 7))
    field = np.zeros((1, 2, 5, 7))
    field[:, 0], field[:, 1] = 1, 2
    grid = sampling_grid(field, Displacement((5, 7), unit="pixels"), (5, 7), align_corners)
    V = F.grid_sample(U, grid, align_corners=align_corners).data
    assert np.allclose(V[..., :3, :6], U[..., 2:, 1:]) and np.allclose(V[..., 3:, :], 0, atol=1e-12)


def test_units_by_hand():
    field = np.ones((1, 2, 3, 5))
    family = Displacement((3, 5), unit="pixels")
    for align, expected in ((True, [2 / 4, 2 / 2]), (False, [2 / 5, 2 / 3])):
        moved, still = (sampling_grid(theta, family, (3, 5), align).data for theta in (field, 0 * field))
        assert np.allclose(moved - still, expected)


def test_the_pixels_of_an_axis_of_one():
    """With aligned corners a finite coordinate leads to its centre; a displacement in pixels still counts."""
    U = np.array([[[[1.0, 2, 4]]]], np.float32)
    field = np.zeros((1, 2, 1, 3), np.float32)
    field[:, 1] = 0.25
    V = F.grid_sample(U, sampling_grid(field, Displacement((1, 3), unit="pixels"), (1, 3))).data
    assert np.allclose(V, 0.75 * U)  # a quarter of the way out of the image


@pytest.mark.parametrize("arguments, message", [
    (((3, 4, 5, 6),), r"Displacement: size should be \(H', W'\) or \(D', H', W'\)"),
    (((3, 0),), "Displacement: size"),
    (((3, 4), "voxels"), "Displacement: unit should be 'normalised' or 'pixels', received 'voxels'"),
])
def test_fields_that_do_not_exist(arguments, message):
    with pytest.raises(ValueError, match=message):
        Displacement(*arguments)


def test_errors():
    family = Displacement((3, 5))
    with pytest.raises(ValueError, match=r"\(\(3, 5\)\): size should be \(3, 5\), received \(5, 3\); the field"):
        sampling_grid(family.identity()[None], family, (5, 3))
    with pytest.raises(ValueError, match=r"theta should be \(N, 30\) or \(N, 2, 3, 5\), received \(1, 3, 5, 2\)"):
        sampling_grid(np.zeros((1, 3, 5, 2)), family, (3, 5))
    with pytest.raises(ValueError, match=r"grid\(theta, size\), received matrix\(theta\); a field has no small M"):
        family.matrix(family.identity()[None])
    with pytest.raises(ValueError, match="received basis"):
        family.basis((3, 5))


def test_names():
    assert repr(Displacement((3, 5))) == "Displacement((3, 5))"
    assert repr(Displacement((2, 3, 5), "pixels")) == "Displacement((2, 3, 5), unit='pixels')"
