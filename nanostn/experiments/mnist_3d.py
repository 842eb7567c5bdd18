"""3D MNIST, the paper's A.3: a digit extruded, turned and placed at random in a volume of 60 x 60 x 60 voxels.

    python -m nanostn.experiments.mnist_3d                            the transformer turns the digit to the front
    python -m nanostn.experiments.mnist_3d --model projection-cnn     the same classifier on the plain projection
    python -m nanostn.experiments.mnist_3d --model cnn-3d             no projection at all
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from nanostn import datasets, drawing, report
from nanostn.datasets.volumes import SIDE, THICKNESS, VOLUMES, lazy_test_set
from nanostn.experiments.experiment import TEST_SEED, Data, Experiment
from nanostn.models import _cnn
from nanostn.nn import AvgPool3d, Conv3d, Dense, Flatten, MaxPool3d, Module, ReLU, Sequential, SpatialTransformer
from nanostn.runs import Revived
from nanostn.tensor import Tensor
from nanostn.training import evaluate
from nanostn.transformations import Affine3d

SAMPLED = 28
FILTERS = 32


class ProjectedClassifier(Module):
    """A volume flattened along its depth, by a spatial transformer or as it stands, and a classifier of images."""

    def __init__(self, flatten: Module, step: float, classifier: Module):
        self.flatten = flatten
        self.scale = step / THICKNESS  # a digit seen from its front is as bright as in MNIST
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(x) * self.scale)


class DepthSum(Module):
    """(N, C, D, H, W) -> (N, C, H, W)"""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(axis=2)


def volume_cnn(hidden: int, outputs: int, options: dict[str, Any]) -> Sequential:
    return Sequential(
        AvgPool3d(3), Conv3d(1, 16, 5, **options), ReLU(), MaxPool3d(2),
        Conv3d(16, 32, 3, **options), ReLU(), MaxPool3d(2),
        Flatten(), Dense(32 * 27, hidden, **options), ReLU(), Dense(hidden, outputs, **options))


class Mnist3d(Experiment):
    name = "mnist-3d"
    models = ("st-3d-affine", "projection-cnn", "cnn-3d")
    defaults = {"batch_size": 64}
    told_by = ()

    def build_model(self, config: dict[str, Any]) -> Module:
        options = {"generator": np.random.default_rng([config["seed"], 1]), "dtype": np.float32}
        if config["model"] == "cnn-3d":
            return volume_cnn(80, 10, options)
        if config["model"] == "projection-cnn":
            return ProjectedClassifier(DepthSum(), 1, _cnn(SIDE, FILTERS, options))
        transformer = SpatialTransformer(volume_cnn(32, 12, options), Affine3d(), (SAMPLED,) * 3, flatten_depth=True)
        return ProjectedClassifier(transformer, SIDE / SAMPLED, _cnn(SAMPLED, FILTERS, options))

    def kind(self, config: dict[str, Any]) -> datasets.Kind:
        return VOLUMES

    def load_data(self, config: dict[str, Any], data_dir: str | None = None) -> Data:
        images, labels, test_images, test_labels = datasets.load(config["data"], data_dir)
        volumes, y = lazy_test_set(test_images, test_labels, TEST_SEED)
        limit, count = config["limit"], config["test_limit"]
        return images[:limit], labels[:limit], volumes.part(slice(count)), y[:count]

    def evaluate(self, model: Module, images: Any, labels: Any) -> dict[str, float]:
        return evaluate(model, images, labels, batch_size=100)

    def pictures(self, revived: Revived) -> list[report.Picture]:
        looks, _ = report.look(revived.model, revived.images[:1])
        if not looks:
            return []
        text = ("The first test volume, and the edges of the box that the transformer samples in it. The thick ones "
                "become the front of its output; the dot is the corner that becomes the top left one.")
        sheet = draw_sides(looks[0].U[0, 0], looks[0].grid[0])
        return [*super().pictures(revived),
                report.Picture("What {model} samples, from three sides", text, "sides.png", sheet)]


def draw_sides(volume: np.ndarray, grid: np.ndarray) -> Any:
    """A figure: a volume (D, H, W) summed along each axis, and over it the edges of a sampling grid (D', H', W', 3)."""
    figure = drawing.new_figure(7.5, 2.8)
    sides = (("front", (0, 1, 2), [0, 1, 2]), ("side", (2, 1, 0), [2, 1, 0]), ("top", (1, 0, 2), [0, 2, 1]))
    for axes, (title, order, coordinates) in zip(figure.subplots(1, 3), sides, strict=True):
        seen = volume.transpose(order)
        image = seen.sum(axis=0)
        drawing.draw_image(axes, image / max(image.max(), 1), margin=0.2)
        drawing.draw_box(axes, grid[..., coordinates], seen.shape)
        axes.set_title(title, fontsize=9, color=drawing.INK)
    return figure


EXPERIMENT = Mnist3d(__doc__)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
