"""Kernels with the blocks of a GPU, 256 threads, in the simulator: constants that its small blocks never meet."""

import numpy as np
import pytest

from nanostn import functional as F
from nanostn.kernels.convolution import convolve
from nanostn.kernels.gpu.arrays.device_array import to_device
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.kernels.gpu.device import device, state
from nanostn.kernels.products import gpu_tiles
from nanostn.kernels.products.matmul import matmul
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, ThinPlateSpline

pytestmark = pytest.mark.skipif(state()[0] != "simulator", reason="a GPU's blocks are so in all tests")


@pytest.fixture(autouse=True)
def real_blocks(monkeypatch):
    monkeypatch.setattr(device(), "threads", 1024)


def test_reductions(rng):
    x = rng.normal(size=(2, 700))
    X = to_device(x)
    np.testing.assert_allclose(X.sum(axis=1).numpy(), x.sum(axis=1))
    np.testing.assert_allclose(X.max(axis=1).numpy(), x.max(axis=1))
    assert np.array_equal(X.argmax(axis=1).numpy(), x.argmax(axis=1))


def gradients(fn, *inputs):
    """The value and the gradients of `fn` on both devices."""
    for place in ("cpu", "cuda"):
        tensors = [Tensor(Tensor(x).to(place).data, requires_grad=True) for x in inputs]
        value = fn(*tensors)
        dV = np.random.default_rng(1).normal(size=value.shape)
        value.backward(move(dV, place))
        yield [value.numpy(), *(move(x.grad, "cpu") for x in tensors)]


@pytest.mark.parametrize("case", ["affine", "spline", "batch_norm", "softmax", "cross_entropy"])
def test_operations(rng, case):
    U = rng.normal(size=(1, 1, 19, 18))
    fn, inputs = {
        "affine": (lambda U, theta: F.spatial_transform(U, theta, Affine(), (18, 17)),
                   (U, Affine().identity()[None] + 0.1)),
        "spline": (lambda U, theta: F.spatial_transform(U, theta, ThinPlateSpline(2), (18, 17)),
                   (U, ThinPlateSpline(2).identity()[None] + 0.1)),
        "batch_norm": (lambda x, g, b: F.batch_norm(x, g, b, *(move(np.zeros(2), x.device) for _ in "mv"), True),
                       (rng.normal(size=(3, 2, 10, 11)), rng.normal(size=2), rng.normal(size=2))),
        "softmax": (F.softmax, (rng.normal(size=(2, 300)),)),
        "cross_entropy": (lambda x: F.cross_entropy(x, Tensor(np.array([3, 299])).to(x.device)),
                          (rng.normal(size=(2, 300)),)),
    }[case]
    for here, there in zip(*gradients(fn, *inputs), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-9, atol=1e-12)


@pytest.fixture(params=[*gpu_tiles.SPEED], ids=str)
def tile(request, monkeypatch):
    """One tile of a GPU for all products."""
    def plan(rows, columns, inner, T, batch=1, among=()):
        chosen = request.param if not among or request.param in among else among[0]
        return gpu_tiles.Plan(chosen, 1, -(-max(inner, 1) // chosen.depth) * chosen.depth)

    from nanostn.kernels.convolution import gpu
    from nanostn.kernels.products import matmul as products
    for module in (products, gpu):
        monkeypatch.setattr(module, "plan", plan)
    return request.param


def test_products(rng, tile):
    """A tile that is full and one that is not, along both axes."""
    rows, columns, inner = tile.rows // 2 + 3, tile.columns + 1, tile.depth + 3
    a, b = rng.normal(size=(rows, inner)).astype(np.float32), rng.normal(size=(columns, inner)).astype(np.float32)
    found = matmul(to_device(a), to_device(b), transpose_b=True).numpy()
    np.testing.assert_allclose(found, a @ b.T, rtol=1e-4, atol=1e-5)


def test_convolutions(rng, tile):
    x, weight = rng.normal(size=(2, 2, 6, 5)).astype(np.float32), rng.normal(size=(3, 2, 3, 2)).astype(np.float32)
    bias, options = rng.normal(size=3).astype(np.float32), ((2, 1), (1, 0))
    y, gradients = convolve(x, weight, bias, *options)
    there, gradients_there = convolve(*map(to_device, (x, weight, bias)), *options)
    dy = rng.normal(size=y.shape).astype(np.float32)
    pairs = zip((there, *gradients_there(to_device(dy), True, True)), (y, *gradients(dy, True, True)), strict=True)
    for there, here in pairs:
        np.testing.assert_allclose(there.numpy(), here, rtol=1e-4, atol=1e-4)
