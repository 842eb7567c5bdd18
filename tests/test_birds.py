"""Birds: the networks, where their transformers look, what is counted of it, a run that goes on, and its pictures."""

import functools
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest

from nanostn import checkpoints, no_grad
from nanostn.cli import main
from nanostn.datasets import cub
from nanostn.experiments import bird_parts, revive
from nanostn.experiments.birds import CLASSES, EXPERIMENT
from nanostn.models import birds
from nanostn.models.inception import Inception
from nanostn.nn import SpatialTransformer
from nanostn.tensor import Tensor

from .two_parts import ends_with_the_same_bits

TINY = 1 / 64  # width: 8 filters of everything
SMALL = ["train", "birds", "--data", "drawn-birds", "--size", "64", "--width", f"{TINY}", "--batch-size", "4",
         "--limit", "6", "--test-limit", "5"]


@functools.cache
def folder(path):
    return cub.drawn_birds(path, train=2, test=2)


@pytest.fixture(autouse=True)
def places(tmp_path, tmp_path_factory, monkeypatch):
    drawn = folder(tmp_path_factory.getbasetemp() / "birds")
    monkeypatch.setattr(cub, "drawn_birds", lambda: drawn)
    monkeypatch.chdir(tmp_path)


def build(model, **how):
    return birds.build(model, **{"size": 64, "seen": 64, "classes": 5, "width": TINY, **how})


@pytest.mark.parametrize("model", EXPERIMENT.models)
def test_networks(model, rng):
    """Parameters by hand: an Inception for each crop and one to localise, two layers of 128, two numbers each."""
    one, count = Inception(TINY), len(birds.MODELS[model])
    network = build(model, size=128)
    localisation = one.count_parameters() + 128 * (one.filters + 1) + 128 * (128 * 2 * 2 + 1) + 2 * 129 * count
    assert network.count_parameters() == (max(count, 1) * one.count_parameters() + (localisation if count else 0)
                                          + 5 * (max(count, 1) * one.filters + 1))
    scores = network(Tensor(rng.random((2, 3, 128, 128), dtype=np.float32)))
    assert scores.shape == (2, 5) and scores.dtype == np.float32
    (scores * scores).sum().backward()
    assert all(np.isfinite(p.grad).all() for p in network.parameters())
    names = [name for name, _ in network.named_parameters()]
    assert sum("localisation" in name and "trunk" not in name for name in names) == 2 * count
    assert (build(model).state().keys() == build(model, seed=1).state().keys()
            and not np.array_equal(*(build(model, seed=seed).parameters()[0].data for seed in (0, 1))))


@pytest.mark.parametrize(("words", "said"), [
    ({"model": "3xst-cnn"}, "model should be one of cnn, 2xst-cnn, 4xst-cnn"),
    ({"model": "cnn", "size": 100, "seen": 64}, "a multiple of the 64 pixels"),
    ({"model": "cnn", "size": 64, "seen": 128}, "a multiple of the 128 pixels"),
    ({"model": "cnn", "size": 64, "seen": 32}, "a multiple of the 32 pixels that Inception sees, and these 64 or more"),
    ({"model": "cnn", "size": 64, "seen": 0}, "a multiple of the 0 pixels")])
def test_what_cannot_be_built(words, said):
    with pytest.raises(ValueError, match=said):
        birds.build(**words)


def test_the_crops_tile_the_image_in_the_beginning(rng):
    """Four crops of 64 pixels are the quarters of 128, two the upper and the lower half of the middle, by hand."""
    x = rng.random((2, 3, 128, 128), dtype=np.float32)
    for model, whole in (("4xst-cnn", [(0, 0, 64, 64), (64, 0, 128, 64), (0, 64, 64, 128), (64, 64, 128, 128)]),
                         ("2xst-cnn", [(32, 0, 96, 64), (32, 64, 96, 128)])):
        network = build(model, size=128)
        with bird_parts.places(network) as found, no_grad():
            network(Tensor(x))
        for (theta,), box, transformer in zip(found, whole, network.transformers, strict=True):
            # 64 points from corner to corner of what is 0.5 x 127 pixels wide: by half a pixel of theirs it is wider
            assert np.allclose(bird_parts.boxes(theta, 64, 128), np.array(box), atol=0.51)
            with no_grad():
                crop = transformer.transform(Tensor(x), Tensor(theta)).data
            left, top, right, bottom = box
            assert np.allclose(crop.mean(axis=(2, 3)), x[:, :, top:bottom, left:right].mean(axis=(2, 3)), atol=0.01)


