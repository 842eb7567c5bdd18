"""The GPU as a device, over a stand-in for the driver that checks every call."""

import gc
import os
import re
import threading
from typing import NamedTuple

import numpy as np
import pytest

from nanostn.kernels.gpu import device as devices
from nanostn.kernels.gpu import kinds as kinds_of
from nanostn.kernels.gpu import launch, ptx_cache
from nanostn.kernels.gpu.arrays import device_array, numpy_functions, prefetch
from nanostn.kernels.gpu.errors import DeviceError, OutOfDeviceMemory

from .driver_stand_in import OK, Driver, real

gpu_driver = pytest.importorskip("nanostn.kernels.gpu.driver")
COMPILE_PTX = gpu_driver.compile_ptx  # which tests replace

KINDS = "T* int64[] int32* int int32 uint64 float32 float64 bool T"
PARAMETERS = "u64 " + "u64 " * 7 + "u64 u64 u32 u64 f32 f64 u8 f32"
PTX = "// PTX\n.version 8.8\n.visible .entry kernel(\n" + ",\n".join(
    f"\t.param .{kind} kernel_param_{i}" for i, kind in enumerate(PARAMETERS.split())) + "\n)\n{ ret; }\n"


def make(T):
    return lambda: None


class Ends(NamedTuple):
    first: int
    last: float


class Lines(NamedTuple):
    each: tuple[int, int]
    ends: Ends
    are: bool


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens a GPU over the driver given, in place of this machine's device."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))

    def open_(driver=None):
        driver = driver or Driver()
        monkeypatch.setattr(gpu_driver, "driver", driver)
        gpu = gpu_driver.GPU()
        assert numpy_functions  # an array's numpy() finds its kernels there
        for module in (launch, device_array):
            monkeypatch.setattr(module, "device", lambda: gpu)
        monkeypatch.setattr(device_array, "allocator", device_array.Allocator())
        return gpu, driver

    return open_


@pytest.fixture
def kernel(monkeypatch):
    """A declared kernel that is gone after the test, and the PTX that compiles for it."""
    compiled = []
    monkeypatch.setattr(gpu_driver, "compile_ptx", lambda body, kinds, capability: compiled.append(body) or PTX)
    before = list(launch.all_kernels)
    yield launch.CudaKernel(make, [KINDS], None), compiled
    launch.all_kernels[:] = before


def test_what_it_says_of_itself(opened):
    gpu, _ = opened()
    assert (gpu.name, gpu.capability, gpu.multiprocessors, gpu.threads) == ("Stand-in", (9, 0), 132, 1024)


@pytest.mark.parametrize("capability, lanes", [((9, 0), 128), ((8, 0), 64), ((8, 6), 128)])
def test_its_peak(opened, capability, lanes):
    gpu, _ = opened(Driver(capability=capability))
    assert gpu.peak() == 132 * lanes * 2 * 1.98e9  # an H200: 67 TFLOP/s, as its data sheet says


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_])
def test_there_and_back(opened, rng, dtype):
    gpu, driver = opened()
    array = (100 * rng.random((3, 5, 2))).astype(dtype)
    for given in (array, array[:, ::2], np.float32(3).reshape(())):
        found = device_array.to_device(given).numpy()
        np.testing.assert_array_equal(found, given)
        assert found.dtype == given.dtype and found.shape == given.shape
    assert driver.order[-2:] == [("download", gpu.compute), ("synchronize", gpu.compute)]
    assert device_array.to_device(np.empty((0, 3), dtype)).numpy().shape == (0, 3)


def test_a_part_of_an_array_has_its_own_address(opened):
    opened()
    whole = device_array.to_device(np.arange(12, dtype=np.float64).reshape(3, 4))
    part = whole.view((4,), (1,), 8)
    assert part.address == whole.address + 64 and (part.numpy() == [8, 9, 10, 11]).all()


@pytest.mark.parametrize("blocks, threads, dimensions", [
    (7, 64, [7, 1, 1, 64, 1, 1]), ((2, 3), (32, 4), [2, 3, 1, 32, 4, 1]), ((2, 3, 5), (8, 4, 2), [2, 3, 5, 8, 4, 2])])
