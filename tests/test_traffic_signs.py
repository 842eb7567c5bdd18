"""Traffic signs: the networks, how bytes become batches, a run that goes on, and what its report shows."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest

from nanostn import no_grad
from nanostn.cli import main
from nanostn.datasets import coloured, gtsrb
from nanostn.experiments import revive
from nanostn.experiments.traffic_signs import EXPERIMENT
from nanostn.models import traffic_signs
from nanostn.nn import SpatialTransformer
from nanostn.tensor import Tensor

from .two_parts import ends_with_the_same_bits

SMALL = ["train", "traffic-signs", "--data", "drawn-signs", "--size", "16", "--filters", "4", "--batch-size", "8"]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(gtsrb, "TRAIN", 20)
    monkeypatch.setattr(gtsrb, "TEST", 9)
    monkeypatch.chdir(tmp_path)


def transformers(network):
    return [part for _, part in network.named_modules() if isinstance(part, SpatialTransformer)]


@pytest.mark.parametrize("model", EXPERIMENT.models)
def test_networks(model, rng):
    """Parameters are as many as the CNN's, by hand: filters with batch normalisation's two numbers each, dense."""
    by_hand = 16 * (75 + 2) + 32 * (16 * 25 + 2) + 64 * (32 * 9 + 2) + 256 * (64 * 16 + 1) + 43 * (256 + 1)
    network = traffic_signs.build(model)
    assert network.count_parameters() == pytest.approx(by_hand, rel=0 if model == "cnn" else 0.005)
    assert len(transformers(network)) == {"cnn": 0, "st-cnn": 1, "st-st-cnn": 2}[model]
    scores = network(Tensor(rng.random((3, 3, 32, 32), dtype=np.float32)))
    assert scores.shape == (3, 43) and scores.dtype == np.float32
    (scores * scores).sum().backward()
    assert all(np.isfinite(p.grad).all() for p in network.parameters())
    assert traffic_signs.build(model, side=16, filters=2, dtype=np.float64)(
        Tensor(rng.random((1, 3, 16, 16)))).dtype == np.float64


@pytest.mark.parametrize(("words", "said"), [({"model": "fcn"}, "model should be one of cnn, st-cnn, st-st-cnn"),
                                             ({"model": "cnn", "side": 36}, "side should be a multiple of 8"),
                                             ({"model": "cnn", "side": 0}, "side should be a multiple of 8")])
def test_what_cannot_be_built(words, said):
    with pytest.raises(ValueError, match=said):
        traffic_signs.build(**words)


def test_contrast_by_hand():
    """Of 0, 0, 4, 4: mean 2, deviation 2. Light and its strength change nothing, and nothing is nothing."""
    x = np.array([0, 0, 4, 4], np.float64).reshape(1, 1, 2, 2)
    found = traffic_signs.Contrast()(Tensor(np.concatenate([x, 3 * x + 7, 0 * x]))).data
    assert np.allclose(found[:2].reshape(2, 4), [-1, -1, 1, 1], atol=2e-4) and not found[2].any()


def test_bytes_become_planes_and_keep_their_colours(rng):
    pictures = rng.integers(256, size=(4, 5, 7, 3), dtype=np.uint8)
    planes = coloured.Planes(pictures)
    x = planes[1:3]
    assert len(planes) == 4 and x.shape == (2, 3, 5, 7) and x.dtype == np.float32 and x.flags.c_contiguous
    assert x[1, 2, 4, 6] == np.float32(pictures[2, 4, 6, 2] / 255) and x.max() <= 1
    assert np.array_equal(planes[np.array([2, 0])], planes[:3][[2, 0]])


def test_signs_are_varied_a_little(rng):
    """A bright square in the middle stays there, and none is like another; the border goes on."""
    x = np.full((50, 3, 32, 32), 0.25, np.float32)
    x[:, :, 12:20, 12:20] = 1
    y = coloured.varied(x, rng)
    assert y.shape == x.shape and len(np.unique(y.sum(axis=(1, 2, 3)))) == 50
    assert y.min() == 0.25 and (y[:, :, :6] == 0.25).all() and (y[:, :, 15:17, 15:17] > 0.99).mean() > 0.9


def test_data_of_a_run(monkeypatch):
    """With limits some of all classes, those of another run too; a batch is the bytes of its images."""
    images = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((16, 16, 3), np.uint8)
    monkeypatch.setattr(gtsrb, "load", lambda data, folder, side: (images, np.arange(40), images[:30], np.arange(30)))
    settings = replace(EXPERIMENT.defaults, data="gtsrb", limit=10, test_limit=5, batch_size=4)
    x, y, x_test, y_test = data = EXPERIMENT.load_data(settings)
    assert len(x) == 10 and len(x_test) == 5 and y.max() > 10 and y_test.max() > 5
    again = EXPERIMENT.load_data(replace(settings, limit=None, test_limit=None))
    assert np.array_equal(y, again[1][:10]) and np.array_equal(y_test, again[3][:5])
    batches = list(EXPERIMENT.batches(settings, data, 0, 0, "cpu"))
    assert [len(x) for x, _ in batches] == [4, 4, 2] and EXPERIMENT.steps_per_epoch(settings, data) == 3
    for x, labels in batches:
        assert np.allclose(x, labels.reshape(-1, 1, 1, 1) / 255, atol=1e-6)
    assert sorted(np.concatenate([labels for _, labels in batches])) == sorted(y)
    one, other = (next(EXPERIMENT.batches(settings, data, 0, 1, "cpu"))[1] for _ in range(2))
    assert np.array_equal(one, batches[1][1]) and np.array_equal(one, other)


def test_resume_after_ctrl_c(tmp_path, monkeypatch):
    """Interrupted in the second epoch and resumed: the bits of the run in one piece."""
    ends_with_the_same_bits([*SMALL, "--model", "st-st-cnn", "--epochs", "2"], "shuffled", monkeypatch)


@pytest.mark.parametrize(("model", "sheets"), [("cnn", []), ("st-cnn", ["transformer.png"]),
                                               ("st-st-cnn", ["transformer-1.png", "transformer-2.png"])])
def test_pictures(model, sheets, tmp_path):
    pytest.importorskip("matplotlib")
    assert main([*SMALL, "--model", model, "--steps", "1", "--run-dir", "run"]) == 0
    revived = revive("run")
    with no_grad():
        assert np.isfinite(revived.model(Tensor(revived.images[:2])).data).all()
    *looks, beside = EXPERIMENT.pictures(revived)
    assert [picture.file for picture in looks] == sheets
    lines = {line.get_label(): line.get_ydata() for line in beside.figure.axes[0].lines}
    assert list(lines["a committee of CNNs"]) == [0.54, 0.54] and model in lines
    assert main(["report", "run"]) == 0
    assert all((tmp_path / "run" / "report" / file).exists() for file in [*sheets, "published.png"])


def test_the_share_of_the_training_images_is_told():
    told = {"gtsrb": "39,209 of", "gtsrb-sample": "5,227 of .* 13.3 %", "drawn-signs": "none of which is of GTSRB's"}
    for data, words in told.items():
        assert re.search(words, EXPERIMENT.share(replace(EXPERIMENT.defaults, data=data)))
    assert "Trained on 100 of" in EXPERIMENT.share(replace(EXPERIMENT.defaults, data="gtsrb", limit=100))


def test_the_sample_has_as_many_as_is_told():
    if not os.environ.get("NANOSTN_DATA") or gtsrb.folder_of("gtsrb-sample") is None:
        pytest.skip("the sample of GTSRB is not in NANOSTN_DATA")
    from nanostn.experiments.traffic_signs import TRAINING
    with np.load(gtsrb.folder_of("gtsrb-sample") / gtsrb.SAMPLE[0]) as file:
        assert len(file["label"]) == TRAINING["gtsrb-sample"]
