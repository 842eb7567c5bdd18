"""Grids as arrays: conventions, families, gradients."""

import numpy as np
import pytest

from nanostn.checks import checked_size
from nanostn.gradcheck import gradcheck
from nanostn.grid_generator import affine_grid, sampling_grid
from nanostn.tensor import Tensor
from nanostn.transformations import (
    Affine,
    Affine3d,
    Attention,
    Attention3d,
    Displacement,
    LearnedBasis,
    PiecewiseAffine,
    Projective,
    Similarity,
    ThinPlateSpline,
    Translation,
)


def test_corners_by_hand():
    theta = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    aligned = affine_grid(theta, (1, 1, 2, 3)).data[0]
    assert aligned[..., 0].tolist() == [[-1, 0, 1], [-1, 0, 1]]
    assert aligned[..., 1].tolist() == [[-1, -1, -1], [1, 1, 1]]
    edges = affine_grid(theta, (1, 1, 2, 4), align_corners=False).data[0]
    assert np.allclose(edges[..., 0], [[-0.75, -0.25, 0.25, 0.75]] * 2)
    assert np.allclose(edges[..., 1].T, [[-0.5, 0.5]] * 4)


def test_corners_of_a_volume_by_hand():
    theta = np.eye(3, 4)[None]
    aligned = affine_grid(theta, (1, 1, 2, 3, 5)).data[0]
    assert aligned.shape == (2, 3, 5, 3)
    assert aligned[1, 0, :, 0].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert aligned[1, :, 2, 1].tolist() == [-1, 0, 1]
    assert aligned[:, 1, 3, 2].tolist() == [-1, 1]
    edges = affine_grid(theta, (1, 1, 4, 1, 2), align_corners=False).data[0]
    assert np.allclose(edges[:, 0, 0], [[-0.5, 0, -0.75], [-0.5, 0, -0.25], [-0.5, 0, 0.25], [-0.5, 0, 0.75]])


@pytest.mark.parametrize("align_corners", [True, False])
def test_an_axis_of_one_point_is_at_0(align_corners):
    grid = affine_grid(np.array([[[2.0, 0, 0.5], [0, 3, 0.25]]]), (1, 1, 1, 1), align_corners).data
    assert grid.ravel().tolist() == [0.5, 0.25]
    M = np.eye(3, 4)[None] + [0, 0, 0, 0.125]
    assert affine_grid(M, (1, 1, 1, 1, 1), align_corners).data.ravel().tolist() == [0.125] * 3


def test_affine_by_hand():
    theta = np.array([[[1.0, 2, 3], [4, 5, 6]]])
    assert affine_grid(theta, (1, 1, 2, 2)).data[0, 0, 1].tolist() == [1 - 2 + 3, 4 - 5 + 6]  # x_t = 1, y_t = -1
    theta = np.arange(12.0).reshape(1, 3, 4)
    at = affine_grid(theta, (1, 1, 2, 2, 2)).data[0, 0, 1, 1]  # x_t = 1, y_t = 1, z_t = -1
    assert at.tolist() == [0 + 1 - 2 + 3, 4 + 5 - 6 + 7, 8 + 9 - 10 + 11]


def test_projective_by_hand():
    grid = sampling_grid(np.array([[1.0, 0, 0, 0, 1, 0, 0.5, 0]]), Projective(), (2, 2)).data
    assert np.allclose(grid[0, 0], [[-2, -2], [2 / 3, -2 / 3]])  # divided by 1 + x_t / 2


IRREGULAR = [[-1, -1], [0.9, -0.8], [0, 0.1], [-0.7, 1], [1, 0.6]]
FAMILIES = [Affine(), Attention(), Translation(2.0), Similarity(), Projective(), ThinPlateSpline(3),
            ThinPlateSpline(3, regularisation=0.2), PiecewiseAffine((3, 2)), PiecewiseAffine(IRREGULAR), Affine3d(),
            Attention3d()]
SIZES = {2: (3, 5), 3: (2, 3, 5)}


def bound(align_corners):
    """The families that are made for one size (and the one of them for its corners)."""
    rng = np.random.default_rng(3)
    for size in SIZES.values():
        yield LearnedBasis(size, 6, generator=rng, align_corners=align_corners, dtype=np.float64)
        yield Displacement(size)
        yield Displacement(size, unit="pixels")


@pytest.mark.parametrize("N", [1, 2])
@pytest.mark.parametrize("align_corners, family", [
    pytest.param(align, family, id=f"{family}, {align}")
    for align in (True, False) for family in (*FAMILIES, *bound(align))])
def test_gradients(rng, family, align_corners, N):
    theta = Tensor(family.identity() + 0.1 * rng.normal(size=(N, family.parameters)), requires_grad=True)
    size = SIZES[family.dims]
    assert sampling_grid(theta, family, size, align_corners).shape == (N, *size, family.dims)
    gradcheck(lambda theta: sampling_grid(theta, family, size, align_corners), [theta])


