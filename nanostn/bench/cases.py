"""What `nanostn bench` measures: shapes, and inputs that both sides get."""

from typing import NamedTuple

import numpy as np

from nanostn.transformations import Affine, Affine3d, Projective, ThinPlateSpline, Transformation

SAMPLER = [  # images, output
    ((256, 1, 42, 42), (42, 42)), ((256, 1, 60, 60), (20, 20)), ((64, 3, 128, 128), (64, 64)),
    ((32, 32, 64, 64), (64, 64)), ((8, 256, 56, 56), (56, 56)), ((1, 3, 1024, 1024), (1024, 1024)),
]
SAMPLER_ON_GPU = [
    ((256, 1, 42, 42), (42, 42)), ((64, 3, 448, 448), (224, 224)), ((32, 64, 64, 64), (64, 64)),
    ((8, 1, 60, 60, 60), (60, 60, 60)),
]
Layer = tuple[int, int, int, int, int, int]  # batch, channels, filters, side of the images, of the window, padding
LAYERS: list[Layer] = [  # of 2D convolution
    (256, 1, 20, 30, 5, 0), (256, 20, 20, 13, 5, 0), (256, 32, 32, 9, 3, 0),  # the Lasagne network's
    (256, 1, 64, 42, 9, 0), (256, 64, 64, 17, 7, 0),  # the paper's CNN's
    (64, 3, 48, 64, 5, 2), (64, 48, 64, 32, 5, 2), (32, 64, 128, 32, 5, 2), (32, 192, 192, 16, 5, 2),  # as for SVHN
    (32, 64, 64, 32, 3, 1), (32, 96, 128, 28, 3, 1), (32, 160, 192, 14, 3, 1), (32, 32, 96, 28, 5, 2),  # an Inception's
    (32, 20, 48, 10, 5, 2),
]
TRAINING = {"lasagne": (256, 1, 60, 60), "cnn": (256, 1, 42, 42), "st-cnn-affine": (256, 1, 42, 42),
            "inception": (8, 3, 224, 224)}  # network: a batch of images


class Case(NamedTuple):
    """A transformer whose output is of the size of its input."""
    transformation: Transformation
    shape: tuple[int, ...]
    goal: float  # times as fast as PyTorch
    mode: str = "bilinear"
    flatten_depth: bool = False


KERNELS = {
    "affine 3D": Case(Affine3d(), (8, 1, 60, 60, 60), 4.0),
    "affine 3D, depth flattened": Case(Affine3d(), (8, 1, 60, 60, 60), 6.0, flatten_depth=True),
    "affine, bicubic": Case(Affine(), (32, 32, 64, 64), 3.0, mode="bicubic"),
    "affine, nearest": Case(Affine(), (32, 32, 64, 64), 1.0, mode="nearest"),
    "thin plate spline, 16 points": Case(ThinPlateSpline(4), (256, 1, 42, 42), 3.0),
    "projective": Case(Projective(), (256, 1, 42, 42), 3.0),
}


def inputs(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, theta (N, parameters) and the cotangent dV of a case."""
    N, C, *size = case.shape
    U, dV = (rng.standard_normal(s, np.float32) for s in (case.shape, (N, C, *size[case.flatten_depth:])))
    return U, near_identity(case.transformation, N, rng), dV


def affine(images: tuple[int, ...]) -> Transformation:
    """The affine family for images or for volumes."""
    return Affine() if len(images) == 4 else Affine3d()


def near_identity(transformation: Transformation, N: int, rng: np.random.Generator) -> np.ndarray:
    """Theta (N, parameters) as in training: some rotation, scale and shift for each image, or of each control point."""
    if isinstance(transformation, ThinPlateSpline):
        theta = transformation.identity() + rng.normal(0, 0.05, (N, transformation.parameters))
    elif isinstance(transformation, Affine3d):
        M = np.tile(np.eye(4), (2, N, 1, 1))
        M[0][:, :2, [0, 1, 3]] = _rotations(N, rng)  # in the plane of x and y, then of y and z
        M[1][:, 1:3, [1, 2, 3]] = _rotations(N, rng)
        theta = (M[1] @ M[0])[:, :3].reshape(N, 12)
    else:
        theta = _rotations(N, rng).reshape(N, 6)
        if isinstance(transformation, Projective):
            theta = np.concatenate([theta, rng.normal(0, 0.05, (N, 2))], axis=1)
    return theta.astype(np.float32)


def _rotations(N: int, rng: np.random.Generator) -> np.ndarray:
    angle, scale = rng.normal(0, 0.2, N), rng.uniform(0.8, 1.2, N)
    x, y = rng.uniform(-0.1, 0.1, (2, N))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]]).transpose(2, 0, 1)


def layer(numbers: Layer, rng: np.random.Generator) -> list[np.ndarray]:
    """x, weight, bias and the cotangent of a case of `LAYERS`."""
    N, C, filters, side, window, padding = numbers
    out = side + 2 * padding - window + 1
    shapes = (N, C, side, side), (filters, C, window, window), (filters,), (N, filters, out, out)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def batch(network: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels for a network of `TRAINING`."""
    rng, shape = np.random.default_rng(0), TRAINING[network]
    return rng.random(shape, dtype=np.float32), rng.integers(10, size=shape[0])
