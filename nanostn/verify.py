"""`nanostn verify`: every operation and every layer against finite differences, thousands of rows.

The tables here and in `verify_sampler.py` are the only lists of what can be differentiated; the tests run the same
rows. A new operation adds one. Points are generic (no kinks) unless a row says what is promised at a kink.
"""

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from nanostn import functional as F
from nanostn import nn
from nanostn.gradcheck import Case, GradientReport
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.tensor import Tensor
from nanostn.verify_sampler import families, sampler_cases


def cases() -> Iterator[Case]:
    yield from _arithmetic()
    yield from _choices()
    yield from _operations()
    yield from sampler_cases()
    yield from _layers()


def _positive(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.5, 2.0, shape)


def _arithmetic() -> Iterator[Case]:
    yield Case("add", lambda x, y: x + y, [(2, 3), (3,)])
    yield Case("subtract", lambda x, y: x - y, [(2, 1), (3,)])
    yield Case("multiply", lambda x, y: x * y, [(2, 1, 3), (4, 1)])
    yield Case("divide", lambda x, y: x / y, [(2, 3), (2, 3)])
    yield Case("negative", lambda x: -x, [(2, 3)])
    yield Case("power", lambda x: x ** 3, [(2, 3)])
    yield Case("exp", F.exp, [(2, 3)])
    yield Case("log", F.log, [_positive(2, 3)])
    yield Case("sqrt", F.sqrt, [_positive(2, 3)])
    yield Case("matmul", F.matmul, [(4, 1, 2, 3), (5, 3, 2)])
    yield Case("sum", lambda x: x.sum(axis=(0, 2)), [(2, 3, 4)])
    yield Case("mean", lambda x: x.mean(axis=1, keepdims=True), [(2, 3, 4)])
    yield Case("max", lambda x: x.max(axis=1), [(2, 3, 4)])
    yield Case("reshape", lambda x: x.reshape(4, 6), [(2, 3, 4)])
    yield Case("transpose", lambda x: x.transpose(2, 0, 1), [(2, 3, 4)])
    yield Case("index", lambda x: x[[0, 2, 0], 1:], [(3, 5)])
    yield Case("broadcast_to", lambda x: F.broadcast_to(x, (4, 2, 3)), [(2, 1)])
    yield Case("concatenate", lambda x, y: F.concatenate([x, y], axis=1), [(2, 3), (2, 1)])
    yield Case("stack", lambda x, y: F.stack([x, y], axis=1), [(2, 3), (2, 3)])


