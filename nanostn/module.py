"""The module: a part of a network that holds parameters and other modules.

A module finds what it holds by looking through its own attributes, and lists among them, in the order in which they
were set; nothing is registered. Names of parameters are attribute paths, `localisation.0.weight`, the same in every
process.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nanostn.checks import argument_error
from nanostn.kernels.device_functions import as_array, contiguous, device_of, is_device, move
from nanostn.tensor import Tensor


class Parameter(Tensor):
    """A tensor that is trained: a module's attribute of this type is one of its parameters."""

    __slots__ = ()

    def __init__(self, data: Any):
        super().__init__(data, requires_grad=True)
        # An optimiser writes into it.
        self.data = contiguous(self.data) if is_device(self.data) else np.require(self.data, requirements=("C", "W"))


class Module:
    """Base class of layers and networks: set attributes in `__init__`, compute in `forward`.   torch: nn.Module"""

    training = True
    buffers: tuple[str, ...] = ()  # names of attributes that are state but not trained (running statistics)

    def forward(self, *inputs: Any) -> Any:
        raise TypeError(f"{type(self).__name__}: a module should define forward(), received none")

    def __call__(self, *inputs: Any) -> Any:
        return self.forward(*inputs)

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list | tuple):
                for i, part in enumerate(value):
                    if isinstance(part, Module):
                        yield f"{name}.{i}", part

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            parts = enumerate(value) if isinstance(value, list | tuple) else ()
            for place, part in [(name, value), *((f"{name}.{i}", part) for i, part in parts)]:
                if isinstance(part, Parameter):
                    yield place, part

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module and all below it, as (path, module)."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, as (path, parameter); one that is shared goes by the first of its paths."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in module._own_parameters():
                if id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def parameters(self) -> list[Parameter]:
        return [parameter for _, parameter in self.named_parameters()]

    def count_parameters(self) -> int:
        return sum(parameter.size for _, parameter in self.named_parameters())

    def state(self) -> dict[str, np.ndarray]:
        """Parameters and buffers by path; the arrays themselves, not copies.   torch: Module.state_dict()"""
        found = {name: parameter.data for name, parameter in self.named_parameters()}
        for path, module in self.named_modules():
            for name in module.buffers:
                found[f"{path}.{name}" if path else name] = getattr(module, name)
        return found

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Copy a `state()` in; nothing is changed unless all names and shapes fit.

        torch: Module.load_state_dict(state)
        """
        own, who = self.state(), f"{type(self).__name__}.load_state"
        if own.keys() != state.keys():
            missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise argument_error(who, "the names", "those of the model",
                                 f"{len(missing)} missing {missing[:3]} and {len(extra)} unknown {extra[:3]}",
                                 "is it the state of another model?")
        for name, array in own.items():
            if array.shape != np.shape(state[name]):
                raise argument_error(who, name, array.shape, np.shape(state[name]), "is it the state of another model?")
        for name, array in own.items():
            array[...] = move(as_array(state[name]).astype(array.dtype), device_of(array))

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, parameter in self.named_parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> "Module":
        """Switch dropout and batch normalisation to training (or, with False, to evaluation)."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        return self.train(False)

    def astype(self, dtype: Any) -> "Module":
        """Convert parameters and buffers in place, to float64 for a gradient check, say; before an optimiser is made.

        torch: Module.to(dtype)
        """
        return self._converted(lambda array: array.astype(dtype))

    def to(self, device: str) -> "Module":
        """Move parameters and buffers to a device, "cpu" or "cuda", in place; before an optimiser is made.

        Gradients are forgotten. Raises ValueError for other names, DeviceError where there is no GPU.
        torch: Module.to(device)
        """
        if device not in ("cpu", "cuda"):
            raise argument_error("Module.to", "device", "'cpu' or 'cuda'", repr(device))
        return self._converted(lambda array: move(array, device))

    def _converted(self, convert: Callable[[Any], Any]) -> "Module":
        # All first, and only then put in: where the device is full, nothing has changed.
        parameters = [(parameter, convert(parameter.data)) for _, parameter in self.named_parameters()]
        buffers = [(module, name, convert(getattr(module, name)))
                   for _, module in self.named_modules() for name in module.buffers]
        for parameter, data in parameters:
            wanted = parameter.requires_grad
            parameter.requires_grad = False  # the leaf of the old dtype or device goes, with its gradient
            parameter.data = data
            parameter.requires_grad = wanted
        for module, name, data in buffers:
            setattr(module, name, data)
        return self

    def __repr__(self) -> str:
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        return type(self).__name__ + ("(\n" + "\n".join(lines) + "\n)" if lines else "()")
