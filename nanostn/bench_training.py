"""Training steps and start-up, for `nanostn bench`: each measured in processes of its own.

Two libraries in one process disturb each other, since the idle threads of one spin on the cores of the other; and peak
memory belongs to a process. So a contender is `python -m nanostn.bench_training CONTENDER NETWORK STEPS`, which prints
what it measured as JSON; `main` runs the contenders in turn and compares their best.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 256
SIDES = {"lasagne": 60, "cnn": 42, "st-cnn": 42}  # the paper's CNN and ST-CNN on 42 x 42, the Lasagne network on 60 x 60


def _batch(network: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    side = SIDES[network]
    return rng.random((BATCH, 1, side, side), dtype=np.float32), rng.integers(10, size=BATCH)


def _ours(network: str) -> Callable[[], float]:
    """A training step of ours: forward, loss, backward, SGD with momentum."""
    from nanostn import Tensor, functional, optim
    from nanostn.models import build, build_lasagne

    model = build_lasagne("st-cnn-affine") if network == "lasagne" else build(
        {"cnn": "cnn", "st-cnn": "st-cnn-affine"}[network], SIDES[network])
    optimiser = optim.SGD(model.parameters(), learning_rate=0.01, momentum=0.9)
    x, y = _batch(network)

    def step() -> float:
        loss = functional.cross_entropy(model(Tensor(x)), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def _torch(network: str) -> Callable[[], float]:
    """The same step of the same network in PyTorch."""
    import torch
    from torch import nn

    def convolutions(filters: int, first: int, second: int) -> list[nn.Module]:
        return [nn.Conv2d(1, filters, first), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(filters, filters, second),
                nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]

    class Transformed(nn.Module):
        def __init__(self, localisation: list[nn.Module], size: int, padding: str, pool: int, rest: list[nn.Module]):
            super().__init__()
            self.localisation, self.rest = nn.Sequential(*localisation), nn.Sequential(*rest)
            self.size, self.padding, self.pool = size, padding, pool

        def forward(self, x: Any) -> Any:
            grid = nn.functional.affine_grid(self.localisation(x).view(-1, 2, 3), (len(x), 1, self.size, self.size),
                                             align_corners=True)
            V = nn.functional.grid_sample(x, grid, padding_mode=self.padding, align_corners=True)
            return self.rest(nn.functional.avg_pool2d(V, self.pool) if self.pool > 1 else V)

    if network == "lasagne":
        regression = nn.Linear(50, 6)
        localisation = [nn.MaxPool2d(2), nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 20, 5),
                        nn.ReLU(), nn.Flatten(), nn.Linear(1620, 50), nn.ReLU(), regression]
        rest = convolutions(32, 3, 3) + [nn.Linear(288, 256), nn.ReLU(), nn.Linear(256, 10)]
        model: nn.Module = Transformed(localisation, 20, "border", 1, rest)
    elif network == "st-cnn":
        regression = nn.Linear(20, 6)
        localisation = [nn.AvgPool2d(2), nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 20, 5),
                        nn.ReLU(), nn.Flatten(), nn.Linear(320, 20), nn.ReLU(), regression]
        model = Transformed(localisation, 56, "zeros", 2, convolutions(64, 9, 7) + [nn.Linear(256, 10)])
    else:
        model = nn.Sequential(*convolutions(64, 9, 7), nn.Linear(1600, 10))
    if network != "cnn":
        with torch.no_grad():
            regression.weight.zero_()
            regression.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = (torch.from_numpy(a) for a in _batch(network))

    def step() -> float:
        loss = nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def _resident() -> int:
    """Bytes of memory in use now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def measure(contender: str, network: str, steps: int = 12) -> dict[str, float]:
    """The best time of a step, and by how many bytes training raises the memory of a process that holds the network.

    The first steps, which compile and warm up, are left out of the time; the batch and the library are in the
    process before the counting of memory begins.
    """
    step = {"nanostn": _ours, "torch": _torch}[contender](network)
    before = _resident()
    for _ in range(2):
        step()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": min(times), "memory": peak - before}


def _in_a_process(*arguments: str, environment: dict[str, str] | None = None) -> str:
    result = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True,
                            env={**os.environ, **(environment or {})})
    return result.stdout


def training_steps(threads: int | None, contenders: list[str], rounds: int = 3) -> None:
    """Rows of times and memory, the contenders in turn."""
    environment = {} if threads is None else {"NUMBA_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    print(f"\n{'training step, batch 256':32} {'nanostn ms':>10} {'torch ms':>9} {'ratio':>6}"
          f" {'nanostn MB':>10} {'torch MB':>9} {'ratio':>6}")
    for network in SIDES:
        best: dict[str, dict[str, float]] = {}
        for _ in range(rounds):
            for contender in contenders:
                found = json.loads(_in_a_process("-m", "nanostn.bench_training", contender, network,
                                                 environment=environment))
                before = best.get(contender, found)
                best[contender] = {name: min(found[name], before[name]) for name in found}
        cells = []
        for name, unit in (("seconds", 1e3), ("memory", 1e-6)):
            values = [best[c][name] * unit if c in best else float("nan") for c in ("nanostn", "torch")]
            cells.append(f"{values[0]:10.1f} {values[1]:9.1f} {values[1] / values[0]:6.2f}")
        print(f"{network:32} {' '.join(cells)}", flush=True)


def start_up() -> None:
    """Seconds to import, and to the end of the first training step with nothing compiled yet, and once more."""
    def best(times: int, *arguments: str, environment: dict[str, str] | None = None) -> float:
        found = []
        for _ in range(times):
            start = time.perf_counter()
            _in_a_process(*arguments, environment=environment)
            found.append(time.perf_counter() - start)
        return min(found)

    empty = best(5, "-c", "")
    print(f"\n{'import nanostn':48} {best(5, '-c', 'import nanostn') - empty:6.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for network in ("lasagne", "st-cnn"):
            first = ("-c", f"from nanostn.bench_training import _ours; _ours({network!r})()")
            fresh = {"NUMBA_CACHE_DIR": os.path.join(folder, network)}
            print(f"{f'first step of {network}, everything to compile':48} {best(1, *first, environment=fresh):6.2f} s")
            print(f"{f'first step of {network}, compiled before':48} {best(3, *first, environment=fresh):6.2f} s")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))
