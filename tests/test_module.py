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


@pytest.mark.parametrize("lay", [lambda w: w.T.copy().T, np.asfortranarray, lambda w: w[::-1].copy()[::-1],
                                 lambda w: np.broadcast_to(w[:1], w.shape)])
@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1), lambda p: optim.SGD(p, 0.1, momentum=0.9),
                                  lambda p: optim.Adam(p, 0.1)])
def test_weights_that_are_assigned_are_trained(lay, make):
    layer = nn.Dense(3, 2)
    layer.weight.data = lay(np.ones((2, 3), np.float32))
    layer.bias.data = np.ones(2, np.float32)[::-1]
    assert all(p.data.flags.carray for p in layer.parameters())
    optimiser, before = make(layer.parameters()), [p.data.copy() for p in layer.parameters()]
    layer(np.ones((4, 3), np.float32)).sum().backward()
    optimiser.step()
    for p, old in zip(layer.parameters(), before, strict=True):
        assert (p.data != old).all()


class Held(nn.Module):
    """Layers and parameters in whatever a person may put them into."""

    def __init__(self):
        self.heads = {"left": nn.Dense(2, 1), "right": [nn.Dense(2, 1), (nn.BatchNorm2d(3),)]}
        self.scales = {"a": {"b": nn.Parameter([1.0])}}
        self.parent = self
        self.sizes, self.words = {1, 2}, "words"

    def forward(self, x):
        return x


def test_layers_are_found_in_dicts_and_nested_lists():
    model = Held()
    assert [name for name, _ in model.named_parameters()] == [
        "scales.a.b", "heads.left.weight", "heads.left.bias", "heads.right.0.weight", "heads.right.0.bias",
        "heads.right.1.0.gamma", "heads.right.1.0.beta"]
    assert model.scales["a"]["b"].path == "scales.a.b"
    assert {"heads.right.1.0.running_mean", "heads.right.1.0.running_var"} < model.state().keys()
    model.eval()
    assert not model.heads["right"][1][0].training
    model.load_state(Held().astype(np.float32).state())
    assert "heads.left" in repr(model) and "..." in repr(model)  # the parent in itself


def test_a_set_of_layers_has_no_names():
    model = Held()
    model.heads = {nn.Dense(2, 1), nn.Dense(2, 1)}
    with pytest.raises(ValueError, match="Module: heads should be a list, tuple or dict .*, received a set of them"):
        model.parameters()


def test_two_things_of_one_path_are_refused():
    model = nn.Module()
    model.layers = {"0.1": nn.Dense(2, 1), "0": {"1": nn.Dense(2, 1)}}
    with pytest.raises(ValueError, match="state: every path should be of one parameter or buffer"):
        model.state()


@pytest.mark.parametrize("value", [
    np.ones((2, 3)) * 1j, np.full((2, 3), "x"), np.full((2, 3), 1e300), np.full((2, 3), None),
    [[1, 2, 3], [4, 5, "six"]]])
def test_load_state_is_all_or_nothing(value):
    model = nn.Dense(3, 2)
    before = {name: array.copy() for name, array in model.state().items()}
    with pytest.raises(ValueError, match="Dense.load_state: weight should be"):
        model.load_state({"bias": np.ones(2), "weight": value})
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, before[name])
    model.load_state({"bias": [1, 2], "weight": np.ones((2, 3), ">f8").T.copy().T})
    np.testing.assert_array_equal(model.bias.data, [1, 2])
    for state in (None, [1], "state"):
        with pytest.raises(ValueError, match="the state should be a dict"):
            model.load_state(state)


def test_astype_is_all_or_nothing_and_keeps_what_an_optimiser_needs():
    model = nn.Sequential(nn.Dense(3, 2), nn.BatchNorm2d(2))
    for dtype in (np.int64, "nonsense", np.float16, None, complex):
        with pytest.raises(ValueError, match="Module.astype: dtype should be float32 or float64"):
            model.astype(dtype)
    assert {array.dtype for array in model.state().values()} == {np.dtype(np.float32)}
    model.astype("float64")
    assert all(p.data.flags.carray and p.dtype == np.float64 for p in model.parameters())
    with pytest.raises(ValueError, match="train: mode should be True or False"):
        model.train("yes")
