"""`python -m nanostn.ptx_check`: every CUDA kernel compiled and assembled for real GPUs, on a machine without one.

It wants `pip install "nanostn[cuda]"`: that brings the compiler to PTX (libnvvm) and the assembler (ptxas), and neither
needs a driver. For each kernel, each of the constants that it is offered with and each compute capability it prints
what the assembler says, and ends with exit code 1 where

    a kernel does not compile, or the assembler refuses it,
    its parameters in the PTX are not those that its declaration makes a launch pack,
    registers spill into memory,
    there are double instructions in a kernel that declares no float64: a literal or an integer that promoted.
"""

import argparse
import importlib
import importlib.util
import itertools
import multiprocessing
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from nanostn import kernels
from nanostn.kernels.gpu.device import simulated
from nanostn.kernels.gpu.errors import INSTALL
from nanostn.kernels.gpu.kinds import flat
from nanostn.kernels.gpu.launch import CudaKernel, all_kernels

CAPABILITIES = ((8, 0), (9, 0))  # A100; H100 and H200
_DEVICES = ("nanostn.kernels.gpu.driver", "nanostn.kernels.gpu.simulator")  # they hold no kernels


class Row(NamedTuple):
    """What is known of one compiled kernel. Without ptxas the numbers of the assembler are None."""
    kernel: str
    constants: str
    capability: str
    faults: tuple[str, ...] = ()
    doubles: int | None = None
    registers: int | None = None
    spilled: int | None = None  # bytes, stored and loaded
    stack: int | None = None  # bytes of the local memory of a thread
    shared: int | None = None  # bytes of a block

    def __str__(self) -> str:
        numbers = (f"{'-' if n is None else n:>9}" for n in self[4:])
        return (f"{self.kernel:<36}{self.constants:<32}{self.capability:>4}" + "".join(numbers)
                + "".join(f"\n    {fault}" for fault in self.faults))


HEADER = f"{'kernel':<36}{'constants':<32}{'cc':>4}" + "".join(f"{name:>9}" for name in Row._fields[4:])


def kernels_of(topic: str | None = None) -> list[CudaKernel]:
    """The kernels that the files of `nanostn.kernels` declare; `topic` names a folder or file."""
    for found in pkgutil.walk_packages(kernels.__path__, f"{kernels.__name__}."):
        if found.name not in _DEVICES:
            importlib.import_module(found.name)
    return [kernel for kernel in all_kernels if kernel.make.__module__.startswith(f"{kernels.__name__}.")
            and (topic is None or f"{kernel.name}.".startswith(f"{topic}."))]


def compiler() -> Any:
    """`kernels.gpu.driver`, which compiles without a driver; else an error that says what to install."""
    if simulated():
        raise RuntimeError("ptx_check: NUMBA_ENABLE_CUDASIM should not be set, received 1; the simulator compiles "
                           "nothing")
    try:
        found = importlib.import_module("nanostn.kernels.gpu.driver")
        dispatcher = importlib.import_module("numba.cuda.dispatcher")
    except ImportError as error:
        raise ModuleNotFoundError(f"ptx_check needs the compiler to PTX ({error}): {INSTALL}") from None
    # The one private name, which gpu/driver.py answers for: without it each kernel that calls a function would fail.
    if not hasattr(dispatcher, "get_current_device"):
        raise RuntimeError("ptx_check: numba.cuda.dispatcher should have get_current_device, received a numba-cuda "
                           "without it; find out what asks for the GPU's capability now")
    return found


def assembler() -> str | None:
    """ptxas: of the installed packages, which fits the compiler there, else on the PATH."""
    places = importlib.util.find_spec("nvidia")
    for folder in (places.submodule_search_locations or []) if places else []:
        for path in sorted(Path(folder).glob("*/bin/ptxas*")):
            if path.stem == "ptxas" and os.access(path, os.X_OK):
                return str(path)
    return shutil.which("ptxas")


def check(kernel: CudaKernel, constants: tuple, capability: tuple[int, int], ptxas: str | None) -> Row:
    """Compile and assemble one kernel."""
    row = Row(kernel.name, ", ".join(map(_text, constants)), "{}.{}".format(*capability))
    try:
        kinds = kernel.types(constants)
        ptx = compiler().compile_ptx(kernel.body(constants), kinds, capability)
    except Exception as error:  # whatever a compiler raises is what this looks for
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return row._replace(faults=(f"does not compile: {type(error).__name__}: " + "\n    ".join(lines[:12]),))
    faults = []
    if parameters(ptx) != packed(kinds):
        faults.append(f"a launch packs arguments of {packed(kinds)} bytes, the PTX takes {parameters(ptx)}")
    row = row._replace(doubles=doubles(ptx))
    if row.doubles and not any(kind.dtype == "float64" for kind in flat(kinds)):
        faults.append(f"{row.doubles} double instructions in a kernel that declares no float64")
    if ptxas is not None:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "kernel.ptx"
            source.write_text(ptx)
            said = subprocess.run([ptxas, "-v", "-arch=sm_{}{}".format(*capability), str(source), "-o",
                                   str(source.with_suffix(".cubin"))], capture_output=True, text=True)
        if said.returncode:
            return row._replace(faults=(*faults, f"ptxas refuses it: {said.stderr.strip()}"))
        row = row._replace(**resources(said.stderr))
        if row.spilled:
            faults.append(f"{row.spilled} bytes of registers spill into memory")
    return row._replace(faults=tuple(faults))


