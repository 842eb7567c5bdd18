"""MNIST addition: the networks, a run that goes on, and what its report shows."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from nanostn import datasets, drawing, no_grad, report
from nanostn.cli import main
from nanostn.experiments import options, revive
from nanostn.experiments.mnist_addition import EXPERIMENT
from nanostn.nn import SpatialTransformer
from nanostn.tensor import Tensor

from .two_parts import ends_with_the_same_bits

SMALL = ["train", "mnist-addition", "--data", "digits", "--limit", "12", "--test-limit", "9", "--batch-size", "4"]

digits = functools.cache(datasets.digits)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "digits", digits)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


def build(model, seed=0):
    return EXPERIMENT.build_model(replace(EXPERIMENT.defaults, model=model, seed=seed))


@functools.cache
def some_images():
    return np.random.default_rng(0).random((3, 2, 42, 42), dtype=np.float32)


@pytest.mark.parametrize("model", EXPERIMENT.models)
def test_networks(model):
    """Parameters are as many as the CNN's, by hand: 64 x (2 x 81 + 1), 64 x (64 x 49 + 1), 19 x (64 x 25 + 1)."""
    network = build(model)
    assert network.count_parameters() == pytest.approx(10432 + 200768 + 30419, rel=0 if model == "cnn" else 0.005)
    transformers = [part for _, part in network.named_modules() if isinstance(part, SpatialTransformer)]
    assert len(transformers) == {"2xst": 2, "st": 1}.get(model.split("-")[0], 0)
    scores = network(Tensor(some_images()))
    assert scores.shape == (3, 19) and scores.dtype == np.float32
    (scores * scores).sum().backward()
    assert all(np.isfinite(p.grad).all() for p in network.parameters())


def test_both_transformers_transform_both_channels():
    """They start as the identity, so the four channels are the two, twice; then each goes its own way."""
    network, x = build("2xst-fcn-affine"), Tensor(some_images())
    with no_grad():
        V = network.transformer(x).data
        assert np.allclose(V, some_images()[:, [0, 1, 0, 1]], atol=1e-5)
        network.transformer.transformers[1].localisation[-1].bias.data[2] = 0.5  # t_x
        moved = network.transformer(x).data
    changed = (V != moved).any(axis=(0, 2, 3))
    assert changed.tolist() == [False, False, True, True]


def test_each_transformer_sees_both_channels_in_its_own_way():
    thetas = []
    for transformer in build("2xst-fcn-affine").transformer.transformers:
        transformer.localisation[-1].weight.data[...] = 1  # zero at first
        with no_grad():
            given, *others = (transformer.theta(Tensor(some_images() * np.float32(shown).reshape(2, 1, 1))).data
                              for shown in ([1, 1], [0, 1], [1, 0]))
        assert all((given != other).all() for other in others)
        thetas.append(given)
    assert (thetas[0] != thetas[1]).all()


def test_resume_after_ctrl_c(tmp_path, monkeypatch):
    """Interrupted in the second epoch and resumed: the bits of the run in one piece."""
    ends_with_the_same_bits([*SMALL, "--model", "2xst-fcn-affine", "--epochs", "2"], "epoch_batches", monkeypatch)


@pytest.mark.parametrize(("model", "rows"), [("2xst-fcn-tps", 5), ("st-fcn-affine", 3), ("cnn", 0)])
def test_pictures(model, rows, tmp_path):
    pytest.importorskip("matplotlib")
    assert main([*SMALL, "--model", model, "--steps", "1", "--run-dir", "run"]) == 0
    revived = revive("run")
    x = revived.images[:6]
    if rows:
        revived.model.transformer.transformers[-1].localisation[-1].bias.data[0] += 0.5
    pictures, (looks, found) = EXPERIMENT.pictures(revived), report.look(revived.model, x)
    titles = [f"sum {y}" if y == seen else f"sum {y}, taken for {seen}"
              for y, seen in zip(revived.labels[:6], found, strict=True)]
    assert len(pictures) == (rows > 0)
    for picture in pictures:
        axes = picture.figure.axes
        assert len(axes) == rows * 12 and len(looks) == rows // 2
        assert [cell.get_title("left") for cell in axes[:12:2]] == titles
        for n, channel in itertools.product(range(6), (0, 1)):
            column = axes[2 * n + channel::12]
            made = [image for look in looks for image in (x[n, channel], look.V[n, channel].clip(0, 1))]
            for cell, image in zip(column, [x[n, channel], *made], strict=True):
                assert np.array_equal(cell.images[0].get_array(), image)
            assert [bool(cell.lines) for cell in column] == [False, *[True, False] * len(looks)]  # where the grids are
        assert drawing.png(picture.figure, dpi=30).startswith(b"\x89PNG")
    assert main(["report", "run"]) == 0
    assert (tmp_path / "run" / "report" / "transformers.png").exists() == (rows > 0)


@pytest.mark.parametrize(("optimiser", "rate", "part"), [("adam", 0.0015, 0.3), ("sgd", 0.01, 0.1)])
def test_the_transformers_learn_more_slowly_than_the_classifier(optimiser, rate, part):
    """By Adam as was found to be needed, by SGD as in the paper; --help says what the settings are."""
    parser = options.argument_parser(EXPERIMENT, None)
    settings = options.settings(EXPERIMENT, parser.parse_args(["--data", "digits", "--optimiser", optimiser]))
    assert (settings.learning_rate, settings.localisation_rate) == (rate, part)
    assert f"{part:g} for {optimiser}" in " ".join(parser.format_help().split())
