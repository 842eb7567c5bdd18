"""Optimisers against steps worked by hand and against PyTorch where it is installed."""

import numpy as np
import pytest

from nanostn import nn, optim


def parameter(values, gradient):
    p = nn.Parameter(np.array(values))
    p.grad = np.array(gradient)
    return p


def test_sgd_by_hand():
    p = parameter([1.0, 2.0], [0.5, -1.0])
    optim.SGD([p], learning_rate=0.1).step()
    np.testing.assert_allclose(p.data, [0.95, 2.1])


def test_momentum_by_hand():
    p = parameter([1.0], [1.0])
    sgd = optim.SGD([p], learning_rate=0.1, momentum=0.5)
    sgd.step()  # v = 1
    sgd.step()  # v = 1.5
    np.testing.assert_allclose(p.data, [1 - 0.1 - 0.15])


def test_nesterov_and_weight_decay_by_hand():
    p = parameter([2.0], [1.0])
    optim.SGD([p], learning_rate=0.1, momentum=0.5, nesterov=True, weight_decay=0.25).step()
    # g = 1 + 0.25 * 2 = 1.5, v = 1.5, step by g + 0.5 v = 2.25
    np.testing.assert_allclose(p.data, [2 - 0.225])


def test_adam_by_hand():
    p = parameter([1.0, 1.0], [0.3, -7.0])
    adam = optim.Adam([p], learning_rate=0.01)
    adam.step()  # the first step has the size of the learning rate, whatever the gradient
    np.testing.assert_allclose(p.data, [0.99, 1.01], rtol=1e-7)
    p.grad = np.array([0.0, 0.0])
    adam.step()
    m, v = 0.9 * 0.1 * 0.3, 0.999 * 0.001 * 0.09
    expected = 0.99 - 0.01 * (m / (1 - 0.81)) / (np.sqrt(v / (1 - 0.999 ** 2)) + 1e-8)
    np.testing.assert_allclose(p.data[0], expected, rtol=1e-7)


@pytest.mark.parametrize("make, torch_make", [
    (lambda o, ps: o.SGD(ps, learning_rate=0.1, momentum=0.9, weight_decay=0.01),
     lambda o, ps: o.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.01)),
    (lambda o, ps: o.SGD(ps, learning_rate=0.1, momentum=0.9, nesterov=True),
     lambda o, ps: o.SGD(ps, lr=0.1, momentum=0.9, nesterov=True)),
    (lambda o, ps: o.Adam(ps, learning_rate=0.1, weight_decay=0.02),
     lambda o, ps: o.Adam(ps, lr=0.1, weight_decay=0.02)),
    (lambda o, ps: o.AdamW(ps, learning_rate=0.1), lambda o, ps: o.AdamW(ps, lr=0.1)),
    (lambda o, ps: o.AdamW([{"parameters": ps, "weight_decay": 0.5}], 0.1, (0.8, 0.95), 1e-3),
     lambda o, ps: o.AdamW(ps, 0.1, (0.8, 0.95), 1e-3, weight_decay=0.5)),
])
def test_ten_steps_as_in_pytorch(make, torch_make, rng):
    torch = pytest.importorskip("torch")
    start = rng.normal(size=(3, 4))
    p, q = nn.Parameter(start.copy()), torch.nn.Parameter(torch.tensor(start))
    ours, theirs = make(optim, [p]), torch_make(torch.optim, [q])
    for _ in range(10):
        g = rng.normal(size=(3, 4))
        p.grad, q.grad = g, torch.tensor(g)
        ours.step()
        theirs.step()
    np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12)


def test_groups_have_their_own_rate():
    p, q = parameter([1.0], [1.0]), parameter([1.0], [1.0])
    optim.SGD([{"parameters": [p]}, {"parameters": [q], "learning_rate": 0.01}], learning_rate=0.1).step()
    np.testing.assert_allclose([p.data[0], q.data[0]], [0.9, 0.99])


