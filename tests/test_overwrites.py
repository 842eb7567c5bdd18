"""Gradients are never computed with numbers that were written over since the forward pass."""

import threading

import numpy as np
import pytest

from nanostn import Tensor, nn, optim, overwrites
from nanostn import functional as F


def hinges(dtype=np.float64):
    """A network under two losses, as in a GAN, and the gradient of the first alone."""
    rng = np.random.default_rng(1)
    model = nn.Sequential(nn.Dense(3, 4, generator=rng), nn.ReLU(), nn.Dense(4, 2, generator=rng)).astype(dtype)
    x = rng.standard_normal((5, 3)).astype(dtype)
    (model(x) ** 2).sum().backward()
    right = model[0].weight.grad
    model.zero_grad()
    return model, x, right


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1), lambda p: optim.Adam(p, 0.1)])
def test_a_step_between_forward_and_backward(make):
    model, x, _ = hinges()
    optimiser = make(model.parameters())
    a, b = (model(x) ** 2).sum(), model(x).sum()
    b.backward()
    optimiser.step()
    before = [p.grad.copy() for p in model.parameters()]
    name = type(optimiser).__name__
    with pytest.raises(RuntimeError, match=rf"backward: what 'dense' keeps for its gradient should be as it was in the "
                                           rf"forward pass, received 2.weight \(2, 4\) float64, which {name}.step has "
                                           "written over; call backward"):
        a.backward()
    for p, grad in zip(model.parameters(), before, strict=True):  # nothing was added before it was seen
        np.testing.assert_array_equal(p.grad, grad)


def test_what_is_still_right_is_computed():
    """A step on another network, or on weights that the gradient does not need, bars nothing."""
    model, x, right = hinges()
    other = nn.Dense(3, 1)
    stepper = optim.SGD(other.parameters(), 0.1)
    other(x.astype(np.float32)).sum().backward()
    a = (model(x) ** 2).sum()
    stepper.step()
    a.backward()
    np.testing.assert_array_equal(model[0].weight.grad, right)

    single = nn.Dense(3, 1).astype(np.float64)  # d weight needs x, and x wants no gradient
    a, b = single(x).sum(), single(x).sum()
    b.backward()
    optim.SGD(single.parameters(), 0.1).step()
    a.backward()
    np.testing.assert_allclose(single.weight.grad, 2 * x.sum(axis=0, keepdims=True))

    p = nn.Parameter([1.0, 2.0])  # a sum keeps no entries
    a = (p + 1).sum()
    p.grad = np.ones(2, np.float32)
    optim.SGD([p], 0.1).step()
    p.grad = None
    a.backward()
    np.testing.assert_array_equal(p.grad, [1, 1])


@pytest.mark.parametrize("through", [lambda w: w, lambda w: w.T.T, lambda w: w.reshape(-1).reshape(2, 2),
                                     lambda w: w[::1], lambda w: F.broadcast_to(w, (3, 2, 2))])
def test_a_view_is_found_by_its_memory(through):
    w = nn.Parameter(np.ones((2, 2)))
    y = (through(w) * through(w)).sum()
    w.data -= 0.5
    with pytest.raises(RuntimeError, match="'multiply' keeps .* which an assignment to .data has written over"):
        y.backward()


def test_writes_before_the_forward_pass_are_forgotten():
    w = nn.Parameter(np.array([3.0]))
    w.data -= 1.0
    y = (w * w).sum()
    y.backward()
    np.testing.assert_array_equal(w.grad, [4])


def test_load_state_and_running_statistics():
    model = nn.Sequential(nn.Dense(3, 2), nn.Dense(2, 2))
    x = Tensor(np.ones((4, 3), np.float32))
    y = model(x).sum()
    model.load_state(model.state())
    with pytest.raises(RuntimeError, match="'dense' keeps .* 1.weight .* which Sequential.load_state has written over"):
        y.backward()

    norm = nn.BatchNorm2d(2)
    image = Tensor(np.random.default_rng(0).standard_normal((2, 2, 3, 5)).astype(np.float32), requires_grad=True)
    y = (image * norm.running_mean.reshape(2, 1, 1)).sum()
    norm(image)
    with pytest.raises(RuntimeError, match="running_mean .* which batch_norm in training has written over"):
        y.backward()


def test_two_forward_passes_of_batch_normalisation_bar_nothing():
    norm = nn.BatchNorm2d(2)
    image = Tensor(np.random.default_rng(0).standard_normal((2, 2, 3, 5)).astype(np.float32), requires_grad=True)
    first, _ = norm(image), norm(image)
    (first * first).sum().backward()
    assert np.isfinite(norm.gamma.grad).all()
    norm.eval()
    y = norm(image).sum()
    norm.train()(image)  # the running statistics move; the recorded ones were copies
    y.backward()


@pytest.mark.parametrize("change", [
    lambda layer: layer.astype(np.float64), lambda layer: setattr(layer.weight, "data", np.ones((5, 3), np.float32)),
    lambda layer: setattr(layer.weight, "requires_grad", False)])
def test_a_leaf_that_is_gone(change):
    layer = nn.Dense(3, 2)
    y = layer(np.ones((4, 3), np.float32)).sum()
    change(layer)
    with pytest.raises(RuntimeError, match="every leaf of the graph should be as it was in the forward pass"):
        y.backward()


def test_an_array_of_the_same_kind_may_be_put_in_place():
    """The graph keeps the old array, which nobody has touched."""
    w = nn.Parameter(np.array([3.0]))
    y = (w * w).sum()
    w.data = np.array([7.0])
    y.backward()
    np.testing.assert_array_equal(w.grad, [6])


def test_gradients_in_every_kind_of_holder_are_searched():
    kept = np.ones(3)

    class Held:
        def __init__(self):
            self.kept = kept

        def slope(self, dy):
            return dy * self.kept

    def closure(dy):
        return dy * kept

    def nested(dy):
        return closure(dy)

    def defaulted(dy, k=kept):
        return dy * k

    number = overwrites.count
    overwrites.note(kept, "test")
    recent = overwrites.after(number)
    for gradients in ((closure,), nested, defaulted, ([{"a": (kept[1:],)}],)):
        assert overwrites.found(recent, number, gradients) is not None
        assert overwrites.found(recent, overwrites.count, gradients) is None
    assert overwrites.found(recent, number, (lambda dy: dy, None)) is None
    loop: list = []
    loop.append(loop)
    assert overwrites.found(recent, number, loop) is None


def test_nothing_is_held_alive_and_no_id_is_mistaken():
    for _ in range(50):
        array = np.ones(1000)
        overwrites.note(array, "test")
        key = id(array)
        assert key in overwrites._last
        del array
        assert key not in overwrites._last


def test_threads_do_not_lose_a_write():
    arrays = [np.ones(2) for _ in range(8)]
    start = overwrites.count
    threads = [threading.Thread(target=lambda a=a: [overwrites.note(a, "test") for _ in range(200)]) for a in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recent = overwrites.after(start)
    assert all(id(a) in recent for a in arrays)
    assert len({write.number for write in recent.values()}) == len(arrays)
