"""PyTorch's side of `nanostn bench`: the same sampling and the same networks. Nothing else imports PyTorch."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from nanostn.bench.cases import Case
from nanostn.models.inception import STEM, TABLE, Row
from nanostn.transformations import Affine, Affine3d


def use_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def sample(U: np.ndarray, theta: np.ndarray, dV: np.ndarray, device: str = "cpu") -> Callable[[], None]:
    held, cotangent = [torch.from_numpy(a).to(device) for a in (U, theta)], torch.from_numpy(dV).to(device)

    def run() -> None:
        inputs = [a.detach().requires_grad_() for a in held]
        grid = nn.functional.affine_grid(inputs[1], list(dV.shape), align_corners=True)
        nn.functional.grid_sample(inputs[0], grid, align_corners=True).backward(cotangent)

    return run


def transform(case: Case, U: np.ndarray, theta: np.ndarray, dV: np.ndarray) -> list[Callable[[], list[Any]]]:
    """Forward and backward of a case as PyTorch composes it: a grid, grid_sample, the sum of its depth.

    The usual way first: affine_grid where that serves, else M times a basis made before, the coordinates side by side
    (N, P, dims) as grid_sample has them. Then what may be faster: that without affine_grid, and the coordinates in
    planes (N, dims, P).
    """
    size, dims, cotangent = U.shape[2:], U.ndim - 2, torch.from_numpy(dV)
    basis = torch.from_numpy(case.transformation.basis(size, True).astype(np.float32))
    columns, last = basis.T.contiguous(), torch.ones(len(U), 1)

    def composed(theta: Any, in_planes: bool) -> Any:
        entries = theta if theta.shape[1] % len(basis) == 0 else torch.cat([theta, last], 1)
        M = entries.view(len(U), -1, len(basis))
        points = M @ basis if in_planes else columns @ M.mT
        if M.shape[1] > dims:
            numerators, denominator = points.split(dims, 1 if in_planes else 2)
            points = numerators / denominator
        return points.view(len(U), dims, *size).movedim(1, -1) if in_planes else points.view(len(U), *size, dims)

    def run(way: str) -> list[Any]:
        inputs: list[Any] = [torch.from_numpy(a).requires_grad_() for a in (U, theta)]
        if way == "affine_grid":
            grid = nn.functional.affine_grid(inputs[1].view(len(U), dims, dims + 1), list(U.shape), align_corners=True)
        else:
            grid = composed(inputs[1], way == "planes")
        V = nn.functional.grid_sample(inputs[0], grid, mode=case.mode, align_corners=True)
        if case.flatten_depth:
            V = V.sum(2)
        V.backward(cotangent)
        return [V.detach().numpy(), *(a.grad.numpy() for a in inputs)]

    affine = isinstance(case.transformation, Affine | Affine3d)
    return [functools.partial(run, way) for way in (["affine_grid"] if affine else []) + ["points", "planes"]]


def convolution(padding: int, x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
                dy: np.ndarray) -> Callable[[], list[Any]]:
    cotangent = torch.from_numpy(dy)

    def run() -> list[Any]:
        inputs = [torch.from_numpy(array).requires_grad_() for array in (x, weight, bias)]
        y = nn.functional.conv2d(*inputs, padding=padding)
        y.backward(cotangent)
        return [y.detach().numpy(), *(tensor.grad.numpy() for tensor in inputs)]

    return run


class Transformed(nn.Module):
    def __init__(self, localisation: list[nn.Module], size: int, padding: str, pool: int, classifier: list[nn.Module]):
        super().__init__()
        self.localisation, self.classifier = nn.Sequential(*localisation), nn.Sequential(*classifier)
        self.size, self.padding, self.pool = size, padding, pool
        regression: Any = localisation[-1]
        nn.init.zeros_(regression.weight)
        with torch.no_grad():
            regression.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

    def forward(self, x: Any) -> Any:
        theta = self.localisation(x).view(-1, 2, 3)
        grid = nn.functional.affine_grid(theta, [len(x), 1, self.size, self.size], align_corners=True)
        V = nn.functional.grid_sample(x, grid, padding_mode=self.padding, align_corners=True)
        return self.classifier(nn.functional.avg_pool2d(V, self.pool) if self.pool > 1 else V)


class Convolution(nn.Module):
    def __init__(self, channels: int, filters: int, window: int, stride: int = 1):
        super().__init__()
        self.convolution = nn.Conv2d(channels, filters, window, stride, window // 2, bias=False)
        self.normalisation = nn.BatchNorm2d(filters)

    def forward(self, x: Any) -> Any:
        return torch.relu_(self.normalisation(self.convolution(x)))


class Block(nn.Module):
    def __init__(self, channels: int, row: Row):
        super().__init__()
        stride = 2 if row.pool == "halve" else 1
        self.branches = nn.ModuleList([
            *([Convolution(channels, row.one, 1)] if row.one else []),
            nn.Sequential(Convolution(channels, row.three_reduce, 1),
                          Convolution(row.three_reduce, row.three, 3, stride)),
            nn.Sequential(Convolution(channels, row.double_reduce, 1), Convolution(row.double_reduce, row.double, 3),
                          Convolution(row.double, row.double, 3, stride)),
            nn.Sequential({"average": nn.AvgPool2d(3, 1, 1), "largest": nn.MaxPool2d(3, 1, 1),
                           "halve": nn.MaxPool2d(3, 2, ceil_mode=True)}[row.pool],
                          *([Convolution(channels, row.projection, 1)] if row.projection else []))])
        self.filters = row.one + row.three + row.double + (row.projection or channels)

    def forward(self, x: Any) -> Any:
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception(table: dict[str, Row] = TABLE, stem: tuple[int, int, int] = STEM) -> nn.Module:
    """`models.inception.Inception` for images whose side is a multiple of 32, its parameters in the same order."""
    first, reduced, filters = stem
    layers = [Convolution(3, first, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), Convolution(first, reduced, 1),
              Convolution(reduced, filters, 3), nn.MaxPool2d(3, 2, ceil_mode=True)]
    for row in table.values():
        layers.append(block := Block(filters, row))
        filters = block.filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _convolutions(filters: int, first: int, second: int) -> list[nn.Module]:
    return [nn.Conv2d(1, filters, first), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(filters, filters, second), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten()]


def _localisation(pool: nn.Module, features: int, units: int) -> list[nn.Module]:
    return [pool, nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 20, 5), nn.ReLU(), nn.Flatten(),
            nn.Linear(features, units), nn.ReLU(), nn.Linear(units, 6)]


def step(network: str, images: np.ndarray, labels: np.ndarray, device: str = "cpu") -> Callable[[], float]:
    """A training step of the network that `nanostn.models` builds under this name."""
    model: nn.Module
    if network == "inception":
        model = inception()
    elif network == "lasagne":
        model = Transformed(_localisation(nn.MaxPool2d(2), 1620, 50), 20, "border", 1,
                            [*_convolutions(32, 3, 3), nn.Linear(288, 256), nn.ReLU(), nn.Linear(256, 10)])
    elif network == "st-cnn-affine":
        model = Transformed(_localisation(nn.AvgPool2d(2), 320, 20), 56, "zeros", 2,
                            [*_convolutions(64, 9, 7), nn.Linear(256, 10)])
    else:
        model = nn.Sequential(*_convolutions(64, 9, 7), nn.Linear(1600, 10))
    model.to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)

    def run() -> float:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        return loss.item()

    return run


def product(a: np.ndarray, b: np.ndarray, device: str) -> Callable[[], Any]:
    held = [torch.from_numpy(matrix).to(device) for matrix in (a, b)]
    return lambda: held[0] @ held[1]


def sees_gpu() -> bool:
    return torch.cuda.is_available()


def use_gpu() -> tuple[Callable[[], None], Callable[[], int], Callable[[], None]]:
    """What waits for the GPU, counts the bytes held there, and gives back idle ones.

    Products of float32 are made in float32, as ours are, without the tensor cores' shorter TF32.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.cuda.synchronize, torch.cuda.memory_reserved, torch.cuda.empty_cache
