"""The optimisers' updates on the device against the CPU: several parameters in one launch, more than fit, none."""

import numpy as np
import pytest

from nanostn import nn, optim
from nanostn.kernels.gpu.arrays.device_array import is_device, to_device
from nanostn.kernels.networks import updates

UPDATES = [
    (1, lambda arrays, _: updates.sgd(arrays, 0.1, 0.0, 0.0, False)),
    (1, lambda arrays, _: updates.sgd(arrays, 0.1, 0.9, 0.01, True)),
    (2, lambda arrays, step: updates.adam(arrays, step, 0.1, 0.9, 0.99, 1e-8, 0.01, False)),
    (2, lambda arrays, step: updates.adam(arrays, step, 0.1, 0.9, 0.99, 1e-8, 0.3, True)),
]


def same_as_cpu(rng, T, shapes, memories, update, steps=2):
    start = [tuple(rng.standard_normal(shape).astype(T) for _ in range(2)) for shape in shapes]
    here = [(p.copy(), g, *(np.zeros_like(p) for _ in range(memories))) for p, g in start]
    there = [tuple(map(to_device, entry)) for entry in here]
    for step in range(1, steps + 1):
        update(here, step)
        update(there, step)
    for ours, expected in zip(there, here, strict=True):
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-12 if T == np.float64 else 1e-5,
                                       atol=1e-15 if T == np.float64 else 1e-6)
    return there


@pytest.mark.parametrize("memories, update", UPDATES)
@pytest.mark.parametrize("count", [1, 8, 11])
def test_as_on_the_cpu(rng, T, memories, update, count):
    shapes = [(2, 3), (5,), (), (0, 2), (35,), (1,), (3,), (2, 1, 2), (4,), (3, 2), (1, 1)][:count]
    same_as_cpu(rng, T, shapes, memories, update)


def test_nothing_to_do():
    updates.sgd([], 0.1, 0.9, 0.0, False)


def test_parameters_of_both_dtypes_and_devices(rng):
    """Each keeps to its own."""
    arrays = [tuple(put(a) for a in rng.standard_normal((3, 5)).astype(dtype))
              for put in (np.copy, to_device) for dtype in (np.float32, np.float64)]
    expected = []
    for p, g, velocity in [[a.numpy() if is_device(a) else a.copy() for a in entry] for entry in arrays]:
        updates.sgd([(p, g, velocity)], 0.1, 0.9, 0.1, False)
        expected.append(p)
    updates.sgd(arrays, 0.1, 0.9, 0.1, False)
    for (p, *_), q in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(p.numpy() if is_device(p) else p, q, rtol=1e-5)


def parameter(values, gradient):
    p = nn.Parameter(np.array(values, np.float32))
    p.data = to_device(p.data)
    p.grad = to_device(np.array(gradient, np.float32))
    return p


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_an_optimiser_and_its_state(kind):
    here, there = nn.Parameter(np.array([1.0, 2.0], np.float32)), parameter([1.0, 2.0], [0.5, -1.0])
    here.grad = there.grad.numpy()
    ours, expected = kind([there], learning_rate=0.1), kind([here], learning_rate=0.1)
    for _ in range(2):
        ours.step()
        expected.step()
    np.testing.assert_allclose(there.data.numpy(), here.data, rtol=1e-5)
    again = kind([nn.Parameter(np.zeros(2, np.float32))])
    again.load_state(ours.state())  # to the CPU
    name = f"0.{kind.memories[0]}"
    np.testing.assert_array_equal(again.state()["group 0"][name], ours.state()["group 0"][name].numpy())
    ours.load_state(again.state())  # and back
    memory = ours.groups[0]["memory"][0][0]
    assert is_device(memory)
    there.grad = to_device(np.ones(2, np.float32))
    ours.step()
    assert again.state()["group 0"][name].tobytes() != memory.numpy().tobytes()


def test_clipped_gradients():
    there = [parameter([1.0, 2.0], [3.0, 0.0]), parameter([1.0], [-4.0]), nn.Parameter(np.ones(2, np.float32))]
    np.testing.assert_allclose(optim.clip_gradients(there, 10.0), 5.0)
    np.testing.assert_allclose(optim.clip_gradients(there, 1.0), 5.0)
    for p, clipped in zip(there, ([0.6, 0.0], [-0.8]), strict=False):
        np.testing.assert_allclose(p.grad.numpy(), clipped, rtol=1e-6)


def test_a_parameter_that_moved():
    p = nn.Parameter(np.ones(2, np.float32))
    sgd = optim.SGD([p])
    p.data, p.grad = to_device(p.data), to_device(p.data)
    with pytest.raises(ValueError, match=r"SGD.step: every parameter should be where it was when the optimiser was "
                                         r"made, received one \(2,\) that is on a device now; move the model"):
        sgd.step()


@pytest.mark.gpu
@pytest.mark.parametrize("memories, update", UPDATES)
def test_real_sizes(rng, T, memories, update):
    shapes = [(1000, 1001), (1000,), (64, 32, 5, 5), (64,), (10, 1 << 21), (10,)] * 2
    state = rng.bit_generator.state
    runs = set()
    for _ in range(3):
        rng.bit_generator.state = state
        there = same_as_cpu(rng, T, shapes, memories, update, steps=5)
        runs.add(b"".join(a.numpy().tobytes() for entry in there for a in entry))
    assert len(runs) == 1
