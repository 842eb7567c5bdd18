"""The learned basis: a family and a module at once; its grid, both gradients, what it starts from, refusals."""

import numpy as np
import pytest

from nanostn import nn
from nanostn.gradcheck import gradcheck
from nanostn.grid_generator import sampling_grid
from nanostn.kernels.sampling.conventions import target_points
from nanostn.optim import SGD
from nanostn.sampler import spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, LearnedBasis

CASES = [((3, 5), 6, True), ((4, 3), 3, False), ((2, 3, 5), 4, True), ((3, 2, 4), 7, False)]


def family(size, K, align, **options):
    return LearnedBasis(size, K, generator=np.random.default_rng(4), align_corners=align, dtype=np.float64, **options)


@pytest.mark.parametrize("size, K, align", CASES)
def test_it_starts_as_the_affine_family(size, K, align):
    basis, dims = family(size, K, align), len(size)
    target = target_points(size, align)
    assert np.array_equal(basis.B.data[:dims + 1], target)
    assert K == dims + 1 or 0.02 < basis.B.data[dims + 1:].std() < 0.5
    assert basis.parameters == dims * K and basis.dims == dims and not basis.fused and not basis.plane
    grid = sampling_grid(basis.identity()[None], basis, size, align).data
    assert np.array_equal(grid.reshape(-1, dims), target[:dims].T)  # to the bit


@pytest.mark.parametrize("size, K, align", CASES)
def test_both_gradients(rng, size, K, align):
    basis = family(size, K, align)
    theta = Tensor(rng.normal(size=(2, basis.parameters)), requires_grad=True)
    gradcheck(lambda theta, B: basis(theta), [theta, basis.B])
    gradcheck(lambda B: basis(theta.detach()), [basis.B])  # theta wants none


def test_the_gradient_of_the_basis_by_hand(rng):
    basis, theta, dgrid = family((2, 3), 5, True), rng.normal(size=(4, 2, 5)), rng.normal(size=(4, 2, 3, 2))
    grid = basis(theta)
    assert np.allclose(grid.data, np.einsum("ndk,kp->npd", theta, basis.B.data).reshape(4, 2, 3, 2))
    grid.backward(dgrid)
    assert np.allclose(basis.B.grad, np.einsum("ndk,npd->kp", theta, dgrid.reshape(4, 6, 2)))
    assert np.array_equal(basis.matrix(theta.reshape(4, 10)).data, theta)


def test_given_bases(rng):
    target = target_points((3, 4), True)
    mixed = rng.normal(size=(5, 3)) @ target  # the coordinates are in there, but in no row
    basis = family((3, 4), 5, True, initial=mixed)
    assert np.array_equal(basis.basis((3, 4)), mixed)
    grid = sampling_grid(basis.identity()[None], basis, (3, 4)).data
    assert np.allclose(grid.reshape(-1, 2), target[:2].T, atol=1e-10)
    noise = family((3, 4), 3, True, initial=rng.normal(size=(3, 12)))
    missed = sampling_grid(noise.identity()[None], noise, (3, 4)).data.reshape(-1, 2).T - target[:2]
    assert np.allclose(missed @ noise.B.data.T, 0, atol=1e-10)  # least squares: orthogonal to all it could take


def test_the_basis_is_a_copy_and_follows_the_parameter():
    basis = LearnedBasis((3, 4), 4)
    assert basis.B.dtype == np.float32 and basis.basis((3, 4)).dtype == np.float64
    basis.basis((3, 4))[...] = 7
    assert not np.any(basis.B.data == 7)
    basis.B.data[0, 0] = 7
    assert basis.basis((3, 4))[0, 0] == 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_follows_theta(dtype):
    basis = LearnedBasis((3, 4), 4)
    grid = basis(Tensor(basis.identity()[None].astype(dtype)))
    grid.backward(np.ones(grid.shape, dtype))
    assert grid.dtype == dtype and basis.B.grad.dtype == np.float32


