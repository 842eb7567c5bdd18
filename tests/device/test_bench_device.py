"""The bench on a device: its tables, and that a side measures every row of them."""

import numpy as np
import pytest

from nanostn import cli
from nanostn.bench import gpu, our_side
from nanostn.kernels.gpu.arrays.numpy_functions import to_device
from nanostn.kernels.gpu.device import device


@pytest.fixture(autouse=True)
def small(monkeypatch):
    sampler = [((2, 1, 3, 4), (2, 3)), ((1, 1, 2, 3, 2), (2, 2, 3))]
    for name, value in dict(SECONDS=0.001, PRODUCT=5, COPIED=20, SAMPLER_ON_GPU=sampler).items():
        monkeypatch.setattr(gpu, name, value)


def test_the_sampler_is_measured():
    found = gpu.side("nanostn", "sampler")
    assert list(found) == ["2x1x3x4 -> 2x3", "1x1x2x3x2 -> 2x2x3"]
    assert all(ours > 0 and copy > 0 for ours, copy in found.values())


def test_a_product_is_measured(monkeypatch):
    made = []
    product = our_side.product
    monkeypatch.setattr(our_side, "product", lambda *given: made.append((given, product(*given))) or made[0][1])
    [(row, (ours,))] = gpu.side("nanostn", "product").items()
    assert row == "5" and ours > 0
    [((a, b, place), run)] = made
    np.testing.assert_allclose(run().numpy(), a @ b, rtol=1e-5, atol=1e-5)
    assert place == "cuda"


def test_training_is_measured_and_its_launches_are_counted(monkeypatch):
    x = to_device(np.ones(6, np.float32))

    def step(network, images, labels, place):
        assert len(images) == len(labels) == 256 and place == "cuda"
        return lambda: (x + x) * x

    monkeypatch.setattr(gpu, "TRAINING", ["cnn"])
    monkeypatch.setattr(our_side, "step", step)
    [(row, (ours, megabytes, launches, launching))] = gpu.side("nanostn", "training").items()
    assert row == "cnn" and ours > 0 and megabytes > 0 and launches == 2 and 0 < launching


@pytest.mark.gpu
def test_real_steps_are_measured(monkeypatch):
    monkeypatch.setattr(gpu, "TRAINING", ["st-cnn-affine"])
    [(ours, megabytes, launches, _)] = gpu.side("nanostn", "training").values()
    assert 0 < ours < 1000 and 10 < megabytes < 20000 and launches > 20


def test_many_runs_are_waited_for_once():
    runs, waits = [], []
    assert gpu.fastest(lambda: runs.append(1), lambda: waits.append(1)) > 0
    assert len(runs) > 1000 * len(waits) / 10


def test_the_tables(monkeypatch, capsys):
    ours = {"sampler": {"a -> b": [2.0, 1.5]}, "training": {"cnn": [2.0, 100.0, 60.0, 0.3]},
            "product": {"4096": [3.0]}}
    theirs = {"sampler": {"a -> b": [8.0, 0.0]}, "training": {"cnn": [3.0, 150.0]}, "product": {"4096": [2.7]}}
    monkeypatch.setattr(device(), "peak", lambda: 67e12, raising=False)
    for sides in (["nanostn"], ["nanostn", "torch"]):
        monkeypatch.setattr(gpu, "in_turn", lambda module, group, names, threads, sides=sides: dict(
            zip(sides, (ours[group], theirs[group]), strict=False)))
        assert cli.main(["bench", "--device", "cuda"]) == 0
        shown = capsys.readouterr().out
        assert "67 TFLOP/s in float32 at most" in shown
        assert shown.count("nan") == (7 if sides == ["nanostn"] else 0)
    assert "a -> b" in shown and "2.000     8.000    4.0    1.500    75%" in shown
    assert "2.00      3.00   1.50      100       150        60          0.30" in shown
    assert "3.000     45.8      68%     2.700   0.90" in shown


def test_one_group_by_its_name(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "in_turn", lambda *given: {"nanostn": {}})
    assert cli.main(["bench", "--device", "cuda", "--only", "product"]) == 0
    assert "product" in capsys.readouterr().out
    assert cli.main(["bench", "--device", "cuda", "--only", "nothing"]) == 2
    assert "should be sampler or training or product" in capsys.readouterr().err