def test_a_crop_moves_with_its_own_layer_alone(rng):
    """They share what the localisation network sees, and each has a last layer of its own."""
    network, x = build("2xst-cnn"), Tensor(rng.random((2, 3, 64, 64), dtype=np.float32))
    network.transformers[1].localisation.weight.data[...] = 0.01
    with bird_parts.places(network) as found, no_grad():
        network(x)
    (upper,), (lower,) = found
    assert np.array_equal(upper, [[0, -0.5]] * 2) and (lower != [0, 0.5]).all() and (lower[0] != lower[1]).all()
    transformers = [part for _, part in network.named_modules() if isinstance(part, SpatialTransformer)]
    assert transformers == network.transformers and network.transformers[0].transformation.scale == 0.5


def test_parts_that_crops_hold_by_hand():
    """Four birds: apart, together, with one of two head parts outside, and without any head to be seen."""
    upper, lower = (np.tile(box, (4, 1)).astype(float) for box in ([0, 0, 10, 5], [0, 5, 10, 10]))
    beak, crown, back = (cub.parts.NAMES.index(name) for name in ("beak", "crown", "back"))
    parts = np.zeros((4, 15, 3))
    parts[:3, [beak, crown]], parts[:, back] = (2, 2, 1), (5, 8, 1)
    parts[1, back] = 5, 3, 1
    parts[2, crown] = 2, 7, 1
    found = bird_parts.held(parts, [upper, lower])
    assert found == {"test_head_1": 2 / 3, "test_body_1": 1 / 4, "test_head_2": 0, "test_body_2": 3 / 4,
                     "test_apart": 1 / 3}
    assert bird_parts.held(None, [upper, lower]) == bird_parts.held(parts, []) == {}
    assert not any(bird_parts.held(np.zeros((4, 15, 3)), [upper, lower]).values())  # nothing can be seen


def test_evaluation_counts_over_all_batches(monkeypatch):
    """The tiles of an untrained network, with the parts in the pixels of its images."""
    monkeypatch.setattr("nanostn.experiments.birds.EVALUATED", 3)
    settings = replace(EXPERIMENT.defaults, data="drawn-birds", size=64, width=TINY, test_limit=7)
    *_, images, labels = EXPERIMENT.load_data(settings)
    model = EXPERIMENT.build_model(settings)
    outcome = EXPERIMENT.evaluate(model, images, labels)
    tiles = [bird_parts.boxes(np.tile(middle, (7, 1)), 64, 64) for middle in birds.MODELS["2xst-cnn"]]
    assert outcome.keys() == {"test_loss", "test_error", "test_head_1", "test_head_2", "test_body_1", "test_body_2",
                              "test_apart"}
    shares = np.array([cub.share_held(images.parts(), tile, cub.HEAD) for tile in tiles])
    seen = ~np.isnan(shares[0])
    assert [outcome["test_head_1"], outcome["test_head_2"]] == list((shares[:, seen] > 0.5).mean(axis=1))
    assert images[2:4].shape == (2, 3, 64, 64) and len(images) == 7 and len(np.unique(labels)) > 2
    assert EXPERIMENT.evaluate(EXPERIMENT.build_model(replace(settings, model="cnn")), images, labels).keys() == {
        "test_loss", "test_error"}


