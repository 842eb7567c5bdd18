"""What operations are given in the tests of every public name: arrays of any layout, legal options, and nonsense."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from nanostn import Tensor

nan, inf = float("nan"), float("inf")
LAYOUTS = ["plain", "transposed", "reversed", "stepped", "repeated", "read-only"]


def laid_out(array, layout):
    """The same numbers (where "repeated": those along the first axis again and again) in another place and order."""
    if layout == "transposed":
        return array.T.copy().T
    if layout == "reversed":
        back = (slice(None, None, -1),) * array.ndim
        return array[back].copy()[back]
    if layout == "stepped":
        wide = np.full([2 * n for n in array.shape], np.array(7, array.dtype))
        view = wide[(..., *[slice(None, None, 2)] * array.ndim)]
        view[...] = array
        return np.asarray(view)
    if layout == "repeated" and array.ndim and array.size:
        return np.broadcast_to(array[:1], array.shape)
    array = array.copy()
    array.flags.writeable = layout != "read-only"
    return array


class Draw:
    """Sizes, options and arrays of a legal call. Structure is Hypothesis's to choose and to make smaller."""

    def __init__(self, data, least=1):
        self.draw, self.least = data.draw, least
        self.rng = np.random.default_rng(self.draw(st.integers(0, 99)))

    def size(self, most=3):
        return self.draw(st.integers(self.least, most))

    def sizes(self, fewest, most):
        return [self.size() for _ in range(self.draw(st.integers(fewest, most)))]

    def pick(self, *choices):
        return self.draw(st.sampled_from(choices))

    def array(self, *shape, low=-2.0, high=2.0):
        return self.rng.uniform(low, high, shape)

    def axis(self, ndim, tuples=True, none=True):
        """None, a number from either end, of Python or NumPy, or a tuple of several."""
        forms = ["number", "number of NumPy"] if ndim else []
        form = self.pick(*forms, *["tuple"] * (tuples and ndim > 0), *["None"] * none)
        if form == "None":
            return None
        number = self.draw(st.integers(-ndim, ndim - 1))
        if form == "tuple":
            count = self.draw(st.integers(1, ndim))
            order = self.rng.permutation(ndim)[:count]
            return tuple(int(a) - ndim * int(self.rng.integers(2)) for a in order)
        return number if form == "number" else np.int64(number)


