"""The penalty and the look for a collapse where theta is on the device; channels that are dropped there."""

import numpy as np
import pytest

from nanostn import Tensor, nn, thetas
from nanostn.optim import SGD
from nanostn.runs import RunDirectory
from nanostn.thetas import collapse, watch_theta
from nanostn.training import train
from nanostn.transformations import Affine, Displacement, LearnedBasis, ThinPlateSpline

FAMILIES = {"Affine": Affine, "ThinPlateSpline": lambda: ThinPlateSpline(2),
            "LearnedBasis": lambda: LearnedBasis((2, 3), 4, generator=np.random.default_rng(0)),
            "Displacement": lambda: Displacement((2, 3))}


def two_transformers(family):
    rng = np.random.default_rng(1)

    def transformer():
        regression = nn.Dense(6, family.parameters, generator=rng)
        made = nn.SpatialTransformer(nn.Sequential(nn.Flatten(), regression), family, (2, 3))
        regression.weight.data[...] = 0.2 * rng.standard_normal(regression.weight.shape)
        return made

    return nn.Sequential(transformer(), transformer())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_penalty_and_its_gradient_as_on_the_cpu(name, rng):
    x, found = rng.standard_normal((3, 1, 2, 3)).astype(np.float32), []
    for device in ("cpu", "cuda"):
        model = two_transformers(FAMILIES[name]()).to(device)
        with watch_theta(model) as seen:
            model(Tensor(x).to(device))
            penalty = seen.from_identity()
        penalty.backward()
        assert penalty.device == device and penalty.dtype == np.float32
        found.append([penalty.numpy(), *(Tensor(p.grad).numpy() for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) > 4
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_collapse_as_on_the_cpu(name):
    family = FAMILIES[name]()
    model = two_transformers(family)
    theta = np.stack([family.identity()] * 2).astype(np.float32)
    for moved in (theta, theta + 5, theta * 0.001):
        here = collapse(model[0].to("cpu"), moved)
        there = collapse(model[0].to("cuda"), Tensor(moved).to("cuda").data)
        assert here == there and (moved is not theta) >= (here is not None)
    assert collapse(model[0], Tensor(theta + 5).to("cuda").data)


def test_a_step_with_the_penalty_warns_and_goes_on(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(thetas, "POINTS", 2)
    model = two_transformers(Affine())
    regression = model[1].localisation[1]
    regression.weight.data[...], regression.bias.data[2] = 0, 9
    model.to("cuda")
    x, y = Tensor(np.ones((2, 1, 2, 3), np.float32)).to("cuda").data, np.zeros(2, np.int64)
    train(model, SGD(model.parameters(), learning_rate=0.1), lambda epoch, start: [(x, y)],
          lambda model: {"test_loss": 0.0}, run=RunDirectory.create(tmp_path / "run", {}), steps_per_epoch=1, steps=1,
          loss=lambda model, x, y: (model(Tensor(x)).sum(), None), identity_penalty=0.5, report=lambda line: None)
    assert "the spatial transformer 1 has collapsed: 100 % of the points" in capfd.readouterr().err
    assert regression.bias.numpy()[2] == pytest.approx(9 - 0.1 * 0.5 * 2 * 9)  # it sees nothing: the penalty alone acts


def test_the_same_channels_are_dropped(rng):
    x = rng.standard_normal((3, 5, 2, 2)).astype(np.float32)
    here, there = (nn.Dropout2d(0.4, np.random.default_rng(2))(Tensor(x).to(device)) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(there.numpy(), here.data)
    assert 0 < (here.data == 0).all(axis=(2, 3)).sum() < 15
