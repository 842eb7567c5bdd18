"""The module: a part of a network that holds parameters and other modules.

A module finds what it holds by looking through its own attributes, and lists among them, in the order in which they
were set; nothing is registered. Names of parameters are attribute paths, `localisation.0.weight`, the same in every
process.
"""

import reprlib
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

import numpy as np

from nanostn import overwrites
from nanostn.checks import argument_error, checked_dtype, checked_flag, converted, describe
from nanostn.kernels.gpu.arrays.numpy_functions import contiguous, device_of, is_device, move
from nanostn.tensor import Array, Tensor


class Parameter(Tensor):
    """A tensor that is trained: a module's attribute of this type is one of its parameters.

    An optimiser writes into its array, so that is C-contiguous and writable: what is handed over is copied where it is
    not. `path` is the parameter's name in the module that has listed it last.
    """

    __slots__ = ("path",)

    def __init__(self, data: Any):
        self.path = ""
        super().__init__(data, requires_grad=True)

    @staticmethod
    def _checked(data: Any, dtype: np.dtype) -> Array:
        array = Tensor._checked(data, dtype)
        return contiguous(array) if is_device(array) else np.require(array, requirements=("C", "W"))


class Module:
    """Base class of layers and networks: set attributes in `__init__`, compute in `forward`.   torch: nn.Module"""

    training = True
    buffers: tuple[str, ...] = ()  # names of attributes that are state but not trained (running statistics)

    def forward(self, *inputs: Any) -> Any:
        raise TypeError(f"{type(self).__name__}: a module should define forward(), received none")

    def __call__(self, *inputs: Any) -> Any:
        return self.forward(*inputs)

    def _held(self) -> Iterator[tuple[str, "Module | Parameter"]]:
        """The modules and parameters among the attributes, in lists, tuples and dicts too, by their paths."""
        for name, value in vars(self).items():
            yield from _inside(name, value)

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        yield from ((name, part) for name, part in self._held() if isinstance(part, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module and all below it, each once, as (path, module)."""
        yield from self._modules(prefix, set())

    def _modules(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, "Module"]]:
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            if id(child) not in seen:  # it may be shared, or hold its own parent
                yield from child._modules(f"{prefix}.{name}" if prefix else name, seen)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, as (path, parameter); one that is shared goes by the first of its paths."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in module._held():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    value.path = f"{path}.{name}" if path else name
                    yield value.path, value

    def parameters(self) -> list[Parameter]:
        return [parameter for _, parameter in self.named_parameters()]

    @property
    def device(self) -> str:
        """"cpu" or "cuda": where the first parameter is, "cpu" where there is none."""
        return next((parameter.device for _, parameter in self.named_parameters()), "cpu")

    def count_parameters(self) -> int:
        return sum(parameter.size for _, parameter in self.named_parameters())

    def state(self) -> dict[str, Array]:
        """Parameters and buffers by path; the arrays themselves, not copies.   torch: Module.state_dict()"""
        found: dict[str, Array] = {}
        for name, array in [*((name, parameter.data) for name, parameter in self.named_parameters()),
                            *((name, getattr(module, own)) for name, module, own in self._buffers())]:
            if name in found:
                raise argument_error("state", "every path", "of one parameter or buffer", f"two of {name!r}",
                                     "keys of a dict that look like other names?")
            found[name] = array
        return found

    def _buffers(self) -> Iterator[tuple[str, "Module", str]]:
        for path, module in self.named_modules():
            for own in module.buffers:
                yield (f"{path}.{own}" if path else own), module, own

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Copy a `state()` in; nothing is changed unless all names, shapes and numbers fit.

        torch: Module.load_state_dict(state)
        """
        own, who = self.state(), f"{type(self).__name__}.load_state"
        if not isinstance(state, Mapping):
            raise argument_error(who, "the state", "a dict of arrays by name", describe(state))
        if own.keys() != state.keys():
            missing, extra = (sorted(map(str, a.keys() - b.keys())) for a, b in ((own, state), (state, own)))
            raise argument_error(who, "the names", "those of the model",
                                 f"{len(missing)} missing {missing[:3]} and {len(extra)} unknown {extra[:3]}",
                                 "is it the state of another model?")
        for name, array in own.items():
            if array.shape != np.shape(state[name]):
                raise argument_error(who, name, array.shape, np.shape(state[name]), "is it the state of another model?")
        fitting = {name: self._fitting(who, name, state[name], array) for name, array in own.items()}
        for name, array in own.items():
            overwrites.note(array, who, name)
            array[...] = fitting[name]

    @staticmethod
    def _fitting(who: str, name: str, value: Any, array: Array) -> Array:
        """A value in the dtype and on the device of the array that it is for."""
        data = value.data if isinstance(value, Tensor) else value
        if is_device(data) and data.dtype == array.dtype:
            return move(data, device_of(array))
        return move(converted(who, name, move(data, "cpu") if is_device(data) else data, array.dtype), device_of(array))

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, parameter in self.named_parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> "Module":
        """Switch dropout and batch normalisation to training (or, with False, to evaluation)."""
        checked_flag("train", "mode", mode)
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        return self.train(False)

    def astype(self, dtype: Any) -> "Module":
        """Convert parameters and buffers in place, to float64 for a gradient check, say; before an optimiser is made.

        Gradients are forgotten. Raises ValueError for other dtypes than float32 and float64.   torch: Module.to(dtype)
        """
        dtype = checked_dtype("Module.astype", dtype)
        return self._converted(lambda array: contiguous(array.astype(dtype)))

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
            if data is not parameter.data:
                parameter.data = data
            parameter.grad = None
        for module, name, data in buffers:
            setattr(module, name, data)
        return self

    @reprlib.recursive_repr("...")
    def __repr__(self) -> str:
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        return type(self).__name__ + ("(\n" + "\n".join(lines) + "\n)" if lines else "()")


def _inside(path: str, value: Any) -> Iterator[tuple[str, Module | Parameter]]:
    """The modules and parameters in an attribute, by path; whatever else it holds is left alone."""
    if isinstance(value, Module | Parameter):
        yield path, value
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _inside(f"{path}.{i}", part)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _inside(f"{path}.{key}", part)
    elif isinstance(value, Set) and any(True for part in value for _ in _inside(path, part)):
        raise argument_error("Module", path, "a list, tuple or dict where it holds modules or parameters",
                             f"a {type(value).__name__} of them", "a set has no order, so no names for them")
