"""`nanostn bench`: how long things take, beside PyTorch where that is installed.

Each side runs in processes of its own, in turn, and its best time counts: other work on the machine makes a repeat
longer, never shorter. Two libraries in one process would disturb each other, since the idle threads of one spin on the
cores of the other; and memory belongs to a process. A side is `python -m nanostn.bench.run SIDE GROUP THREADS` and
prints what it measured as JSON.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from nanostn.bench.cases import KERNELS, LAYERS, SAMPLER, TRAINING, batch, inputs, layer, near_identity
from nanostn.kernels.products.matmul import matmul
from nanostn.machine import processor
from nanostn.transformations import Affine

ROUNDS = 3  # turns of each side
SECONDS = 0.6  # spent on each way to do a case in a turn
STEPS, LONG = 12, 8.0  # training steps in a turn, unless they take so many seconds

SIDE, PRODUCT = 2048, "a product of large matrices"

Found = dict[str, list[float]]  # of each row: milliseconds, and for some megabytes or the milliseconds of moving


def main(threads: int | None = None, only: str | None = None) -> int:
    """Print the tables; `only` names one group."""
    import numba

    from nanostn.checks import argument_error

    if only not in (None, *GROUPS):
        raise argument_error("bench", "--only", " or ".join(GROUPS), repr(only))
    threads = threads or numba.get_num_threads()
    sides = ["nanostn"] + (["torch"] if importlib.util.find_spec("torch") else [])
    versions = [f"{name} {version(name)}" for name in ("numpy", "numba", *sides[1:])]
    kind = os.environ.get("OPENBLAS_CORETYPE")
    print(f"{processor()}, {threads} threads, float32; " + ", ".join(versions)
          + (f"; OPENBLAS_CORETYPE={kind}" if kind else "") + ("" if sides[1:] else "; no torch to compare with"))
    for group, show in GROUPS.items():
        if only in (None, group):
            show(in_turn("nanostn.bench.run", group, sides, threads) if group != "start" else {})
    return 0


def in_turn(module: str, group: str, sides: list[str], threads: int) -> dict[str, Found]:
    """The best of what `python -m module SIDE GROUP THREADS` prints for each side."""
    best: dict[str, Found] = {}
    for _ in range(ROUNDS):
        for side in sides:
            # Each side as it is by itself: our package, which the other process loads too, leaves its memory alone.
            kept = {"NANOSTN_KEEP_MEMORY": "0"} if side == "torch" else {}
            found = json.loads(_process("-m", module, side, group, str(threads), NUMBA_NUM_THREADS=threads, **kept))
            before = best.get(side, found)
            best[side] = {name: [min(pair) for pair in zip(found[name], before[name], strict=True)] for name in found}
    return best


def _process(*arguments: str, **environment: Any) -> str:
    settings = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    return subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True,
                          env=settings).stdout


def _show_sampler(best: dict[str, Found]) -> None:
    print("\nfused sampler, forward and backward (dU, d theta), against affine_grid and grid_sample")
    print(f"{'images -> output':<38}{'ms':>8}{'torch ms':>10}{'ratio':>7}{'moving ms':>11}")
    ratios = []
    for name, (ours, moving) in best["nanostn"].items():
        theirs = best["torch"][name][0] if "torch" in best else float("nan")
        ratios.append(theirs / ours)
        print(f"{name:<38}{ours:8.2f}{theirs:10.2f}{ratios[-1]:7.1f}{moving:11.2f}")
    print(f"{'geometric mean':<38}{'':18}{np.exp(np.mean(np.log(ratios))):7.1f}   "
          "(moving: a plain copy of as many bytes)")


def _show_training(best: dict[str, Found]) -> None:
    print("\ntraining step, batch 256 (inception: 8 of 224 x 224): forward, loss, backward, SGD; and the memory that "
          "training adds to the process")
    print(f"{'network':<20}{'ms':>8}{'torch ms':>10}{'ratio':>7}{'MB':>9}{'torch MB':>10}{'ratio':>7}")
    for name, ours in best["nanostn"].items():
        theirs = best["torch"][name] if "torch" in best else [float("nan")] * 2
        print(f"{name:<20}{ours[0]:8.1f}{theirs[0]:10.1f}{theirs[0] / ours[0]:7.2f}"
              f"{ours[1]:9.0f}{theirs[1]:10.0f}{theirs[1] / ours[1]:7.2f}")


def _show_kernels(best: dict[str, Found]) -> None:
    print("\ntransformers, forward and backward (dU, d theta), against the usual way in PyTorch and the fastest found")
    print(f"{'transformer':<30}{'images':<15}{'ms':>8}{'torch ms':>10}{'ratio':>7}{'goal':>6}{'fastest':>10}"
          f"{'ratio':>7}")
    for name, ours in best["nanostn"].items():
        case = KERNELS[name]
        theirs = best["torch"][name] if "torch" in best else [float("nan")] * 3
        print(f"{name:<30}{'x'.join(map(str, case.shape)):<15}{ours[0]:8.2f}{theirs[0]:10.2f}{theirs[0] / ours[0]:7.1f}"
              f"{case.goal:6.1f}{theirs[1]:10.2f}{theirs[1] / ours[0]:7.1f}")
        if case.flatten_depth:
            print(f"{'  memory that it adds, MB':<45}{ours[2]:8.1f}{theirs[2]:10.1f}{theirs[2] / ours[2]:7.1f}"
                  f"   (dU is {4e-6 * np.prod(case.shape):.1f} of it, the volume would be as much again)")


def _show_layers(best: dict[str, Found]) -> None:
    peak = 2e-6 * SIDE**3 / best["nanostn"].pop(PRODUCT)[0]
    print("\nlayers of 2D convolution, forward and backward (dx, dweight, dbias); GFLOP/s of the sums over windows, "
          f"however\nthey are computed, and the share of what a product of large matrices reaches, {peak:.0f}")
    print(f"{'images, window, filters':<38}{'ms':>8}{'torch ms':>10}{'ratio':>7}{'GFLOP/s':>9}{'of peak':>9}")
    for name, (ours, operations) in best["nanostn"].items():
        theirs = best["torch"][name][0] if "torch" in best else float("nan")
        print(f"{name:<38}{ours:8.2f}{theirs:10.2f}{theirs / ours:7.2f}{operations / ours:9.0f}"
              f"{operations / ours / peak:9.2f}")


def _show_start(_: dict[str, Found]) -> None:
    """Seconds of whole processes: to import, and to the end of a first training step."""
    def seconds(times: int, code: str, **environment: Any) -> float:
        found = []
        for _ in range(times):
            start = time.perf_counter()
            _process("-c", code, **environment)
            found.append(time.perf_counter() - start)
        return min(found)

    print("\nstart, seconds of a whole process")
    print(f"{'python alone':<52}{seconds(5, ''):7.2f}")
    print(f"{'import nanostn':<52}{seconds(5, 'import nanostn'):7.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for network in ("lasagne", "st-cnn-affine"):
            code = ("from nanostn.bench import cases, our_side; "
                    f"our_side.step({network!r}, *cases.batch({network!r}))()")
            cache = os.path.join(folder, network)
            for text, times in (("everything to compile", 1), ("compiled before", 3)):
                row = f"first step of {network}, {text}"
                print(f"{row:<52}{seconds(times, code, NUMBA_CACHE_DIR=cache):7.2f}", flush=True)


GROUPS: dict[str, Callable[[dict[str, Found]], None]] = {
    "sampler": _show_sampler, "kernels": _show_kernels, "layers": _show_layers, "training": _show_training,
    "start": _show_start}


# One side, in its process.


def side(name: str, group: str, threads: int) -> Found:
    """What one side of a comparison measures."""
    def elsewhere(call: str) -> Any:
        """Memory belongs to a process, so what measures it has one of its own."""
        return json.loads(_process("-c", f"import json; from nanostn.bench import run; print(json.dumps(run.{call}))"))

    found: Found = {}
    rng = np.random.default_rng(0)
    if group == "sampler":
        sample = _library(name, threads).sample
        per_byte = milliseconds_per_byte() if name == "nanostn" else 0.0
        for shape, size in SAMPLER:
            U, dV = (rng.standard_normal(s, np.float32) for s in (shape, (*shape[:2], *size)))
            run = sample(U, near_identity(Affine(), shape[0], rng).reshape(-1, 2, 3), dV)
            # Forward reads U and writes V; backward reads U and dV and writes dU.
            moving = per_byte * (3 * U.nbytes + 2 * dV.nbytes)
            found["x".join(map(str, shape)) + " -> " + "x".join(map(str, size))] = [fastest(run, SECONDS), moving]
    elif group == "kernels":
        transform = _library(name, threads).transform
        for row, case in KERNELS.items():
            ways = transform(case, *inputs(case, rng))
            times = [fastest(run, SECONDS) for run in ways]
            found[row] = [times[0], min(times)]
            if case.flatten_depth:
                found[row].append(min(elsewhere(f"memory({name!r}, {row!r}, {way}, {threads})")
                                      for way in range(len(ways))))
    elif group == "layers":
        convolution = _library(name, threads).convolution
        for numbers in LAYERS:
            arrays = layer(numbers, rng)
            N, C, filters, side, window, padding = numbers
            row = f"{N}x{C}x{side}x{side}, {window}x{window}" + f" padding {padding}" * (padding > 0) + f", {filters}"
            found[row] = [fastest(convolution(padding, *arrays), SECONDS),
                          3 * 2e-6 * arrays[-1].size * C * window * window]  # in millions, of all three products
        if name == "nanostn":
            matrix = np.ones((SIDE, SIDE), np.float32)
            found[PRODUCT] = [fastest(lambda: matmul(matrix, matrix), SECONDS)]
    else:
        for network in TRAINING:
            found[network] = elsewhere(f"training({name!r}, {network!r}, {threads})")
    return found


def _library(name: str, threads: int) -> Any:
    """`our_side` or `torch_side`; their functions have the same names."""
    if name == "nanostn":
        from nanostn.bench import our_side

        return our_side
    os.environ.pop("GOMP_SPINCOUNT", None)  # set by our kernels; PyTorch's threads wait as they do by default
    from nanostn.bench import torch_side

    torch_side.use_threads(threads)
    return torch_side


def fastest(run: Callable[[], Any], seconds: float) -> float:
    """The shortest of repeated times, in milliseconds; the first call, which may compile, is not counted."""
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def milliseconds_per_byte() -> float:
    """Of moving memory: an array too large for the caches is copied by all threads, read and written."""
    import numba

    @numba.njit(parallel=True)
    def copy(source, target):
        for i in numba.prange(source.size):
            target[i] = source[i]

    source = np.ones(1 << 24, np.float32)
    target = np.empty_like(source)
    return fastest(lambda: copy(source, target), 0.2) / (source.nbytes + target.nbytes)


def training(name: str, network: str, threads: int) -> list[float]:
    """Milliseconds of a step, and megabytes that training adds to a process with network and batch."""
    step = _library(name, threads).step(network, *batch(network))
    before = resident()
    step()
    times: list[float] = []
    while len(times) < STEPS and sum(times) < LONG:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return [1000 * min(times), (resident("VmHWM") - before) / 1e6]


def memory(name: str, row: str, way: int, threads: int) -> float:
    """Megabytes that a way to do a case of `KERNELS` adds to a process with U, theta and dV, at most.

    A smaller case before it loads what a first call loads, and starts the threads.
    """
    library, case, rng = _library(name, threads), KERNELS[row], np.random.default_rng(0)
    small = case._replace(shape=(*case.shape[:2], *[n // 3 for n in case.shape[2:]]))
    library.transform(small, *inputs(small, rng))[way]()
    run = library.transform(case, *inputs(case, rng))[way]
    before = resident()
    run()
    return (resident("VmHWM") - before) / 1e6


def resident(which: str = "VmRSS") -> float:
    """Bytes of memory that this process holds, or has held at most (VmHWM); NaN where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(which))


if __name__ == "__main__":
    print(json.dumps(side(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