def test_a_transformer_trains_it(rng):
    basis = LearnedBasis((4, 5), 6, generator=rng)
    localisation = nn.Sequential(nn.Flatten(), nn.Dense(30, basis.parameters, generator=rng))
    st = nn.SpatialTransformer(localisation, basis, size=(4, 5))
    names = [name for name, _ in st.named_parameters()]
    assert names == ["localisation.1.weight", "localisation.1.bias", "transformation.B"]
    assert basis.count_parameters() == 6 * 20 and [name for name, _ in basis.named_parameters()] == ["B"]
    assert st.astype(np.float64).transformation.B.dtype == np.float64
    copy = nn.SpatialTransformer(localisation, LearnedBasis((4, 5), 6, dtype=np.float64), size=(4, 5))
    copy.load_state(st.state())
    assert np.array_equal(copy.transformation.B.data, basis.B.data)


def test_it_learns_a_deformation_that_no_affine_map_has(rng):
    """One number per sample bends the grid by a fixed field; theta is known, the field is found."""
    size, field = (4, 6), np.random.default_rng(1).normal(size=24)
    basis = LearnedBasis(size, 4, generator=rng)
    optimiser = SGD([basis.B], learning_rate=0.3)
    for _ in range(200):
        bend = rng.uniform(-1, 1, 8).astype(np.float32)
        theta = np.tile(basis.identity().astype(np.float32), (8, 1)).reshape(8, 2, 4)
        theta[:, 0, 3] = bend
        wanted = sampling_grid(np.tile(Affine().identity().astype(np.float32), (8, 1)), Affine(), size).data.copy()
        wanted[..., 0] += bend[:, None, None] * field.reshape(size).astype(np.float32)
        off = basis(theta) - wanted
        basis.zero_grad()
        (off * off).sum(axis=(1, 2, 3)).mean().backward()
        optimiser.step()
    assert np.allclose(basis.B.data[3], field, atol=1e-2)


@pytest.mark.parametrize("arguments, message", [
    (((3,), 4), r"LearnedBasis: size should be \(H', W'\) or \(D', H', W'\)"),
    (((3, 4), 2), "LearnedBasis: K should be an integer, 3 or more, received 2"),
    (((2, 3, 4), 3), "K should be an integer, 4 or more"),
    (((3, 4), 3.0), "K should be an integer"),
    (((3, 4), 1 << 31), "K should be an integer, 3 or more, received 2147483648"),
    (((3, 4), 3, np.zeros((3, 11))), r"initial should be finite numbers \(3, 12\), received \(3, 11\)"),
    (((3, 4), 3, np.full((3, 12), np.nan)), "initial should be finite"),
])
def test_bases_that_do_not_exist(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnedBasis(*arguments)


def test_other_points_are_refused():
    basis = LearnedBasis((3, 4), 3)
    theta = basis.identity()[None]
    with pytest.raises(ValueError, match=r"size should be \(3, 4\) with align_corners=True, received \(4, 3\) with"):
        sampling_grid(theta, basis, (4, 3))
    with pytest.raises(ValueError, match="with align_corners=True, received .* with align_corners=False"):
        basis.basis((3, 4), False)
    with pytest.raises(ValueError, match=r"LearnedBasis\(\(3, 4\), 3\): size should be \(H', W'\), two"):
        basis.grid(theta, 4)
    with pytest.raises(ValueError, match=r"theta should be \(N, 6\) or \(N, 2, 3\), received \(1, 5\)"):
        basis(np.zeros((1, 5)))


def test_names():
    assert repr(LearnedBasis((3, 4), 5)) == "LearnedBasis((3, 4), 5)"
    assert repr(LearnedBasis((2, 3, 4), 5, align_corners=False)) == "LearnedBasis((2, 3, 4), 5, align_corners=False)"


def test_a_theta_that_has_diverged_leaves_the_basis_alone(rng):
    """The gradient of the basis is that of the other images alone."""
    family = LearnedBasis((3, 4), K=4, dtype=np.float64, generator=rng)
    U, theta, dV = rng.normal(size=(3, 1, 5, 6)), np.tile(family.identity(), (3, 1)), rng.normal(size=(3, 1, 3, 4))
    theta[0, 0] = np.nan

    def dB(images):
        family.zero_grad()
        spatial_transform(U[images], Tensor(theta[images], True), family, (3, 4)).backward(dV[images])
        return family.B.grad

    alone = dB(slice(1, None))
    np.testing.assert_allclose(dB(slice(None)), alone, rtol=0, atol=1e-12)
    assert alone.any()