def _choices() -> Iterator[Case]:
    """Choices, reductions and arrangements; their kinks, where the derivative from one side is promised."""
    ties = [np.array([[1.0, 2.0], [3.0, 3.0]]), np.array([[1.0, 3.0], [3.0, 2.0]])]
    bounds, level = np.array([-1.0, -0.5, 0.2, 2.0]), np.array([2.0, -1.0])

    yield Case("where", lambda x, y: F.where(move(np.arange(3) > 0, x.device), x, y), [(2, 3), (2, 1)])
    yield Case("where, beside a number", lambda x: F.where(x.data > 0, x, 0.5), [(3, 5)])
    yield Case("maximum", F.maximum, [(2, 3), (3,)])
    yield Case("minimum", F.minimum, [(2, 1), (3,)])
    yield Case("maximum, x at ties", lambda x: F.maximum(x, move(ties[1], x.device)), ties[:1], kinks="right")
    yield Case("maximum, y at ties", lambda y: F.maximum(move(ties[1], y.device), y), ties[:1], kinks="left")
    yield Case("minimum, x at ties", lambda x: F.minimum(x, move(ties[1], x.device)), ties[:1], kinks="left")
    yield Case("minimum, y at ties", lambda y: F.minimum(move(ties[1], y.device), y), ties[:1], kinks="right")
    yield Case("clip", lambda x: F.clip(x, -0.8, 1.1), [(3, 5)])
    yield Case("clip at its low limit", lambda x: F.clip(x, -0.5, None), [bounds], kinks="right")
    yield Case("clip at its high limit", lambda x: F.clip(x, None, 0.2), [bounds], kinks="left")
    yield Case("abs", F.abs, [(3, 5)])
    yield Case("sin", F.sin, [(3, 5)])
    yield Case("cos", F.cos, [(3, 5)])
    for name, reduction in (("max", F.max), ("min", F.min), ("var", F.var), ("std", F.std), ("norm", F.norm)):
        yield Case(f"{name} over all", reduction, [(2, 3, 4)])
        yield Case(f"{name} over axes", lambda x, f=reduction: f(x, axis=(-3, 2)), [(2, 3, 4)])
        yield Case(f"{name} over an axis, kept", lambda x, f=reduction: f(x, axis=1, keepdims=True), [(2, 3, 4)])
    yield Case("var, unbiased", lambda x: F.var(x, axis=0, correction=1), [(4, 3)])
    yield Case("std, unbiased", lambda x: F.std(x, axis=0, correction=1), [(4, 3)])
    for name, f, sides in (("max", F.max, ("right", "left")), ("min", F.min, ("left", "right"))):
        yield Case(f"{name}, the first of equal ones", lambda x, f=f: f(F.stack([x, move(level, x.device)]), axis=0),
                   [level.copy()], kinks=sides[0])
        yield Case(f"{name}, the second of equal ones", lambda x, f=f: f(F.stack([move(level, x.device), x]), axis=0),
                   [level.copy()], kinks=sides[1])
    yield Case("entries at argmax", lambda x: x[np.arange(3), F.argmax(x, axis=1).to("cpu")], [(3, 5)])
    for mode in ("constant", "edge", "reflect"):
        yield Case(f"pad, {mode}", lambda x, m=mode: F.pad(x, [(0, 1), (2, 4), (1, 0)], m), [(2, 3, 4)])
    yield Case("flip", lambda x: F.flip(x, axis=(0, -1)), [(2, 3, 4)])


