"""The gradient checker: what `backward()` says against finite differences in float64.

Outputs are contracted with a random cotangent from [0.5, 1.5), so that none is ignored, and the derivative of that one
number is compared, first along random directions (two evaluations each, whatever the size), then entry by entry. At a
kink the one-sided derivatives differ by an amount that does not shrink with the step. There no central difference
means anything; the checker says that it is a kink and accepts exactly what the operation promises there: the
derivative from the left or the one from the right, which are the ends of what lies between the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanostn.autograd import no_grad
from nanostn.checks import argument_error, describe, is_float32
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.tensor import Tensor


class GradientError(AssertionError):
    """A gradient that finite differences contradict."""


@dataclass
class GradientReport:
    """What a check that passed has seen: the largest relative error, entries compared, and the kinks among them."""

    name: str
    error: float = 0.0
    entries: int = 0
    kinks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinks = f", {len(self.kinks)} at a kink" if self.kinks else ""
        return f"{self.name}: {self.entries} derivatives{kinks}, largest relative error {self.error:.1e}"


def gradcheck(fn: Callable[..., Tensor], inputs: Sequence[Tensor], *, name: str | None = None, kinks: str = "refuse",
              directions: int = 2, full: bool = True, step: float = 1e-6, tolerance: float = 1e-5,
              seed: int = 0) -> GradientReport:
    """Compare the gradients of `fn(*inputs)` with finite differences; return a report, or raise GradientError.

    Inputs are float64 tensors; those with `requires_grad` are checked (parameters of a layer may be among them: their
    data is moved in place and put back). `kinks` says what is promised where a one-sided derivative differs: "refuse"
    (none should be met), or "left" or "right", which leaves out the random directions, since they mix sides. The
    relative error is measured against the larger of the two numbers, but no less than a thousandth of the largest
    derivative of that input. Inputs are on the CPU; `fn` may copy them to a GPU and compute there.
    torch: autograd.gradcheck

        >>> x = Tensor(np.array([-1.0, 0.0, 2.0]), requires_grad=True)
        >>> print(gradcheck(nanostn.functional.relu, [x], kinks="left"))
        relu: 3 derivatives, 1 at a kink, largest relative error ...
    """
    name = str(name or getattr(fn, "__name__", "function"))
    if kinks not in ("refuse", "left", "right"):
        raise argument_error("gradcheck", "kinks", "'refuse', 'left' or 'right'", repr(kinks))
    if not callable(fn):
        raise argument_error("gradcheck", "fn", "a function of tensors", describe(fn))
    if not isinstance(inputs, list | tuple):
        raise argument_error("gradcheck", "inputs", "a list of tensors", describe(inputs), "write [x] for one input")
    for what, number, least in (("directions", directions, 0), ("seed", seed, 0), ("step", step, 1e-300),
                                ("tolerance", tolerance, 1e-300)):
        whole = what in ("directions", "seed")
        if not is_float32(number) or number < least or (whole and not isinstance(number, int | np.integer)):
            raise argument_error("gradcheck", what, "an integer, 0 or more" if whole else "a positive number",
                                 describe(number))
    inputs = list(inputs)
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or (x.requires_grad and x.dtype != np.float64):
            raise argument_error("gradcheck", f"input {i}", "a float64 tensor", describe(x),
                                 "finite differences drown in float32 rounding; convert with .astype(np.float64)")
        if x.requires_grad and x.device != "cpu":
            raise argument_error("gradcheck", f"input {i}", "on the CPU", f"a tensor on {x.device}",
                                 f"its entries are moved one by one; fn may copy it with .to('{x.device}')")
        if x.requires_grad and not x.data.flags.writeable:
            raise argument_error("gradcheck", f"input {i}", "a tensor of an array that can be written into",
                                 "one that is read-only", "its entries are moved one by one; .copy() gives another")
    checked = [i for i, x in enumerate(inputs) if x.requires_grad]
    if not checked:
        raise argument_error("gradcheck", "inputs", "at least one tensor with requires_grad=True", "none")

    if not full and (kinks != "refuse" or directions < 1):
        raise argument_error("gradcheck", "full", "True, or directions 1 or more with kinks='refuse'", full,
                             "nothing would be compared: random directions mix the sides of a kink")
    rng = np.random.default_rng(seed)
    with no_grad():
        result = fn(*inputs)
    if not isinstance(result, Tensor):
        raise argument_error("gradcheck", "fn", "a function that gives a tensor", f"one that gives {describe(result)}")
    centre = result.numpy()
    cotangent = rng.uniform(0.5, 1.5, centre.shape)

    def value() -> float:
        with no_grad():
            return float(np.sum(fn(*inputs).numpy() * cotangent))

    gradients = _gradients(name, fn, inputs, checked, cotangent)
    check = _Check(name, value, float(np.sum(centre * cotangent)), kinks, step, tolerance)
    if kinks == "refuse":
        for k in range(directions):
            moves = [rng.standard_normal(inputs[i].shape) for i in checked]
            analytic = sum(float(np.sum(g * m)) for g, m in zip(gradients, moves, strict=True))
            check.along([inputs[i].data for i in checked], moves, analytic, 0.0, f"random direction {k}")
    if full:
        for i, gradient in zip(checked, gradients, strict=True):
            floor = 1e-3 * float(np.max(np.abs(gradient), initial=0.0))
            for index in np.ndindex(inputs[i].shape):
                move = np.zeros(inputs[i].shape)
                move[index] = 1.0
                place = f"input {i}, entry {index}"
                check.along([inputs[i].data], [move], float(gradient[index]), floor, place)
    return check.report


@dataclass
class Case:
    """A check to be run: a function, the shapes of its inputs (or the inputs), and what it promises at kinks.

    `group` is what a table may put on one line; without `full` there are the random directions alone.
    """

    name: str
    fn: Callable[..., Tensor]
    inputs: list[Any]
    kinks: str = "refuse"
    parameters: Sequence[Tensor] = ()  # a layer's own, checked beside its inputs
    full: bool = True
    group: str = ""

    def tensors(self) -> list[Tensor]:
        rng = np.random.default_rng(sum(map(ord, self.name)))
        return [Tensor(rng.uniform(0.3, 1.7, x) * rng.choice([-1, 1], x) if isinstance(x, tuple) else x,
                       requires_grad=True) for x in self.inputs]

    def run(self) -> GradientReport:
        """The gradients against finite differences."""
        tensors = self.tensors()
        return gradcheck(lambda *xs: self.fn(*xs[: len(tensors)]), [*tensors, *self.parameters], name=self.name,
                         kinks=self.kinks, full=self.full)

    def compare(self, device: str, tolerance: float = 1e-9) -> GradientReport:
        """The value and the gradients on a device against the CPU's, as a part of the largest entry of each."""
        report = GradientReport(self.name)
        expected, received = self._arrays("cpu"), self._arrays(device)
        for i, (here, there) in enumerate(zip(expected, received, strict=True)):
            what = "the value" if i == 0 else f"the gradient of input {i - 1}"
            if here.shape != there.shape or not np.array_equal(np.isnan(here), np.isnan(there)):
                raise GradientError(f"{self.name}: {what} should be {describe(here)} as on the CPU, received "
                                    f"{describe(there)}, or numbers in other places")
            known = np.isfinite(here)
            largest = np.abs(here[known]).max(initial=1e-9)
            error = float(np.abs(there[known] - here[known]).max(initial=0) / largest)
            if not error <= tolerance:
                raise GradientError(f"{self.name}: {what} differs from the CPU's by {error:.1e} of its largest entry")
            report.error = max(report.error, error)
            report.entries += here.size
        return report

    def _arrays(self, device: str) -> list[np.ndarray]:
        """The value of `fn` on a device and its gradients to the inputs and parameters, as NumPy arrays."""
        tensors = [Tensor(x.to(device).data, requires_grad=True) for x in self.tensors()]
        before = [p.data for p in self.parameters]
        move_all = getattr(self.fn, "to", None)  # a module has buffers too
        try:
            for p in self.parameters:
                _replace(p, move(p.data, device))
            if move_all is not None:
                move_all(device)
            value = self.fn(*tensors)
            dV = np.random.default_rng(1).uniform(0.5, 1.5, value.shape).astype(value.dtype)
            value.backward(move(dV, device))
            return [value.numpy(), *(move(x.grad, "cpu") for x in (*tensors, *self.parameters) if x.grad is not None)]
        finally:
            if move_all is not None:
                move_all("cpu")
            for p, data in zip(self.parameters, before, strict=True):
                _replace(p, data)


