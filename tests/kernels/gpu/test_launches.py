"""What is launched where all runs as on a GPU, recorded instead of computed: real blocks, real constants, real sizes.

The simulator's blocks are small. Here the blocks of a GPU are asked for, and each launch is held against what a GPU
allows, and against what its kernel offers to the check of the compiler (`nanostn.ptx_check`).
"""

import numpy as np
import pytest

import nanostn
from nanostn import models, nn, optim, training, transformations, verify
from nanostn.kernels.gpu import device as devices
from nanostn.kernels.gpu import launch
from nanostn.kernels.gpu.arrays import device_array, numpy_functions, prefetch
from nanostn.kernels.gpu.kinds import flat
from nanostn.tensor import Tensor
from nanostn.thetas import watch_theta
from nanostn.verify_sampler import sampler_cases

try:
    from nanostn.kernels.gpu import driver as gpu_driver
except ImportError:  # without NVIDIA's bindings
    gpu_driver = None

LIMITS = (2**31 - 1, 65535, 65535)


class Recorder:
    """A GPU in name: memory is NumPy's, and launches are looked at and forgotten."""

    name, capability, multiprocessors, threads, waves = "recorder", (9, 0), 132, 1024, 32

    def __init__(self):
        self.launched = set()
        self.order = []  # launches by the names of their kernels, and downloads

    def allocate(self, nbytes):
        memory = np.empty(nbytes, np.uint8)  # large ones are never touched
        self.reuse(memory)
        return memory

    def address(self, memory, start, dtype):
        assert start % dtype.itemsize == 0
        return memory[start:]

    def upload(self, target, source, stream=None):
        target[:source.nbytes] = source.reshape(-1).view(np.uint8)

    def download(self, target, source):
        target.reshape(-1).view(np.uint8)[:] = source[:target.nbytes]
        self.order.append("download")

    def reuse(self, memory):
        memory[:2**16] = 1  # as numbers finite, and true

    synchronize = finish_uploads = upload_after_compute = compute_after_upload = lambda self: None

    def compile(self, make, kinds, key):
        kinds = flat(kinds)
        layout = gpu_driver and gpu_driver.Packed(self, None, kinds).layout

        def run(blocks, threads, arguments):
            self.order.append(key)
            if layout:
                numbers = (value for kind, value in zip(kinds, arguments, strict=True)
                           for value in ((0,) * (7 if kind.form == "[]" else 1) if kind.form else (value,)))
                layout.pack(*numbers)
            assert all(0 < n <= most for n, most in zip(blocks, LIMITS, strict=False)), blocks
            assert 0 < np.prod(threads) <= 1024 and all(type(n) is int for n in (*blocks, *threads))
            for kind, value in zip(kinds, arguments, strict=True):
                if not kind.form:
                    assert np.ndim(value) == 0 and (kind.dtype.kind == "f" or value == int(value)), (kind, value)
                    np.array(value, kind.dtype)
        return run


@pytest.fixture
def recorder(monkeypatch):
    if devices.simulated():
        pytest.skip("real blocks are not the simulator's")
    gpu, missing = Recorder(), set()
    for module in (launch, device_array, prefetch):
        monkeypatch.setattr(module, "device", lambda: gpu)
    monkeypatch.setattr(device_array, "allocator", device_array.Allocator())
    numpy_functions._kept.cache_clear()  # constants that are on another device
    for kernel in launch.all_kernels:
        monkeypatch.setattr(kernel, "_launches", {})
    made = launch.Launch.__init__

    def offered(self, kernel, constants):
        gpu.launched.add(kernel.name)
        own = any(isinstance(c, tuple) and c and callable(c[0]) for c in constants)  # somebody's functions
        if constants not in kernel.offered and not own:
            missing.add((kernel.name, *map(str, constants)))
        made(self, kernel, constants)

    monkeypatch.setattr(launch.Launch, "__init__", offered)
    yield gpu
    numpy_functions._kept.cache_clear()
    assert not missing


