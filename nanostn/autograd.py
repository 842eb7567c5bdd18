"""The engine: reverse-mode automatic differentiation over a recorded graph.

Every result of an operation that depends on something which wants a gradient carries a `Node`: which nodes it came
from, and how a cotangent of the result flows back to them. `backward` walks the nodes from the newest to the oldest, so
each one has received all its contributions before it passes them on. The walk is a loop, not a recursion: the length
of a graph is bounded by memory alone. A node refers to older nodes only and never to a tensor, so there are no
reference cycles, and what the walk has passed is freed at once.
"""

import itertools
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

import numpy as np

from nanostn import overwrites
from nanostn.arrays import as_array
from nanostn.checks import argument_error

# Either one function per input (None where the input has no gradient), or one function for all inputs at once, which is
# told which of them want a gradient: for operations whose gradients share one pass.
Gradients = tuple[Callable[[np.ndarray], np.ndarray] | None, ...] | Callable[[np.ndarray, tuple[bool, ...]], tuple]

LEAF = "a leaf"  # the name of a node that is no result; no function has it

_count = itertools.count()
_state = threading.local()


class Node:
    """A place in the graph: a leaf (no `gradients`; collects `grad`) or the result of an operation."""

    __slots__ = ("order", "name", "inputs", "gradients", "shape", "dtype", "grad", "freed", "writes")

    def __init__(self, value: np.ndarray, name: str = LEAF,
                 inputs: tuple["Node | None", ...] = (), gradients: Gradients | None = None):
        self.order = next(_count)  # inputs are older than results: sorting by age is a topological order
        self.name = name
        self.inputs = inputs
        self.gradients = gradients
        self.shape = value.shape
        self.dtype = value.dtype
        self.grad: np.ndarray | None = None
        self.freed = False
        self.writes = overwrites.count

    def flow_back(self, cotangent: np.ndarray) -> list[np.ndarray | None]:
        """The contribution of this node to each of its inputs; checked against the input's shape and dtype."""
        if isinstance(cotangent, np.generic):  # NumPy's arithmetic makes numbers of arrays without axes
            cotangent = np.asarray(cotangent)
        wanted = tuple(node is not None for node in self.inputs)
        assert self.gradients is not None
        if callable(self.gradients):
            results = list(self.gradients(cotangent, wanted))
        else:
            results = [g(cotangent) if want and g is not None else None
                       for want, g in zip(wanted, self.gradients, strict=True)]
        for position, (node, result) in enumerate(zip(self.inputs, results, strict=True)):
            if node is not None and result is not None and (result.shape, result.dtype) != (node.shape, node.dtype):
                raise AssertionError(f"{self.name}: gradient of input {position} should be {node.shape} {node.dtype}, "
                                     f"received {result.shape} {result.dtype}; the operation's backward part is wrong")
        return results

    def free(self) -> None:
        self.freed, self.inputs, self.gradients = True, (), None


def record(value: np.ndarray, name: str, inputs: tuple[Node | None, ...], gradients: Gradients) -> Node | None:
    """A node for the result of an operation, or None where no input wants a gradient or recording is off."""
    if not is_recording() or all(node is None for node in inputs):
        return None
    return Node(value, name, inputs, gradients)


def backward(root: Node, cotangent: np.ndarray) -> None:
    """Add to `grad` of every leaf below `root` the product of `cotangent` with the Jacobian; free the graph."""
    if (cotangent.shape, cotangent.dtype) != (root.shape, root.dtype):
        raise argument_error("backward", "the cotangent", f"{root.shape} {root.dtype}, like the value",
                             f"{cotangent.shape} {cotangent.dtype}")
    nodes = _newest_first(root)
    _check(nodes)  # before anything is added to a gradient
    pending: dict[Node, tuple[np.ndarray, bool]] = {root: (cotangent, False)}
    for node in nodes:
        if node in pending:  # else all its consumers had no gradient for it
            dY, own = pending.pop(node)
            if node.inputs:
                gradients = node.flow_back(dY)
                for i, parent in enumerate(node.inputs):
                    if parent is not None and gradients[i] is not None:
                        _add(pending, parent, i, gradients, dY)
                del gradients
            else:
                dY = dY if own else dY.copy()
                node.grad = as_array(dY if node.grad is None else node.grad + dY)
            del dY
        if node.inputs:
            node.free()


def _add(pending: dict[Node, tuple[np.ndarray, bool]], node: Node, i: int, gradients: list, dY: np.ndarray) -> None:
    """pending[node] += gradients[i]; into the sum itself, once that is an array which nobody else has.

    The second entry of what is pending says whether it is. A gradient function may well return its cotangent dY, a
    view, or one array for two inputs.
    """
    gradient = gradients[i]
    if node in pending:
        before, own = pending[node]
        pending[node] = np.add(before, gradient, out=before if own and before.ndim else None), True
    else:
        own = gradient.base is None
        for other in (dY, *gradients[:i], *gradients[i + 1:]):
            own = own and (other is None or not np.may_share_memory(gradient, other))
        pending[node] = gradient, own


def _check(nodes: list[Node]) -> None:
    """An error where the gradients of these nodes can no longer be right."""
    for node in nodes:
        if node.freed and node.name is LEAF:
            raise _too_late("every leaf of the graph", "as it was in the forward pass",
                            f"one {node.shape} {node.dtype} whose tensor has been given other data since, or no longer "
                            "wants a gradient", "run the forward pass again after such a change")
        if node.freed:
            raise _too_late(f"the graph behind '{node.name}'", "there", "one that an earlier backward() has freed",
                            "run the forward pass again")
    stale = [node for node in nodes if node.inputs and node.writes != overwrites.count]
    recent = overwrites.after(stale[-1].writes) if stale else {}  # the oldest comes last
    for node in stale if recent else ():
        gradients = node.gradients
        if isinstance(gradients, tuple):  # those that will be called
            gradients = tuple(g for g, wanted in zip(gradients, node.inputs, strict=True) if wanted is not None)
        write = overwrites.found(recent, node.writes, gradients)
        if write is not None:
            raise _too_late(f"what '{node.name}' keeps for its gradient", "as it was in the forward pass", write,
                            "call backward() before that, or run the forward pass again after it")


def _too_late(thing: str, expected: str, received: object, hint: str) -> RuntimeError:
    """In the form of every error; but nothing is wrong with an argument."""
    return RuntimeError(str(argument_error("backward", thing, expected, received, hint)))


def _newest_first(root: Node) -> list[Node]:
    found, stack = {root}, [root]
    while stack:
        for node in stack.pop().inputs:
            if node is not None and node not in found:
                found.add(node)
                stack.append(node)
    return sorted(found, key=lambda node: node.order, reverse=True)


def is_recording() -> bool:
    return getattr(_state, "pauses", 0) == 0


class no_grad(ContextDecorator):
    """Operations inside are not recorded: no gradient, and nothing kept for one.   torch: torch.no_grad()

    Use it as `with nanostn.no_grad():` or as a decorator. It may be nested and holds for the current thread.
    """

    def __enter__(self) -> None:
        _state.pauses = getattr(_state, "pauses", 0) + 1

    def __exit__(self, *error: Any) -> None:
        _state.pauses -= 1