def test_resume_after_ctrl_c(tmp_path, monkeypatch):
    """Interrupted in the second epoch and resumed: the bits of the run in one piece, dropout and crops among them."""
    ends_with_the_same_bits([*SMALL, "--epochs", "2", "--model", "2xst-cnn"], "shuffled", monkeypatch)
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert {"test_head_1", "test_body_2", "test_apart"} <= result.keys()


def test_weights_for_every_inception(tmp_path):
    given = Inception(TINY, generator=np.random.default_rng(7))
    checkpoints.save("weights.h5", given.state())
    settings = replace(EXPERIMENT.defaults, data="drawn-birds", size=64, width=TINY, weights="weights.h5")
    model = EXPERIMENT.build_model(settings)
    EXPERIMENT.initialise(model, settings, None)
    inceptions = [part for _, part in model.named_modules() if isinstance(part, Inception)]
    assert len(inceptions) == 3 and inceptions[0].pooled is False
    for part in inceptions:
        assert all(np.array_equal(array, given.state()[name]) for name, array in part.state().items())
    with pytest.raises(ValueError, match="arrays with the names and shapes of the model"):
        EXPERIMENT.initialise(EXPERIMENT.build_model(replace(settings, width=0.25)), settings, None)


def test_classes_are_as_many_as_the_data_have():
    assert CLASSES.keys() == set(EXPERIMENT.data)
    assert CLASSES["drawn-birds"] == len(cub.load("drawn-birds")[0].classes)
    if os.environ.get("NANOSTN_DATA") and cub.folder_of("cub-sample"):
        assert CLASSES["cub-sample"] == len(cub.load("cub-sample")[0].classes)


def test_boxes_on_the_photographs(tmp_path):
    """By hand: the crop's box is drawn over the photograph and around the crop, in the same colour."""
    pytest.importorskip("matplotlib")
    assert main([*SMALL, "--model", "2xst-cnn", "--steps", "1", "--run-dir", "run"]) == 0
    revived = revive("run")
    for transformer, place in zip(revived.model.transformers, ([0.5, -0.5], [0, 0]), strict=True):
        transformer.localisation.weight.data[...] = 0
        transformer.localisation.bias.data[...] = place
    (picture,) = EXPERIMENT.pictures(revived)
    cells = np.array(picture.figure.axes).reshape(3, 5)
    for n, (photograph, first, second) in enumerate(cells.T):
        assert np.array_equal(photograph.images[0].get_array(), revived.images[n:n + 1][0].transpose(1, 2, 0))
        right, middle = photograph.lines
        assert np.allclose([right.get_xdata().min(), right.get_xdata().max(), right.get_ydata().min(),
                            right.get_ydata().max()], [31.5, 63.5, -0.5, 31.5], atol=0.51)
        assert np.allclose(middle.get_xydata().mean(axis=0)[:1], 28, atol=5)
        for cell, line in ((first, right), (second, middle)):
            assert cell.lines[0].get_color() == line.get_color() and cell.images[0].get_array().shape == (64, 64, 3)
        name = re.sub(",\ntaken for .*", "", photograph.get_title())
        assert name == revived.images.photographs.classes[revived.labels[n]][4:].replace("_", " ")  # after 001.
    assert re.search(r"in the beginning.* head 1 \d+% \(\d+%\).* apart \d+% \(\d+%\)\.", picture.text)
    assert main(["report", "run"]) == 0 and (tmp_path / "run" / "report" / "parts.png").exists()
    assert main(["evaluate", "run"]) == 0


def test_no_boxes_without_transformers_and_no_numbers_without_parts(monkeypatch):
    pytest.importorskip("matplotlib")
    assert main([*SMALL, "--model", "cnn", "--steps", "1", "--run-dir", "cnn"]) == 0
    assert EXPERIMENT.pictures(revive("cnn")) == []
    given = cub.load
    monkeypatch.setattr(cub, "load", lambda *where: tuple(each._replace(parts=None) for each in given(*where)))
    assert main([*SMALL, "--steps", "1", "--run-dir", "run"]) == 0
    (picture,) = EXPERIMENT.pictures(revive("run"))
    assert "%" not in picture.text
