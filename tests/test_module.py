"""Modules: what they find in themselves, state, conversion."""

import numpy as np
import pytest

from nanostn import Tensor, nn, optim


class Branches(nn.Module):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.first = nn.Dense(3, 4, generator=rng)
        self.rest = [nn.Dense(4, 2, generator=rng), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(2))]
        self.again = self.first
        self.scale = nn.Parameter(np.ones(2, np.float32))


NAMES = ["scale", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.1.1.gamma", "rest.1.1.beta"]


def test_names_are_paths_and_shared_parameters_come_once():
    model = Branches()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert model.count_parameters() == 2 + 12 + 4 + 8 + 2 + 2 + 2
    assert len(model.parameters()) == len(NAMES)


def test_state_holds_parameters_and_running_statistics():
    assert list(Branches().state()) == NAMES + ["rest.1.1.running_mean", "rest.1.1.running_var"]


def test_load_state_copies_in():
    model, other = Branches(), Branches()
    for array in other.state().values():
        array += 1
    model.load_state(other.state())
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, other.state()[name])
        assert array is not other.state()[name]


@pytest.mark.parametrize("spoil, message", [
    (lambda s: s.pop("scale"), r"1 missing \['scale'\] and 0 unknown"),
    (lambda s: s.update(more=np.ones(1)), r"0 missing \[\] and 1 unknown \['more'\]"),
    (lambda s: s.update(scale=np.ones(3)), r"scale should be \(2,\), received \(3,\)"),
])
def test_a_foreign_state_is_refused_and_changes_nothing(spoil, message):
    model = Branches()
    before = {name: array.copy() for name, array in model.state().items()}
    state = {name: array + 1 for name, array in before.items()}
    spoil(state)
    with pytest.raises(ValueError, match=message):
        model.load_state(state)
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_train_and_eval_reach_every_module():
    model = Branches()
    assert all(module.training for _, module in model.named_modules())
    model.eval()
    assert not any(module.training for _, module in model.named_modules())
    assert all(module.training for _, module in model.train().named_modules())


def test_astype_converts_parameters_and_buffers():
    model = Branches().astype(np.float64)
    assert {array.dtype for array in model.state().values()} == {np.dtype(np.float64)}
    assert all(p.requires_grad and p.node.dtype == np.float64 for p in model.parameters())


def test_zero_grad():
    model = Branches()
    model.scale.grad = np.ones(2, np.float32)
    model.zero_grad()
    assert model.scale.grad is None


def test_a_module_without_forward_says_so():
    with pytest.raises(TypeError, match="Branches: a module should define forward"):
        Branches()(1)


def test_repr_shows_the_tree():
    text = repr(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)))
    assert text == ("Sequential(\n  (0): Conv2d(1, 2, (3, 3), stride=1, padding=0)\n  (1): ReLU()\n"
                    "  (2): MaxPool2d(2, stride=2, padding=0)\n  (3): Dropout(0.25)\n)")


def test_a_parameter_is_trained_whatever_its_memory_was():
    weights = np.arange(6.0).reshape(2, 3)
    frozen = np.ones(2)
    frozen.flags.writeable = False
    for data in (weights.T, frozen):
        p = nn.Parameter(data)
        p.grad = np.ones(p.shape)
        optim.SGD([p], learning_rate=1.0).step()
        np.testing.assert_array_equal(p.data, data - 1)


def test_lists_of_parameters_and_what_a_sequential_holds_besides_are_found():
    class Scaled(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Dense(2, 3))
            self.scales = [nn.Parameter(np.ones(1)), nn.Parameter(np.ones(2))]
            self.head = nn.Dense(3, 1)

    assert [name for name, _ in Scaled().named_parameters()] == [
        "scales.0", "scales.1", "0.weight", "0.bias", "head.weight", "head.bias"]


def test_a_frozen_parameter_stays_frozen():
    model = nn.Sequential(nn.Dense(2, 3), nn.Dense(3, 1))
    model[0].weight.requires_grad = False
    model.astype(np.float64).zero_grad()
    assert not model[0].weight.requires_grad and model[1].weight.requires_grad
    model(Tensor(np.ones((1, 2)))).sum().backward()
    sgd = optim.SGD(model.parameters(), learning_rate=1.0)
    before = model[0].weight.data.copy()
    sgd.step()
    sgd.zero_grad()
    np.testing.assert_array_equal(model[0].weight.data, before)
