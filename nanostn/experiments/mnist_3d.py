"""3D MNIST, the paper's A.3: a digit extruded, turned about all three axes and placed at random in 60 x 60 x 60 voxels.

A 3D affine transformer samples a box of the volume, and what it finds is flattened: the sum along the depth of the box
is an image, which a CNN classifies. Only class labels are given, and the projection that is easiest to read is found.

    python -m nanostn.experiments.mnist_3d                            the transformer
    python -m nanostn.experiments.mnist_3d --model projection-cnn     a CNN on the sum along the depth of the volume
    python -m nanostn.experiments.mnist_3d --model cnn-3d             a 3D CNN on the volume, no projection at all

The paper has no figure, no network and no distortions; `datasets/volumes.py` has ours. All three networks have 98,000
parameters, within 1 %. The localisation network and the 3D CNN have the same layers, on volumes of 20 x 20 x 20.
After ten epochs they err on 1.6, 5.5 and 3.3 % of the test digits, in the order above (nanostn table mnist-3d).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from nanostn import datasets, drawing, models, report
from nanostn.datasets.volumes import SIDE, THICKNESS, VOLUMES, lazy_test_set
from nanostn.experiments.experiment import TEST_SEED, Data, Experiment
from nanostn.experiments.options import Settings
from nanostn.nn import AvgPool3d, Conv3d, Dense, Flatten, MaxPool3d, Module, ReLU, Sequential, SpatialTransformer
from nanostn.runs import Revived
from nanostn.tensor import Tensor
from nanostn.training import evaluate
from nanostn.transformations import Affine3d

SAMPLED = 28  # along each axis of the transformer's box; the image has MNIST's own size


class ProjectedClassifier(Module):
    """A volume (N, 1, D, H, W) flattened along its depth, by a transformer or as it is, and a classifier of images.

    `step` is the distance between what is added up, in voxels: a digit seen from its front is as bright as in MNIST.
    """

    def __init__(self, flatten: Callable[[Tensor], Tensor], step: float, classifier: Module):
        self.flatten, self.classifier = flatten, classifier
        self.scale = step / THICKNESS

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(x) * self.scale)


def volume_cnn(hidden: int, outputs: int, options: dict[str, Any]) -> Sequential:
    """The volume at a third of its size, conv 16 5x5x5, max-pool 2, conv 32 3x3x3, max-pool 2, two dense layers."""
    return Sequential(AvgPool3d(3), Conv3d(1, 16, 5, **options), ReLU(), MaxPool3d(2),
                      Conv3d(16, 32, 3, **options), ReLU(), MaxPool3d(2), Flatten(),
                      Dense(32 * 3 ** 3, hidden, **options), ReLU(), Dense(hidden, outputs, **options))


class Mnist3d(Experiment[Settings]):
    models = ("st-3d-affine", "projection-cnn", "cnn-3d")
    # A transformer that learns before its classifier knows anything moves its box out of the volume.
    defaults = Settings("mnist-3d", "st-3d-affine", batch_size=64, freeze_localisation=100, warm_up_localisation=300)
    rates = {"adam": 0.002, "sgd": 0.01}
    told_by = ()

    def build_model(self, settings: Settings) -> Module:
        options = {"generator": np.random.default_rng([settings.seed, 1])}
        if settings.model == "cnn-3d":
            return volume_cnn(94, 10, options)
        if settings.model == "projection-cnn":
            return ProjectedClassifier(lambda x: x.sum(axis=2), 1, models.cnn((1, SIDE, SIDE), options, filters=35))
        localisation = volume_cnn(32, 12, options)
        transformer = SpatialTransformer(localisation, Affine3d(), (SAMPLED,) * 3, flatten_depth=True)
        classifier = models.cnn((1, SAMPLED, SAMPLED), options, filters=32)
        return ProjectedClassifier(transformer, (SIDE - 1) / (SAMPLED - 1), classifier)

    def kind(self, settings: Settings) -> datasets.Kind:
        return VOLUMES

    def load_data(self, settings: Settings, data_dir: str | None = None) -> Data:
        """Training images and labels; test volumes, made when they are read: all at once they would take 8.6 GB."""
        images, labels, test_images, test_labels = datasets.load(settings.data, data_dir)
        x, y = lazy_test_set(test_images, test_labels, TEST_SEED)
        limit, count = settings.limit, settings.test_limit
        return images[:limit], labels[:limit], x.part(slice(count)), y[:count]

    def evaluate(self, model: Module, images: Any, labels: Any) -> dict[str, float]:
        return evaluate(model, images, labels, batch_size=100)

    def pictures(self, revived: Revived) -> list[report.Picture]:
        looks, _ = report.look(revived.model, revived.images[:1])
        if not looks:
            return []
        text = ("The first test volume, and the edges of the box that the transformer samples in it. The thick ones "
                "become the front of its output; the dot is the corner that becomes the top left one.")
        sides = draw_sides(looks[0].U[0, 0], looks[0].grid[0])
        return [*super().pictures(revived), report.Picture("{model} from three sides", text, "sides.png", sides)]


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