def test_every_kind_of_argument_arrives(opened, kernel, blocks, threads, dimensions):
    _, driver = opened()
    x, counts, indices = (device_array.empty((3, 2), dtype) for dtype in (np.float32, np.int64, np.int32))
    kernel[0][np.float32](blocks, threads, x, counts, indices, -2**62, -2**31, 2**64 - 1, 1.5, -2.25, True, 0.75)
    [(found, values)] = driver.launches
    assert found == dimensions
    assert values[0] == x.address and values[8] == indices.address
    assert values[1:8] == [0, 0, 1, 8, counts.address, 1, 8]  # an array of numba: seven words
    assert [values[9].view(np.int64), values[10].view(np.int32), *values[11:]] == [
        -2**62, -2**31, 2**64 - 1, 1.5, -2.25, 1, 0.75]


def test_tuples_and_structures_are_numbers_in_a_row(opened, kernel):
    _, driver = opened()
    kinds = launch.CudaKernel(make, ("int[2]", Lines, "T*[2]"), None).types((np.float32,))
    assert repr(kinds) == ("[(a int64 number, a int64 number), Lines(each=(a int64 number, a int64 number), ends=Ends("
                           "first=a int64 number, last=a float32 number), are=a bool number), "
                           "(a float32 contiguous device array, a float32 contiguous device array)]")
    assert kinds_of.nested(kinds, iter("abcdefghi"), lambda kind, values: (type(kind).__name__, *values)) == [
        ("tuple", "a", "b"), ("Lines", ("tuple", "c", "d"), ("Ends", "e", "f"), "g"), ("tuple", "h", "i")]
    assert gpu_driver.Packed(None, None, kinds).layout.size == 9 * 8


def test_the_address_of_numbas_array_is_where_its_kernels_read_it(opened, kernel, monkeypatch):
    """Of its seven words a kernel without negative indices reads one; asked of the compiler, not of this file."""
    from numba import cuda

    _, driver = opened()

    def adds(a):
        cuda.atomic.add(a, 0, 1)

    before = list(launch.all_kernels)
    declared = launch.CudaKernel(lambda T: adds, ("int64[]",), None)
    launch.all_kernels[:] = before
    try:
        ptx = COMPILE_PTX(adds, declared.types((np.float32,)), (9, 0))
    except DeviceError as error:
        pytest.skip(str(error))
    [read] = re.findall(r"ld\.param\.\w+\s+%\w+, \[\w+_param_(\d+)\]", ptx)
    monkeypatch.setattr(gpu_driver, "compile_ptx", lambda body, kinds, capability: ptx)
    counts = device_array.empty(3, np.int64)
    declared[np.float32](1, 32, counts)
    assert driver.launches[0][1][int(read)] == counts.address


def test_numbers_of_numpy_are_numbers(opened, kernel):
    _, driver = opened()
    x, counts, indices = (device_array.empty(3, dtype) for dtype in (np.float32, np.int64, np.int32))
    kernel[0][np.float32](np.int64(2).item(), 32, x, counts, indices, np.int64(-3), np.int32(-4), np.uint64(5),
                          np.float32(1.5), np.float64(2.5), np.bool_(False), np.float32(-1))
    assert list(driver.launches[0][1][11:]) == [5, 1.5, 2.5, 0, -1]


def test_arguments_of_every_kernel_can_be_packed(opened):
    gpu, _ = opened()
    for each in launch.all_kernels:
        for constants in each.offered:
            assert gpu_driver.Packed(gpu, None, each.types(constants)).layout.size % 8 == 0


def test_no_block_is_no_launch(opened, kernel):
    _, driver = opened()
    x, counts, indices = (device_array.empty(0, dtype) for dtype in (np.float32, np.int64, np.int32))
    kernel[0][np.float32]((0, 3), 32, x, counts, indices, 0, 0, 0, 0.0, 0.0, False, 0.0)
    assert not driver.launches


def test_a_wrong_argument_is_refused_before_the_driver(opened, kernel):
    _, driver = opened()
    x, counts, indices = (device_array.empty((2, 3), dtype) for dtype in (np.float32, np.int64, np.int32))
    rest = (1, 1, 1, 1.0, 1.0, True, 1.0)
    run = kernel[0][np.float32]
    for arguments in ((np.zeros(6, np.float32), counts, indices), (counts, counts, indices),
                      (x.view((3, 2), (1, 3)), counts, indices), (1, counts, indices)):
        with pytest.raises(TypeError, match=r"argument 0 should be .* received"):
            run(1, 32, *arguments, *rest)
    with pytest.raises(TypeError, match="10 arguments, received 3"):
        run(1, 32, x, counts, indices)
    assert not driver.launches


