"""Every public operation, drawn arguments: right values and gradients whatever the layout, and nonsense refused.

The tables in `operations.py` and `methods.py` say for each public name what is legal, what is right and what is not;
a name without an entry fails. NANOSTN_EXAMPLES sets how many calls are drawn for each.
"""

import os
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nanostn
from nanostn import Tensor, no_grad

from .arguments import LAYOUTS, NONSENSE, Draw, laid_out, nonsense_arrays, refused, shown
from .methods import METHODS, TESTED_ELSEWHERE
from .operations import FUNCTIONS
from .operations_chosen import ELSEWHERE, chosen

EXAMPLES = int(os.environ.get("NANOSTN_EXAMPLES", 12))
drawn = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))
OPERATIONS = FUNCTIONS | chosen() | METHODS
every = pytest.mark.parametrize("name", OPERATIONS)


def public_names():
    own = {name for kind in Tensor.__mro__ if kind is not object for name in vars(kind)}
    methods = {name for name in own if not name.startswith("_") or name.strip("_") in ARITHMETIC}
    return set(nanostn.functional.__all__) | {f"Tensor.{name}" for name in methods}


ARITHMETIC = {"add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "neg", "pow", "rpow", "matmul",
              "rmatmul", "getitem", "len", "array", "abs", "eq", "ne", "lt", "le", "gt", "ge", "bool", "float", "int",
              "iter", "contains", "mod", "floordiv", "pos", "setitem"}


def test_every_public_name_has_an_entry():
    assert not public_names() - OPERATIONS.keys() - TESTED_ELSEWHERE.keys() - ELSEWHERE.keys(), (
        "say in the tables what is right for these")


def run(call, arrays, options, dy=None):
    """The value and the gradients as NumPy arrays, for the cotangent `dy`."""
    inputs = [Tensor(array, requires_grad=True) for array in arrays]
    y = call(*inputs, **options)
    if dy is not None:
        dy = laid_out(dy.astype(y.dtype), "read-only")
        y.backward(dy)
    return y, [x.grad for x in inputs]


def cotangent(shape):
    return np.random.default_rng(7).uniform(0.5, 1.5, shape)


