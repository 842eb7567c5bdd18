"""Tensors and modules on the device: where things are, what may meet, and gradients that come back."""

import numpy as np
import pytest

import nanostn
from nanostn import Tensor, functional, nn, optim
from nanostn.kernels.device_array import DeviceArray


def test_there_and_back(rng):
    x = Tensor(rng.normal(size=(3, 4)), requires_grad=True)
    there = x.to("cuda")
    assert (x.device, there.device, there.to("cuda") is there) == ("cpu", "cuda", True)
    assert isinstance(there.data, DeviceArray) and np.array_equal(there.numpy(), x.data)
    (there * there).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.data)  # on the CPU, where the leaf is
    assert "cuda" in repr(there) and there.sum().item() == pytest.approx(x.data.sum())


def test_gradients_add_up_on_the_device(rng):
    x = Tensor(Tensor(rng.normal(size=5)).to("cuda").data, requires_grad=True)
    for _ in range(2):
        (x * 3 + x).sum().backward()
    assert isinstance(x.grad, DeviceArray)
    np.testing.assert_allclose(x.grad.numpy(), np.full(5, 8.0))


def test_devices_do_not_mix(rng):
    here, there = Tensor(np.ones((2, 3))), Tensor(np.ones((2, 3))).to("cuda")
    for call in (lambda: here + there, lambda: there * np.ones((2, 3)), lambda: functional.concatenate([here, there]),
                 lambda: functional.matmul(there, here.T)):
        with pytest.raises(ValueError, match="every input should be on one device, received inputs on"):
            call()
    leaf = Tensor(there.data, requires_grad=True)
    with pytest.raises(ValueError, match="the cotangent should be on cuda like the value, received one on cpu"):
        (leaf * 2).backward(np.ones((2, 3)))
    layer = nn.Dense(3, 2, dtype=np.float64)
    with pytest.raises(ValueError, match="Module.to"):
        layer(there)


def test_a_module_moves_with_its_buffers(rng):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dense(8, 3))
    before = {name: np.array(value) for name, value in model.state().items()}
    assert model.to("cuda") is model and model.device == "cuda"
    assert all(isinstance(value, DeviceArray) for value in model.state().values())
    model.to("cpu")
    assert all(np.array_equal(value, before[name]) for name, value in model.state().items())


def test_what_is_saved_on_the_device_is_loaded_anywhere(tmp_path, rng):
    model = nn.Sequential(nn.Dense(3, 2), nn.BatchNorm2d(2)).to("cuda")
    optimiser = optim.Adam(model.parameters())
    nanostn.save(tmp_path / "x.h5", {"model": model.state(), "optimiser": optimiser.state()})
    saved = nanostn.load(tmp_path / "x.h5")
    other = nn.Sequential(nn.Dense(3, 2), nn.BatchNorm2d(2))
    other.load_state(saved["model"])
    for name, value in model.state().items():
        assert np.array_equal(value.numpy(), other.state()[name])
    other.to("cuda").load_state(saved["model"])
    optim.Adam(other.parameters()).load_state(saved["optimiser"])


def test_names_of_devices():
    for call in (Tensor([1.0]).to, nn.Dense(2, 2).to):
        with pytest.raises(ValueError, match="device should be 'cpu' or 'cuda', received 'gpu'"):
            call("gpu")
