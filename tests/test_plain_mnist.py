"""Plain MNIST: digits as they are, and the network of PyTorch's tutorial."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from nanostn import datasets
from nanostn.cli import main
from nanostn.experiments import plain_mnist
from nanostn.tensor import Tensor

from .test_experiments import same_checkpoints

PLAIN = plain_mnist.EXPERIMENT
digits = functools.cache(datasets.digits)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "digits", digits)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


def test_digits_are_as_they_are():
    """A batch and the test set: no pixel moves, no shade changes but to floats from 0 to 1."""
    images, labels = digits(7, seed=3)
    (x, y), (last, _) = PLAIN.batches(replace(PLAIN.defaults, batch_size=4), (images, labels), 0, 0, "cpu")
    assert x.shape == (4, 1, 28, 28) and last.shape == (3, 1, 28, 28) and x.dtype == np.float32
    for image, label in zip(x, y, strict=True):
        (n,) = [n for n in range(7) if np.array_equal(image[0], images[n] * np.float32(1 / 255))]
        assert labels[n] == label
    test, its_labels = datasets.fixed_test_set(images, labels, PLAIN.kind(PLAIN.defaults), 0)
    np.testing.assert_array_equal(test[:, 0], images * np.float32(1 / 255))
    np.testing.assert_array_equal(its_labels, labels)


def test_parameters_by_hand():
    classifier = (10 * 25 + 10) + (20 * 10 * 25 + 20) + (320 * 50 + 50) + (50 * 10 + 10)
    localisation = (8 * 49 + 8) + (10 * 8 * 25 + 10) + (90 * 32 + 32) + (32 * 6 + 6)
    assert plain_mnist.build("cnn").count_parameters() == classifier
    assert plain_mnist.build("st-cnn-affine").count_parameters() == classifier + localisation


def test_the_control_is_the_classifier_behind_a_new_transformer():
    """The same initial weights, and a transformer that starts as the identity: so the same scores."""
    x = Tensor(np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32))
    alone, behind = (plain_mnist.build(model, seed=4).eval()(x).data for model in ("cnn", "st-cnn-affine"))
    np.testing.assert_allclose(behind, alone, atol=1e-4)
    assert np.ptp(alone) > 0.1


def test_the_network_is_that_of_the_tutorial():
    """Beside PyTorch, in evaluation, away from the identity; its grid has -1 and 1 at the centres of pixels too."""
    torch = pytest.importorskip("torch")
    T, functional = torch.nn, torch.nn.functional
    ours = plain_mnist.build("st-cnn-affine", seed=1, dtype=np.float64).eval()
    rng = np.random.default_rng(2)
    ours.transformer.localisation[9].weight.data += 0.01 * rng.standard_normal((6, 32))
    localisation = T.Sequential(T.Conv2d(1, 8, 7), T.MaxPool2d(2), T.ReLU(), T.Conv2d(8, 10, 5), T.MaxPool2d(2),
                                T.ReLU(), T.Flatten(), T.Linear(90, 32), T.ReLU(), T.Linear(32, 6))
    classifier = T.Sequential(T.Conv2d(1, 10, 5), T.MaxPool2d(2), T.ReLU(), T.Conv2d(10, 20, 5), T.Dropout2d(),
                              T.MaxPool2d(2), T.ReLU(), T.Flatten(), T.Linear(320, 50), T.ReLU(), T.Dropout(),
                              T.Linear(50, 10)).eval()
    theirs = T.ModuleList([localisation, classifier]).double()
    with torch.no_grad():
        for p, q in zip([*ours.transformer.parameters(), *ours.classifier.parameters()], theirs.parameters(),
                        strict=True):
            q[...] = torch.from_numpy(p.data)
        x = torch.from_numpy(rng.random((3, 1, 28, 28)))
        grid = functional.affine_grid(localisation(x).view(-1, 2, 3), x.shape, align_corners=True)
        scores = classifier(functional.grid_sample(x, grid, align_corners=True))
    np.testing.assert_allclose(ours(Tensor(x.numpy())).data, scores.numpy(), rtol=1e-9)
    assert np.abs(grid.numpy() - np.stack(np.meshgrid(*[np.linspace(-1, 1, 28)] * 2), axis=-1)).max() > 0.1


@pytest.mark.parametrize("model", PLAIN.models)
def test_resumed_in_the_middle_of_an_epoch(model, tmp_path, capfd):
    """To the same bits: the order of the digits and what dropout drops go on too."""
    given = ["train", "plain-mnist", "--data", "digits", "--limit", "24", "--test-limit", "10", "--batch-size", "8",
             "--schedule", "constant", "--model", model]
    assert main([*given, "--steps", "5", "--run-dir", "whole"]) == 0
    assert main([*given, "--steps", "4", "--run-dir", "parts"]) == 0
    assert main(["train", "plain-mnist", "--run-dir", "parts", "--resume", "--steps", "5"]) == 0
    assert same_checkpoints(tmp_path / "whole", tmp_path / "parts")
    assert f"plain-mnist: {model} with" in capfd.readouterr().out


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    assert main(["train", "plain-mnist", "--data", "digits", "--limit", "16", "--test-limit", "10", "--steps", "2",
                 "--run-dir", "run"]) == 0
    assert main(["report", "run"]) == 0
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "<h1>plain-mnist, digits</h1>" in page and (tmp_path / "run" / "report" / "transformer.png").exists()
    assert PLAIN.run_name(replace(PLAIN.defaults, model="cnn", data="mnist", seed=3)) == "plain-mnist-cnn-mnist-seed3"