def test_a_parameter_without_gradient_stays():
    p, q = nn.Parameter(np.ones(2)), parameter([1.0], [1.0])
    sgd = optim.SGD([p, q], learning_rate=0.1, momentum=0.9, weight_decay=0.1)
    sgd.step()
    np.testing.assert_array_equal(p.data, 1)
    sgd.zero_grad()
    assert q.grad is None


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_state_goes_on_to_the_same_bits(kind, rng):
    def make(p):
        return (optim.SGD([p], learning_rate=0.1, momentum=0.9) if kind == "SGD" else getattr(optim, kind)([p]))

    gradients = rng.normal(size=(6, 3))
    p = nn.Parameter(np.ones(3))
    whole = make(p)
    for i, g in enumerate(gradients):
        p.grad = g
        whole.step()
        if i == 2:
            q = nn.Parameter(p.data.copy())
            second = make(q)
            saved = {k: ({n: np.copy(a) for n, a in v.items()} if isinstance(v, dict) else v)
                     for k, v in whole.state().items()}
            second.load_state(saved)
    for g in gradients[3:]:
        q.grad = g
        second.step()
    np.testing.assert_array_equal(p.data, q.data)


def test_step_decay():
    p = nn.Parameter(np.ones(1))
    sgd = optim.SGD([{"parameters": [p], "learning_rate": 2.0}], learning_rate=1.0)
    decay, rates = optim.StepDecay(sgd, every=2, factor=0.1), []
    for _ in range(5):
        rates.append(sgd.groups[0]["learning_rate"])
        decay.step()
    np.testing.assert_allclose(rates, [2, 2, 0.2, 0.2, 0.02])
    later = optim.StepDecay(optim.SGD([p], learning_rate=2.0), every=2)
    later.load_state(decay.state())
    assert later.optimiser.groups[0]["learning_rate"] == sgd.groups[0]["learning_rate"]


def test_cosine_decay():
    p = nn.Parameter(np.ones(1))
    sgd = optim.SGD([p], learning_rate=2.0)
    decay, rates = optim.CosineDecay(sgd, total=4), []
    for _ in range(6):
        rates.append(sgd.groups[0]["learning_rate"])
        decay.step()
    np.testing.assert_allclose(rates, [2, 1 + np.sqrt(0.5), 1, 1 - np.sqrt(0.5), 0, 0], atol=1e-15)


def test_decay_apart_from_the_gradient_by_hand():
    p = parameter([2.0, 2.0], [0.3, 0.0])
    adam = optim.AdamW([p], learning_rate=0.1, weight_decay=0.5)
    adam.step()  # 0.95 of each stays; then a step of the learning rate, where there is a gradient
    np.testing.assert_allclose(p.data, [1.9 - 0.1, 1.9], rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_by_hand(dtype):
    p, q = parameter(dtype([1, 1]), dtype([3, 0])), parameter(dtype([[1]]), dtype([[-4]]))
    none = nn.Parameter(dtype([1]))
    kept = p.grad
    assert optim.clip_gradients([p, q, none], 5.0) == 5.0 and p.grad is kept  # at the limit nothing is scaled
    assert optim.clip_gradients(iter([p, q, none]), 1) == 5.0
    np.testing.assert_allclose(p.grad, [0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(q.grad, [[-0.8]], rtol=1e-6)
    assert p.grad.dtype == q.grad.dtype == dtype and none.grad is None
    np.testing.assert_array_equal(kept, [3, 0])  # whoever else holds it
    assert optim.clip_gradients([none], 1.0) == 0.0 == optim.clip_gradients([], 1.0)
    optim.clip_gradients([p], 0)
    assert not p.grad.any()


def test_clipping_of_extremes():
    """Squares of 1e30 are beyond float32, those of 1e-30 vanish in it."""
    for size in (1e30, 1e-30):
        p = parameter(np.ones(4, np.float32), np.full(4, size, np.float32))
        np.testing.assert_allclose(optim.clip_gradients([p], size), 2 * size, rtol=1e-6)
        np.testing.assert_allclose(p.grad, size / 2, rtol=1e-6)
    for bad in (np.nan, np.inf):
        p, q = parameter(np.ones(2), [1.0, 2.0]), parameter(np.ones(2), [1.0, bad])
        with pytest.raises(ValueError, match="clip_gradients: every gradient should be of a finite norm, received one"):
            optim.clip_gradients([p, q], 0.1)
        np.testing.assert_array_equal(p.grad, [1.0, 2.0])


def test_clipping_as_in_pytorch(rng):
    torch = pytest.importorskip("torch")
    gradients = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    ours = [parameter(np.ones_like(g), g) for g in gradients]
    theirs = [torch.nn.Parameter(torch.ones(g.shape, dtype=torch.float64)) for g in gradients]
    for q, g in zip(theirs, gradients, strict=True):
        q.grad = torch.tensor(g)
    assert optim.clip_gradients(ours, 0.7) == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, 0.7).item())
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-5)  # PyTorch adds 1e-6 to the norm