def test_threads_do_not_mix_their_arguments(opened, kernel):
    gpu, driver = opened()
    x, counts, indices = (device_array.empty(3, dtype) for dtype in (np.float32, np.int64, np.int32))
    run = kernel[0][np.float32]
    inside = driver.cuLaunchKernel

    def slow(*arguments):
        assert gpu.packing.locked()
        return inside(*arguments)

    driver.cuLaunchKernel = slow
    threads = [threading.Thread(target=lambda i=i: [run(1, 32, x, counts, indices, i, i, i, 1.0, 1.0, True, 1.0)
                                                    for _ in range(50)]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(driver.launches) == 200
    assert all(values[9] == values[10] == values[11] for _, values in driver.launches)


def test_another_thread_enters_the_context(opened):
    gpu, driver = opened()
    entered, before = [], driver.cuCtxSetCurrent
    driver.cuCtxSetCurrent = lambda context: entered.append(context) or before(context)
    thread = threading.Thread(target=lambda: (gpu.synchronize(), gpu.synchronize()))
    thread.start()
    thread.join()
    assert len(entered) == 1


def test_uploads_wait_and_are_waited_for(opened):
    gpu, driver = opened()
    target = device_array.empty(4, np.float32)
    gpu.upload_after_compute()
    gpu.upload(target.address, np.ones(4, np.float32), "uploads")
    gpu.compute_after_upload()
    record, wait, upload, record2, wait2 = driver.order
    assert record == ("record", wait[1], gpu.compute) and wait[0] == "wait" and wait[2] is gpu.uploads
    assert upload == ("upload", gpu.uploads)
    assert record2 == ("record", wait2[1], gpu.uploads) and wait2[2] is gpu.compute and wait2[1] is not wait[1]


def test_a_batch_with_nothing_in_one_of_its_arrays(opened, monkeypatch):
    gpu, driver = opened()
    monkeypatch.setattr(prefetch, "device", lambda: gpu)
    monkeypatch.setattr(prefetch, "_staging", {})
    nothing, some = prefetch.upload(np.empty((2, 0), np.float32), np.arange(3))
    prefetch.arrived()
    assert nothing.shape == (2, 0) and some.numpy().tolist() == [0, 1, 2]
    assert driver.order.count(("upload", gpu.uploads)) == 1


def test_pinned_memory_lives_as_long_as_it_is_seen(opened):
    gpu, driver = opened()
    part = gpu.pinned(64).view(np.float32)[2:]
    part[...] = 3
    gc.collect()
    assert driver.pinned and part.sum() == 42
    del part
    gc.collect()
    assert not driver.pinned and driver.order == [("synchronize", gpu.uploads), "unpin"]


# What a driver refuses.


def test_no_driver(monkeypatch):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(devices.ctypes, "CDLL", missing)
    with pytest.raises(DeviceError, match="no NVIDIA driver was found"):
        devices.device.__wrapped__()


def test_a_driver_without_a_gpu(opened):
    with pytest.raises(DeviceError, match="no GPU that it shows"):
        opened(Driver(gpus=0))


def test_a_driver_older_than_the_bindings(opened):
    driver = Driver()

    def init(flags):
        raise RuntimeError("Failed to get cuGetProcAddress_v2")

    driver.cuInit = init
    with pytest.raises(DeviceError, match="too old for the installed cuda-bindings"):
        opened(driver)


def test_another_failure_is_told_in_the_drivers_words(opened):
    driver = Driver()
    driver.cuInit = lambda flags: (real.CUresult.CUDA_ERROR_SYSTEM_NOT_READY,)
    with pytest.raises(DeviceError, match=r"CUDA_ERROR_SYSTEM_NOT_READY \(some words\) in cuInit"):
        opened(driver)


def test_a_gpu_too_old(opened):
    with pytest.raises(DeviceError, match=r"should be of compute capability 7.0 or newer, received 6.1"):
        opened(Driver(capability=(6, 1)))


def test_ptx_newer_than_the_driver(opened, kernel):
    _, driver = opened(Driver(version=12020))
    driver.refused = real.CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    with pytest.raises(DeviceError, match=r"driver \(for CUDA 12.2\) is older .* update the driver"):
        kernel[0][np.float32]
    driver.refused = real.CUresult.CUDA_ERROR_INVALID_PTX
    with pytest.raises(DeviceError, match="CUDA_ERROR_INVALID_PTX"):
        kernel[0][np.float32]


@pytest.mark.parametrize("error", [ImportError, "DynamicLibNotFoundError"])
def test_the_compilers_libraries_are_missing(monkeypatch, error):
    cuda = pytest.importorskip("numba.cuda")
    if isinstance(error, str):
        error = getattr(pytest.importorskip("cuda.pathfinder"), error)

    def missing(*arguments, **options):
        raise error("libNVVM cannot be found")

    monkeypatch.setattr(cuda, "compile_ptx", missing)
    with pytest.raises(DeviceError, match=r"libraries .* are missing .*pip install"):
        gpu_driver.compile_ptx(lambda: None, [], (9, 0))


def test_a_failed_launch(opened, kernel):
    _, driver = opened()
    x, counts, indices = (device_array.empty(3, dtype) for dtype in (np.float32, np.int64, np.int32))
    driver.cuLaunchKernel = lambda *arguments: (real.CUresult.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,)
    with pytest.raises(DeviceError, match="LAUNCH_OUT_OF_RESOURCES"):
        kernel[0][np.float32](1, 32, x, counts, indices, 1, 1, 1, 1.0, 1.0, True, 1.0)


def test_a_full_gpu_gives_back_what_lies_idle_then_says_so(opened):
    gpu, driver = opened(Driver(limit=1 << 20))
    device_array.empty(1 << 17, np.float32)  # and idle at once
    kept = device_array.empty(3 << 16, np.float32)  # fits only once the other is given back
    assert driver.held == kept.nbytes and driver.order == [("synchronize", gpu.compute)]
    with pytest.raises(OutOfDeviceMemory, match=r"fit into the 0.2 MiB that are free, received a request for 0.5 MiB"):
        device_array.empty(1 << 17, np.float32)
    assert kept.numpy().shape == (3 << 16,)  # all else goes on


def test_arrays_let_go_of_while_memory_is_given_back(opened, monkeypatch):
    """The collector may come at any time."""
    _, driver = opened()
    held = [device_array.empty(n, np.uint8) for n in (512, 1024, 4096)]
    held.pop()
    free = driver.cuMemFree

    def collected(address):
        held.clear()
        return free(address)

    monkeypatch.setattr(driver, "cuMemFree", collected, raising=False)
    allocator = device_array.allocator
    allocator.release()
    assert sum(map(len, allocator.idle.values())) == 2 and allocator.held == driver.held == 512 + 1024
    assert allocator.lent == 0


def test_memory_fails_for_another_reason(opened):
    _, driver = opened()
    driver.cuMemAlloc = lambda nbytes: (real.CUresult.CUDA_ERROR_ILLEGAL_ADDRESS, None)
    with pytest.raises(DeviceError, match="ILLEGAL_ADDRESS .* cuMemAlloc"):
        device_array.empty(3, np.float32)


# Kernels on disk.


def test_a_kernel_of_this_folder_is_compiled_once(opened, kernel, monkeypatch):
    declared, compiled = kernel
    assert declared.key((np.float32,)) is None  # not of the folder whose sources are watched
    monkeypatch.setattr(launch, "FOLDER", launch.Path(__file__).parent)
    for _ in range(2):
        opened()
        declared._launches.clear()
        declared[np.float32]
    assert len(compiled) == 1
    [file] = ptx_cache.folder().iterdir()
    file.write_text(file.read_text()[:-9])  # damaged
    declared._launches.clear()
    declared[np.float32]
    assert len(compiled) == 2 and file.read_text().endswith("{ ret; }\n")
    declared[np.float64]
    assert len(compiled) == 3


def test_a_kernel_on_disk_that_the_driver_refuses_is_compiled_again(opened, kernel, monkeypatch):
    declared, compiled = kernel
    monkeypatch.setattr(launch, "FOLDER", launch.Path(__file__).parent)
    _, driver = opened()
    declared[np.float32]
    declared._launches.clear()
    before, refusals = driver.cuModuleLoadData, [real.CUresult.CUDA_ERROR_INVALID_PTX]
    driver.cuModuleLoadData = lambda image: (refusals.pop(), None) if refusals else before(image)
    declared[np.float32]
    assert len(compiled) == 2 and not refusals and driver.refused == OK


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_is_refused_and_frees_nothing(opened, capfd):
    gpu, driver = opened()
    array, pinned = device_array.empty(5, np.float32), gpu.pinned(8)
    gpu.packing.acquire()  # a launch under way in another thread
    pid = os.fork()
    if pid == 0:
        driver.initialised = False  # so the stand-in fails where it is called
        errors = 0
        with gpu.packing:
            for use in (lambda: device_array.empty(5, np.float32), array.numpy, gpu.free_bytes):
                try:
                    use()
                except DeviceError as error:
                    errors += "forked after it was opened" in str(error)
        del array, pinned
        gc.collect()
        os._exit(errors)
    gpu.packing.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3 and capfd.readouterr().err == ""
    assert gpu.free_bytes() > 0  # the parent goes on
