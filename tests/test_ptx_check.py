"""The check of compiled kernels reports what it is there for. Skipped where nothing compiles for a GPU."""

import math
import types
from typing import NamedTuple

import numba
import numpy as np
import pytest

from nanostn import ptx_check
from nanostn.kernels.gpu.device import simulated
from nanostn.kernels.gpu.errors import DeviceError
from nanostn.kernels.gpu.launch import CudaKernel, all_kernels, cuda

CAPABILITY = (9, 0)


@numba.njit
def _square(x):
    return x * x


def _plain(T):
    def plain(x, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            x[i] = _square(x[i] + T(1))  # a function: numba asks for the GPU's capability
    return plain


def _promotes(T):
    def promotes(x, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            x[i] = x[i] * 0.1
    return promotes


def _spills(T):
    def spills(x, n):
        held = cuda.local.array(400, T)
        for i in range(400):
            held[i] = x[i * n]
        for i in range(400):
            for j in range(400):
                held[j] = held[j] * held[(i * 7 + j) % 400] + x[i]
        for i in range(400):
            x[i * n] = held[i]
    return spills


def _fails(T):
    def fails(x, n):
        x[0] = n.anything
    return fails


class _Step(NamedTuple):
    sizes: tuple[int, int]
    share: float


class _Walk(NamedTuple):
    step: _Step
    back: bool


def _every_kind(T):
    def every_kind(x, a, p, n, i, u, f, d, b, xs, walk):
        if b and walk.back:
            cuda.atomic.add(a, n + walk.step.sizes[1], 1)
            x[i] = f + d
            xs[n][i] = walk.step.share
            p[0] = u
    return every_kind


@pytest.fixture
def declare():
    """Declares a kernel that is gone after the test."""
    before = list(all_kernels)
    yield lambda make, *kinds: CudaKernel(make, kinds or ["T* int"], None)
    all_kernels[:] = before


@pytest.fixture(scope="module")
def compiles():
    if simulated():
        pytest.skip("the simulator compiles nothing")
    try:
        ptx_check.compiler().compile_ptx(lambda: None, [], CAPABILITY)
    except Exception as error:
        pytest.skip(f"nothing here compiles for a GPU: {error}")


@pytest.fixture
def ptxas(compiles):
    found = ptx_check.assembler()
    if found is None:
        pytest.skip("no ptxas")
    return found


def test_a_sound_kernel(declare, ptxas):
    for T in (np.float32, np.float64):
        row = ptx_check.check(declare(_plain), (T,), CAPABILITY, ptxas)
        assert row[:4] == (f"{__name__}.plain", T.__name__, "9.0", ()) and 0 < row.registers < 64
        assert row.spilled == row.stack == row.shared == 0 and (row.doubles > 0) == (T is np.float64)


def test_bounds_of_a_body_limit_its_blocks(compiles):
    def body():
        return None

    compile_ptx = ptx_check.compiler().compile_ptx
    assert ".maxntid" not in compile_ptx(body, [], CAPABILITY)
    body.bounds = (256, 2)
    ptx = compile_ptx(body, [], CAPABILITY)
    assert ".maxntid 256" in ptx and ".minnctapersm 2" in ptx


def test_a_double_in_a_float32_kernel(declare, compiles):
    row = ptx_check.check(declare(_promotes), (np.float32,), CAPABILITY, None)
    assert row.doubles > 0 and "declares no float64" in row.faults[0]
    assert not ptx_check.check(declare(_promotes), (np.float64,), CAPABILITY, None).faults
    assert not ptx_check.check(declare(_promotes, "float64* int"), (np.float32,), CAPABILITY, None).faults


def test_spilled_registers(declare, ptxas, monkeypatch):
    limited = ptx_check.subprocess.run
    monkeypatch.setattr(ptx_check, "subprocess", types.SimpleNamespace(
        run=lambda command, **options: limited([command[0], "--maxrregcount=16", *command[1:]], **options)))
    row = ptx_check.check(declare(_spills), (np.float64,), CAPABILITY, ptxas)
    assert row.spilled > 0 and row.stack > 0 and "spill" in row.faults[0]


def test_a_kernel_that_does_not_compile(declare, compiles):
    row = ptx_check.check(declare(_fails), (np.float32,), CAPABILITY, None)
    assert "does not compile" in row.faults[0] and "anything" in str(row)
    row = ptx_check.check(declare(_plain, "T* int nonsense"), (np.float32,), CAPABILITY, None)
    assert "does not compile" in row.faults[0]


def test_an_assembler_that_refuses(declare, ptxas):
    row = ptx_check.check(declare(_plain), (np.float32,), (1, 0), ptxas)
    assert "compile" in row.faults[0] or "ptxas refuses" in row.faults[0]


def test_a_launch_packs_what_the_kernel_takes(declare, compiles, monkeypatch):
    kinds = "T* int64[] int32* int int32 uint64 float32 float64 bool T*[3]", _Walk
    assert not ptx_check.check(declare(_every_kind, *kinds), (np.float32,), CAPABILITY, None).faults
    monkeypatch.setattr(ptx_check, "packed", lambda kinds: [8])
    assert "packs" in ptx_check.check(declare(_every_kind, *kinds), (np.float32,), CAPABILITY, None).faults[0]


def test_what_the_assembler_says():
    said = """ptxas info    : Compiling entry function 'k' for 'sm_90'
    72 bytes stack frame, 20 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 72 bytes cumulative stack size, 2048 bytes smem
"""
    assert ptx_check.resources(said) == {"registers": 40, "stack": 72, "spilled": 36, "shared": 2048}


def test_doubles_are_instructions():
    ptx = "// add.f64\n.reg .f64 %fd<3>;\n\tadd.f64 %fd1, %fd2, %fd3; // of .f64\n\tadd.f32 %f1, %f2, %f3;\n"
    assert ptx_check.doubles(ptx) == 1


def test_an_angles_own_doubles_are_not_counted(declare, compiles):
    def turn(T):
        def turns(x, n):
            x[0] = math.sin(x[1]) + math.cos(x[1])
        return turns

    assert ptx_check.check(declare(turn), (np.float32,), CAPABILITY, None)[3:5] == ((), 0)


@pytest.mark.parametrize("faulty", [False, True])
def test_the_exit_code(declare, compiles, monkeypatch, capsys, faulty):
    kernels = [declare(_plain)] + [declare(_promotes)] * faulty
    monkeypatch.setattr(ptx_check, "kernels_of", lambda topic: kernels)
    assert ptx_check.main(["--capability", "8.0", "--processes", "1"]) == int(faulty)
    shown = capsys.readouterr().out
    assert "test_ptx_check.plain" in shown and f"{2 + 2 * faulty} compiled, {int(faulty)} with faults" in shown


def test_every_dtype_is_compiled_for_every_capability(declare, monkeypatch):
    kernels = [declare(_plain)]
    monkeypatch.setattr(ptx_check, "kernels_of", lambda topic: kernels)
    monkeypatch.setattr(ptx_check, "compiler", lambda: None)
    monkeypatch.setattr(ptx_check, "check", lambda kernel, constants, capability, ptxas: (constants[0], capability))
    assert list(ptx_check.rows(None, [(8, 0), (9, 0)], None, 1)) == [
        (T, capability) for T in (np.float32, np.float64) for capability in ((8, 0), (9, 0))]


def test_quiet_prints_faults_only(declare, compiles, monkeypatch, capsys):
    kernels = [declare(_plain), declare(_promotes)]
    monkeypatch.setattr(ptx_check, "kernels_of", lambda topic: kernels)
    assert ptx_check.main(["--capability", "8.0", "--processes", "1", "--quiet"]) == 1
    shown = capsys.readouterr().out
    assert "promotes" in shown and "plain" not in shown and "float64" not in shown.replace("no float64", "")


def test_no_kernel_is_a_mistake(compiles, capsys):
    assert ptx_check.main(["--topic", "nothing", "--processes", "1"]) == 1
    assert "should be" in capsys.readouterr().err


def test_without_the_compiler(monkeypatch, capsys):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(ptx_check.importlib, "import_module", missing)
    assert ptx_check.main([]) == 2
    assert 'pip install "nanostn[cuda]"' in capsys.readouterr().err


def test_without_the_compilers_libraries(monkeypatch, capsys):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)

    def missing(*arguments):
        raise DeviceError("the libraries that compile for a GPU are missing")

    monkeypatch.setattr(pytest.importorskip("nanostn.kernels.gpu.driver"), "compile_ptx", missing)
    assert ptx_check.main([]) == 2
    assert "are missing" in capsys.readouterr().err


def test_another_numba_cuda_fails_loudly(monkeypatch):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr(ptx_check.importlib, "import_module", lambda name: types.SimpleNamespace())
    with pytest.raises(RuntimeError, match="get_current_device"):
        ptx_check.compiler()


def test_capabilities_are_numbers(capsys):
    with pytest.raises(SystemExit):
        ptx_check.main(["--capability", "90"])
    assert "received '90'" in capsys.readouterr().err