def _replace(parameter: Tensor, data: Any) -> None:
    """Other data for a parameter, whose gradient is forgotten."""
    if data is not parameter.data:
        parameter.data = data
    parameter.grad = None


def _gradients(name: str, fn: Callable[..., Tensor], inputs: list[Tensor], checked: list[int],
               cotangent: np.ndarray) -> list[np.ndarray]:
    """The gradients by backward(), which should be the same bits when asked twice."""
    found: list[list[np.ndarray]] = []
    for _ in range(2):
        for i in checked:
            inputs[i].grad = None
        fn(*inputs).to("cpu").backward(cotangent)
        gradients = (inputs[i].grad for i in checked)
        found.append([np.zeros(inputs[i].shape) if g is None else g for i, g in zip(checked, gradients, strict=True)])
    for i, first, second in zip(checked, *found, strict=True):
        inputs[i].grad = None
        if not np.array_equal(first, second, equal_nan=True):
            raise GradientError(f"{name}: the gradient of input {i} is not the same on a second run")
    return found[0]


class _Check:
    """Finite differences of one number along given moves of the inputs' data."""

    def __init__(self, name: str, value: Callable[[], float], centre: float, kinks: str, step: float,
                 tolerance: float):
        self.value, self.centre, self.kinks, self.step, self.tolerance = value, centre, kinks, step, tolerance
        self.report = GradientReport(name)

    def slopes(self, arrays: list[np.ndarray], moves: list[np.ndarray], step: float) -> tuple[float, float]:
        """The difference quotients to the left and to the right."""
        before = [a.copy() for a in arrays]
        quotients = []
        try:
            for side in (-step, step):
                for a, b, move in zip(arrays, before, moves, strict=True):
                    a[...] = b + side * move
                quotients.append((self.value() - self.centre) / side)
        finally:
            for a, b in zip(arrays, before, strict=True):
                a[...] = b
        return quotients[0], quotients[1]

    def along(self, arrays: list[np.ndarray], moves: list[np.ndarray], analytic: float, floor: float,
              place: str) -> None:
        # Where the sum is large and the derivative next to nothing, the quotient is rounding.
        rounding = 16 * np.finfo(float).eps * abs(self.centre) / self.step
        floor = max(floor, rounding / self.tolerance)
        left, right = self.slopes(arrays, moves, self.step)
        numeric, what = (left + right) / 2, "central difference"
        gap = abs(right - left)
        scale = max(abs(left), abs(right), floor, 1e-12)
        if gap > 1e-4 * scale:
            # A smooth function's gap shrinks with the step, a kink's does not.
            nearer = self.slopes(arrays, moves, self.step / 4)
            if abs(nearer[1] - nearer[0]) > 0.5 * gap:
                # One-sided quotients are off by the step times half the curvature; these two together are not.
                left, right = ((4 * near - far) / 3 for near, far in zip(nearer, (left, right), strict=True))
                text = f"{place}: {left:.6g} from the left, {right:.6g} from the right"
                if self.kinks == "refuse":
                    raise GradientError(f"{self.report.name}: a kink at {text}; move the point, "
                                        "or say which derivative is promised (kinks='left' or 'right')")
                self.report.kinks.append(text)
                numeric, what = (left, "left derivative") if self.kinks == "left" else (right, "right derivative")
        error = abs(analytic - numeric) / max(abs(analytic), abs(numeric), floor, 1e-8)
        if not error <= self.tolerance:  # NaN fails
            raise GradientError(f"{self.report.name}: {place}: the gradient should be {numeric:.9g} ({what}), "
                                f"received {analytic:.9g}, relative error {error:.1e}")
        self.report.error = max(self.report.error, error)
        self.report.entries += 1
