"""The sampler beside SciPy and, where it is installed, PyTorch: the same numbers where the definitions are the same."""

import numpy as np
import pytest

from nanostn.sampler import grid_sample, spatial_transform
from nanostn.spline import spline_prefilter
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Affine3d

SHAPES = [((2, 9, 5, 6), (4, 7)), ((2, 3, 4, 5, 6), (3, 4, 5))]


def pixels_and_grid(rng, shape, points, align_corners=True, beyond=1.3):
    """Points in and around the image: in pixels (N, dims, P), slices first, and as a grid (N, 1, ..., P, dims)."""
    sizes = np.array(shape[2:])
    half = (sizes - 1) / 2 if align_corners else sizes / 2
    grid = rng.uniform(-beyond, beyond, (shape[0], points, len(sizes)))
    pixels = (grid[..., ::-1] * half + (sizes - 1) / 2).transpose(0, 2, 1)
    return pixels, grid.reshape(shape[0], *[1] * (len(sizes) - 1), points, len(sizes))


SCIPY = [(0.75, True, {"mode": "grid-constant", "cval": 0.75}), ("zeros", False, {"mode": "grid-constant", "cval": 0}),
         ("border", True, {"mode": "nearest"}), ("reflection", True, {"mode": "mirror"}),
         ("reflection", False, {"mode": "reflect"}), ("wrap", False, {"mode": "grid-wrap"})]


@pytest.mark.parametrize("mode, order, padding_mode, align_corners, theirs", [
    (mode, order, *padding) for mode, order in (("nearest", 0), ("bilinear", 1), ("bspline", 3)) for padding in SCIPY
] + [("prefiltered", 3, *padding) for padding in SCIPY[3:]])  # SciPy's prefilter of the others is another
@pytest.mark.parametrize("shape", [(2, 3, 14, 25), (2, 2, 12, 13, 14)])
def test_scipy(rng, shape, mode, order, padding_mode, align_corners, theirs):
    map_coordinates = pytest.importorskip("scipy.ndimage").map_coordinates
    filtered = mode == "prefiltered"
    U = rng.normal(size=shape)
    pixels, grid = pixels_and_grid(rng, shape, 61, align_corners, beyond=2.5)
    coefficients = spline_prefilter(U, padding_mode, align_corners) if filtered else U
    V = grid_sample(coefficients, grid, "bspline" if filtered else mode, padding_mode, align_corners).data
    for n, c in np.ndindex(shape[:2]):
        expected = map_coordinates(U[n, c], pixels[n], order=order, prefilter=filtered, **theirs)
        np.testing.assert_allclose(V[n, c].ravel(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode, shape, size", [
    (mode, *case) for mode in ("bilinear", "nearest") for case in SHAPES] + [("bicubic", *SHAPES[0])])
def test_torch(rng, shape, size, mode, padding_mode, align_corners):
    torch = pytest.importorskip("torch")
    U, dV = rng.normal(size=shape), rng.normal(size=(*shape[:2], *size))
    for beyond in (1.0, 2.5):
        grid = rng.uniform(-beyond, beyond, (shape[0], *size, len(size)))
        ours = [Tensor(a, requires_grad=True) for a in (U, grid)]
        V = grid_sample(*ours, mode, padding_mode, align_corners)
        V.backward(dV)
        theirs = [torch.tensor(a, requires_grad=True) for a in (U, grid)]
        expected = torch.nn.functional.grid_sample(*theirs, mode, padding_mode, align_corners)
        expected.backward(torch.tensor(dV))
        np.testing.assert_allclose(V.data, expected.detach().numpy(), rtol=0, atol=1e-12)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("family, shape, size", [(Affine(), *SHAPES[0]), (Affine3d(), *SHAPES[1])])
def test_torch_from_theta(rng, family, shape, size, padding_mode, align_corners):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    U, dV = rng.normal(size=shape), rng.normal(size=(*shape[:2], *size))
    theta = rng.normal(size=(shape[0], len(size), len(size) + 1)) * 0.7
    ours = [Tensor(a, requires_grad=True) for a in (U, theta)]
    V = spatial_transform(*ours, family, size, padding_mode=padding_mode, align_corners=align_corners)
    V.backward(dV)
    theirs = [torch.tensor(a, requires_grad=True) for a in (U, theta)]
    grid = functional.affine_grid(theirs[1], (*shape[:2], *size), align_corners=align_corners)
    expected = functional.grid_sample(theirs[0], grid, padding_mode=padding_mode, align_corners=align_corners)
    expected.backward(torch.tensor(dV))
    np.testing.assert_allclose(V.data, expected.detach().numpy(), rtol=0, atol=1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=0, atol=1e-10)
