"""A training step on the device: as on the CPU, to the same bits when repeated, without new memory after the first."""

import numpy as np
import pytest

from nanostn import datasets, nn, optim, training
from nanostn.finite import NotFinite
from nanostn.kernels.gpu.arrays.device_array import allocator
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.runs import RunDirectory
from nanostn.transformations import Affine

CLASSES, SIZE = 3, (4, 5)


def network(seed=3):
    rng = np.random.default_rng(seed)
    localisation = nn.Sequential(nn.Flatten(), nn.Dense(20, 4, generator=rng), nn.ReLU(), nn.Dense(4, 6, generator=rng))
    return nn.Sequential(nn.SpatialTransformer(localisation, Affine(), (3, 4)), nn.Conv2d(1, 2, 2, generator=rng),
                         nn.ReLU(), nn.MaxPool2d((2, 1)), nn.Flatten(), nn.Dropout(0.25, np.random.default_rng(1)),
                         nn.Dense(6, CLASSES, generator=rng))


def batches(device, count=2, size=3):
    def some(epoch, start):
        rng = np.random.default_rng(epoch)
        made = [(rng.normal(size=(size, 1, *SIZE)).astype(np.float32), rng.integers(CLASSES, size=size))
                for _ in range(count)]
        return [tuple(move(array, device) for array in batch) for batch in made[start:]]
    return some


def trained(path, device, steps=3, make=optim.Adam, model=None):
    model = (model or network()).to(device)
    optimiser = make(model.parameters(), learning_rate=0.01)
    run = RunDirectory.create(path, {"experiment": "test"})
    outcome = training.train(model, optimiser, batches(device), lambda model: {"test_loss": 0.0}, run=run,
                             steps_per_epoch=2, steps=steps, report=lambda line: None)
    assert outcome["device"] == device
    return {name: move(value, "cpu") for name, value in model.state().items()}


def adam(parameters, learning_rate):
    """With an eps above the rounding of gradients that are next to nothing, whose sign it would follow otherwise."""
    return optim.Adam(parameters, learning_rate, eps=1e-3)


def sgd(parameters, learning_rate):
    return optim.SGD(parameters, learning_rate, momentum=0.9)


@pytest.mark.parametrize("make", [adam, sgd])
def test_as_on_the_cpu_and_the_same_bits_again(tmp_path, make):
    here = trained(tmp_path / "cpu", "cpu", 2, make)
    there = trained(tmp_path / "first", "cuda", 2, make)
    again = trained(tmp_path / "second", "cuda", 2, make)
    for name, value in here.items():
        np.testing.assert_allclose(there[name], value, rtol=2e-4, atol=2e-5)
        assert np.array_equal(there[name], again[name]), name


def test_a_run_goes_on(tmp_path):
    whole = trained(tmp_path / "whole", "cuda", steps=3)
    trained(tmp_path / "parts", "cuda", steps=2)
    model = network().to("cuda")
    training.train(model, optim.Adam(model.parameters(), learning_rate=0.01), batches("cuda"),
                   lambda model: {"test_loss": 0.0}, run=RunDirectory.open(tmp_path / "parts"), steps_per_epoch=2,
                   steps=3, report=lambda line: None)
    for name, value in model.state().items():
        assert np.array_equal(value.numpy(), whole[name]), name


def step(model, optimiser, x, y):
    optimiser.zero_grad()
    loss, wrong = training.classification(model, x, y)
    loss.backward()
    optimiser.step()


def test_a_step_asks_for_no_memory_after_the_first(on_gpu):
    model = network().to("cuda")
    optimiser = optim.Adam(model.parameters())
    x, y = batches("cuda")(0, 0)[0]
    step(model, optimiser, x, y)
    before = allocator.requests, allocator.lent, allocator.held
    for _ in range(1000 if on_gpu else 1):
        step(model, optimiser, x, y)
    assert (allocator.requests, allocator.lent, allocator.held) == before


@pytest.mark.parametrize("where, words", [
    ("theta", "theta of 0 is no longer finite"), ("loss", "the loss is no longer finite"),
    ("gradient", "the gradient of 6.bias is no longer finite")])
def test_a_run_that_diverges_stops_before_the_update(tmp_path, where, words, monkeypatch):
    model = network()
    if where == "theta":
        model[0].localisation[3].bias.data[0] = np.inf
    elif where == "loss":
        model[6].bias.data[1] = np.nan
    else:
        model.to("cuda")
        backward = training.Tensor.backward

        def spoiled(tensor, dV=None):
            backward(tensor, dV)
            model[6].bias.grad[0] = np.inf

        monkeypatch.setattr(training.Tensor, "backward", spoiled)
    before = {name: np.array(move(value, "cpu")) for name, value in model.state().items()}
    with pytest.raises(NotFinite, match=words):
        trained(tmp_path / "run", "cuda", model=model)
    for name, value in model.state().items():
        assert np.array_equal(value.numpy(), before[name], equal_nan=True)


@pytest.mark.parametrize("kind, count", [("R", 2), ("TC", 1)])
def test_batches_are_distorted_there_as_here(kind, count):
    images, labels = datasets.digits(5, 0)
    here, there = (list(datasets.epoch_batches(images, labels, count, kind, 0, 0, 3 if count == 1 else 1, device))[:1]
                   for device in ("cpu", "cuda"))
    for (x, y), (X, Y) in zip(here, there, strict=True):
        np.testing.assert_allclose(X.numpy(), x, atol=1e-5)
        assert np.array_equal(Y.numpy(), y) and X.shape == x.shape


def test_evaluation_is_the_same(rng):
    images, labels = rng.normal(size=(5, 1, *SIZE)).astype(np.float32), rng.integers(CLASSES, size=5)
    here = training.evaluate(network(), images, labels, batch_size=3)
    there = training.evaluate(network().to("cuda"), images, labels, batch_size=3)
    assert there["test_error"] == here["test_error"]
    assert there["test_loss"] == pytest.approx(here["test_loss"], rel=1e-5)
