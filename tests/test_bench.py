"""The bench: its tables, and that both sides train the same network."""

import numpy as np
import pytest

from nanostn.bench import cases
from nanostn.bench import run as bench
from nanostn.transformations import Affine, Affine3d, Projective, ThinPlateSpline


def test_a_table_of_one_group(monkeypatch, capsys):
    monkeypatch.setattr(bench, "GROUPS", {"training": lambda best: print(sorted(best))})
    monkeypatch.setattr(bench, "in_turn", lambda module, group, sides, threads: dict.fromkeys(sides, {}))
    assert bench.main(only="training") == 0
    assert "float32" in capsys.readouterr().out


def test_rows_and_ratios(capsys):
    bench._show_sampler({"nanostn": {"a -> b": [2.0, 0.5]}, "torch": {"a -> b": [8.0, 0.0]}})
    bench._show_training({"nanostn": {"net": [10.0, 100.0]}})
    bench._show_kernels({"nanostn": {"projective": [2.0, 2.0], "affine 3D, depth flattened": [10.0, 10.0, 7.0]},
                         "torch": {"projective": [7.0, 5.0], "affine 3D, depth flattened": [40.0, 40.0, 70.0]}})
    bench._show_kernels({"nanostn": {"affine, nearest": [2.0, 2.0]}})
    shown = capsys.readouterr().out
    assert "    2.00      8.00    4.0       0.50" in shown and shown.count("nan") == 8
    assert "projective                    256x1x42x42        2.00      7.00    3.5   3.0      5.00    2.5\n" in shown
    assert "  memory that it adds, MB                         7.0      70.0   10.0" in shown
    assert "(dU is 6.9 of it, the volume would be as much again)" in shown


def test_layers_and_their_share_of_the_peak(capsys):
    ours = {"a": [2.0, 80.0], bench.PRODUCT: [2e-6 * bench.SIDE**3 / 200]}
    bench._show_layers({"nanostn": ours, "torch": {"a": [3.0, 80.0]}})
    assert "    2.00      3.00   1.50       40     0.20\n" in capsys.readouterr().out


def test_the_shortest_time_counts():
    assert 0 < bench.fastest(lambda: None, seconds=0.01) < 10


@pytest.mark.parametrize("transformation", [Affine(), Affine3d(), Projective(), ThinPlateSpline(4)])
def test_theta_is_near_the_identity(transformation, rng):
    theta = cases.near_identity(transformation, 1000, rng)
    assert theta.shape == (1000, transformation.parameters) and theta.dtype == np.float32
    np.testing.assert_allclose(theta.mean(axis=0), transformation.identity(), atol=0.05)
    assert (theta.std(axis=0) > 0.01).mean() > 0.9  # x does not depend on z


def test_theta_of_a_volume_turns_and_scales_in_two_planes(rng):
    M = cases.near_identity(Affine3d(), 200, rng).reshape(200, 3, 4)
    assert (abs(M - np.eye(3, 4)).max(axis=0)[[0, 0, 1, 1, 2, 2], [1, 3, 0, 2, 1, 3]] > 0.05).all()


@pytest.mark.parametrize("row", cases.KERNELS)
def test_pytorch_does_the_same_in_each_way(row, rng):
    pytest.importorskip("torch")
    from nanostn.bench import our_side, torch_side

    case = cases.KERNELS[row]
    case = case._replace(shape=(3, 2, *[4, 7, 5][-len(case.shape) + 2:]))
    arrays = cases.inputs(case, rng)
    [run] = our_side.transform(case, *arrays)
    ways = torch_side.transform(case, *arrays)
    assert len(ways) == (3 if row.startswith("affine") else 2)  # affine_grid too
    for way in ways:
        for ours, theirs in zip(run(), way(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_one_side_measures_every_row(monkeypatch):
    small = {row: case._replace(shape=(2, 1, *[5] * (len(case.shape) - 2)))
             for row, case in cases.KERNELS.items()}
    monkeypatch.setattr(bench, "KERNELS", small)
    monkeypatch.setattr(bench, "SECONDS", 0.001)
    monkeypatch.setattr(bench, "_process", lambda *arguments, **environment: "3.5")
    found = bench.side("nanostn", "kernels", 1)
    assert list(found) == list(small) and all(times[0] > 0 for times in found.values())
    assert [row for row, times in found.items() if times[2:]] == ["affine 3D, depth flattened"]


def test_a_training_step_is_measured_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(bench, "TRAINING", {"cnn": (256, 1, 42, 42)})
    milliseconds, megabytes = bench.side("nanostn", "training", 1)["cnn"]
    assert milliseconds > 0 and (np.isnan(megabytes) or megabytes > 0)


def test_each_side_measures_every_layer(monkeypatch):
    monkeypatch.setattr(bench, "LAYERS", [(2, 1, 3, 5, 3, 0), (1, 2, 3, 5, 3, 1)])
    monkeypatch.setattr(bench, "SECONDS", 0.001)
    monkeypatch.setattr(bench, "SIDE", 8)
    found = bench.side("nanostn", "layers", 1)
    assert list(found) == ["2x1x5x5, 3x3, 3", "1x2x5x5, 3x3 padding 1, 3", bench.PRODUCT]
    assert found["2x1x5x5, 3x3, 3"][1] == pytest.approx(2e-6 * 3 * (2 * 3 * 9) * 9) and found[bench.PRODUCT][0] > 0


@pytest.mark.parametrize("case", [(3, 2, 4, 7, 3, 1), (2, 64, 64, 17, 7, 0)])
def test_pytorch_convolves_the_same(case, rng):
    pytest.importorskip("torch")
    from nanostn.bench import our_side, torch_side

    arrays = cases.layer(case, rng)
    for ours, theirs in zip(*(library.convolution(case[-1], *arrays)() for library in (our_side, torch_side)),
                            strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-2)


def test_memory_of_a_case():
    code = ("from nanostn.bench.run import memory; "
            "print(memory('nanostn', 'thin plate spline, 16 points', way=0, threads=1))")
    megabytes = float(bench._process("-c", code))  # the peak of this process is that of other tests
    assert np.isnan(megabytes) or 0 <= megabytes < 1000


def test_errors():
    with pytest.raises(ValueError, match="bench: .* should be"):
        bench.main(only="nothing")


@pytest.mark.parametrize("network", cases.TRAINING)
def test_pytorch_trains_the_same_network(network):
    torch = pytest.importorskip("torch")
    from nanostn.bench import our_side, torch_side

    made = []
    original = torch.optim.SGD
    torch.optim.SGD = lambda parameters, **options: made.append(list(parameters)) or original(made[0], **options)
    try:
        torch_side.step(network, *cases.batch(network))
    finally:
        torch.optim.SGD = original
    ours = our_side.build_network(network)
    assert [tuple(p.shape) for p in made[0]] == [p.shape for p in ours.parameters()]