def _text(constant: Any) -> str:
    if isinstance(constant, tuple):
        return "(" + " ".join(map(_text, constant)) + ")"
    return str(getattr(constant, "__name__", constant))


def doubles(ptx: str) -> int:
    """Instructions on doubles, without those of sin and cos in float32, which no source of ours can avoid."""
    code = (line.partition("//")[0].strip() for line in ptx.splitlines())
    found = sum(".f64" in line for line in code if not line.startswith((".reg", ".param")))
    # Angles above 1e5 are reduced by NVIDIA's library in 64-bit integers; the rest comes back through three doubles.
    return found - 3 * ptx.count(", 0d3BF921FB54442D19;")  # times pi / 2 / 2**64


def parameters(ptx: str) -> list[int]:
    """Bytes of each parameter of the kernel in a PTX."""
    entry = ptx.split(".visible .entry ", 1)[1].split(")", 1)[0]
    return [int(bits) // 8 for bits in re.findall(r"\.param\s+\.[a-z](\d+)", entry)]


def packed(kinds: Sequence[Any]) -> list[int]:
    """Bytes of each parameter that a launch of these types passes."""
    each = ([8] * 7 if kind.form == "[]" else [8] if kind.form else [kind.dtype.itemsize]
            for kind in flat(kinds))
    return list(itertools.chain.from_iterable(each))


def resources(said: str) -> dict[str, Any]:
    """What `ptxas -v` says of a kernel."""
    def number(pattern: str) -> int:
        return sum(int(found) for found in re.findall(pattern, said))

    return {"registers": number(r"Used (\d+) registers"), "stack": number(r"(\d+) bytes stack frame"),
            "spilled": number(r"(\d+) bytes spill (?:stores|loads)"), "shared": number(r"(\d+) bytes smem")}


def _nothing() -> None:
    pass


def _prepare(topic: str | None) -> None:
    """In a process that compiles: the same kernels, in the same order, as in the one that prints."""
    global _kernels
    compiler()
    _kernels = kernels_of(topic)


_kernels: list[CudaKernel] = []


def _check(job: tuple[int, int, tuple[int, int], str | None]) -> Row:
    kernel = _kernels[job[0]]
    return check(kernel, kernel.offered[job[1]], *job[2:])


def rows(topic: str | None, capabilities: Sequence[tuple[int, int]], ptxas: str | None, processes: int
         ) -> Iterator[Row]:
    """All kernels of a topic, in the order of their files."""
    # Kernels are made of functions, which do not travel between processes: each has its own, and numbers say which.
    jobs = [(i, j, capability, ptxas) for i, kernel in enumerate(kernels_of(topic))
            for j, _ in enumerate(kernel.offered) for capability in capabilities]
    if processes == 1:
        _prepare(topic)
        yield from map(_check, jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _prepare, (topic,)) as pool:
        yield from pool.map(_check, jobs, chunksize=4)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m nanostn.ptx_check", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", nargs="+", type=_capability, default=CAPABILITIES, metavar="M.N",
                        help="compute capabilities (default: 8.0 9.0)")
    parser.add_argument("--topic", metavar="PLACE",
                        help="kernels of a folder or file, such as sampling or networks.pooling_gpu")
    parser.add_argument("--quiet", action="store_true", help="print kernels with faults only")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8), metavar="N")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        compiler().compile_ptx(_nothing, [], CAPABILITIES[-1])
    except (ModuleNotFoundError, RuntimeError) as error:  # of Python, or of a library that the compiler loads
        print(error, file=sys.stderr)
        return 2
    ptxas = assembler()
    print(ptxas or "ptxas was not found: compiled only, registers and spills are not known")
    print(HEADER)
    found = []
    for row in rows(options.topic, options.capability, ptxas, options.processes):
        found.append(row)
        if row.faults or not options.quiet:
            print(row, flush=True)
    bad = sum(bool(row.faults) for row in found)
    print(f"{len(found)} compiled, {bad} with faults, {time.perf_counter() - start:.0f} s")
    if not found:
        print("ptx_check: --topic should be a folder or file of nanostn.kernels with CUDA kernels, received "
              f"{options.topic or 'none, and there are none'}", file=sys.stderr)
    return int(bad > 0 or not found)


def _capability(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d+\.\d", text):
        raise argparse.ArgumentTypeError(f"should be a compute capability such as 9.0, received {text!r}")
    major, minor = text.split(".")
    return int(major), int(minor)


if __name__ == "__main__":
    sys.exit(main())