def rates_of(schedule, optimiser, steps):
    found = []
    for _ in range(steps):
        found.append(optimiser.groups[0]["learning_rate"])
        schedule.step()
    return found


def test_warm_up_by_hand():
    sgd = optim.SGD([nn.Parameter(np.ones(1))], learning_rate=2.0)
    np.testing.assert_allclose(rates_of(optim.LinearWarmUp(sgd, 4), sgd, 6), [0.5, 1, 1.5, 2, 2, 2])
    sgd = optim.SGD([nn.Parameter(np.ones(1))], learning_rate=2.0)
    schedule = optim.LinearWarmUp(sgd, 2, then=optim.StepDecay(sgd, every=2, factor=0.1))
    np.testing.assert_allclose(rates_of(schedule, sgd, 7), [1, 2, 2, 2, 0.2, 0.2, 0.02])


def test_warm_up_goes_on_from_its_state():
    def parts():
        sgd = optim.SGD([nn.Parameter(np.ones(1))], learning_rate=2.0)
        return sgd, lambda: optim.LinearWarmUp(sgd, 3, then=optim.CosineDecay(sgd, 4))

    sgd, make = parts()
    schedule = make()
    whole = rates_of(schedule, sgd, 2)
    states = sgd.state(), schedule.state()
    whole += rates_of(schedule, sgd, 5)
    sgd, make = parts()
    sgd.load_state(states[0])  # its rate is warm already when the schedule is made
    schedule = make()
    schedule.load_state(states[1])
    assert rates_of(schedule, sgd, 5) == whole[2:]


def test_warm_up_as_in_pytorch():
    torch = pytest.importorskip("torch")
    sgd = optim.SGD([nn.Parameter(np.ones(1))], learning_rate=2.0)
    schedule = optim.LinearWarmUp(sgd, 4, then=optim.CosineDecay(sgd, 5))
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=2.0)
    of_torch = torch.optim.lr_scheduler
    both = of_torch.SequentialLR(theirs, [of_torch.LinearLR(theirs, 1 / 4, total_iters=3),
                                          of_torch.CosineAnnealingLR(theirs, 5)], milestones=[4])
    expected = []
    for _ in range(8):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        both.step()
    np.testing.assert_allclose(rates_of(schedule, sgd, 8), expected, rtol=1e-12)


def two_groups():
    first, second = ([nn.Parameter(np.ones(1))] for _ in range(2))
    return optim.SGD([{"parameters": first, "learning_rate": 2.0}, {"parameters": second, "learning_rate": 0.5}])


def both_rates(schedule, steps):
    found = []
    for _ in range(steps):
        found.append([group["learning_rate"] for group in schedule.optimiser.groups])
        schedule.step()
    return np.array(found).T


@pytest.mark.parametrize("make, factors", [  # of all groups, by hand
    (lambda sgd: None, [1] * 9),
    (lambda sgd: optim.StepDecay(sgd, every=3, factor=0.1), [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]),
    (lambda sgd: optim.CosineDecay(sgd, 4), [1, (2 + 2 ** 0.5) / 4, 0.5, (2 - 2 ** 0.5) / 4, 0, 0, 0, 0, 0]),
    (lambda sgd: optim.LinearWarmUp(sgd, 2, then=optim.StepDecay(sgd, every=2, factor=0.1)),
     [0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001])])