def _operations() -> Iterator[Case]:
    def seeded_dropout(x: Tensor) -> Tensor:
        return F.dropout(x, rate=0.4, generator=np.random.default_rng(3), training=True)

    def normalised(x: Tensor, gamma: Tensor, beta: Tensor, training: bool) -> Tensor:
        mean, var = (move(np.array(each, x.dtype), x.device) for each in ([0.3, -0.2, 0.1], [1.5, 0.7, 1.1]))
        return F.batch_norm(x, gamma, beta, mean, var, training=training)

    yield Case("relu", F.relu, [(3, 5)])
    yield Case("relu at its kink", F.relu, [np.array([[-1.0, 0.0, 0.0], [2.0, 0.0, 3.0]])], kinks="left")
    yield Case("tanh", F.tanh, [(3, 5)])
    yield Case("sigmoid", F.sigmoid, [(3, 5)])
    yield Case("softmax", lambda x: F.softmax(x, axis=1), [(3, 5)])
    yield Case("log_softmax", lambda x: F.log_softmax(x, axis=1), [(3, 5)])
    yield Case("dropout", seeded_dropout, [(3, 5)])
    yield Case("dense", F.dense, [(3, 5), (4, 5), (4,)])
    yield Case("conv2d", F.conv2d, [(2, 3, 7, 6), (4, 3, 3, 2), (4,)])
    yield Case("conv2d, stride and padding", lambda x, w, b: F.conv2d(x, w, b, stride=(2, 3), padding=(1, 2)),
               [(2, 3, 7, 6), (4, 3, 3, 2), (4,)])
    for method in ("direct", "spectra"):  # a tile of the latter; and several, with a part of one outside
        yield Case(f"conv2d, {method}", lambda x, w, b, m=method: F.conv2d(x, w, b, padding=(0, 1), method=m),
                   [(2, 2, 7, 26), (3, 2, 4, 3), (3,)])
        yield Case(f"conv3d, {method}", lambda x, w, b, m=method: F.conv3d(x, w, b, padding=(1, 1, 0), method=m),
                   [(2, 2, 3, 4, 5), (3, 2, 2, 3, 3), (3,)])
    yield Case("conv3d", F.conv3d, [(2, 3, 4, 5, 3), (4, 3, 2, 3, 2), (4,)])
    yield Case("conv3d, stride and padding",
               lambda x, w, b: F.conv3d(x, w, b, stride=(2, 1, 3), padding=(1, 0, 2)),
               [(2, 3, 4, 5, 3), (4, 3, 2, 3, 2), (4,)])
    yield Case("max_pool2d", lambda x: F.max_pool2d(x, 2), [(2, 3, 7, 6)])
    yield Case("max_pool2d, overlapping, padded", lambda x: F.max_pool2d(x, (3, 2), stride=(2, 1), padding=1),
               [(2, 3, 7, 6)])
    yield Case("avg_pool2d", lambda x: F.avg_pool2d(x, 2), [(2, 3, 7, 6)])
    yield Case("avg_pool2d, overlapping, padded", lambda x: F.avg_pool2d(x, (3, 2), stride=(2, 1), padding=1),
               [(2, 3, 7, 6)])
    for name, pool in (("max_pool3d", F.max_pool3d), ("avg_pool3d", F.avg_pool3d)):
        yield Case(name, lambda x, f=pool: f(x, 2), [(2, 2, 4, 5, 6)])
        yield Case(f"{name}, overlapping, padded", lambda x, f=pool: f(x, (2, 3, 2), stride=(1, 2, 1), padding=1),
                   [(2, 2, 4, 5, 3)])
    for padding in ("zeros", 0.5, "border", "reflection", "wrap"):
        yield Case(f"spline_prefilter, {padding}", lambda U, p=padding: F.spline_prefilter(U, p), [(2, 1, 3, 4)])
    yield Case("spline_prefilter of a volume, reflection, edges",
               lambda U: F.spline_prefilter(U, "reflection", align_corners=False), [(1, 2, 3, 2, 4)])
    for training in (True, False):
        yield Case(f"batch_norm, {'training' if training else 'evaluation'}",
                   lambda x, g, b, t=training: normalised(x, g, b, t), [(4, 3, 2, 5), (3,), (3,)])
    yield Case("cross_entropy", _classified, [(3, 5)])
    weights = [0.5, 0.0, 2.0, 1.0, 0.7]
    for words in ({"ignore_index": 0}, {"class_weights": weights}, {"label_smoothing": 0.3}, {"reduction": "none"},
                  {"ignore_index": 2, "class_weights": weights, "label_smoothing": 0.1, "reduction": "sum"}):
        yield Case(f"cross_entropy, {', '.join(words)}", lambda x, w=words: _classified(x, **w), [(3, 5)])
    yield Case("mse_loss", F.mse_loss, [(3, 5), (3, 5)])
    yield Case("triplet_hinge", lambda a, p, n: F.triplet_hinge(a, p, n, alpha=1.0), [(3, 5), (3, 5), (3, 5)])


def _classified(scores: Tensor, **options: Any) -> Tensor:
    return F.cross_entropy(scores, Tensor(np.array([2, 0, 4])).to(scores.device), **options)


