"""Street View House Numbers: the loss and the measures, a run in two parts, what its report shows."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nanostn import datasets, drawing, no_grad
from nanostn.cli import main
from nanostn.composition import composed
from nanostn.datasets.svhn import NONE, Numbers
from nanostn.experiments import options, revive, svhn
from nanostn.nn import Module, SpatialTransformer
from nanostn.tables import TABLES, Cell, show
from nanostn.tensor import Tensor
from nanostn.transformations import Affine

from .two_parts import ends_with_the_same_bits

EXPERIMENT = svhn.EXPERIMENT
TINY = ["train", "svhn", "--data", "drawn-numbers", "--width", "0.03", "--limit", "10", "--test-limit", "5",
        "--batch-size", "4", "--threads", "1"]


def numbers(count, side=64, seed=0):
    """Noise, and numbers of one to five digits."""
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(count, side, side, 3), dtype=np.uint8)
    digits, length = rng.integers(10, size=(count, 5)), rng.integers(1, 6, (count, 1))
    return Numbers(images, np.where(np.arange(5) < length, digits, NONE))


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))


@pytest.fixture
def noise(monkeypatch):
    """In place of the data: what is learned of it makes no difference here."""
    monkeypatch.setattr(datasets.svhn, "load",
                        lambda data, data_dir, side: (numbers(12, side), numbers(6, side, seed=1)))
    monkeypatch.setattr(datasets.svhn, "load_assembled", lambda data_dir: numbers(9, seed=2))


class Scores(Module):
    """A network that gives scores known beforehand, and notes how many images it is given at a time."""

    def __init__(self, scores):
        self.scores, self.given = scores, []

    def forward(self, x):
        first = sum(self.given)
        self.given.append(len(x))
        return Tensor(self.scores[first:first + len(x)])


def test_loss_is_the_sum_of_five_cross_entropies(rng):
    """Beside NumPy; and what is counted is whole numbers."""
    scores, (images, y) = rng.standard_normal((7, 5, 11)), numbers(7)
    scores[:3] += 50 * (np.arange(11) == y[:3, :, None])  # these three are right
    scores[3, 4] += 50 * (np.arange(11) == (y[3, 4] + 1) % 11)
    loss, wrong = EXPERIMENT.loss(Scores(scores), images, y)
    likelihood = np.log(np.exp(scores).sum(axis=2)) - np.take_along_axis(scores, y[:, :, None], axis=2)[:, :, 0]
    assert loss.item() == pytest.approx(likelihood.sum(axis=1).mean())
    assert wrong == (scores.argmax(axis=2) != y).any(axis=1).sum() and 1 <= wrong <= 4


def test_evaluation_by_hand_in_batches(monkeypatch):
    """Of 4 genuine numbers one is wrong in two digits, of 6 assembled ones two; images are made floats in batches."""
    monkeypatch.setattr(svhn, "BATCH", 3)
    images, truth = numbers(10)
    truth[:4] = [1, 2, 3, NONE, NONE]
    found = truth.copy()
    found[2, :2] = 7, 8
    found[4:6, 0] = NONE
    network = Scores(10.0 * (np.arange(11) == found[:, :, None]))
    labels = np.column_stack([truth, [0] * 4 + [1] * 6])
    outcome = EXPERIMENT.evaluate(network, images, labels)
    assert network.given == [3, 3, 3, 1] and network.training
    assert outcome.keys() == {"test_loss", "test_error", "test_digit_error", "test_assembled_error"}
    assert outcome["test_error"] == 25 and outcome["test_digit_error"] == pytest.approx(100 * 2 / 12)
    assert outcome["test_assembled_error"] == pytest.approx(100 * 2 / 6)
    right = np.log(np.exp(10) + 10) - 10
    assert outcome["test_loss"] == pytest.approx(5 * right + 2 * 10 / 4)
    plain = EXPERIMENT.evaluate(Scores(network.scores), images, truth)
    assert plain.keys() == {"test_loss", "test_error", "test_digit_error"} and plain["test_error"] == 30


def test_genuine_and_assembled_test_numbers_and_their_limits(noise):
    settings = replace(EXPERIMENT.defaults, data="svhn-sample", limit=7, test_limit=4)
    _, y, x, labels = EXPERIMENT.load_data(settings)
    assert len(y) == 7 and len(x) == len(labels) == 8 and labels[:, 5].tolist() == [0] * 4 + [1] * 4
    assert np.array_equal(x[:4], numbers(6, seed=1).images[:4]) and np.array_equal(x[4:], numbers(9, seed=2).images[:4])
    assert np.array_equal(labels[4:, :5], numbers(9, seed=2).labels[:4])
    assert EXPERIMENT.load_data(replace(settings, test_limit=None))[3].shape == (15, 6)
    for other in (replace(settings, size=128), replace(settings, data="svhn")):
        assert EXPERIMENT.load_data(other)[3].shape == (4, 5)


def test_an_epoch_has_every_number_once_and_goes_on_anywhere(noise):
    settings = replace(EXPERIMENT.defaults, data="svhn", batch_size=5)
    data = EXPERIMENT.load_data(settings)
    whole = list(EXPERIMENT.batches(settings, data, 1, 0, "cpu"))
    assert [len(x) for x, _ in whole] == [5, 5, 2]
    key = [tuple(x[:, 0, 0, :3].ravel()) for x, _ in whole]
    assert sorted(map(tuple, np.concatenate([y for _, y in whole]))) == sorted(map(tuple, data[1]))
    assert [tuple(x[:, 0, 0, :3].ravel()) for x, _ in EXPERIMENT.batches(settings, data, 1, 2, "cpu")] == key[2:]
    other = next(EXPERIMENT.batches(settings, data, 2, 0, "cpu"))
    assert tuple(other[0][:, 0, 0, :3].ravel()) != key[0]


def test_a_run_in_two_parts_ends_with_the_same_bits(monkeypatch):
    """On drawn numbers, with dropout, whose generator goes on where it was, and images that are varied."""
    monkeypatch.setattr(datasets.svhn, "DRAWN", (12, 6))
    ends_with_the_same_bits([*TINY, "--model", "st-cnn-multi", "--epochs", "2", "--weight-decay", "0.01", "--vary",
                             "1"], "shuffled", monkeypatch)
    result = json.loads(Path("parts", "result.json").read_text())
    assert {"size": 64, "width": 0.03, "model": "st-cnn-multi", "steps": 6}.items() <= result.items()


def test_images_are_varied_where_that_is_asked_for():
    """Each anew, and a little; without the option their bytes are as they were."""
    train = numbers(4)
    settings = replace(EXPERIMENT.defaults, data="drawn-numbers", batch_size=4)
    x = next(EXPERIMENT.batches(settings, (train.images, train.labels), 0, 0, "cpu"))[0]
    given = svhn.prepared(train.images)
    assert sorted(image.tobytes() for image in x) == sorted(image.tobytes() for image in given)
    assert settings.vary is None
    varied = replace(settings, vary=0.5)
    some, other = (next(EXPERIMENT.batches(varied, (train.images, train.labels), epoch, 0, "cpu"))[0]
                   for epoch in (0, 1))
    assert some.shape == x.shape and some.dtype == np.float32 and 0.1 < np.abs(some - x).mean() < 0.5
    assert np.abs(some.mean(axis=(1, 2, 3))).max() < 1e-6 and not np.array_equal(np.sort(some.ravel()),
                                                                                np.sort(other.ravel()))


def test_settings():
    parser = options.argument_parser(EXPERIMENT, None)

    def settings(*words):
        return options.settings(EXPERIMENT, parser.parse_args(["--data", "drawn-numbers", *words]))

    assert settings("--width", "0.5", "--size", "128", "--dropout", "0").width == 0.5
    for words, said in ((["--dropout", "1"], "0 to below 1"), (["--size", "96"], "invalid choice: 96")):
        with pytest.raises(ValueError, match=said):
            parser.file = "test"
            settings(*words)


def test_a_width_that_makes_no_network_is_refused_before_there_is_a_run(tmp_path, capfd, noise):
    assert main([*TINY, "--width", "9", "--run-dir", "run"]) == 2
    assert "build: width should be a number from 0.01 to 4, received 9" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("model", "rows"), [("st-cnn-multi", 7), ("st-cnn-single", 3), ("cnn", 0)])
def test_pictures(model, rows, tmp_path, noise):
    pytest.importorskip("matplotlib")
    assert main([*TINY, "--model", model, "--steps", "1", "--run-dir", "run"]) == 0
    revived = revive("run")
    layers = [layer for layer in revived.model.modules if isinstance(layer, SpatialTransformer)]
    for number, layer in enumerate(layers):
        layer.localisation[-1].weight.data[:] = 0
        layer.localisation[-1].bias.data[:] = [0.8, 0.1, 0.05 * number, 0, 0.7, -0.1]
    pictures = EXPERIMENT.pictures(revived)
    assert len(pictures) == (rows > 0)
    for picture in pictures:
        axes = np.reshape(picture.figure.axes, (rows, 5))
        assert [bool(cell.lines) for cell in axes[:, 0]] == [False, *[True] * (rows - 2), False]
        truth = ["".join(map(str, y[y != NONE])) for y in revived.labels]
        assert all(cell.get_title() == word or cell.get_title().startswith(f"{word}, read ")
                   for cell, word in zip(axes[0], truth, strict=True))
        assert np.allclose(axes[0, 1].images[0].get_array(), revived.images[1] / 255)
        with no_grad():
            thetas = [np.tile(layer.localisation[-1].bias.data, (5, 1)) for layer in layers]
            grid = Affine().grid(composed(revived.model, (64, 64), thetas), (2, 2)).numpy()
        corners = axes[-2, 1].lines[0].get_xydata()[[0, -1]]  # the upper edge of the product's box, in pixels
        np.testing.assert_allclose(corners, 31.5 * (grid[1, 0] + 1), atol=0.05)
        assert drawing.png(picture.figure, dpi=30).startswith(b"\x89PNG")
    assert main(["report", "run"]) == 0
    assert (tmp_path / "run" / "report" / "transformers.png").exists() == (rows > 0)


def test_the_table_shows_assembled_numbers_apart():
    """Where there are any."""
    results = {Cell("cnn", "64", "sample", 0): {"test_error": 12.5, "test_assembled_error": 14.0, "parameters": 5},
               Cell("cnn", "64", "sample", 1): {"test_error": 11.5, "test_assembled_error": 15.0, "parameters": 5},
               Cell("cnn", "128", "sample", 0): {"test_error": 20.0, "parameters": 6}}
    lines = show.grid(TABLES["svhn"], results, "sample")
    assert lines[0] == ["", "64", "128", "64 assembled"]
    assert lines[1] == ["cnn", "12.00 ± 0.71 (4.0)", "20.00 (5.6)", "14.50 ± 0.71"]
    assert lines[2] == ["st-cnn-single", "– (3.7)", "– (3.9)", "–"] and lines[-1] == ["parameters", "5", "6", ""]
