"""Our side of `nanostn bench`: what `torch_side` does, done here."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanostn.bench.cases import TRAINING, Case, affine
from nanostn.functional import conv2d, cross_entropy
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.kernels.products.matmul import matmul
from nanostn.models import build, build_lasagne
from nanostn.models.inception import Inception
from nanostn.nn import Module
from nanostn.optim import SGD
from nanostn.sampler import spatial_transform
from nanostn.tensor import Tensor


def sample(U: Any, theta: Any, dV: Any, device: str = "cpu") -> Callable[[], None]:
    """Forward and backward of the affine sampler."""
    U, theta, dV = (move(array, device) for array in (U, theta, dV))

    def run() -> None:
        inputs = Tensor(U, requires_grad=True), Tensor(theta, requires_grad=True)
        spatial_transform(*inputs, affine(U.shape), dV.shape[2:]).backward(dV)

    return run


def transform(case: Case, U: np.ndarray, theta: np.ndarray, dV: np.ndarray) -> list[Callable[[], list[Any]]]:
    """Forward and backward of a case: V, dU and d theta."""
    def run() -> list[Any]:
        inputs = Tensor(U, requires_grad=True), Tensor(theta, requires_grad=True)
        V = spatial_transform(*inputs, case.transformation, U.shape[2:], mode=case.mode,
                              flatten_depth=case.flatten_depth)
        V.backward(dV)
        return [V.data, inputs[0].grad, inputs[1].grad]

    return [run]


def convolution(padding: int, x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
                dy: np.ndarray) -> Callable[[], list[Any]]:
    """Forward and backward of a layer: y, dx, dweight and dbias."""
    def run() -> list[Any]:
        inputs = [Tensor(array, requires_grad=True) for array in (x, weight, bias)]
        y = conv2d(inputs[0], inputs[1], inputs[2], padding=padding)
        y.backward(dy)
        return [y.data, *(tensor.grad for tensor in inputs)]

    return run


def build_network(network: str) -> Module:
    """A network of `TRAINING`; the Inception's descriptor is taken for scores."""
    if network == "inception":
        return Inception()
    return build_lasagne("st-cnn-affine") if network == "lasagne" else build(network, TRAINING[network][-1])


def step(network: str, images: Any, labels: Any, device: str = "cpu") -> Callable[[], float]:
    """A training step of a network of `TRAINING`."""
    model = build_network(network).to(device)
    images, labels = move(images, device), move(labels, device)
    optimiser = SGD(model.parameters(), learning_rate=0.01, momentum=0.9)

    def run() -> float:
        optimiser.zero_grad()
        loss = cross_entropy(model(Tensor(images)), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return run


def product(a: np.ndarray, b: np.ndarray, device: str) -> Callable[[], Any]:
    """The product of two matrices."""
    a, b = move(a, device), move(b, device)
    return lambda: matmul(a, b)
