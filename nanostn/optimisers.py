"""Optimisers, in order of complexity, and a limit to the gradients that they are given.

Parameters come as a list, or as groups with options of their own, as the localisation network needs:

    SGD([{"parameters": classifier}, {"parameters": localisation, "learning_rate": 0.001}], learning_rate=0.01)

`state()` is a nested dict of numbers and arrays that `load_state` takes back: training goes on to the same bits.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from nanostn import overwrites
from nanostn.autograd import no_grad
from nanostn.checks import LARGEST, argument_error, checked_flag, checked_number, converted, describe
from nanostn.kernels.gpu.arrays.numpy_functions import is_device, move
from nanostn.kernels.networks import updates
from nanostn.module import Parameter
from nanostn.reductions import norm
from nanostn.tensor import Array, Tensor


class Optimiser:
    """Groups of parameters, what is remembered of each parameter between steps, and the step."""

    memories: tuple[str, ...] = ()  # one array like the parameter for each of these names

    def __init__(self, parameters: Any, **options: float):
        if not isinstance(parameters, list | tuple | Iterator):
            raise argument_error(type(self).__name__, "parameters", "a list of nn.Parameter objects or of groups",
                                 describe(parameters), "model.parameters() lists those of a network")
        parameters = list(parameters)
        groups = parameters if parameters and isinstance(parameters[0], dict) else [{"parameters": parameters}]
        self.groups: list[dict[str, Any]] = []
        self.steps = 0
        seen: set[int] = set()
        for given in groups:
            if not isinstance(given, dict) or "parameters" not in given:
                raise argument_error(type(self).__name__, "every parameter group", "a dict with 'parameters'",
                                     describe(given), "groups and single parameters do not mix")
            unknown = sorted(given.keys() - options.keys() - {"parameters"})
            if unknown:
                raise argument_error(type(self).__name__, "a parameter group's keys",
                                     f"'parameters' and some of {sorted(options)}", unknown)
            if not isinstance(given["parameters"], list | tuple | Iterator):
                raise argument_error(type(self).__name__, "a group's parameters", "a list of nn.Parameter objects",
                                     describe(given["parameters"]))
            group = {**options, **given, "parameters": list(given["parameters"])}
            for p in group["parameters"]:
                if not isinstance(p, Parameter):
                    raise argument_error(type(self).__name__, "parameters", "nn.Parameter objects", describe(p))
                if id(p) in seen:
                    raise argument_error(type(self).__name__, "every parameter", "in one group only", describe(p))
                seen.add(id(p))
            for name in ("learning_rate", "weight_decay"):
                checked_number(type(self).__name__, name, group[name], 0, LARGEST)
            group["memory"] = [tuple(updates.zeros_like(p.data) for _ in self.memories) for p in group["parameters"]]
            group["steps"] = [0] * len(group["memory"])  # that each parameter has moved
            self.groups.append(group)
        if not seen:
            raise argument_error(type(self).__name__, "parameters", "at least one parameter", "none")

    def zero_grad(self) -> None:
        for group in self.groups:
            for p in group["parameters"]:
                p.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        who = f"{type(self).__name__}.step"
        for group in self.groups:  # all of them, before anything moves
            for p, memory in zip(group["parameters"], group["memory"], strict=True):
                self._check(who, p, memory)
        self.steps += 1
        for group in self.groups:
            moved = [i for i, p in enumerate(group["parameters"]) if p.grad is not None]
            for i in moved:
                group["steps"][i] += 1
            for steps in sorted({group["steps"][i] for i in moved}):
                chosen = [(group["parameters"][i], group["memory"][i]) for i in moved if group["steps"][i] == steps]
                self.update([(p.data, p.grad, *memory) for p, memory in chosen], group, steps)
            for i in moved:
                overwrites.note(group["parameters"][i].data, who, group["parameters"][i].path)

    @staticmethod
    def _check(who: str, p: Parameter, memory: tuple[Array, ...]) -> None:
        """An error unless the parameter is what it was when its memory was made; a copy of it would move in vain."""
        data = p.data
        if any(is_device(array) != is_device(data) for array in memory):
            raise argument_error(who, "every parameter", "where it was when the optimiser was made",
                                 f"one {p.shape} that is on {'a device' if is_device(data) else 'the CPU'} now",
                                 "move the model with .to() first, then make its optimiser")
        for array in memory:
            if (array.shape, array.dtype) != (data.shape, data.dtype):
                raise argument_error(who, "every parameter", f"{describe(array)} as when the optimiser was made",
                                     f"{p.path} {describe(data)}", "make the optimiser after such a change")
        if not is_device(data) and not data.flags.carray:
            raise argument_error(who, "every parameter", "a C-contiguous array that can be written into",
                                 f"{p.path} {describe(data)} that is not", "assign .data anew")

    def update(self, arrays: list[tuple[Array, ...]], group: dict[str, Any], steps: int) -> None:
        """Move parameters in place: `arrays` has (p, gradient, memories ...) of each, and it is step `steps` of all."""
        raise TypeError(f"{type(self).__name__}: an optimiser should define update(), received none")

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = {"steps": self.steps}
        for i, group in enumerate(self.groups):
            arrays = {f"{k}.{name}": array for k, memory in enumerate(group["memory"])
                      for name, array in zip(self.memories, memory, strict=True)}
            found[f"group {i}"] = {"learning_rate": group["learning_rate"], "steps": np.array(group["steps"]), **arrays}
        return found

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back a `state()`; nothing is changed unless all names, shapes and numbers fit."""
        own, who = self.state(), f"{type(self).__name__}.load_state"
        if not isinstance(state, dict):
            raise argument_error(who, "the state", "a dict that state() has made", describe(state))
        for name, group in own.items():  # states of before there were steps for each parameter
            saved = state.get(name)
            if isinstance(group, dict) and isinstance(saved, dict) and "steps" not in saved:
                state = {**state, name: {**saved, "steps": np.full(len(group["steps"]), state.get("steps", 0))}}
        shapes = [{name: np.shape(value) for name, value in _flat(s).items()} for s in (own, state)]
        if shapes[0] != shapes[1]:
            raise argument_error(who, "the state", "of an optimiser like this one, with the same parameters",
                                 "names or shapes that differ", "is it the state of another model or optimiser?")
        found = {name: move(value, "cpu") if is_device(value) else value for name, value in _flat(state).items()}
        numbers = {name: converted(who, name, value, np.int64 if name.endswith("steps") else np.float64
                                   if name.endswith("learning_rate") else _flat(own)[name].dtype)
                   for name, value in found.items()}
        self.steps = int(numbers["steps"])
        for i, group in enumerate(self.groups):
            saved = {name: numbers[f"group {i}/{name}"] for name in own[f"group {i}"]}
            group["learning_rate"], group["steps"] = float(saved["learning_rate"]), saved["steps"].tolist()
            group["memory"] = [tuple(updates.copy_like(saved[f"{k}.{name}"], array)
                                     for name, array in zip(self.memories, memory, strict=True))
                               for k, memory in enumerate(group["memory"])]


