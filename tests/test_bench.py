"""The bench: its tables, and that both sides train the same network."""

import numpy as np
import pytest

from nanostn import bench
from nanostn.models import build, build_lasagne


def test_a_table_of_one_group(monkeypatch, capsys):
    monkeypatch.setattr(bench, "GROUPS", {"training": lambda best: print(sorted(best))})
    monkeypatch.setattr(bench, "_in_turn", lambda group, sides, threads: dict.fromkeys(sides, {}))
    assert bench.main(only="training") == 0
    assert "float32" in capsys.readouterr().out


def test_rows_and_ratios(capsys):
    bench._show_sampler({"nanostn": {"a -> b": [2.0, 0.5]}, "torch": {"a -> b": [8.0, 0.0]}})
    bench._show_training({"nanostn": {"net": [10.0, 100.0]}})
    shown = capsys.readouterr().out
    assert "    2.00      8.00    4.0       0.50" in shown and "nan" in shown


def test_the_shortest_time_counts():
    assert 0 < bench.fastest(lambda: None, seconds=0.01) < 10


def test_theta_is_near_the_identity():
    theta = bench.near_identity(1000, np.random.default_rng(0))
    assert theta.shape == (1000, 2, 3) and theta.dtype == np.float32
    np.testing.assert_allclose(theta.mean(axis=0), [[1, 0, 0], [0, 1, 0]], atol=0.05)


@pytest.mark.parametrize("only, device", [("nothing", "cpu"), (None, "cuda")])
def test_errors(only, device):
    with pytest.raises(ValueError, match="bench: .* should be"):
        bench.main(device=device, only=only)


@pytest.mark.parametrize("network", bench.TRAINING)
def test_pytorch_trains_the_same_network(network):
    torch = pytest.importorskip("torch")
    from nanostn import bench_torch

    made = []
    original = torch.optim.SGD
    torch.optim.SGD = lambda parameters, **options: made.append(list(parameters)) or original(made[0], **options)
    try:
        bench_torch.step(network, *bench.batch(network))
    finally:
        torch.optim.SGD = original
    ours = build_lasagne("st-cnn-affine") if network == "lasagne" else build(network, bench.TRAINING[network])
    assert [tuple(p.shape) for p in made[0]] == [p.shape for p in ours.parameters()]
