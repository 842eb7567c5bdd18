"""Tensor arithmetic: values against NumPy, gradients against finite differences, broadcasting, errors."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn import functional as F
from nanostn.arranging import concatenate, stack
from nanostn.tensor import broadcast_to, matmul

OPERATIONS = {
    "add": (lambda x, y: x + y, [(2, 3), (3,)]),
    "subtract": (lambda x, y: x - y, [(3,), (2, 1)]),
    "multiply": (lambda x, y: x * y, [(2, 1, 3), (4, 1)]),
    "divide": (lambda x, y: x / y, [(2, 3), (2, 3)]),
    "numbers": (lambda x: 2 - 3 * x / 4 + 1 / x, [(2, 3)]),
    "negative": (lambda x: -x, [(2, 3)]),
    "power": (lambda x: x ** 3 + x ** -0.5, [(2, 3)]),
    "matmul": (lambda x, y: x @ y, [(2, 3), (3, 5)]),
    "matmul, batches broadcast": (lambda x, y: x @ y, [(4, 1, 2, 3), (5, 3, 2)]),
    "sum": (lambda x: x.sum(), [(2, 3, 4)]),
    "sum, axes": (lambda x: x.sum(axis=(0, -1)), [(2, 3, 4)]),
    "sum, keepdims": (lambda x: x.sum(axis=1, keepdims=True) * x, [(2, 3, 4)]),
    "mean": (lambda x: x.mean(), [(2, 3)]),
    "mean, axis": (lambda x: x.mean(axis=-2), [(2, 3, 4)]),
    "max": (lambda x: x.max(), [(2, 3)]),
    "max, axis": (lambda x: x.max(axis=1), [(2, 3, 4)]),
    "max, keepdims": (lambda x: x / x.max(axis=-1, keepdims=True), [(2, 3)]),
    "reshape": (lambda x: x.reshape(3, -1) * 2.0, [(2, 3, 4)]),
    "transpose": (lambda x: x.transpose(2, 0, 1) * 2.0, [(2, 3, 4)]),
    "T": (lambda x: x.T @ x, [(2, 3)]),
    "transpose, negative axes": (lambda x: x.transpose(-1, 0) * x[0, 0], [(3, 3)]),
    "transpose, a tuple": (lambda x: x.transpose((1, 0)), [(2, 3)]),
    "slice": (lambda x: x[1:, ::2], [(3, 5)]),
    "index array, repeated": (lambda x: x[[0, 2, 0]], [(3, 5)]),
    "index pairs": (lambda x: x[np.array([0, 0]), np.array([1, 1])], [(3, 5)]),
    "concatenate": (lambda x, y: concatenate([x, y, x], axis=1), [(2, 3), (2, 1)]),
    "stack": (lambda x, y: stack([x, y], axis=-1), [(2, 3), (2, 3)]),
    "exp": (F.exp, [(2, 3)]),
    "log": (F.log, [(2, 3)]),
    "sqrt": (F.sqrt, [(2, 3)]),
    "astype": (lambda x: x.astype(np.float64), [(2, 3)]),
    "broadcast_to": (lambda x: broadcast_to(x, (4, 2, 3)), [(2, 1)]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients(name, rng):
    fn, shapes = OPERATIONS[name]
    inputs = [Tensor(rng.uniform(0.5, 2.0, shape), requires_grad=True) for shape in shapes]
    gradcheck(fn, inputs, name=name)


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {"concatenate", "stack", "exp", "log", "sqrt",
                                                             "broadcast_to"}))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_numpys_and_keep_the_dtype(name, dtype, rng):
    fn, shapes = OPERATIONS[name]
    arrays = [rng.uniform(0.5, 2.0, shape).astype(dtype) for shape in shapes]
    result = fn(*[Tensor(a) for a in arrays])
    np.testing.assert_array_equal(result.data, fn(*arrays))
    assert result.dtype == (np.float64 if name == "astype" else dtype)


def test_joins_are_numpys(rng):
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    np.testing.assert_array_equal(concatenate([x, y], axis=1).data, np.concatenate([x, y], axis=1))
    for axis in (0, 1, 2, -1):
        np.testing.assert_array_equal(stack([x, y], axis=axis).data, np.stack([x, y], axis=axis))


def test_the_first_of_equal_maxima_takes_the_gradient():
    x = Tensor(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]]), requires_grad=True)
    x.max(axis=1).sum().backward()
    np.testing.assert_array_equal(x.grad, [[0, 1, 0], [1, 0, 0]])
    x.grad = None
    x.max().backward()
    np.testing.assert_array_equal(x.grad, [[0, 1, 0], [0, 0, 0]])


def test_float32_stays_float32_beside_python_numbers():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = ((2 * x + 1) ** 2 / 3).mean()
    y.backward()
    assert x.dtype == y.dtype == x.grad.dtype == np.float32


def test_an_array_on_the_left_gives_a_tensor():
    y = np.ones(3) - Tensor(np.arange(3.0), requires_grad=True)
    assert isinstance(y, Tensor) and y.requires_grad
    np.testing.assert_array_equal(y.data, [1, 0, -1])


def test_views_of_the_users_world():
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert (x.shape, x.ndim, x.size, len(x), x.device) == ((2, 3), 2, 6, 2, "cpu")
    assert x.numpy() is x.data and x.to("cpu") is x
    assert not x.detach().requires_grad and x.detach().data is x.data
    assert Tensor([2.5]).item() == 2.5
    assert repr(Tensor([1.0, 2.0], requires_grad=True)) == "Tensor([1. 2.], float32, requires_grad=True)"


@pytest.mark.parametrize("call, message", [
    (lambda: Tensor([1.0]) + np.ones(1), r"add: y should be float32 like x, received \(1,\) float64"),
    (lambda: Tensor([1.0, 2.0]) * Tensor([1.0, 2.0, 3.0]), r"multiply: y should be of a shape that broadcasts"),
    (lambda: Tensor([[1.0]]) @ Tensor([[1.0], [2.0]]), r"matmul: y should be \(..., 1, N\) for x \(1, 1\)"),
    (lambda: matmul(np.ones(2), np.ones(2)), r"matmul: y should be"),
    (lambda: concatenate([]), "concatenate: xs should be a sequence with at least one tensor"),
    (lambda: concatenate([np.ones(2), np.ones((2, 2))]), "concatenate: every tensor should be like the first"),
    (lambda: Tensor("text"), "Tensor: data should be numbers"),
    (lambda: Tensor([[1.0], [1.0, 2.0]]), "Tensor: data should be numbers, all rows of one length"),
    (lambda: Tensor(np.array([1, 2])) * 0.5, "multiply: a number beside integers should be whole, received 0.5"),
    (lambda: Tensor([1.0, 2.0]).reshape(3), r"reshape: shape should be a shape of 2 entries for x \(2,\)"),
    (lambda: Tensor([1.0, 2.0]).sum(axis=1), "sum: axis should be of an array with 1 axes, each once, received 1"),
    (lambda: Tensor([1.0, 2.0]).mean(axis=(0, 0)), "mean: axis should be"),
    (lambda: Tensor([[1.0]]).max(axis=2), "max: axis should be"),
    (lambda: Tensor(np.zeros((0, 2))).max(axis=0), "max: x should be an array with entries"),
    (lambda: Tensor([[1.0]]).transpose(0), "transpose: axes should be all 2 axes"),
    (lambda: broadcast_to(np.ones(3), (2, 2)), r"broadcast_to: shape should be one that x \(3,\) can be repeated to"),
    (lambda: matmul(np.ones((2, 1, 3)), np.ones((3, 3, 1))), "matmul: y should be of leading axes that broadcast"),
    (lambda: concatenate([np.ones((2, 3)), np.ones((3, 4))]), r"every tensor should be \(2, 3\) but for axis 0"),
    (lambda: concatenate([np.ones((2, 3))], axis=2), "concatenate: axis should be"),
    (lambda: stack([np.ones(2)], axis=3), "stack: axis should be"),
    (lambda: F.exp(np.arange(3)), "exp: x should be a float32 or float64 array"),
    (lambda: Tensor(np.arange(3)) ** 0.5, "power: x should be a float32 or float64 array"),
    (lambda: Tensor(np.array(["a"])), "Tensor: data should be an array of numbers"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tensor_as_an_index():
    x = Tensor(np.arange(10.0, 14.0), requires_grad=True)
    y = x[Tensor(np.array([3, 1]))]
    y.sum().backward()
    np.testing.assert_array_equal(y.data, [13, 11])
    np.testing.assert_array_equal(x.grad, [0, 1, 0, 1])


def test_the_mean_of_nothing_is_not_a_number():
    with np.errstate(invalid="ignore"):
        assert np.isnan(Tensor(np.zeros((2, 0))).mean(axis=1).data).all()


def test_power_zero_is_constant():
    x = Tensor(np.array([0.0, 2.0]), requires_grad=True)
    (x ** 0).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0])


def test_many_tensors_concatenate_in_linear_time():
    xs = [Tensor(np.ones((1, 2)), requires_grad=True) for _ in range(3000)]
    (concatenate(xs) * 2.0).sum().backward()
    assert all(np.array_equal(x.grad, [[2, 2]]) for x in xs)


def test_a_list_serves_as_cotangent():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * 2).backward([1.0, 3.0])
    np.testing.assert_array_equal(x.grad, [2, 6])


def test_numpy_reads_a_tensor_but_leaves_no_graph_unseen():
    x = Tensor([[1.0, 2.0]])
    assert np.asarray(x) is x.data and np.array(x, np.float64).dtype == np.float64
    copied = np.array(x)
    copied[...] = 0
    assert x.data[0, 1] == 2
    for given in (Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True) * 2):
        with pytest.raises(ValueError, match="NumPy: the tensor should be one without a gradient"):
            np.asarray(given)


def test_comparisons_look_at_entries():
    x, y = Tensor(np.array([1, 2, 3])), np.array([1, 5, 3])
    for found in (x == y, y == x, x == Tensor(y)):
        np.testing.assert_array_equal(found, [True, False, True])
    np.testing.assert_array_equal(x != y, [False, True, False])
    np.testing.assert_array_equal([x < y, x <= y, x > y, x >= y],
                                  [[0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(y > x, [False, True, False])
    np.testing.assert_array_equal(x > 1.5, [False, True, True])
    assert np.mean(x == y) == 2 / 3 and type(x == y) is np.ndarray
    assert (x == None) is False and (x != "text") is True  # noqa: E711
    assert x in {x: 1} and len({x, x}) == 1
    np.testing.assert_array_equal(Tensor([[1.0], [2.0]]) == [1.0, 2.0], [[True, False], [False, True]])


@pytest.mark.parametrize("call", [
    lambda x: x < None, lambda x: x > "2", lambda x: x == np.ones(4), lambda x: x <= 1j, lambda x: x >= 10**400])
def test_comparisons_with_what_cannot_be_compared(call):
    with pytest.raises(ValueError, match="y should be"):
        call(Tensor([1.0, 2.0, 3.0]))


def test_one_number_is_a_number():
    assert not Tensor(0.0) and Tensor([2.0]) and float(Tensor([[2.5]])) == 2.5 and int(Tensor(np.array(7))) == 7
    assert [t.item() for t in Tensor([1.0, 2.0])] == [1.0, 2.0]
    for use in (bool, float, int, lambda x: x.item()):
        with pytest.raises(ValueError, match="item: the tensor should be a single number, received"):
            use(Tensor([1.0, 2.0]))
    for use in (len, list):
        with pytest.raises(ValueError, match="len: the tensor should be one with an axis"):
            use(Tensor(1.0))


@pytest.mark.parametrize("value", [None, "2", 1j, [None], ["2"], [1.0, [2.0]], {}, object(), 10**400, 1e300, [1e300]])
@pytest.mark.parametrize("use", [lambda x, v: x * v, lambda x, v: v - x, lambda x, v: x / v])
def test_operands_that_are_no_numbers(use, value):
    with pytest.raises(ValueError, match="y should be"):
        use(Tensor([1.0, 2.0]), value)


def test_operands_that_are_numbers():
    x = Tensor([0.5, 1.0])
    for value in (2, True, 2.5, np.float64(2.5), np.int8(2), [3, 4], (3.0, 4.0), float("inf"), 3e38, np.array(2, "f4")):
        result = x * value
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result.data, x.data * np.asarray(value, np.float32))
    with pytest.raises(ValueError, match="y should be numbers that uint8 can hold, received 300"):
        Tensor(np.array([1], np.uint8)) + 300


def test_a_leaf_takes_other_data_and_the_graph_follows():
    w = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    for data in (np.ones((3, 2)), np.float64(3.0), [[1.0, 2.0]], Tensor([4.0]), np.ones((2, 3), np.float32).T):
        w.data = data
        (w * w).sum().backward()
        assert (w.grad.shape, w.grad.dtype) == (w.shape, w.dtype)
        np.testing.assert_array_equal(w.grad, 2 * w.data)
        w.grad = None
    w.data = np.zeros(3, ">f4")
    assert w.dtype == np.float32 and w.dtype.isnative
    for data in (np.array([1, 2]), "text", None, np.array([1j]), np.ma.masked_array([1.0], [True]), object()):
        with pytest.raises(ValueError, match="Tensor: data should be"):
            w.data = data
    result = w + 1
    result.data = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"Tensor: data should be \(3,\) float32 like the result of 'add'"):
        result.data = np.ones(4, np.float32)


def test_a_gradient_is_an_array_like_the_data():
    w = Tensor([1.0, 2.0], requires_grad=True)
    for value in ([1.0, 2.0], 3.0, "text", np.ones(2), np.ones(3, np.float32), w):
        with pytest.raises(ValueError, match=r"Tensor: grad should be an array \(2,\) float32 on cpu, or None"):
            w.grad = value


def test_max_over_several_axes(rng):
    x = rng.integers(0, 3, (3, 4, 5)).astype(np.float64)
    for axis in (None, 0, -1, (0, 1), (2, 0), (-1, -2), (0, 1, 2), (), np.int64(1)):
        for keepdims in (False, True):
            t = Tensor(x, requires_grad=True)
            y = t.max(axis, keepdims)
            np.testing.assert_array_equal(y.data, x.max(axis=axis, keepdims=keepdims))
            y.backward(np.ones(y.shape))
            assert t.grad.sum() == y.size and np.array_equal((t.grad * x).sum(axis=axis, keepdims=keepdims), y.data)
    t = Tensor(x, requires_grad=True)
    t.max(axis=(0, 2)).sum().backward()
    for j in range(4):  # the first of equal ones, in the order of the axes
        first = np.unravel_index(x[:, j].argmax(), (3, 5))
        assert t.grad[first[0], j, first[1]] == 1 and t.grad[:, j].sum() == 1


def test_max_of_nothing():
    for shape, axis, result in (((0, 3), 1, (0,)), ((0, 0), 1, (0,)), ((2, 0, 3), (0, 2), (0,))):
        t = Tensor(np.zeros(shape), requires_grad=True)
        y = t.max(axis)
        assert y.shape == result
        y.backward(np.zeros(result))
        assert t.grad.shape == shape
    for shape, axis in (((3, 0), 1), ((0, 3), 0), ((0,), None)):
        with pytest.raises(ValueError, match="max: x should be an array with entries"):
            Tensor(np.zeros(shape)).max(axis)


@pytest.mark.parametrize("call", [
    lambda x: x.max(axis=(0, 0)), lambda x: x.max(axis=True), lambda x: x.max(axis=1.0), lambda x: x.max(axis=[0]),
    lambda x: x.sum(axis="0"), lambda x: concatenate([x, x], axis=None), lambda x: concatenate([x], axis=(0,)),
    lambda x: stack([x, x], axis=None), lambda x: x.transpose(None), lambda x: x.transpose(0.0, 1),
    lambda x: x.reshape(2.0), lambda x: x.reshape(None), lambda x: x.reshape(-1, -1), lambda x: x.reshape(-2, -3),
    lambda x: x.reshape("6"), lambda x: x[:0].reshape(0, -1), lambda x: x.reshape(True, 6),
    lambda x: broadcast_to(x, 3.0), lambda x: broadcast_to(x, None), lambda x: broadcast_to(x, (2.0, 3)),
    lambda x: broadcast_to(x[:1], (1 << 31, 3)),
    lambda x: x[5], lambda x: x[0.5], lambda x: x["a"], lambda x: x[0, 0, 0], lambda x: x[[0, 7]], lambda x: x[x],
    lambda x: x ** np.ones(2), lambda x: x ** x, lambda x: x ** None, lambda x: x ** float("nan"), lambda x: x ** 1e300,
    lambda x: x.astype("nonsense"), lambda x: x.astype(None), lambda x: x.astype(complex),
    lambda x: Tensor(x.data, requires_grad=True).astype(np.int64), lambda x: Tensor(x.data, requires_grad="no"),
    lambda x: Tensor(x.data, requires_grad=True).sum().backward("one"), lambda x: x.to(None),
    lambda x: Tensor(np.ma.masked_array(x.data, x.data > 0)), lambda x: F.relu(np.ma.masked_array(x.data, x.data > 0)),
    lambda x: Tensor([1e300])])
def test_illegal_arguments_give_one_form_of_error(call):
    with pytest.raises((ValueError, IndexError), match=r"^\w[\w.]*: .* should be .*, received "):
        call(Tensor(np.arange(6, dtype=np.float32).reshape(2, 3)))


def test_axes_and_shapes_in_every_legal_form():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert x.reshape(np.int64(3), -1).shape == (3, 2) and x.reshape([6]).shape == (6,)
    assert x[:0].reshape(-1).shape == (0,) and x[:0].reshape(3, 0).shape == (3, 0)
    assert broadcast_to(Tensor([1.0]), 4).shape == (4,) and broadcast_to(x, [5, 2, 3]).shape == (5, 2, 3)
    assert concatenate([x, x], axis=np.int64(-1)).shape == (2, 6) and stack([x, x], axis=-1).shape == (2, 3, 2)
    assert x.sum(axis=()).shape == (2, 3) and x.sum(axis=(-1, 0)).item() == 15
