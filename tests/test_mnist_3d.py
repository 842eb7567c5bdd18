"""3D MNIST: three networks of one size, what they see at the start, a run in two parts, pictures."""

import functools
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from nanostn import datasets, no_grad
from nanostn.cli import main
from nanostn.datasets.volumes import DrawnVolumes, placed
from nanostn.experiments import mnist_3d
from nanostn.tensor import Tensor
from nanostn.transformations import Affine3d

from .two_parts import ends_with_the_same_bits

EXPERIMENT = mnist_3d.EXPERIMENT
TINY = ["train", "mnist-3d", "--data", "digits", "--limit", "8", "--test-limit", "3", "--batch-size", "4"]

digits = functools.cache(datasets.digits)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "digits", digits)
    monkeypatch.chdir(tmp_path)


def built(model):
    return EXPERIMENT.build_model(replace(EXPERIMENT.defaults, model=model))


def test_networks_have_equally_many_parameters():
    counts = [built(model).count_parameters() for model in EXPERIMENT.models]
    assert max(counts) < 1.01 * min(counts)


def test_at_the_start_the_transformer_makes_the_plain_projection():
    """Seen from its front: 60 x 60 pixels in one, fewer in the other, both as bright as the digit."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[:, 4:24, 4:24] = 255
    theta = placed(np.zeros((3, 1)), np.zeros((1, 3))).astype(np.float32)
    volume = Tensor(DrawnVolumes(Affine3d(), (60,) * 3, (image, theta)).canvas())
    projections = []
    for name in ("projection-cnn", "st-3d-affine"):
        model = built(name)
        with no_grad():
            projections.append((model.flatten(volume) * model.scale).numpy()[0, 0])
    plain, sampled = projections
    assert plain.shape == (60, 60) and sampled.shape == (mnist_3d.SAMPLED,) * 2
    assert plain.max() == pytest.approx(1, abs=1e-4) and sampled.max() == pytest.approx(1, rel=0.1)
    area = ((sampled.shape[0] - 1) / 59) ** 2
    assert sampled.sum() / area == pytest.approx(plain.sum(), rel=0.1)


@pytest.mark.parametrize("model", EXPERIMENT.models)
def test_two_steps_of_each_model(model, tmp_path):
    assert main([*TINY, "--model", model, "--steps", "2", "--run-dir", "run"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["model"], result["steps"]) == (model, 2) and "distortion" not in result


def test_a_run_in_two_parts_ends_with_the_same_bits(tmp_path, monkeypatch):
    ends_with_the_same_bits([*TINY, "--epochs", "2"], "epoch_batches", monkeypatch)


def test_evaluation_makes_the_volumes_a_few_at_a_time(tmp_path, monkeypatch):
    made = []
    canvas = DrawnVolumes.canvas
    monkeypatch.setattr(DrawnVolumes, "canvas", lambda drawn: made.append(len(drawn)) or canvas(drawn))
    data = EXPERIMENT.load_data(replace(EXPERIMENT.defaults, data="digits", limit=8, test_limit=205))
    assert len(data[0]) == 8 and len(data[2]) == len(data[3]) == 205 and made == []
    model = built("projection-cnn")
    errors = EXPERIMENT.evaluate(model, *data[2:])
    assert max(made) <= 100 and sum(made) == 205
    assert 60 < errors["test_error"] <= 100                # of a new network


def test_report(tmp_path):
    pytest.importorskip("matplotlib")
    assert main([*TINY, "--steps", "2", "--run-dir", "run"]) == 0
    assert main(["report", "run"]) == 0
    folder = tmp_path / "run" / "report"
    assert {path.name for path in folder.iterdir()} == {"index.html", "learning-curves.png", "transformer.png",
                                                        "sides.png"}
    assert "from three sides" in re.sub(r"base64,[^\"]*", "", (folder / "index.html").read_text())


def test_sides_show_where_the_digit_is():
    """One bright voxel, and a box of one point there: in each picture the dot lies on the bright pixel."""
    pytest.importorskip("matplotlib")
    volume = np.zeros((6, 8, 10), np.float32)
    z, y, x = 1, 5, 7
    volume[z, y, x] = 1
    point = 2 * np.array([x, y, z]) / (np.array([10, 8, 6]) - 1) - 1
    figure = mnist_3d.draw_sides(volume, np.tile(point, (2, 2, 2, 1)))
    for axes, place in zip(figure.axes, ((x, y), (z, y), (x, z)), strict=True):
        picture = axes.images[0].get_array()
        assert np.unravel_index(picture.argmax(), picture.shape) == place[::-1]
        np.testing.assert_allclose(axes.lines[-1].get_xydata(), [place], atol=1e-6)