def _flat(state: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in state.items():
        found |= _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found


class SGD(Optimiser):
    """v <- momentum v + g + weight_decay p;  p <- p - learning_rate v   (nesterov: ... (g + momentum v)).

    torch: optim.SGD(parameters, lr, momentum, weight_decay=weight_decay, nesterov=nesterov)
    """

    memories = ("velocity",)

    def __init__(self, parameters: Any, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 weight_decay: float = 0.0):
        super().__init__(parameters, learning_rate=learning_rate, momentum=momentum, nesterov=nesterov,
                         weight_decay=weight_decay)
        for group in self.groups:
            checked_flag("SGD", "nesterov", group["nesterov"])
            momentum = checked_number("SGD", "momentum", group["momentum"], 0, 1, below=True)
            if group["nesterov"] and not momentum:
                raise argument_error("SGD", "momentum", "above 0 and below 1 with nesterov=True", group["momentum"])

    def update(self, arrays: list[tuple[Array, ...]], group: dict[str, Any], steps: int) -> None:
        updates.sgd(arrays, group["learning_rate"], group["momentum"], group["weight_decay"], group["nesterov"])


class Adam(Optimiser):
    """m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  p <- p - learning_rate m^ / (sqrt(v^) + eps).

    m^ = m / (1 - b1^t) and v^ = v / (1 - b2^t) undo the start at zero, with t the steps that the parameter
    has moved, so that one which begins late begins as the others did; `weight_decay` adds weight_decay p to g.
    Kingma and Ba 2015, algorithm 1.   torch: optim.Adam(parameters, lr, betas, eps, weight_decay)
    """

    memories = ("m", "v")
    decoupled = False

    def __init__(self, parameters: Any, learning_rate: float = 0.001, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.0):
        who = type(self).__name__
        if not (isinstance(betas, tuple | list) and len(betas) == 2):
            raise argument_error(who, "betas", "two numbers from 0 to below 1", describe(betas))
        for beta in betas:
            checked_number(who, "betas", beta, 0, 1, below=True)
        checked_number(who, "eps", eps, 0, LARGEST)
        self.betas, self.eps = betas, eps
        super().__init__(parameters, learning_rate=learning_rate, weight_decay=weight_decay)

    def update(self, arrays: list[tuple[Array, ...]], group: dict[str, Any], steps: int) -> None:
        updates.adam(arrays, steps, group["learning_rate"], *self.betas, self.eps, group["weight_decay"],
                     self.decoupled)


class AdamW(Adam):
    """Adam whose decay is not part of the gradient: p <- (1 - learning_rate weight_decay) p - Adam's step.

    So it is not divided by sqrt(v^): every weight decays at the same rate.
    Loshchilov and Hutter 2019, algorithm 2.   torch: optim.AdamW(parameters, lr, betas, eps, weight_decay)
    """

    decoupled = True

    def __init__(self, parameters: Any, learning_rate: float = 0.001, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.01):
        super().__init__(parameters, learning_rate, betas, eps, weight_decay)


def clip_gradients(parameters: Any, max_norm: float) -> float:
    """Scale all gradients by one factor, so that their norm is `max_norm` at most; return the norm they had.

    norm = sqrt(sum of the squares of all entries of all gradients), as of one long vector. To be called between
    `backward` and `step`. An error where it is not finite: no factor could mend that.
    Pascanu, Mikolov and Bengio 2013, algorithm 1.   torch: nn.utils.clip_grad_norm_(parameters, max_norm)
    """
    who = "clip_gradients"
    if not isinstance(parameters, list | tuple | Iterator):
        raise argument_error(who, "parameters", "a list of nn.Parameter objects", describe(parameters),
                             "model.parameters() lists those of a network")
    parameters = list(parameters)
    for p in parameters:
        if not isinstance(p, Parameter):
            raise argument_error(who, "parameters", "nn.Parameter objects", describe(p))
    checked_number(who, "max_norm", max_norm, 0, LARGEST)
    with_gradients = [p for p in parameters if p.grad is not None]
    with no_grad():
        lengths = [(p, norm(Tensor(p.grad)).item()) for p in with_gradients]
    for p, length in lengths:
        if not math.isfinite(length):
            raise argument_error(who, "every gradient", "of a finite norm", f"one whose norm is {length}, of {p.path}")
    found = math.hypot(*(length for _, length in lengths))
    if found > max_norm:
        for p in with_gradients:
            p.grad = p.grad * p.grad.dtype.type(max_norm / found)
    return found