def _layers() -> Iterator[Case]:
    def layer(name: str, module: nn.Module, *inputs: Any) -> Case:
        module.astype(np.float64)
        return Case(name, module, list(inputs), parameters=module.parameters())

    rng = np.random.default_rng(5)
    yield layer("nn.Dense", nn.Dense(5, 4, generator=rng), (3, 5))
    yield layer("nn.Conv2d", nn.Conv2d(3, 4, (3, 2), stride=2, padding=1, generator=rng), (2, 3, 7, 6))
    yield layer("nn.Conv3d", nn.Conv3d(3, 4, (2, 3, 2), stride=2, padding=1, generator=rng), (2, 3, 4, 5, 3))
    yield layer("nn.MaxPool2d", nn.MaxPool2d(2), (2, 3, 7, 6))
    yield layer("nn.AvgPool2d", nn.AvgPool2d(2), (2, 3, 7, 6))
    yield layer("nn.MaxPool3d", nn.MaxPool3d(2), (2, 2, 4, 5, 6))
    yield layer("nn.AvgPool3d", nn.AvgPool3d(2), (2, 2, 4, 5, 6))
    yield layer("nn.BatchNorm1d", nn.BatchNorm1d(3), (4, 3, 5))
    yield layer("nn.BatchNorm2d", nn.BatchNorm2d(3), (4, 3, 2, 5))
    yield layer("nn.BatchNorm3d", nn.BatchNorm3d(2), (2, 2, 2, 3, 2))

    def redrawn(x: Tensor, dropout: nn.Dropout) -> Tensor:
        dropout.generator = np.random.default_rng(3)  # the same entries at every evaluation
        return dropout(x)

    yield Case("nn.Dropout", lambda x: redrawn(x, nn.Dropout(0.4)), [(3, 5)])
    yield Case("nn.Dropout2d", lambda x: redrawn(x, nn.Dropout2d(0.4)), [(3, 4, 2, 3)])
    yield layer("nn.ReLU", nn.ReLU(), (3, 5))
    yield layer("nn.Flatten", nn.Flatten(), (2, 3, 4, 5))
    for dims, U, size in ((2, (2, 1, 4, 5), (3, 2)), (3, (2, 1, 4, 3, 2), (2, 3, 2))):
        for family in families(dims, size):
            yield layer(f"nn.SpatialTransformer, {family!r}", _transformer(family, U, size, rng), U)
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, generator=rng), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(12, 5, generator=rng))
    case = layer("a convolutional network and its loss", network, (3, 1, 9, 6))
    case.fn = lambda x: _classified(network(x))
    yield case


def _transformer(family: Any, U: tuple[int, ...], size: tuple[int, ...], rng: np.random.Generator) -> nn.Module:
    """A transformer away from the identity, whose coordinates are pixels; depth is summed, where there is one."""
    regression = nn.Dense(4, family.parameters, generator=rng)
    localisation = nn.Sequential(nn.Flatten(), nn.Dense(int(np.prod(U[1:])), 4, generator=rng), nn.ReLU(), regression)
    transformer = nn.SpatialTransformer(localisation, family, size, flatten_depth=len(size) == 3)
    for parameter in regression.parameters():
        parameter.data += 0.05 * rng.standard_normal(parameter.shape).astype(np.float32)
    return transformer


def main(device: str = "cpu", every: bool = False) -> int:
    """Print the table, a line for each group of rows or for `every` row; the exit code is 1 if a row fails.

    On "cpu" a row compares gradients with finite differences, on "cuda" values and gradients with the CPU's.
    """
    start, failed, count = time.perf_counter(), 0, 0
    print(f"{'what':<64} {'rows':>4} {'derivatives':>11} {'kinks':>5}  largest relative error")
    for group, rows in groupby(cases(), key=lambda case: case.group if case.group and not every else case.name):
        reports: list[GradientReport] = []
        for case in rows:
            count += 1
            try:
                reports.append(case.run() if device == "cpu" else case.compare(device))
            except Exception as error:  # one row that fails in any way leaves the others
                failed += 1
                print(f"{case.name}  FAILED  {error}")
        if reports:
            print(f"{group:<64} {len(reports):>4} {sum(report.entries for report in reports):>11} "
                  f"{sum(len(report.kinks) for report in reports):>5}  {max(report.error for report in reports):.1e}")
    seconds = time.perf_counter() - start
    what = "finite differences" if device == "cpu" else "the CPU"
    print(f"{count - failed} of {count} rows agree with {what} in float64 ({device}, {seconds:.0f} s)")
    return 1 if failed else 0
