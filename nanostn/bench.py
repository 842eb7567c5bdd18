"""`nanostn bench`: how long things take, beside PyTorch where that is installed.

Both sides take turns within one process, and the shortest of the repeats counts: other work on the machine makes a
repeat longer, never shorter. A group of measurements is a function that yields rows; `GROUPS` lists them.
"""

import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from nanostn._version import version
from nanostn.sampler import spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Affine

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

SECONDS = 1.0  # spent on a row, both sides together
SAMPLER_CASES = [  # images, output
    ((256, 1, 42, 42), (42, 42)), ((256, 1, 60, 60), (20, 20)), ((64, 3, 128, 128), (64, 64)),
    ((32, 32, 64, 64), (64, 64)), ((8, 256, 56, 56), (56, 56)), ((1, 3, 1024, 1024), (1024, 1024)),
]


class Row(NamedTuple):
    """One line of a table; milliseconds, None where there is nothing to compare with."""

    name: str
    ours: float
    torch: float | None = None
    moving: float | None = None


def fastest(*sides: Callable[[], Any], seconds: float = SECONDS) -> list[float]:
    """The shortest time of each function in milliseconds, taking turns; the first call of each is not counted."""
    for side in sides:
        side()
    best = [float("inf")] * len(sides)
    end = time.perf_counter() + seconds
    repeats = 0
    while repeats < 3 or time.perf_counter() < end:
        for i, side in enumerate(sides):
            start = time.perf_counter()
            side()
            best[i] = min(best[i], time.perf_counter() - start)
            time.sleep(0.003)  # the threads of the one side stop spinning before the other's turn
        repeats += 1
    return [1000 * t for t in best]


def milliseconds_per_byte() -> float:
    """Of moving memory: an array too large for the caches is copied, read and written."""
    source = np.ones(1 << 24, np.float32)
    target = np.empty_like(source)
    [elapsed] = fastest(lambda: _copy(source, target), seconds=0.3)
    return elapsed / (source.nbytes + target.nbytes)


@numba.njit(parallel=True)
def _copy(source, target):
    for i in numba.prange(source.size):
        target[i] = source[i]


def near_identity(N: int, rng: np.random.Generator) -> np.ndarray:
    """Theta (N, 2, 3) as in training: some rotation, scale and shift for each image."""
    angle, scale = rng.normal(0, 0.2, N), rng.uniform(0.8, 1.2, N)
    x, y = rng.uniform(-0.1, 0.1, (2, N))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]]).transpose(2, 0, 1).astype(np.float32)


def sampler() -> Iterator[Row]:
    """The fused sampler, forward and backward (dU, d theta), against affine_grid + grid_sample."""
    per_byte = milliseconds_per_byte()
    rng = np.random.default_rng(0)
    for shape, size in SAMPLER_CASES:
        U, dV = (rng.standard_normal(s, np.float32) for s in (shape, (*shape[:2], *size)))
        theta = near_identity(shape[0], rng)
        # Forward: read U, write V. Backward: read U and dV, write dU.
        moving = per_byte * (3 * U.nbytes + 2 * dV.nbytes)
        name = "x".join(map(str, shape)) + " -> " + "x".join(map(str, size))
        sides = [_ours(U, theta, dV, size)] + ([_torch(U, theta, dV)] if torch else [])
        ours, *theirs = fastest(*sides)
        yield Row(name, ours, theirs[0] if theirs else None, moving)


def _ours(U: np.ndarray, theta: np.ndarray, dV: np.ndarray, size: tuple[int, int]) -> Callable[[], None]:
    def run() -> None:
        inputs = Tensor(U, requires_grad=True), Tensor(theta, requires_grad=True)
        spatial_transform(*inputs, Affine(), size).backward(dV)

    return run


def _torch(U: np.ndarray, theta: np.ndarray, dV: np.ndarray) -> Callable[[], None]:
    functional = torch.nn.functional

    def run() -> None:
        inputs = [torch.from_numpy(a).requires_grad_() for a in (U, theta)]
        grid = functional.affine_grid(inputs[1], list(dV.shape), align_corners=True)
        functional.grid_sample(inputs[0], grid, align_corners=True).backward(torch.from_numpy(dV))

    return run


GROUPS: list[Callable[[], Iterator[Row]]] = [sampler]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _show(group: Callable[[], Iterator[Row]]) -> None:
    print(f"\n{group.__name__}: {(group.__doc__ or '').strip()}")
    print(f"{'':34}{'ours ms':>9}{'torch ms':>10}{'ratio':>7}{'moving ms':>11}")
    ratios = []
    for row in group():
        line = f"{row.name:34}{row.ours:9.2f}"
        if row.torch is not None:
            ratios.append(row.torch / row.ours)
            line += f"{row.torch:10.2f}{ratios[-1]:7.1f}"
        elif row.moving is not None:
            line += " " * 17
        print(line + (f"{row.moving:11.2f}" if row.moving is not None else ""), flush=True)
    if ratios:
        print(f"{'geometric mean':34}{'':19}{np.exp(np.mean(np.log(ratios))):7.1f}")


def main(device: str = "cpu", threads: int | None = None, only: str | None = None) -> int:
    """Print the tables; `only` names one group. "moving ms" is the time to move the same bytes and nothing else."""
    from nanostn.kernels.threads import set_threads

    if device != "cpu":
        raise ValueError(f"bench: device should be 'cpu', received {device!r}; this version has CPU kernels only")
    chosen = [group for group in GROUPS if only in (None, group.__name__)]
    if not chosen:
        raise ValueError(f"bench: only should be one of {', '.join(g.__name__ for g in GROUPS)}, received {only!r}")
    if threads:
        set_threads(threads)
    if torch:
        torch.set_num_threads(numba.get_num_threads())
    kind = os.environ.get("OPENBLAS_CORETYPE")
    print(f"{processor()}, {numba.get_num_threads()} threads, float32; nanostn {version}, numpy {np.__version__}, "
          f"numba {numba.__version__}, " + (f"torch {torch.__version__}" if torch else "no torch to compare with")
          + (f", OPENBLAS_CORETYPE={kind}" if kind else ""))
    for group in chosen:
        _show(group)
    return 0