@dataclass
class Operation:
    """A public name: how it is called, how legal arguments are drawn, what is right, what is illegal.

    `draw` gives float64 arrays, each of which has a gradient unless `constants` says otherwise, and options. `torch`
    (torch, *tensors, **options) and `numpy` (*arrays, **options) are references. `options` names for each option what
    kind it is: the nonsense of that kind has to be refused. `also` are further calls that are illegal.
    """

    call: Callable[..., Any]
    draw: Callable[[Draw], tuple[list[np.ndarray], dict[str, Any]]]
    torch: Callable[..., Any] | None = None
    numpy: Callable[..., Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    also: dict[str, Callable[[], Any]] = field(default_factory=dict)
    kinks: bool = False        # equal entries are a kink
    view: bool = False         # the result may be a view of what went in
    any_dtype: bool = False    # integers are legal
    any_axes: bool = False     # any number of axes is legal
    wide: bool = False         # the value is float64 whatever goes in
    optional: int | None = None  # the input that may be None
    error: type = ValueError   # or another, in the same form
    alone: bool = False        # what goes in is a tensor, not whatever else


class Sparse:
    """What looks like a sparse matrix: a shape, and no numbers."""
    shape, dtype, ndim, size = (2, 3), np.dtype(np.float32), 2, 6


def nonsense_arrays(legal, operation):
    """What may not stand for the float64 array `legal`, by a name for messages."""
    found = {"None": None, "'text'": "text", "b'1'": b"1", "object": object(), "a dict": {}, "a set": {1.0},
             "a function": len, "a ragged list": [[1.0], [1.0, 2.0]], "a list of None": [None], "sparse": Sparse(),
             "objects": legal.astype(object), "complex": legal.astype(complex), "strings": legal.astype(str),
             "times": np.zeros(legal.shape, "m8[s]"), "records": np.zeros(legal.shape, [("x", "f4")])}
    if not operation.any_dtype:
        found |= {"integers": legal.astype(int), "booleans": np.asarray(legal > 0), "float16": legal.astype(np.float16)}
    if not operation.any_axes:
        found |= {"an axis more": legal[None], "an axis less": legal.sum(axis=-1) if legal.ndim else [nan]}
    return found


LARGE = 10**400
NUMBERS = [None, "1", b"1", nan, inf, -inf, True, 1j, LARGE, [1.0], (1.0, 2.0), np.array([1.0, 2.0]), object(), {}]
AXES = ["0", b"0", 0.0, 1.5, nan, 99, -99, np.int64(99), True, LARGE, -LARGE, 1j, object(), {}, [0], (0, 0), (0, 99),
        (0.0,), ("0",), (None,), np.array([0, 1]), slice(0)]
PER_AXIS = [-1, 1.5, 1.0, "2", b"2", True, nan, inf, LARGE, (), (1,), (1,) * 4, ("1", "1"), (1.5, 1), (True, 1),
            (None, 1), (-1, -1), (nan, 1), 1j, object(), {}, np.array([[1, 1]])]
NONSENSE: dict[str, list[Any]] = {
    "flag": ["False", "", None, 2, 0.5, nan, 1j, [], [True], np.array([True, False]), object()],
    "number": NUMBERS,
    "0 or more": [*NUMBERS, -1, -1e-9],
    "above 0": [*NUMBERS, 0, -1, -1e-9],
    "rate": [*NUMBERS, -1e-9, 1, 1.5],
    "axis": [*AXES, None, (0,)],
    "axes": AXES,
    "window": [*PER_AXIS, None, 0, (0, 0)],
    "stride": [*PER_AXIS, 0, (0, 0)],
    "padding": [*PER_AXIS, None],
    "size": [None, 3, 3.0, "ab", b"ab", (), (2,), (2,) * 4, (0, 3), (-1, 3), (2.0, 3), (True, 3), ("2", 3), (nan, 3),
             (None, 3), (LARGE, 3), [[2], [3, 4]], object(), {}, {2, 3}, 1j],
    "shape": [None, "ab", b"ab", 2.0, (2.0,), (None,), ("2",), (True,), (nan,), (-3,), 1j, object(), {}, LARGE,
              (LARGE,), [[2], [3, 4]]],
    "choice": [None, "", "none of them", b"bilinear", 1, 0.5, True, nan, 1j, [], ("bilinear",), object(), {}, len],
    "padding_mode": [None, "", "none of them", b"zeros", True, nan, inf, 1e300, LARGE, 1j, [0.5], object(), {},
                     np.array([0.5, 1])],
    "generator": [None, 42, "seed", object(), np.random, np.random.RandomState(0), nan],
    "family": [None, "Affine", object(), Tensor, np.eye(3), 6],
    "dtype": [None, "text", complex, object, str, 32, nan, object(), {}, "f4,f4", "M8[s]"],
    "count": [None, 0, -1, 1.5, 2.0, "2", b"2", True, nan, inf, LARGE, 1j, object(), {}, [2], (2, 2)],
}
NONSENSE["labels"] = [None, "text", 1, 1.0, [[0]], np.array([[0]]), [0.0], [True], ["0"], [None], [99], [-1], [LARGE],
                      object(), {}, np.array([0j]), np.array([0], object), np.array([nan])]
NONSENSE["array"] = [None, "text", 1, 1.0, [1.0], np.ones((1, 1, 1)), np.ones(1, complex), np.ones(1, object), object(),
                     np.ones(1, int), np.ones(1, np.float16)]
NONSENSE["widths"] = [None, -1, 1.5, nan, "1", True, 1j, (1, 2, 3), ((1, 2),) * 9, (-1, 1), object(), {}, [[1], [1, 2]]]
FORM = re.compile(r"[\w.'(), =\[\]-]+: .+ should be .+, received .+", re.DOTALL)


def shown(value):
    text = repr(value)
    return text if len(text) < 40 else text[:37] + "..."


def refused(call, kinds=(ValueError,)):
    """None where `call` raises the one form of error, else what happens instead."""
    try:
        with np.errstate(all="ignore"):
            result = call()
    except Exception as error:
        if type(error) in kinds and FORM.fullmatch(str(error)):
            return None
        return f"{type(error).__name__}: {str(error)[:100]}"
    return f"is accepted, and gives {shown(result)}"
