"""The allocator behind device arrays: sizes, reuse, and what happens when the device is full."""

import gc

import numpy as np
import pytest

from nanostn.kernels.gpu.arrays import device_array
from nanostn.kernels.gpu.arrays.device_array import Allocator, empty
from nanostn.kernels.gpu.arrays.numpy_functions import to_device
from nanostn.kernels.gpu.device import device
from nanostn.kernels.gpu.errors import OutOfDeviceMemory

MIB = 1 << 20


@pytest.fixture
def allocator(monkeypatch):
    """One of the test's own, on a device of as yet unlimited memory."""
    gc.collect()
    device_array.allocator.release()
    fresh = Allocator()
    monkeypatch.setattr(device_array, "allocator", fresh)
    yield fresh
    gc.collect()
    fresh.release()
    assert fresh.held == fresh.lent == 0  # every memory came back


@pytest.fixture
def limit(monkeypatch, on_gpu):
    """Lets the device have so many bytes more than are in use."""
    if on_gpu:
        pytest.skip("a full GPU would disturb others")
    return lambda nbytes: monkeypatch.setattr(device(), "limit", device().used + nbytes, raising=False)


@pytest.mark.parametrize("nbytes, size", [
    (0, 512), (1, 512), (512, 512), (513, 1024), (1025, 1536), (8192, 8192), (8193, 9216), (16384, 16384),
    (16385, 18432), (3 * MIB, 3 * MIB), (3 * MIB + 1, 3 * MIB + MIB // 4)])
def test_size_classes(nbytes, size):
    assert Allocator.size_class(nbytes) == size


def test_size_classes_fit_and_waste_an_eighth_at_most(rng):
    for nbytes in map(int, np.exp(rng.uniform(0, 25, 2000))):
        size = Allocator.size_class(nbytes)
        assert nbytes <= size <= max(512, nbytes + 512, nbytes * 9 / 8) and size % 512 == 0
        assert Allocator.size_class(size) == size


def test_what_is_let_go_is_handed_out_again(allocator):
    first = empty((3, 5), np.float32)
    address = first.memory.handle if isinstance(first.memory.handle, int) else id(first.memory.handle)
    del first
    again = empty(100, np.float64)  # as large, rounded up? 800 bytes are not
    assert allocator.requests == 2
    second = empty(15, np.int32)
    handle = second.memory.handle
    assert (handle if isinstance(handle, int) else id(handle)) == address and allocator.requests == 2
    assert allocator.lent == 512 + 1024 == allocator.held and again.size == 100


def test_a_view_keeps_its_memory(allocator):
    whole = to_device(np.arange(12, dtype=np.float32).reshape(3, 4))
    row = whole.view((4,), (1,), 4)
    del whole
    gc.collect()
    taken = [empty((3, 4), np.float32) for _ in range(3)]
    assert allocator.requests == 4 and len(taken) == 3
    np.testing.assert_array_equal(row.numpy(), [4, 5, 6, 7])


def test_a_second_step_requests_nothing(allocator, rng):
    def step():
        images = to_device(rng.random((4, 3, 7, 5), np.float32))
        kept = [empty((4, n, 7, 5), np.float32) for n in (3, 8, 8, 2)]
        gradients = [empty(array.shape, array.dtype) for array in reversed(kept)]
        return images, gradients

    step()
    before = allocator.requests, allocator.held
    for _ in range(3):
        step()
    assert (allocator.requests, allocator.held) == before and allocator.lent == 0


def test_fresh_and_reused_memory_is_poison(allocator, on_gpu):
    if on_gpu:
        pytest.skip("memory of a GPU is as it was left")
    assert np.isnan(empty(5, np.float32).numpy()).all()
    to_device(np.ones(5, np.float32))
    assert np.isnan(empty(5, np.float32).numpy()).all()


def test_a_full_device_gives_back_what_lies_idle(allocator, limit):
    limit(4 * MIB)
    kept = to_device(np.arange(5))
    empty(2 * MIB, np.uint8)
    empty(MIB, np.uint8)  # both idle now
    assert allocator.held == 3 * MIB + 512
    large = empty(3 * MIB, np.uint8)  # another size: what lies idle is given back for it
    assert allocator.held == allocator.lent == 3 * MIB + 512 and large.size == 3 * MIB
    np.testing.assert_array_equal(kept.numpy(), np.arange(5))


def test_too_much_is_said_and_changes_nothing(allocator, limit):
    limit(4 * MIB)
    on_cpu = np.arange(MIB, dtype=np.float32)
    kept = to_device(on_cpu[:100])
    lent, held = allocator.lent, allocator.held
    words = r"fit into the 4.0 MiB that are free, received a request for 6.0 MiB; arrays of this program hold 0.0 MiB"
    with pytest.raises(OutOfDeviceMemory, match=words):
        empty(6 * MIB, np.uint8)
    with pytest.raises(MemoryError):  # as Python's own
        to_device(np.zeros(6 * MIB, np.uint8))
    assert (allocator.lent, allocator.held) == (lent, held)
    np.testing.assert_array_equal(on_cpu, np.arange(MIB, dtype=np.float32))
    np.testing.assert_array_equal(kept.numpy(), on_cpu[:100])
    assert empty(3 * MIB, np.uint8).size == 3 * MIB  # what fits still does


@pytest.mark.gpu
def test_a_real_gpu_reuses_memory_without_a_request(allocator, rng):
    array = rng.random((64, 3, 224, 224), np.float32)
    for _ in range(20):
        np.testing.assert_array_equal(to_device(array).numpy(), array)
    assert allocator.requests == 1


@pytest.mark.gpu
def test_a_real_gpu_says_when_it_is_full(allocator):
    with pytest.raises(OutOfDeviceMemory, match="should fit into the .* GiB that are free"):
        empty(1 << 44, np.uint8)  # 16 TiB: refused at once, nothing is taken
    assert empty(5, np.float32).size == 5
