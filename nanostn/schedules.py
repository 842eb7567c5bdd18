"""Schedules of the learning rate, to be stepped after each step of the optimiser.

`state()` is a dict of numbers that `load_state` takes back: training goes on to the same bits.
"""

import math
from typing import Any

import numpy as np

from nanostn.checks import LARGEST, argument_error, checked_number, converted, describe
from nanostn.optimisers import Optimiser


class Schedule:
    """What schedules share: they count steps and set every group's learning rate to a factor times its first value."""

    def __init__(self, optimiser: Optimiser):
        if not isinstance(optimiser, Optimiser):
            raise argument_error(type(self).__name__, "optimiser", "an optimiser", describe(optimiser))
        self.optimiser = optimiser
        self.steps = 0
        self.initial = [group["learning_rate"] for group in optimiser.groups]

    def factor_at(self, steps: int) -> float:
        raise TypeError(f"{type(self).__name__}: a schedule should define factor_at(), received none")

    def step(self) -> None:
        """To be called after each step of the optimiser."""
        self.steps += 1
        self._set()

    def _set(self) -> None:
        for group, rate in zip(self.optimiser.groups, self.initial, strict=True):
            group["learning_rate"] = rate * self.factor_at(self.steps)

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "initial": np.array(self.initial)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back a `state()`: the first rates are in it, since the optimiser's may have fallen by now."""
        initial = converted("load_state", "initial", state.get("initial", self.initial), np.float64)
        if initial.shape != (len(self.initial),):
            raise argument_error("load_state", "initial", f"{len(self.initial)} learning rates, one for each group",
                                 describe(initial), "is it the state of a schedule for another optimiser?")
        self.steps, self.initial = int(state["steps"]), initial.tolist()
        self._set()


def _count(name: str, argument: str, steps: Any) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise argument_error(name, argument, "a positive number of steps", describe(steps))


class StepDecay(Schedule):
    """Multiply every group's learning rate by `factor` after each `every` steps.

    torch: optim.lr_scheduler.StepLR(optimiser, every, factor)
    """

    def __init__(self, optimiser: Optimiser, every: int, factor: float = 0.1):
        _count("StepDecay", "every", every)
        checked_number("StepDecay", "factor", factor, 0, LARGEST)
        super().__init__(optimiser)
        self.every, self.factor = every, factor

    def factor_at(self, steps: int) -> float:
        return self.factor ** (steps // self.every)


class CosineDecay(Schedule):
    """Let every group's learning rate fall to zero along half a cosine: (1 + cos(pi t / total)) / 2 after t steps.

    Loshchilov and Hutter 2017, eq. 5, without restarts.   torch: optim.lr_scheduler.CosineAnnealingLR(optimiser, total)
    """

    def __init__(self, optimiser: Optimiser, total: int):
        _count("CosineDecay", "total", total)
        super().__init__(optimiser)
        self.total = total

    def factor_at(self, steps: int) -> float:
        return (1 + math.cos(math.pi * min(steps, self.total) / self.total)) / 2


class LinearWarmUp(Schedule):
    """Let every group's learning rate rise in `steps` equal steps to its value, which the first step has a share of.

    The factor of step t = 0, 1, ... is (t + 1) / steps, and from t = steps on it is 1, or that of the schedule `then`
    at t - steps: `LinearWarmUp(adam, 500, then=CosineDecay(adam, 9500))`. Only this one is stepped then.
    Goyal et al. 2017, section 2.2.   torch: lr_scheduler.LinearLR(optimiser, 1 / steps, total_iters=steps - 1), with
    `then` in a SequentialLR(optimiser, [LinearLR(...), then], milestones=[steps])
    """

    def __init__(self, optimiser: Optimiser, steps: int, then: Schedule | None = None):
        _count("LinearWarmUp", "steps", steps)
        if then is not None and not (isinstance(then, Schedule) and then.optimiser is optimiser):
            raise argument_error("LinearWarmUp", "then", "a schedule for the same optimiser, or None", describe(then))
        super().__init__(optimiser)
        self.warm, self.then = steps, then
        self._set()

    def factor_at(self, steps: int) -> float:
        if steps < self.warm:
            return (steps + 1) / self.warm
        return 1.0 if self.then is None else self.then.factor_at(steps - self.warm)


class GroupWarmUp(Schedule):
    """Let one group of the optimiser begin later: its learning rate is 0 for `frozen` steps and rises in `steps` more.

    Otherwise the schedule is `then`, which is not stepped itself. The group's factor at t steps is that of `then` times
    0 for t < frozen, and (t - frozen + 1) / steps from there up to 1. For a localisation network that is to wait until
    the classifier gives it gradients worth following.
    torch: lr_scheduler.LambdaLR(optimiser, [factor, lambda t: factor(t) * min(max(t - frozen + 1, 0) / steps, 1)])
    """

    def __init__(self, optimiser: Optimiser, group: int, frozen: int, steps: int, then: Schedule):
        if not isinstance(then, Schedule) or then.optimiser is not optimiser:
            raise argument_error("GroupWarmUp", "then", "a schedule for the same optimiser", describe(then))
        if isinstance(group, bool) or not isinstance(group, int) or not 0 <= group < len(optimiser.groups):
            raise argument_error("GroupWarmUp", "group", f"the number of one of {len(optimiser.groups)} groups",
                                 describe(group))
        for argument, value in (("frozen", frozen), ("steps", steps)):
            if value != 0:
                _count("GroupWarmUp", argument, value)
        super().__init__(optimiser)
        self.initial = then.initial  # the rates may have been set by it
        self.group, self.frozen, self.warm, self.then = group, frozen, steps, then
        self._set()

    def factor_at(self, steps: int) -> float:
        return self.then.factor_at(steps)

    def part_at(self, steps: int) -> float:
        """Of the group, beside the factor of all."""
        if steps < self.frozen:
            return 0.0
        return min((steps - self.frozen + 1) / self.warm, 1.0) if self.warm else 1.0

    def _set(self) -> None:
        super()._set()
        self.optimiser.groups[self.group]["learning_rate"] *= self.part_at(self.steps)