@pytest.mark.parametrize("family", [*FAMILIES, *bound(True)], ids=repr)
def test_a_batch_is_its_transformations_and_dtypes_stay(rng, family):
    thetas, size = family.identity() + 0.1 * rng.normal(size=(3, family.parameters)), SIZES[family.dims]
    together = sampling_grid(thetas, family, size).data
    alone = [sampling_grid(theta[None], family, size).data[0] for theta in thetas]
    assert np.allclose(together, alone, atol=1e-14)
    theta = Tensor(thetas.astype(np.float32), requires_grad=True)
    grid = sampling_grid(theta, family, size)
    assert grid.dtype == np.float32 and grid.data.flags.c_contiguous and np.allclose(grid.data, together, atol=1e-5)
    grid.backward(np.ones(grid.shape, np.float32))
    assert theta.grad.dtype == np.float32


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")  # PyTorch, of an axis of one point
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(2, 3, 4, 7), (2, 3, 3, 4, 7), (2, 1, 1, 5, 1)])
def test_affine_grid_against_torch(rng, size, align_corners):
    torch = pytest.importorskip("torch")
    dims = len(size) - 2
    theta, dgrid = rng.normal(size=(2, dims, dims + 1)), rng.normal(size=(2, *size[2:], dims))
    ours, theirs = Tensor(theta, requires_grad=True), torch.tensor(theta, requires_grad=True)
    grid = affine_grid(ours, size, align_corners)
    expected = torch.nn.functional.affine_grid(theirs, size, align_corners=align_corners)
    assert np.allclose(grid.data, expected.detach().numpy(), atol=1e-14)
    grid.backward(dgrid)
    expected.backward(torch.tensor(dgrid))
    assert np.allclose(ours.grad, theirs.grad.numpy(), atol=1e-12)


def test_a_point_at_infinity_is_no_warning():
    with np.errstate(all="raise"):
        grid = sampling_grid(np.array([[1.0, 0, 0, 0, 1, 0, 1, 0]]), Projective(), (1, 3)).data
    assert np.isneginf(grid[0, 0, 0, 0]) and np.isnan(grid[0, 0, 0, 1])  # x_t = -1: -1 / 0 and 0 / 0
    assert np.allclose(grid[0, 0, 1:, 0], [0, 0.5])


@pytest.mark.parametrize("at", [0, 1, 2])
def test_nothing_flows_from_a_point_at_infinity(at):
    """One of three images has its horizon in the first column, whose points give theta nothing; the others all give."""
    values = np.array([[1.0, 0, 0, 0, 1, 0, 0.25, 0.5]] * 3)
    values[at] = 1.0, 0, 0, 0, 1, 0, 1, 0
    theta = Tensor(values, requires_grad=True)
    grid = sampling_grid(theta, Projective(), (1, 3))
    dV = np.arange(1.0, 19.0).reshape(grid.shape)
    grid.backward(dV)
    expected = np.zeros((3, 8))
    for n in range(3):
        for j, x_t in enumerate((-1.0, 0.0, 1.0)):
            last = values[n, 6] * x_t + 1  # y_t is 0
            if last:
                d_x, d_y = dV[n, 0, j]
                expected[n] += np.array([d_x * x_t, 0, d_x, d_y * x_t, 0, d_y, -d_x * x_t / last * x_t, 0]) / last
    np.testing.assert_allclose(theta.grad, expected, rtol=1e-12)


def test_errors():
    with pytest.raises(ValueError, match=r"affine_grid: theta should be \(N, 2, 3\)"):
        affine_grid(np.zeros((3, 2, 3)), (2, 1, 4, 5))
    with pytest.raises(ValueError, match="affine_grid: theta"):
        affine_grid(np.zeros((2, 2, 3)), (4, 5))
    with pytest.raises(ValueError, match="sampling_grid: size should be"):
        sampling_grid(np.zeros((2, 6)), Affine(), (4, -5))
    with pytest.raises(ValueError, match=r"affine_grid: theta should be .* or \(N, 3, 4\) with size"):
        affine_grid(np.zeros((2, 2, 3)), (2, 1, 3, 4, 5))
    with pytest.raises(ValueError, match=r"size should be \(D', H', W'\), three positive integers, received \(4, 5\)"):
        sampling_grid(np.zeros((2, 12)), Affine3d(), (4, 5))
    with pytest.raises(ValueError, match=r"Affine\(\): size should be \(H', W'\), two positive integers"):
        Affine().grid(np.zeros((2, 6)), (3, 4, 5))
    with pytest.raises(ValueError, match="sampling_grid: transformation should be a family such as"):
        sampling_grid(np.zeros((2, 6)), "affine", (4, 5))


@pytest.mark.parametrize("size", [5, (3.0, 4), (True, 4), (0, 4), (3, 4, 5), "ab"])
def test_sizes_that_do_not_exist(size):
    with pytest.raises(ValueError, match=r"st: size should be \(H', W'\), two positive integers, received"):
        checked_size("st", size)


def test_sizes_are_plain_integers():
    assert checked_size("st", np.array([3, 4])) == (3, 4) and type(checked_size("st", [np.int64(3), 4])[0]) is int
    assert checked_size("st", (2, 3, 4), 3) == (2, 3, 4)
    assert checked_size("st", (2, 3, 4), None) == (2, 3, 4) and checked_size("st", (2, 3), None) == (2, 3)
    with pytest.raises(ValueError, match=r"\(H', W'\) or \(D', H', W'\), positive integers, received \(1, 2, 3, 4\)"):
        checked_size("st", (1, 2, 3, 4), None)
