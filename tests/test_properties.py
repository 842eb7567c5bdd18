"""Properties over drawn inputs: broadcasting is NumPy's, any bit pattern is a safe coordinate, theta meets its grid."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nanostn import Tensor, gradcheck
from nanostn import functional as F
from nanostn import transformations as tr
from nanostn.grid_generator import sampling_grid

few = settings(max_examples=40, deadline=None, derandomize=True)  # the first call compiles; CI draws the same each time
values = st.floats(-2, 2, width=32)
modes = st.sampled_from(["nearest", "bilinear", "bicubic", "catmull-rom", "bspline"])
paddings = st.sampled_from(["zeros", 0.5, "border", "wrap", "reflection"])


@few
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4), st.data())
def test_broadcasting_is_numpys_and_its_gradient_is_right(shapes, data):
    x, y = (data.draw(hnp.arrays(np.float64, shape, elements=values)) for shape in shapes.input_shapes)
    np.testing.assert_array_equal((Tensor(x) * Tensor(y)).data, x * y)
    tensors = [Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)]
    (tensors[0] * tensors[1]).backward(np.ones(shapes.result_shape))
    for tensor, other in zip(tensors, (y, x), strict=True):
        # d/dx of sum(x y) is y summed over the axes along which x was repeated.
        repeated = np.broadcast_to(other, shapes.result_shape)
        lead = repeated.ndim - tensor.ndim
        axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(tensor.shape) if n == 1)
        np.testing.assert_allclose(tensor.grad, repeated.sum(axis=axes).reshape(tensor.shape), atol=1e-9)


@few
@given(hnp.arrays(np.uint32, (2, 3, 4, 2)), st.sampled_from(["bilinear", "nearest"]),
       st.sampled_from(["zeros", "border"]), st.booleans())
def test_any_bit_pattern_is_a_safe_coordinate(bits, mode, padding_mode, align_corners):
    grid = bits.view(np.float32)
    U = Tensor(np.ones((2, 3, 5, 6), np.float32), requires_grad=True)
    V = F.grid_sample(U, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    nan = np.isnan(grid).any(axis=-1)[:, None].repeat(3, axis=1)
    assert np.isnan(V.data[nan]).all()
    read = V.data[~nan]  # a mean of ones and zeros
    assert np.all((read >= 0) & (read <= 1 + 1e-6))
    V.backward(np.ones(V.shape, np.float32))
    np.testing.assert_allclose(U.grad.sum(), read.sum(), rtol=1e-5)  # the adjoint gives back what was read


@few
@given(hnp.arrays(np.uint32, (2, 2, 3, 2, 3)), modes, paddings, st.booleans(), st.booleans(), st.booleans())
def test_any_bit_pattern_is_a_safe_coordinate_in_a_volume(bits, mode, padding_mode, align_corners, antialias, flat):
    grid = bits.view(np.float32)
    U = Tensor(np.ones((2, 3, 4, 5, 2), np.float32), requires_grad=True)
    points = Tensor(grid, requires_grad=True)
    V = F.grid_sample(U, points, mode, padding_mode, align_corners, antialias, flat)
    nan = np.isnan(grid).any(axis=-1)[:, None].repeat(3, axis=1)
    if flat:
        nan = nan.any(axis=2)
    assert np.isnan(V.data[nan]).all()
    if not antialias:  # whose widths are NaN beside a NaN
        assert np.isfinite(V.data[~nan]).all()
    V.backward(np.ones(V.shape, np.float32))
    assert np.isfinite(U.grad).all() and np.isfinite(points.grad).all()
    if padding_mode not in ("zeros", 0.5) and not antialias:  # weights sum to 1, and all taps are read from the volume
        np.testing.assert_allclose(U.grad.sum(), 3 * (~np.isnan(grid).any(axis=-1)).sum(), rtol=1e-4)


@few
@given(st.sampled_from([tr.Affine(), tr.Attention(), tr.Translation(0.7), tr.Similarity(), tr.Projective(),
                        tr.ThinPlateSpline(3), tr.PiecewiseAffine(3), tr.Affine3d(), tr.Attention3d()]),
       st.lists(st.integers(2, 6), min_size=3, max_size=3), st.lists(st.integers(1, 6), min_size=3, max_size=3),
       modes, paddings, st.booleans(), st.integers(0, 9999))
def test_the_fused_path_is_the_grid_and_the_sampler(family, source, size, mode, padding_mode, align_corners, seed):
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((2, 3, *source[: family.dims]))
    theta = np.ravel(family.identity()) + 0.3 * rng.standard_normal((2, family.parameters))
    size = tuple(size[: family.dims])
    fused = F.spatial_transform(U, theta, family, size, mode, padding_mode, align_corners)
    grid = sampling_grid(theta, family, size, align_corners)
    np.testing.assert_allclose(fused.data, F.grid_sample(U, grid, mode, padding_mode, align_corners).data, atol=1e-9)


def test_the_gradient_of_a_drawn_theta_is_right():
    rng = np.random.default_rng(0)
    for _ in range(5):
        theta = Tensor(np.array([[1.0, 0, 0, 0, 1, 0]]) + 0.3 * rng.standard_normal((1, 6)), requires_grad=True)
        U = rng.standard_normal((1, 2, 5, 6))
        gradcheck(lambda t, U=U: F.spatial_transform(U, t, tr.Affine(), (4, 3)), [theta])
