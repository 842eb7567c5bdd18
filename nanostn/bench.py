"""`nanostn bench`: how long things take, beside PyTorch where that is installed.

Each side runs in processes of its own, in turn, and its best time counts: other work on the machine makes a repeat
longer, never shorter. Two libraries in one process would disturb each other, since the idle threads of one spin on the
cores of the other; and memory belongs to a process. A side is `python -m nanostn.bench SIDE GROUP THREADS` and prints
what it measured as JSON.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 3  # turns of each side
SECONDS = 0.6  # spent on each sampler case in a turn
STEPS = 12  # training steps in a turn

SAMPLER = [  # images, output
    ((256, 1, 42, 42), (42, 42)), ((256, 1, 60, 60), (20, 20)), ((64, 3, 128, 128), (64, 64)),
    ((32, 32, 64, 64), (64, 64)), ((8, 256, 56, 56), (56, 56)), ((1, 3, 1024, 1024), (1024, 1024)),
]
TRAINING = {"lasagne": 60, "cnn": 42, "st-cnn-affine": 42}  # network: side of the images; batches of 256

Found = dict[str, list[float]]  # of each row: milliseconds, and megabytes or the milliseconds that moving takes


def main(device: str = "cpu", threads: int | None = None, only: str | None = None) -> int:
    """Print the tables; `only` names one group."""
    import numba

    from nanostn.checks import argument_error

    if device != "cpu":
        raise argument_error("bench", "device", "'cpu'", repr(device), "this version has CPU kernels only")
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
            show(_in_turn(group, sides, threads) if group != "start" else {})
    return 0


def _in_turn(group: str, sides: list[str], threads: int) -> dict[str, Found]:
    best: dict[str, Found] = {}
    for _ in range(ROUNDS):
        for side in sides:
            found = json.loads(_process("-m", "nanostn.bench", side, group, str(threads), NUMBA_NUM_THREADS=threads))
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
    print("\ntraining step, batch 256: forward, loss, backward, SGD; and the memory that training adds to the process")
    print(f"{'network':<20}{'ms':>8}{'torch ms':>10}{'ratio':>7}{'MB':>9}{'torch MB':>10}{'ratio':>7}")
    for name, ours in best["nanostn"].items():
        theirs = best["torch"][name] if "torch" in best else [float("nan")] * 2
        print(f"{name:<20}{ours[0]:8.1f}{theirs[0]:10.1f}{theirs[0] / ours[0]:7.2f}"
              f"{ours[1]:9.0f}{theirs[1]:10.0f}{theirs[1] / ours[1]:7.2f}")


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
            code = f"from nanostn.bench import batch, our_step; our_step({network!r}, *batch({network!r}))()"
            cache = os.path.join(folder, network)
            for text, times in (("everything to compile", 1), ("compiled before", 3)):
                row = f"first step of {network}, {text}"
                print(f"{row:<52}{seconds(times, code, NUMBA_CACHE_DIR=cache):7.2f}", flush=True)


GROUPS: dict[str, Callable[[dict[str, Found]], None]] = {
    "sampler": _show_sampler, "training": _show_training, "start": _show_start}


# One side, in its process.


def side(name: str, group: str, threads: int) -> Found:
    """What one side of a comparison measures."""
    found: Found = {}
    if group == "sampler":
        sample = _torch(threads).sample if name == "torch" else our_sample
        rng = np.random.default_rng(0)
        per_byte = milliseconds_per_byte() if name == "nanostn" else 0.0
        for shape, size in SAMPLER:
            U, dV = (rng.standard_normal(s, np.float32) for s in (shape, (*shape[:2], *size)))
            run = sample(U, near_identity(shape[0], rng), dV)
            # Forward reads U and writes V; backward reads U and dV and writes dU.
            moving = per_byte * (3 * U.nbytes + 2 * dV.nbytes)
            found["x".join(map(str, shape)) + " -> " + "x".join(map(str, size))] = [fastest(run, SECONDS), moving]
    else:
        for network in TRAINING:
            found[network] = json.loads(_process("-c", "import json; from nanostn.bench import training; "
                                                 f"print(json.dumps(training({name!r}, {network!r}, {threads})))"))
    return found


def _torch(threads: int) -> Any:
    os.environ.pop("GOMP_SPINCOUNT", None)  # set by our kernels; PyTorch's threads wait as they do by default
    from nanostn import bench_torch

    bench_torch.use_threads(threads)
    return bench_torch


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


def near_identity(N: int, rng: np.random.Generator) -> np.ndarray:
    """Theta (N, 2, 3) as in training: some rotation, scale and shift for each image."""
    angle, scale = rng.normal(0, 0.2, N), rng.uniform(0.8, 1.2, N)
    x, y = rng.uniform(-0.1, 0.1, (2, N))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]]).transpose(2, 0, 1).astype(np.float32)


def training(name: str, network: str, threads: int) -> list[float]:
    """Milliseconds of a step, and megabytes that training adds to a process with network and batch."""
    make_step = _torch(threads).step if name == "torch" else our_step
    step = make_step(network, *batch(network))
    before = resident()
    step()
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return [1000 * min(times), (resident("VmHWM") - before) / 1e6]


def resident(which: str = "VmRSS") -> float:
    """Bytes of memory that this process holds, or has held at most (VmHWM); NaN where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def batch(network: str) -> tuple[np.ndarray, np.ndarray]:
    rng, side = np.random.default_rng(0), TRAINING[network]
    return rng.random((256, 1, side, side), dtype=np.float32), rng.integers(10, size=256)


def our_sample(U: np.ndarray, theta: np.ndarray, dV: np.ndarray) -> Callable[[], None]:
    from nanostn.sampler import spatial_transform
    from nanostn.tensor import Tensor
    from nanostn.transformations import Affine

    def run() -> None:
        inputs = Tensor(U, requires_grad=True), Tensor(theta, requires_grad=True)
        spatial_transform(*inputs, Affine(), dV.shape[2:]).backward(dV)

    return run


def our_step(network: str, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """A training step of a network of `TRAINING`."""
    from nanostn.functional import cross_entropy
    from nanostn.models import build, build_lasagne
    from nanostn.optim import SGD
    from nanostn.tensor import Tensor

    model = build_lasagne("st-cnn-affine") if network == "lasagne" else build(network, TRAINING[network])
    optimiser = SGD(model.parameters(), learning_rate=0.01, momentum=0.9)

    def step() -> float:
        loss = cross_entropy(model(Tensor(images)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    print(json.dumps(side(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