def both_ways(case, T):
    move = getattr(case.fn, "to", None)
    before = [p.data for p in case.parameters]
    if move:
        move("cuda")
    for p in case.parameters:
        p.requires_grad = False
        p.data = Tensor(p.data).to("cuda").data
        p.requires_grad = True
    try:
        inputs = [Tensor(x.astype(T).to("cuda").data, requires_grad=True) for x in case.tensors()]
        case.fn(*inputs).sum().backward()
    finally:
        for p, data in zip(case.parameters, before, strict=True):
            p.requires_grad = False
            p.data = data
            p.requires_grad = True
        if move:
            move("cpu")


OPERATIONS = [case for rows in (verify._arithmetic, verify._operations) for case in rows()]


@pytest.mark.parametrize("T", [np.float32, np.float64])
def test_operations(recorder, T):
    for case in OPERATIONS:
        both_ways(case, T)


def test_layers(recorder):
    for case in verify._layers():
        both_ways(case, np.float64)


@pytest.mark.parametrize("T", [np.float32, np.float64])
def test_the_sampler(recorder, T):
    for case in list(sampler_cases())[::13]:
        both_ways(case, T)


@pytest.mark.parametrize("network", ["st-cnn-affine", "st-fcn-tps", "lasagne"])
@pytest.mark.parametrize("make", [optim.Adam, optim.SGD])
def test_a_training_step_of_real_size(recorder, network, make):
    side = 60 if network == "lasagne" else 42
    model = models.build_lasagne("st-cnn-affine") if network == "lasagne" else models.build(network, side)
    model.to("cuda")
    optimiser = make(model.parameters())
    x, y = Tensor(np.zeros((256, 1, side, side), np.float32)).to("cuda"), Tensor(np.zeros(256, np.int64)).to("cuda")

    def step():
        optimiser.zero_grad()
        nanostn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
        return device_array.allocator.requests

    assert step() == step() == step()  # nothing is asked for after the first
    assert {"networks.updates.adam_device", "networks.updates.sgd_device"} & recorder.launched


def test_nothing_waits_for_the_update(recorder):
    """All that a step copies back is copied before: the GPU has the next step by the time it has moved parameters."""
    model = models.build("st-cnn-affine", 42).to("cuda")
    batch = Tensor(np.zeros((8, 1, 42, 42), np.float32)).to("cuda").data, Tensor(np.zeros(8, np.int64)).to("cuda").data
    with watch_theta(model) as thetas:
        for rate in (0.01, 1e39):
            recorder.order.clear()
            optimiser = optim.Adam(model.parameters(), learning_rate=rate)
            assert training._step(model, optimiser, None, training.classification, batch, training.Progress(), thetas)
            kinds = ["update" if key and "adam" in key else key for key in recorder.order]
            assert "download" in kinds and "update" in kinds
            assert "download" not in kinds[kinds.index("update"):]


def test_more_entries_than_32_bits_number(recorder):
    x = Tensor(np.zeros(1, np.float32)).to("cuda").data
    many = np.broadcast_to(x, (2**32,))
    for operation in (lambda: many.sum(), lambda: np.broadcast_to(x, (2**16, 2**17)).max(), lambda: many + 1):
        with pytest.raises(ValueError, match="fewer than 2\\^32"):
            operation()


THE_SAMPLERS = {"_sample", "_largest", "_gradients", "_sum_parts", "_from_fixed"}


@pytest.mark.parametrize("size", [(224, 224), (1, 70000), (300, 300)])
def test_large_images_and_many(recorder, size):
    for shape in ((64, 3, *size), (1, 1, *size), (4096, 1, 5, 7)):
        recorder.order.clear()
        U = Tensor(Tensor(np.zeros(shape, np.float32)).to("cuda").data, requires_grad=True)
        theta = Tensor(np.tile(np.eye(2, 3, dtype=np.float32).ravel(), (shape[0], 1))).to("cuda")
        theta = Tensor(theta.data, requires_grad=True)
        V = nanostn.functional.spatial_transform(U, theta, transformations.Affine(), shape[2:])
        V.sum().backward()
        names = [key.split()[0].rpartition(".")[2] for key in recorder.order]
        several = shape[0] < 4096  # parts of each image, whose sums are added
        assert [name for name in names if name in THE_SAMPLERS] == [
            "_sample", *["_largest"] * (1 + several), "_gradients", *["_sum_parts"] * several, "_from_fixed"]
        assert nn.ReLU()(V).shape == V.shape