@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("frozen, steps, parts", [
    (0, 1, [1] * 9), (2, 1, [0, 0, 1, 1, 1, 1, 1, 1, 1]), (0, 4, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
    (3, 2, [0, 0, 0, 0.5, 1, 1, 1, 1, 1]), (20, 1, [0] * 9)])
def test_a_group_that_begins_later_by_hand(make, factors, group, frozen, steps, parts):
    sgd = two_groups()
    found = both_rates(optim.GroupWarmUp(sgd, group, frozen, steps, then=make(sgd)), 9)
    factors, parts = np.array(factors), np.array(parts)
    expected = [factors * 2.0, factors * 0.5]
    expected[group] = expected[group] * parts
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_a_group_that_begins_later_behind_another_schedule():
    """It is not lost behind a warm-up of all groups, nor behind one of another group."""
    sgd = two_groups()
    found = both_rates(optim.LinearWarmUp(sgd, 2, then=optim.GroupWarmUp(sgd, 1, frozen=2, steps=2)), 7)
    np.testing.assert_allclose(found, [[1, 2, 2, 2, 2, 2, 2], [0.25, 0.5, 0, 0, 0.25, 0.5, 0.5]])
    sgd = two_groups()
    found = both_rates(optim.GroupWarmUp(sgd, 0, frozen=1, then=optim.GroupWarmUp(sgd, 1, frozen=2)), 4)
    np.testing.assert_allclose(found, [[0, 2, 2, 2], [0, 0, 0.5, 0.5]])


@pytest.mark.parametrize("make", [
    lambda sgd: optim.GroupWarmUp(sgd, 1, 2, 3, then=optim.CosineDecay(sgd, 8)),
    lambda sgd: optim.GroupWarmUp(sgd, 1, 4, 1, then=optim.LinearWarmUp(sgd, 2)),
    lambda sgd: optim.LinearWarmUp(sgd, 2, then=optim.GroupWarmUp(sgd, 1, 2, 2, then=optim.StepDecay(sgd, 2)))])
@pytest.mark.parametrize("at", [0, 1, 3, 6])
@pytest.mark.parametrize("first", ["optimiser", "schedule"])
def test_a_group_that_begins_later_goes_on_from_its_state(make, at, first):
    """Its rate may be 0 when the state is taken and when the schedule is made anew."""
    schedule = make(two_groups())
    both_rates(schedule, at)
    states = schedule.optimiser.state(), schedule.state()
    rest = both_rates(schedule, 9 - at)
    sgd = two_groups()
    again = make(sgd) if first == "schedule" else None
    sgd.load_state(states[0])
    again = again or make(sgd)
    again.load_state(states[1])
    np.testing.assert_array_equal(both_rates(again, 9 - at), rest)


def test_a_group_that_begins_later_as_in_pytorch():
    """With the formula of the docstring."""
    torch = pytest.importorskip("torch")
    frozen, steps, sgd = 2, 3, two_groups()
    found = both_rates(optim.GroupWarmUp(sgd, 1, frozen, steps, then=optim.StepDecay(sgd, 4, 0.5)), 9)
    theirs = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in (2.0, 0.5)])
    schedule = torch.optim.lr_scheduler.LambdaLR(theirs, [
        lambda t: 0.5 ** (t // 4), lambda t: 0.5 ** (t // 4) * min(max(t - frozen + 1, 0) / steps, 1)])
    for expected in found.T:
        np.testing.assert_allclose([group["lr"] for group in theirs.param_groups], expected, rtol=1e-12)
        theirs.step(), schedule.step()


@pytest.mark.parametrize("call, message", [
    (lambda p: optim.GroupWarmUp(optim.SGD([p]), 1), "GroupWarmUp: group should be the number of one of 1 groups"),
    (lambda p: optim.GroupWarmUp(optim.SGD([p]), 0, frozen=-1), "frozen should be a number of steps, 0 or more"),
    (lambda p: optim.GroupWarmUp(optim.SGD([p]), 0, steps=0), "GroupWarmUp: steps should be a positive number"),
    (lambda p: optim.GroupWarmUp(optim.SGD([p]), 0, then=optim.CosineDecay(optim.SGD([p]), 3)),
     "GroupWarmUp: then should be a schedule for the same optimiser, or None"),
    (lambda p: optim.SGD([]), "at least one parameter"),
    (lambda p: optim.SGD([p, p]), "in one group only"),
    (lambda p: optim.SGD([np.ones(2)]), "nn.Parameter objects"),
    (lambda p: optim.SGD([p], learning_rate=-1), "learning_rate should be a finite number of 0 or more, received -1"),
    (lambda p: optim.SGD([p], nesterov=True), "momentum should be above 0"),
    (lambda p: optim.SGD([p], momentum=-1.0), "momentum should be a number from 0 to below 1, received -1.0"),
    (lambda p: optim.SGD([{"parameters": [p], "momentum": 0.0}], momentum=0.9, nesterov=True), "momentum should be"),
    (lambda p: optim.SGD([{"learning_rate": 1.0}]), "every parameter group should be a dict with 'parameters'"),
    (lambda p: optim.SGD([{"parameters": [p]}, p]), "groups and single parameters do not mix"),
    (lambda p: optim.Adam([p], betas=(1.0, 0.9)), "betas should be a number from 0 to below 1"),
    (lambda p: optim.SGD([{"parameters": [p], "lr": 1}]), "some of .*learning_rate.*received .'lr'"),
    (lambda p: optim.StepDecay(optim.SGD([p]), every=0), "positive number of steps"),
    (lambda p: optim.CosineDecay(optim.SGD([p]), total=0), "positive number of steps"),
    (lambda p: optim.AdamW([p], betas=0.9), "AdamW: betas should be two numbers from 0 to below 1, received 0.9"),
    (lambda p: optim.LinearWarmUp(optim.SGD([p]), steps=0), "LinearWarmUp: steps should be a positive number of steps"),
    (lambda p: optim.LinearWarmUp(optim.SGD([p]), 3, then=optim.CosineDecay(optim.SGD([p]), 3)),
     "LinearWarmUp: then should be a schedule for the same optimiser, or None"),
    (lambda p: optim.clip_gradients(p, 1.0), "clip_gradients: parameters should be a list of nn.Parameter objects"),
    (lambda p: optim.clip_gradients([p, 3], 1.0), "clip_gradients: parameters should be nn.Parameter objects"),
    (lambda p: optim.clip_gradients([p], -1.0), "clip_gradients: max_norm should be a finite number of 0 or more"),
    (lambda p: optim.clip_gradients([p], np.nan), "clip_gradients: max_norm should be a finite number of 0 or more"),
    (lambda p: optim.Adam([p]).load_state(optim.SGD([p]).state()), "state of another model or optimiser"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(nn.Parameter(np.ones(2)))


@pytest.mark.parametrize("order", ["state first", "schedule first"])
def test_a_schedule_goes_on_in_any_order(order):
    def parts():
        optimiser = optim.SGD([nn.Parameter([1.0])], learning_rate=0.5)
        return optimiser, lambda: optim.StepDecay(optimiser, every=2, factor=0.5)

    optimiser, make = parts()
    schedule = make()
    for _ in range(5):
        schedule.step()
    assert optimiser.groups[0]["learning_rate"] == 0.125
    states = optimiser.state(), schedule.state()
    optimiser, make = parts()
    if order == "schedule first":
        schedule = make()
    optimiser.load_state(states[0])
    if order == "state first":
        schedule = make()
    schedule.load_state(states[1])
    assert optimiser.groups[0]["learning_rate"] == 0.125
    schedule.step()
    assert optimiser.groups[0]["learning_rate"] == 0.0625
    with pytest.raises(ValueError, match="load_state: initial should be 1 learning rates"):
        schedule.load_state({"steps": 3, "initial": [1.0, 2.0]})


def test_adam_counts_the_steps_of_each_parameter():
    early, late = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimiser = optim.Adam([early, late], learning_rate=0.1)
    for step in range(6):
        early.grad = np.ones(1, np.float32)
        late.grad = np.ones(1, np.float32) if step > 2 else None
        before = late.data.copy()
        optimiser.step()
        if step > 2:  # a constant gradient moves by the learning rate, from the first step on
            np.testing.assert_allclose(before - late.data, 0.1, rtol=1e-4)
    np.testing.assert_allclose(early.data, 1 - 6 * 0.1, rtol=1e-4)
    other = optim.Adam([nn.Parameter([1.0]), nn.Parameter([1.0])], learning_rate=0.1)
    other.load_state(optimiser.state())
    assert other.groups[0]["steps"] == [6, 3]
    old = optimiser.state()
    del old["group 0"]["steps"]  # as it was written before each parameter had its own
    other.load_state(old)
    assert other.groups[0]["steps"] == [6, 6]


def test_a_momentum_in_another_order_of_memory_is_not_a_copy():
    p = nn.Parameter(np.ones((2, 3), np.float32))
    optimiser = optim.SGD([p], learning_rate=1.0, momentum=0.5)
    state = optimiser.state()
    state["group 0"]["0.velocity"] = np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3))
    optimiser.load_state(state)
    for expected in (1 - np.arange(6) / 2, 1 - np.arange(6) * 0.75):
        p.grad = np.zeros((2, 3), np.float32)
        optimiser.step()
        np.testing.assert_array_equal(p.data, expected.reshape(2, 3).astype(np.float32))


def test_load_state_is_all_or_nothing():
    p = nn.Parameter(np.ones((2, 3), np.float32))
    optimiser = optim.SGD([p], learning_rate=1.0, momentum=0.5)
    for value in (np.ones((2, 3)) * 1j, np.full((2, 3), "x"), np.full((2, 3), 1e300)):
        state = optimiser.state()
        state["group 0"] |= {"0.velocity": value, "learning_rate": 7.0}
        with pytest.raises(ValueError, match="SGD.load_state: group 0/0.velocity should be"):
            optimiser.load_state(state)
        assert optimiser.groups[0]["learning_rate"] == 1.0
    with pytest.raises(ValueError, match="SGD.load_state: the state should be a dict"):
        optimiser.load_state([1])


def test_a_parameter_that_has_changed_is_refused_before_anything_moves():
    first, second = nn.Parameter(np.ones(3, np.float32)), nn.Parameter(np.ones((2, 3), np.float32))
    optimiser = optim.Adam([{"parameters": [first]}, {"parameters": [second]}])
    for data in (np.ones((2, 3)), np.ones((3, 2), np.float32)):
        second.data = data
        first.grad, second.grad = np.ones(3, np.float32), np.ones_like(data)
        with pytest.raises(ValueError, match=r"Adam.step: every parameter should be \(2, 3\) float32 as when"):
            optimiser.step()
    second.data = np.ones((2, 3), np.float32)
    second.data.flags.writeable = False
    with pytest.raises(ValueError, match="a C-contiguous array that can be written into"):
        optimiser.step()
    np.testing.assert_array_equal(first.data, 1)
    assert optimiser.steps == 0


def test_the_bounds_of_momentum_and_of_decay():
    p = parameter([1.0], [1.0])
    with pytest.raises(ValueError, match="SGD: momentum should be a number from 0 to below 1, received 1.0"):
        optim.SGD([p], momentum=1.0)
    with pytest.raises(ValueError, match="SGD: momentum should be a number from 0 to below 1, received 1.5"):
        optim.SGD([p], momentum=1.5)
    sgd = optim.SGD([p], learning_rate=1.0)
    decay = optim.StepDecay(sgd, every=1, factor=0.5)  # 1 is the least that is allowed
    decay.step()
    assert sgd.groups[0]["learning_rate"] == 0.5
