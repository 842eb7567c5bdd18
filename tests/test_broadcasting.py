"""One image for many grids, one grid for many images, and depth flattening: what copies and sums give, without them."""

import tracemalloc

import numpy as np
import pytest

from nanostn.gradcheck import gradcheck
from nanostn.sampler import grid_sample, spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Affine3d, Displacement, Projective, ThinPlateSpline

OPTIONS = [("bilinear", "zeros"), ("nearest", "border"), ("bicubic", "wrap"), ("bspline", 0.5)]
SHAPES = [((2, 4, 5), (3, 7)), ((9, 5, 3), (2, 4)), ((2, 3, 4, 5), (2, 4, 3))]


def results(function, *arrays, dV):
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    V = function(*tensors)
    V.backward(dV)
    return V.data, [tensor.grad for tensor in tensors]


def one_like_copies(function, U, points, dV):
    """V of arrays of which one has a single entry, and the gradients, against those of copies."""
    N = len(dV)
    V, gradients = results(function, U, points, dV=dV)
    copies = [np.repeat(a, N, axis=0) if len(a) == 1 else a for a in (U, points)]
    expected, sums = results(function, *copies, dV=dV)
    assert np.array_equal(V, expected)
    for gradient, array, copied in zip(gradients, (U, points), sums, strict=True):
        assert gradient.shape == array.shape
        one = len(array) == 1
        np.testing.assert_allclose(gradient, copied.sum(axis=0, keepdims=True) if one else copied, rtol=0, atol=1e-11)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode, padding_mode", OPTIONS)
@pytest.mark.parametrize("shape, size", SHAPES)
def test_grids(rng, shape, size, mode, padding_mode, antialias):
    dV = rng.normal(size=(5, shape[0], *size))
    for images, grids in ((1, 5), (5, 1)):
        U, grid = rng.normal(size=(images, *shape)), rng.uniform(-1.2, 1.2, (grids, *size, len(size)))
        one_like_copies(lambda U, grid: grid_sample(U, grid, mode, padding_mode, antialias=antialias), U, grid, dV)


@pytest.mark.parametrize("mode, padding_mode", OPTIONS)
@pytest.mark.parametrize("family", [Affine(), Projective(), ThinPlateSpline(3), Affine3d(), Displacement((3, 7))],
                         ids=repr)
def test_thetas(rng, family, mode, padding_mode):
    """Displacements go by way of a grid."""
    shape, size = SHAPES[2] if family.dims == 3 else SHAPES[0]
    dV = rng.normal(size=(5, shape[0], *size))
    for images, thetas in ((1, 5), (5, 1)):
        theta = family.identity() + rng.normal(size=(thetas, family.parameters)) * 0.1
        one_like_copies(lambda U, theta: spatial_transform(U, theta, family, size, mode, padding_mode),
                        rng.normal(size=(images, *shape)), theta, dV)


@pytest.mark.parametrize("images, thetas", [(1, 3), (3, 1)])
def test_gradients(rng, images, thetas):
    U = Tensor(rng.normal(size=(images, 2, 4, 5)), requires_grad=True)
    theta = Tensor(Affine().identity() + rng.normal(size=(thetas, 6)) * 0.1, requires_grad=True)
    gradcheck(lambda U, theta: spatial_transform(U, theta, Affine(), (3, 2), "bicubic", "wrap"), [U, theta])


@pytest.mark.parametrize("mode, padding_mode", OPTIONS)
def test_flattening_is_the_sum_over_the_depth(rng, mode, padding_mode):
    """W_nm = sum over l of V_nml (paper, A.3), from theta, from a grid, and widened."""
    U, theta = rng.normal(size=(2, 3, 4, 5, 6)), Affine3d().identity() + rng.normal(size=(2, 12)) * 0.1
    grid, dW = rng.uniform(-1.1, 1.1, (2, 4, 3, 5, 3)), rng.normal(size=(2, 3, 3, 5))
    dV = np.repeat(dW[:, :, None], 4, axis=2)
    for function, points in (
            (lambda U, theta, flat: spatial_transform(U, theta, Affine3d(), (4, 3, 5), mode, padding_mode,
                                                      flatten_depth=flat), theta),
            (lambda U, grid, flat: grid_sample(U, grid, mode, padding_mode, flatten_depth=flat), grid),
            (lambda U, grid, flat: grid_sample(U, grid, mode, padding_mode, antialias=True, flatten_depth=flat), grid)):
        W, gradients = results(lambda *arrays, f=function: f(*arrays, True), U, points, dV=dW)
        V, expected = results(lambda *arrays, f=function: f(*arrays, False), U, points, dV=dV)
        assert W.shape == (2, 3, 3, 5)
        np.testing.assert_allclose(W, V.sum(axis=2), rtol=0, atol=1e-12)
        for a, b in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)


def test_flattening_by_hand():
    """The identity flattened is the image summed along its depth."""
    U = np.arange(24.0).reshape(1, 1, 2, 3, 4)
    theta = Affine3d().identity()[None]
    W = spatial_transform(U, theta, Affine3d(), (2, 3, 4), flatten_depth=True)
    assert W.data.tolist() == [[[[12, 14, 16, 18], [20, 22, 24, 26], [28, 30, 32, 34]]]]


@pytest.mark.parametrize("mode", ["bilinear", "catmull-rom"])
def test_gradients_of_flattening(rng, mode):
    U = Tensor(rng.normal(size=(1, 2, 3, 4, 5)), requires_grad=True)
    theta = Tensor(Affine3d().identity() + rng.normal(size=(2, 12)) * 0.1, requires_grad=True)
    gradcheck(lambda U, theta: spatial_transform(U, theta, Affine3d(), (3, 2, 4), mode, "border", flatten_depth=True),
              [U, theta])


def test_neither_copies_nor_a_flattened_volume_are_in_memory():
    """64 small views of an image take the memory of few; of a depth of 512, 6 MB, less than one is ever there."""
    theta = np.tile(Affine().identity(), (64, 1)).astype(np.float32)
    image = np.ones((1, 3, 128, 128), np.float32)
    volume, deep = np.ones((1, 3, 16, 16, 16), np.float32), Affine3d().identity()[None].astype(np.float32)
    for call, allowed in (
            (lambda: spatial_transform(image, theta, Affine(), (4, 4)), 8 * image.nbytes),
            (lambda: spatial_transform(volume, deep, Affine3d(), (512, 32, 32), flatten_depth=True), 2 ** 20)):
        call()  # compiles
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < allowed
