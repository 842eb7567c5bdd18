"""Tensors and modules on the device: where things are, what may meet, and gradients that come back."""

import copy
import pickle

import numpy as np
import pytest

import nanostn
from nanostn import Tensor, functional, nn, optim
from nanostn.kernels.gpu.arrays.device_array import DeviceArray


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


def test_running_statistics_are_where_the_images_are(rng):
    images = Tensor(rng.normal(size=(4, 3)))
    for device, other in (("cpu", "cuda"), ("cuda", "cpu")):
        x, ones = images.to(device), Tensor(np.ones(3)).to(device)
        running = [Tensor(np.ones(3)).to(other).data for _ in range(2)]
        for training in (True, False):
            with pytest.raises(ValueError, match=f"running_var should be on {device} like x, received {other} and"):
                functional.batch_norm(x, ones, ones, *running, training=training)


def test_numpy_is_refused_what_is_on_the_device(rng):
    x = Tensor(rng.normal(size=(2, 3)))
    assert np.asarray(x) is x.data
    for given in (x.to("cuda"), x.to("cuda").data):
        with pytest.raises(TypeError, match=r"received a device array \(2, 3\) float64; .numpy\(\) copies it"):
            np.asarray(given)


def test_a_copy_has_memory_of_its_own(rng):
    model = nn.Sequential(nn.Dense(3, 2), nn.ReLU()).to("cuda")
    before = model[0].weight.numpy()
    twins = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    model[0].weight.data[...] = 0
    for twin in twins:
        assert twin.device == "cuda" and np.array_equal(twin[0].weight.numpy(), before)
        assert twin[0].weight.data.memory.owner is model[0].weight.data.memory.owner


def test_what_arrays_hold(rng):
    for dtype in (np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_):
        assert np.array_equal(np.ones_like(Tensor(np.zeros((2, 3), dtype)).to("cuda").data).numpy(), np.ones((2, 3)))
    with pytest.raises(TypeError, match="fill: the array should be float32, .* received float16"):
        Tensor(np.ones(3, np.float16)).to("cuda") * 2


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
    other.to("cpu").load_state(model.state())  # without a file between
    optim.Adam(other.parameters()).load_state(optimiser.state())


def test_gradients_are_checked_on_the_device(rng):
    x = Tensor(rng.normal(size=(2, 3)), requires_grad=True)
    report = nanostn.gradcheck(lambda x: functional.tanh(x.to("cuda")), [x])
    assert report.entries == 8  # two directions and six entries
    with pytest.raises(ValueError, match=r"input 0 should be on the CPU, received a tensor on cuda; .*\.to\('cuda'\)"):
        nanostn.gradcheck(functional.tanh, [Tensor(x.to("cuda").data, requires_grad=True)])


def test_names_of_devices():
    for call in (Tensor([1.0]).to, nn.Dense(2, 2).to):
        with pytest.raises(ValueError, match="device should be 'cpu' or 'cuda', received 'gpu'"):
            call("gpu")
