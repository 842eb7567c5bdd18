"""Schedules of the learning rate, to be stepped after each step of the optimiser.

`state()` is a dict of numbers that `load_state` takes back: training goes on to the same bits.
"""

import math
from typing import Any

import numpy as np

from nanostn.checks import LARGEST, argument_error, checked_number, converted, describe
from nanostn.optimisers import Optimiser


class Schedule:
    """What schedules share: they count steps and set every group's learning rate to a factor times its first value.

    One that stands before another, `then`, is the only one to be stepped.
    """

    def __init__(self, optimiser: Optimiser, then: "Schedule | None" = None):
        if not isinstance(optimiser, Optimiser):
            raise argument_error(type(self).__name__, "optimiser", "an optimiser", describe(optimiser))
        self.optimiser, self.then = optimiser, then
        if then is not None and not (isinstance(then, Schedule) and then.optimiser is optimiser):
            raise argument_error(type(self).__name__, "then", "a schedule for the same optimiser, or None",
                                 describe(then))
        self.steps = 0
        self.initial: list[float] = ([group["learning_rate"] for group in optimiser.groups] if then is None else
                                     then.initial)  # which may have set the optimiser's already

    def factor_at(self, steps: int) -> float:
        """Of every group."""
        raise TypeError(f"{type(self).__name__}: a schedule should define factor_at(), received none")

    def factors_at(self, steps: int) -> list[float]:
        """One for each group; to be defined in place of `factor_at` where they differ."""
        return [self.factor_at(steps)] * len(self.initial)

    def step(self) -> None:
        """To be called after each step of the optimiser."""
        self.steps += 1
        self._set()

    def _set(self) -> None:
        factors = self.factors_at(self.steps)
        for group, rate, factor in zip(self.optimiser.groups, self.initial, factors, strict=True):
            group["learning_rate"] = rate * factor

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


def _count(name: str, argument: str, steps: Any, least: int = 1) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < least:
        raise argument_error(name, argument, "a positive number of steps" if least else "a number of steps, 0 or more",
                             describe(steps))


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
        super().__init__(optimiser, then)
        self.warm = steps
        self._set()

    def factors_at(self, steps: int) -> list[float]:
        if self.then is not None and steps >= self.warm:
            return self.then.factors_at(steps - self.warm)
        return [min((steps + 1) / self.warm, 1.0)] * len(self.initial)


class GroupWarmUp(Schedule):
    """Let one group of the optimiser begin later: its learning rate is 0 for `frozen` steps and rises in `steps` more.

    The group's factor at step t = 0, 1, ... is 0 for t < frozen, then (t - frozen + 1) / steps up to 1, times that of
    the schedule `then`, if there is one; the other groups follow `then` alone. Only this one is stepped. For a
    localisation network that is to wait until the classifier gives it gradients worth following:

        GroupWarmUp(adam, group=1, frozen=500, steps=1000, then=CosineDecay(adam, 9500))

    torch: lr_scheduler.LambdaLR(optimiser, [factor, lambda t: factor(t) * min(max(t - frozen + 1, 0) / steps, 1)])
    """

    def __init__(self, optimiser: Optimiser, group: int, frozen: int = 0, steps: int = 1,
                 then: Schedule | None = None):
        super().__init__(optimiser, then)
        if isinstance(group, bool) or not isinstance(group, int | np.integer) or not 0 <= group < len(self.initial):
            raise argument_error("GroupWarmUp", "group", f"the number of one of {len(self.initial)} groups, from 0",
                                 describe(group))
        _count("GroupWarmUp", "frozen", frozen, least=0)
        _count("GroupWarmUp", "steps", steps)
        self.group, self.frozen, self.warm = group, frozen, steps
        self._set()

    def factors_at(self, steps: int) -> list[float]:
        factors = [1.0] * len(self.initial) if self.then is None else self.then.factors_at(steps)
        factors[self.group] *= min(max(steps - self.frozen + 1, 0) / self.warm, 1.0)
        return factors
