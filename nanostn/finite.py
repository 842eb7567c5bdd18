"""When a run diverges: noticed in the very step, named by layer, before anything is written over.

An infinite theta reads far outside the image and gives a finite, empty picture, so theta is watched by itself; NaN
anywhere reaches the loss. All are checked after the backward pass, before the update. A finite gradient times a large
learning rate can still throw the parameters out of range: the next step notices, or the evaluation, before the epoch's
checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from nanostn import no_grad
from nanostn.kernels.gpu.arrays.finite import are_finite
from nanostn.kernels.gpu.arrays.numpy_functions import is_device
from nanostn.nn import Module


class NotFinite(ArithmeticError):
    """A loss, theta or gradient is infinite or not a number."""


def is_finite(array: Any) -> bool:
    """Whether all entries are. The sum of squares is cheap and tells, but for entries so large that it overflows."""
    if is_device(array):
        return bool(are_finite([array])[0])
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.einsum("i,i->", flat, flat))) or bool(np.isfinite(flat).all())


def first_not_finite(arrays: Sequence[Any]) -> int | None:
    """The number of the first array with an infinite or undefined entry; on the GPU one look at all of them."""
    if arrays and is_device(arrays[0]):
        found = are_finite(arrays)
        return None if found.all() else int(found.argmin())
    return next((i for i, array in enumerate(arrays) if not is_finite(array)), None)


def check_gradients(model: Module) -> None:
    """Raise NotFinite with the name of the first parameter whose gradient is not finite."""
    named = [(name, parameter.grad) for name, parameter in model.named_parameters() if parameter.grad is not None]
    bad = first_not_finite([gradient for _, gradient in named])
    if bad is not None:
        raise NotFinite(f"the gradient of {named[bad][0]} is no longer finite")


def name_first_layer(model: Module, forward: Callable[[], Any]) -> str:
    """Run `forward` once more and name the first layer with a parameter, or a result, that is not finite."""
    for name, parameter in model.named_parameters():
        if not is_finite(parameter.data):
            return f"parameter {name}"
    found: list[str] = []

    def check(name: str, value: Any) -> None:
        if not is_finite(value.data):
            found.append(name)

    with after_forward([(name, module) for name, module in model.named_modules() if name], check), no_grad():
        forward()
    return f"layer {found[0]}" if found else "the loss itself"


@contextmanager
def after_forward(modules: list[tuple[str, Module]], check: Callable[[str, Any], None],
                  before: Callable[[str, Any], None] | None = None) -> Iterator[None]:
    """Call `check(name, result)` after each forward pass of these modules, and `before(name, input)` before it."""
    def watched(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any) -> Any:
            if before is not None:
                before(name, *inputs)
            value = forward(*inputs)
            check(name, value)
            return value
        return run

    # An attribute of an object hides the method of its class. Another watch may have set one: that is kept.
    earlier = [(module, vars(module).get("forward")) for _, module in modules]
    for name, module in modules:
        vars(module)["forward"] = watched(name, module.forward)
    try:
        yield
    finally:
        for module, forward in earlier:
            del vars(module)["forward"]
            if forward is not None:
                vars(module)["forward"] = forward
