"""The variable: an array with a place in the graph. It has data, a gradient and `backward()`, but no arithmetic yet."""

from typing import Any

import numpy as np

from nanostn import autograd, overwrites
from nanostn.arrays import ARRAYS, Array, check_float, device_of, held, move
from nanostn.checks import argument_error, checked_flag, converted, describe


class Variable:
    """What a tensor is before it can be computed with. Nobody makes a bare one: every variable is a `Tensor`."""

    __slots__ = ("_data", "node", "__weakref__")

    def __init__(self, data: Any, requires_grad: bool = False):
        if isinstance(data, Variable):
            data = data.data
        self._data: Array = self._checked(data, np.dtype(np.float32))
        self.node: autograd.Node | None = None
        self.requires_grad = requires_grad

    @staticmethod
    def _checked(data: Any, dtype: np.dtype) -> Array:
        """What is held of `data`; a parameter asks for more."""
        return held(data, dtype)

    @property
    def data(self) -> Array:
        """The array. Another may be put in its place: of a leaf any, of a result one of the same shape and dtype.

        Where shape, dtype or device differ, the leaf begins anew: its gradient is forgotten, and `backward()` of what
        was computed before is refused. Into the array itself anybody may write (`tensor.data[...] = 0`), but never
        between a forward pass and its `backward()`, which would compute with what it finds and cannot see it.
        """
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if value is self._data:  # tensor.data -= step: the array was written into
            overwrites.note(value, "an assignment to .data", getattr(self, "path", ""))
            return
        if isinstance(value, Variable):
            value = value.data
        array, before, node = self._checked(value, self.dtype), self._data, self.node
        same = (array.shape, array.dtype, type(array)) == (before.shape, before.dtype, type(before))
        if node is not None and not same:
            if node.inputs or node.freed:
                raise argument_error("Tensor", "data", f"{describe(before)} like the result of '{node.name}'",
                                     describe(array), "call .detach() first")
            check_float(array)
            node.free()
            self.node = autograd.Node(array)
        self._data = array

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        checked_flag("Tensor", "requires_grad", wanted)
        if self.node is not None and (self.node.inputs or self.node.freed):
            raise argument_error("Tensor", "requires_grad", "set on a leaf", f"a result of '{self.node.name}'",
                                 "call .detach() first")
        if wanted:
            check_float(self._data)
        if wanted != self.requires_grad:
            if self.node is not None:
                self.node.free()
            self.node = autograd.Node(self._data) if wanted else None

    @property
    def grad(self) -> Array | None:
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if self.node is None:
            if value is None:
                return
            raise argument_error("Tensor", "grad", "set on a tensor that wants a gradient", "one that does not")
        alike = isinstance(value, type(self._data)) and (value.shape, value.dtype) == (self.shape, self.dtype)
        if value is not None and not alike:
            raise argument_error("Tensor", "grad", f"an array {self.shape} {self.dtype} on {self.device}, or None",
                                 describe(value))
        self.node.grad = value

    def backward(self, dV: Any = None) -> None:
        """Add d self / d leaf, contracted with the cotangent `dV`, to `grad` of every leaf; then free the graph.

        `dV` has the shape of the tensor; it may be left out for a single number, where it is 1.
        torch: Tensor.backward(gradient)
        """
        if self.node is None:
            raise argument_error("backward", "the tensor", "a result that depends on a tensor with requires_grad=True",
                                 f"a constant {describe(self)}", "or was it computed under no_grad()?")
        if dV is None:
            if self.size != 1:
                raise argument_error("backward", "the tensor", "a single number when no cotangent is given",
                                     describe(self), "use .sum(), .mean() or backward(dV)")
            dV = np.ones_like(self.data)
        elif isinstance(dV, Variable):
            dV = dV.data
        if not isinstance(dV, ARRAYS):
            dV = converted("backward", "the cotangent", dV, self.dtype)
        if type(dV) is not type(self.data) and device_of(dV) != self.device:
            raise argument_error("backward", "the cotangent", f"on {self.device} like the value",
                                 f"one on {device_of(dV)}")
        autograd.backward(self.node, dV)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def device(self) -> str:
        """"cpu" or "cuda".   torch: Tensor.device"""
        return device_of(self._data)

    def numpy(self) -> Array:
        """The array itself, not a copy; from the GPU, a copy.   torch: Tensor.detach().cpu().numpy()"""
        return move(self.data, "cpu")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """For NumPy's functions, and what draws with them: the array itself, where nothing is lost unseen by that."""
        if self.requires_grad:
            raise argument_error("NumPy", "the tensor", "one without a gradient",
                                 f"{self.shape} {self.dtype} with requires_grad=True", ".numpy() leaves the graph")
        return np.array(self.data, dtype) if copy else np.asarray(self.data, dtype)

    def item(self) -> float:
        """The one number inside, as a Python number.   torch: Tensor.item()"""
        if self.size != 1:
            raise argument_error("item", "the tensor", "a single number", describe(self))
        return self.data.item()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise argument_error("len", "the tensor", "one with an axis", describe(self))
        return len(self.data)

    def __repr__(self) -> str:
        inside = np.array2string(self.numpy(), prefix="Tensor(", threshold=50)
        device = "" if self.device == "cpu" else f", {self.device}"
        return f"Tensor({inside}, {self.dtype}{device}" + (", requires_grad=True)" if self.requires_grad else ")")
