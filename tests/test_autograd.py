"""The engine: accumulation, freeing, depth, no_grad, and its check of the operations."""

import gc
import threading
import tracemalloc

import numpy as np
import pytest

from nanostn import Tensor, no_grad
from nanostn.tensor import op


def leaf(*shape):
    return Tensor(np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape), requires_grad=True)


def test_a_tensor_used_twice_collects_both_contributions():
    x = leaf(3)
    (x * x + x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data + 1)


def test_gradients_of_several_calls_add_up():
    x = leaf(3)
    for _ in range(3):
        (x * 2.0).sum().backward()
    np.testing.assert_array_equal(x.grad, [6, 6, 6])


def test_a_diamond_passes_each_node_on_once():
    x = leaf(2)
    y = x * x
    for _ in range(20):  # 2 ** 20 paths: any walk by paths would not end
        y = y + y
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, 2.0 ** 20 * 2 * x.data)


def test_gradients_of_two_leaves_are_arrays_of_their_own():
    x, y = leaf(3), leaf(3)
    (x + y).sum().backward()
    x.grad[0] = 99
    np.testing.assert_array_equal(y.grad, [1, 1, 1])


def test_the_cotangent_given_is_not_changed():
    x, dy = leaf(3), np.ones(3)
    y = x + x
    (y + y).backward(dy)
    np.testing.assert_array_equal(dy, 1)
    np.testing.assert_array_equal(x.grad, 4)
    (x - x * 3.0).backward(dy)  # x gets dy itself, and then something more
    np.testing.assert_array_equal(dy, 1)


def test_backward_of_a_leaf_is_the_cotangent():
    x, dx = leaf(2), np.array([3.0, 4.0])
    x.backward(dx)
    np.testing.assert_array_equal(x.grad, [3, 4])
    dx[0] = 9
    np.testing.assert_array_equal(x.grad, [3, 4])  # a copy of it


def test_a_chain_of_100000_operations_differentiates():
    x = leaf(2)
    y = x
    for _ in range(100_000):
        y = -y
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1])


def test_a_long_chain_that_is_never_differentiated_is_released():
    y = x = leaf(2)
    for _ in range(100_000):
        y = -y
    del y
    assert x.grad is None


def test_the_graph_is_freed_after_use():
    x = leaf(2)
    y = x * x
    z = y.sum()
    z.backward()
    with pytest.raises(RuntimeError, match="the graph behind 'sum' should be there"):
        z.backward()
    with pytest.raises(RuntimeError, match="the graph behind 'multiply' should be there"):
        (y * 2.0).sum().backward()


def test_nothing_waits_for_the_cycle_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1000)

        def step():
            x.grad = None
            ((x * x).reshape(10, 100).mean(axis=1) - x[:10]).sum().backward()

        step()
        tracemalloc.start()
        for _ in range(10):
            step()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(1000):
            step()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert gc.collect() == 0  # no cycles
    finally:
        gc.enable()
    assert after - before < 500_000  # Python's own free lists; one array kept in each step would be 8 MB


def test_no_grad_records_nothing_and_nests():
    x = leaf(2)
    with no_grad():
        with no_grad():
            pass
        assert not (x * x).requires_grad
    assert (x * x).requires_grad

    @no_grad()
    def evaluate():
        return x * x

    assert not evaluate().requires_grad


def test_no_grad_holds_for_its_own_thread():
    x, seen = leaf(2), []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * x).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_only_wanted_gradients_are_computed():
    asked = []

    @op
    def both(x, y):
        def gradients(dz, wanted):
            asked.append(wanted)
            return tuple(dz if want else None for want in wanted)
        return x + y, gradients

    both(leaf(2), np.ones(2)).sum().backward()
    assert asked == [(True, False)]


@pytest.mark.parametrize("wrong", [lambda dy: dy[:1], lambda dy: dy.astype(np.float32)])
def test_a_gradient_of_wrong_shape_or_dtype_is_named(wrong):
    @op
    def careless(x):
        return x * 2, (wrong,)

    with pytest.raises(AssertionError, match=r"careless: gradient of input 0 should be \(2,\) float64"):
        careless(leaf(2)).sum().backward()


def test_errors_name_the_likely_cause():
    x = leaf(2)
    with pytest.raises(ValueError, match="single number when no cotangent is given"):
        (x * x).backward()
    with pytest.raises(ValueError, match=r"the cotangent should be \(2,\) float64"):
        (x * x).backward(np.ones(3))
    with pytest.raises(ValueError, match="requires_grad=True"):
        Tensor([1.0]).backward()
    with pytest.raises(ValueError, match="float32 or float64 where a gradient is wanted"):
        Tensor(np.arange(3), requires_grad=True)
    with pytest.raises(ValueError, match="call .detach"):
        (x * x).requires_grad = False
    with pytest.raises(ValueError, match="device should be 'cpu'"):
        x.to("tpu")


def test_one_array_for_two_inputs_is_not_added_into():
    @op
    def careless(x, y):
        def gradients(dz, wanted):
            d = 2 * dz
            return d, d
        return x + y, gradients

    for first, twice in ((False, 0), (False, 1), (True, 0), (True, 1)):
        leaves = leaf(2), leaf(2)
        other = leaves[twice] * 3.0 if first else None
        z = careless(*leaves)
        (z + (other if first else leaves[twice] * 3.0)).sum().backward()  # the newest gives its gradient first
        np.testing.assert_array_equal(leaves[twice].grad, [5, 5])
        np.testing.assert_array_equal(leaves[1 - twice].grad, [2, 2])


def test_a_view_is_not_added_into():
    kept = np.array([2.0, 3.0, 4.0])

    @op
    def reader(x):
        return x * kept[:2], (lambda dz: kept[:2],)

    x = leaf(2)
    other = x * 3.0
    (reader(x) + other).sum().backward()
    np.testing.assert_array_equal(x.grad, [5, 6])
    np.testing.assert_array_equal(kept, [2, 3, 4])


def test_numbers_without_an_axis():
    x = Tensor(np.float32(2), requires_grad=True)
    (x * x + x).backward()
    assert x.grad.shape == () and x.grad == 5


def test_a_decorated_function_may_run_in_two_threads_at_once():
    x, inside, leave, seen = leaf(2), threading.Event(), threading.Event(), {}

    @no_grad()
    def evaluate(name, wait):
        inside.set()
        if wait:
            leave.wait(5)
        seen[name] = (x * x).requires_grad

    first = threading.Thread(target=evaluate, args=("first", True))
    first.start()
    inside.wait(5)
    evaluate("second", False)
    leave.set()
    first.join()
    assert seen == {"first": False, "second": False}
    assert (x * x).requires_grad
