"""`nanostn bench --device cuda`: the sampler, training steps and a product of matrices on a GPU, beside PyTorch there.

As on the CPU each side runs in processes of its own, in turn, and its best time counts: a side is `python -m
nanostn.bench.gpu SIDE GROUP THREADS`. What is measured lies on the GPU before; many runs are launched, and waited
for once. PyTorch computes in float32 as we do: TF32 is off.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from nanostn.bench.cases import SAMPLER_ON_GPU, TRAINING, affine, batch, near_identity
from nanostn.bench.run import Found, in_turn
from nanostn.checks import argument_error
from nanostn.kernels.gpu.device import device, simulated, state

SECONDS = 0.5  # spent on each case in a turn
PRODUCT = 4096  # rows and columns of the matrices
COPIED = 1 << 26  # entries whose copy tells how fast memory is
MEMORY_SHARE = 0.7  # of a plain copy's speed, which the sampler is to reach where its images are not in a cache


def main(only: str | None = None) -> int:
    """Print the tables; `only` names one group."""
    if only not in (None, *GROUPS):
        raise argument_error("bench", "--only", " or ".join(GROUPS), repr(only))
    kind, words = state()
    if kind == "none":
        raise argument_error("bench", "--device", "cpu", "cuda", words)
    sides = ["nanostn"] + ["torch"] * _torch_too()
    peak = device().peak()
    print(f"{device().name}" + (f", {peak / 1e12:.0f} TFLOP/s in float32 at most" if peak == peak else "")
          + "; " + ", ".join(f"{name} {version(name)}" for name in ("numba", "numba-cuda", *sides[1:]))
          + ("; float32, TF32 off" if sides[1:] else "; float32; no torch with CUDA to compare with"))
    for group, show in GROUPS.items():
        if only in (None, group):
            show(in_turn("nanostn.bench.gpu", group, sides, os.cpu_count() or 1))
    return 0


def _torch_too() -> bool:
    if simulated() or importlib.util.find_spec("torch") is None:
        return False
    from nanostn.bench import torch_side

    return torch_side.sees_gpu()


def _of(best: dict[str, Found], name: str, count: int) -> list[float]:
    return best["torch"][name] if "torch" in best else [float("nan")] * count


def _show_sampler(best: dict[str, Found]) -> None:
    print("\nfused sampler, forward and backward (dU, d theta), against affine_grid and grid_sample")
    print(f"{'images -> output':<38}{'ms':>9}{'torch ms':>10}{'ratio':>7}{'copy ms':>9}{'share':>7}")
    for name, (ours, copy) in best["nanostn"].items():
        theirs = _of(best, name, 2)[0]
        print(f"{name:<38}{ours:9.3f}{theirs:10.3f}{theirs / ours:7.1f}{copy:9.3f}{copy / ours:7.0%}")
    print(f"(copy: a plain copy of as many bytes; a share of {MEMORY_SHARE:.0%} is the goal of images too large for a "
          "cache)")


def _show_training(best: dict[str, Found]) -> None:
    print("\ntraining step, batch 256 (inception: 8 of 224 x 224): forward, loss, backward, SGD; memory of the GPU "
          "that it takes")
    print(f"{'network':<20}{'ms':>8}{'torch ms':>10}{'ratio':>7}{'MB':>9}{'torch MB':>10}{'launches':>10}"
          f"{'launching ms':>14}")
    for name, (ours, megabytes, launches, launching) in best["nanostn"].items():
        theirs = _of(best, name, 2)
        print(f"{name:<20}{ours:8.2f}{theirs[0]:10.2f}{theirs[0] / ours:7.2f}{megabytes:9.0f}{theirs[1]:10.0f}"
              f"{launches:10.0f}{launching:14.2f}")


def _show_product(best: dict[str, Found]) -> None:
    print("\nproduct of two matrices")
    print(f"{'rows and columns':<20}{'ms':>8}{'TFLOP/s':>9}{'of peak':>9}{'torch ms':>10}{'ratio':>7}")
    for name, (ours,) in best["nanostn"].items():
        theirs, speed = _of(best, name, 1)[0], 2 * float(name) ** 3 / (ours / 1000)
        print(f"{name:<20}{ours:8.3f}{speed / 1e12:9.1f}{speed / device().peak():9.0%}{theirs:10.3f}"
              f"{theirs / ours:7.2f}")


GROUPS: dict[str, Callable[[dict[str, Found]], None]] = {
    "sampler": _show_sampler, "training": _show_training, "product": _show_product}


# One side, in its process.


def side(name: str, group: str) -> Found:
    """What one side of a comparison measures."""
    library, wait, used, release = _library(name)
    rng = np.random.default_rng(0)
    found: Found = {}
    if group == "sampler":
        per_byte = _milliseconds_per_byte(wait) if name == "nanostn" else 0.0
        for shape, size in SAMPLER_ON_GPU:
            U, dV = (rng.standard_normal(s, np.float32) for s in (shape, (*shape[:2], *size)))
            theta = near_identity(affine(shape), shape[0], rng).reshape(-1, len(size), len(size) + 1)
            run = library.sample(U, theta, dV, "cuda")
            # Forward reads U and writes V; backward reads U and dV and writes dU.
            moved = 3 * U.nbytes + 2 * dV.nbytes
            found["x".join(map(str, shape)) + " -> " + "x".join(map(str, size))] = [fastest(run, wait),
                                                                                     per_byte * moved]
    elif group == "training":
        for network in TRAINING:
            run = library.step(network, *batch(network), "cuda")
            found[network] = [fastest(run, wait), used() / 1e6, *(_launches(run) if name == "nanostn" else ())]
            del run
            release()  # the next network begins with nothing
    else:
        matrices = (rng.standard_normal((PRODUCT, PRODUCT), np.float32) for _ in "ab")
        found[str(PRODUCT)] = [fastest(library.product(*matrices, "cuda"), wait)]
    return found


def _library(name: str) -> tuple[Any, Callable[[], None], Callable[[], int], Callable[[], None]]:
    """`our_side` or `torch_side`; what waits for the GPU, counts the bytes held there, and gives back idle ones."""
    if name == "nanostn":
        from nanostn.bench import our_side
        from nanostn.kernels.gpu.arrays.device_array import allocator

        return our_side, device().synchronize, lambda: allocator.held, allocator.release
    from nanostn.bench import torch_side

    return torch_side, *torch_side.use_gpu()


def fastest(run: Callable[[], Any], wait: Callable[[], None]) -> float:
    """Milliseconds of a run, of as many in a row as take 20 ms, in the shortest of repeated times.

    The first calls, which may compile, are not counted.
    """
    run()
    wait()
    start = time.perf_counter()
    run()
    wait()
    count = max(1, round(0.02 / max(time.perf_counter() - start, 1e-6)))
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        for _ in range(count):
            run()
        wait()
        best = min(best, (time.perf_counter() - start) / count)
    return 1000 * best


def _milliseconds_per_byte(wait: Callable[[], None]) -> float:
    """Of a copy within the GPU's memory, each byte read and written."""
    from nanostn.kernels.gpu.arrays.numpy_functions import to_device

    source = to_device(np.ones(COPIED, np.float32))
    return fastest(lambda: source.copy(), wait) / (2 * source.nbytes)


def _launches(run: Callable[[], Any]) -> list[float]:
    """How often a run launches a kernel, and the milliseconds that Python and the driver spend on it."""
    from nanostn.kernels.gpu.launch import Launch

    spent: list[float] = []
    launch = Launch.__call__

    def timed(self: Launch, blocks: Any, threads: Any, *arguments: Any) -> None:
        start = time.perf_counter()
        launch(self, blocks, threads, *arguments)
        spent.append(time.perf_counter() - start)

    Launch.__call__ = timed  # type: ignore[method-assign]
    try:
        run()
    finally:
        Launch.__call__ = launch  # type: ignore[method-assign]
    return [len(spent), 1000 * sum(spent)]


if __name__ == "__main__":
    print(json.dumps(side(sys.argv[1], sys.argv[2])))