def close(found, right, dtype, what):
    found, right = np.asarray(found), np.asarray(right)
    assert found.shape == right.shape, f"{what}: shape {found.shape}, right is {right.shape}"
    assert found.dtype == dtype, f"{what}: {found.dtype}, right is {dtype}"
    scale = max(1.0, float(np.abs(right).max(initial=0)))
    tolerance = 1e-10 if found.dtype == np.float64 == right.dtype else 3e-5
    np.testing.assert_allclose(found, right, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def agrees_with_differences(call, arrays, options, gradients, dy):
    """The derivative along a random direction, in float64."""
    rng, step = np.random.default_rng(5), 1e-6
    moves = [rng.standard_normal(array.shape) for array in arrays]
    with no_grad():
        ends = [np.sum(call(*[Tensor(a + sign * step * m) for a, m in zip(arrays, moves, strict=True)],
                            **options).data * dy) for sign in (1, -1)]
    right = (ends[0] - ends[1]) / (2 * step)
    found = sum(np.sum(g * m) for g, m in zip(gradients, moves, strict=True) if g is not None)
    largest = max([1.0, *(np.abs(g).max(initial=0) for g in gradients if g is not None)])
    assert abs(found - right) <= 1e-5 * max(abs(right), largest), f"the gradient: {found}, by differences {right}"


@every
@drawn
@given(st.data())
def test_values_and_gradients_are_right_in_any_layout(name, data):
    operation, draw = OPERATIONS[name], Draw(data)
    arrays, options = operation.draw(draw)
    dtype = np.dtype(draw.pick(np.float32, np.float64))
    layouts = [draw.pick(*LAYOUTS) for _ in arrays]
    given_ = [laid_out(array.astype(dtype), layout) for array, layout in zip(arrays, layouts, strict=True)]
    before = [array.copy() for array in given_]
    exact = [np.array(array, np.float64, order="C") for array in given_]
    y = run(operation.call, exact, options)[0]
    dy = cotangent(y.shape).astype(dtype).astype(np.float64)
    y, gradients = run(operation.call, exact, options, dy)
    if operation.numpy:
        close(y.data, operation.numpy(*exact, **options), np.float64, "the value in float64")
    if not (operation.kinks and "repeated" in layouts):
        agrees_with_differences(operation.call, exact, options, gradients, dy)
    found, slopes = run(operation.call, given_, options, dy)
    close(found.data, y.data, np.dtype(np.float64) if operation.wide else dtype, f"the value, {layouts}")
    for i, (slope, right) in enumerate(zip(slopes, gradients, strict=True)):
        close(slope, right, dtype, f"the gradient of input {i}, {layouts}")
        assert not any(np.shares_memory(slope, array) for array in given_)
    for array, copy in zip(given_, before, strict=True):
        np.testing.assert_array_equal(array, copy, err_msg="an input was changed")
        assert operation.view or not np.shares_memory(found.data, array)


@every
@drawn
@given(st.data())
def test_values_and_gradients_are_those_of_torch(name, data):
    operation = OPERATIONS[name]
    if operation.torch is None:
        pytest.skip("PyTorch has no such operation")
    torch = pytest.importorskip("torch")
    arrays, options = operation.draw(Draw(data))
    theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
    right = operation.torch(torch, *theirs, **options)
    dy = cotangent(right.shape)
    right.backward(torch.from_numpy(dy))
    y, gradients = run(operation.call, arrays, options, dy)
    close(y.data, right.detach().numpy(), np.float64, "the value")
    for i, (found, x) in enumerate(zip(gradients, theirs, strict=True)):
        close(found, np.zeros(x.shape) if x.grad is None else x.grad.numpy(), np.float64, f"the gradient of input {i}")


@every
@drawn
@given(st.data())
def test_sizes_of_zero_are_shapes_or_the_one_error(name, data):
    operation = OPERATIONS[name]
    arrays, options = operation.draw(Draw(data, least=0))
    with np.errstate(all="ignore"):
        wrong = refused(lambda: run(operation.call, arrays, options, None)[0])
        if wrong is None:
            return
        assert wrong.startswith("is accepted"), wrong
        y = run(operation.call, arrays, options)[0]
        _, gradients = run(operation.call, arrays, options, cotangent(y.shape))
        for found, array in zip(gradients, arrays, strict=True):
            close(found, np.array(found) if found.shape == array.shape else array, np.float64, "a gradient")
        if operation.numpy and all(array.size for array in arrays):
            close(y.data, operation.numpy(*arrays, **options), np.float64, "the value")


FOREIGN = {"big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
           "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)}


@every
@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_as_files_have_them(name, foreign, dtype):
    """Big-endian, or at an odd address: as good as any in a tensor; as a constant too, or refused in the one form."""
    operation = OPERATIONS[name]
    arrays, options = legal(name)
    if not all(array.size for array in arrays):
        pytest.skip("nothing in it")
    arrays = [array.astype(dtype) for array in arrays]
    y = run(operation.call, arrays, options)[0]
    dy = cotangent(y.shape)
    right, gradients = run(operation.call, arrays, options, dy)
    given_ = [FOREIGN[foreign](array) for array in arrays]
    y, slopes = run(operation.call, given_, options, dy)
    close(y.data, right.data, right.dtype, "the value")
    for found, slope in zip(slopes, gradients, strict=True):
        close(found, slope, dtype, "a gradient")
    if not operation.alone and refused(lambda: operation.call(*given_, **options)):
        close(operation.call(*given_, **options).data, right.data, right.dtype, "the value of constants")


class Fixed:
    """What Hypothesis would draw, from a generator: the same legal call every time."""

    def __init__(self, name, attempt):
        self.rng = np.random.default_rng([zlib.crc32(name.encode()), attempt])

    def draw(self, strategy):
        strategy = strategy.wrapped_strategy if hasattr(strategy, "wrapped_strategy") else strategy
        if hasattr(strategy, "elements"):
            return strategy.elements[self.rng.integers(len(strategy.elements))]
        return int(self.rng.integers(strategy.start, strategy.end + 1))


def legal(name):
    """A legal call without sizes of zero, the first that the operation takes."""
    return OPERATIONS[name].draw(Draw(Fixed(name, 0)))


@every
def test_nonsense_is_refused_in_the_one_form(name):
    operation = OPERATIONS[name]
    arrays, options = legal(name)
    operation.call(*map(Tensor, arrays) if operation.alone else arrays, **options)
    wrong = []

    def attempt(what, call):
        outcome = refused(call, (ValueError, operation.error))
        if outcome:
            wrong.append(f"{what}: {outcome}")

    for i, array in enumerate(arrays):
        for label, bad in nonsense_arrays(array, operation).items():
            def replaced(bad, i=i):
                return operation.call(*arrays[:i], bad, *arrays[i + 1:], **options)

            if not (operation.alone and i == 0) and not (operation.optional == i and bad is None):
                attempt(f"input {i} is {label}", lambda bad=bad: replaced(bad))
            if isinstance(bad, np.ndarray) and bad.dtype.kind in "fiub":  # what a tensor can hold
                attempt(f"input {i} is a tensor, {label}", lambda bad=bad: replaced(Tensor(bad)))
        if len(arrays) > 1:
            attempt(f"input {i} is float32 beside float64", lambda i=i, array=array: operation.call(
                *arrays[:i], Tensor(array.astype(np.float32)), *arrays[i + 1:], **options))
    inputs = list(map(Tensor, arrays)) if operation.alone else arrays
    for option, kind in operation.options.items():
        for bad in kind if isinstance(kind, list) else NONSENSE[kind]:
            attempt(f"{option}={shown(bad)}", lambda option=option, bad=bad: operation.call(
                *inputs, **{**options, option: bad}))
    for label, call in operation.also.items():
        attempt(label, call)
    assert not wrong, f"{name}, {len(wrong)} wrong:\n" + "\n".join(wrong)
