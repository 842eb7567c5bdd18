"""Layers: shapes, initial weights, repeatability, and the errors at their doors. Gradients are rows of test_verify."""

import numpy as np
import pytest

from nanostn import Tensor, initialisers, nn
from nanostn import functional as F


def test_a_layer_is_its_operation(rng):
    x = Tensor(rng.standard_normal((2, 3, 7, 6)).astype(np.float32))
    conv = nn.Conv2d(3, 4, (3, 2), stride=2, padding=1)
    np.testing.assert_array_equal(conv(x).data, F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1).data)
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x).data, F.max_pool2d(x, 2).data)
    np.testing.assert_array_equal(nn.AvgPool2d((3, 2), stride=1)(x).data, F.avg_pool2d(x, (3, 2), stride=1).data)
    volume = Tensor(rng.standard_normal((2, 3, 4, 7, 6)).astype(np.float32))
    conv = nn.Conv3d(3, 4, (2, 3, 2), stride=2, padding=(1, 0, 1))
    np.testing.assert_array_equal(conv(volume).data,
                                  F.conv3d(volume, conv.weight, conv.bias, stride=2, padding=(1, 0, 1)).data)
    np.testing.assert_array_equal(nn.MaxPool3d(2)(volume).data, F.max_pool3d(volume, 2).data)
    np.testing.assert_array_equal(nn.AvgPool3d((1, 3, 2), stride=1)(volume).data,
                                  F.avg_pool3d(volume, (1, 3, 2), stride=1).data)
    flat = nn.Flatten()(x)
    assert flat.shape == (2, 126)
    dense = nn.Dense(126, 5)
    np.testing.assert_array_equal(dense(flat).data, F.dense(flat, dense.weight, dense.bias).data)


def test_without_bias(rng):
    assert [name for name, _ in nn.Dense(3, 4, bias=False).named_parameters()] == ["weight"]
    assert nn.Conv2d(1, 2, 3, bias=False)(Tensor(np.ones((1, 1, 4, 5), np.float32))).shape == (1, 2, 2, 3)
    assert nn.Dense(3, 4, bias=False)(Tensor(np.ones((2, 3), np.float32))).shape == (2, 4)


def test_the_same_generator_gives_the_same_weights():
    make = [lambda seed: nn.Dense(3, 4, generator=np.random.default_rng(seed)),
            lambda seed: nn.Conv2d(3, 4, 5, generator=np.random.default_rng(seed)),
            lambda seed: nn.Conv3d(3, 4, (2, 3, 5), generator=np.random.default_rng(seed))]
    for layer in make:
        np.testing.assert_array_equal(layer(1).weight.data, layer(1).weight.data)
        assert np.any(layer(1).weight.data != layer(2).weight.data)


@pytest.mark.parametrize("initialise, variance", [
    (nn.he_uniform, 2 / 75), (nn.he_normal, 2 / 75),
    (nn.glorot_uniform, 2 / (75 + 1000)), (nn.glorot_normal, 2 / (75 + 1000))])
def test_initialisers_have_the_variance_of_their_formula(initialise, variance, rng):
    weights = initialise((40, 3, 5, 5), rng)
    assert initialisers.fans((40, 3, 5, 5)) == (75, 1000)
    np.testing.assert_allclose(weights.var(), variance, rtol=0.06)
    np.testing.assert_allclose(weights.mean(), 0, atol=4 * np.sqrt(variance / weights.size))
    layer = nn.Conv2d(3, 40, 5, generator=np.random.default_rng(0), initialise=initialise)
    np.testing.assert_array_equal(layer.weight.data, initialise((40, 3, 5, 5), np.random.default_rng(0)).astype("f4"))
    for shape in (None, 3, (3,), (3, 0), (3, 2.0), "ab", {}, (True, 2), ("2", 3)):
        with pytest.raises(ValueError, match=f"{initialise.__name__}: shape should be .*, received "):
            initialise(shape, rng)
    for generator in (None, 0, np.random, "rng"):
        with pytest.raises(ValueError, match=f"{initialise.__name__}: generator should be .*, received "):
            initialise((3, 2), generator)


def test_dropout_draws_anew_in_training_and_passes_on_in_evaluation(rng):
    x = Tensor(np.ones((20, 30), np.float32))
    dropout = nn.Dropout(0.25, generator=np.random.default_rng(0))
    first, second = dropout(x).data, dropout(x).data
    assert np.any(first != second)
    np.testing.assert_allclose(np.unique(first), [0, 4 / 3], rtol=1e-6)
    assert 0.2 < np.mean(first == 0) < 0.3
    np.testing.assert_array_equal(dropout.eval()(x).data, x.data)


def test_dropout_of_channels_takes_them_whole(rng):
    """Each of the N C channels by itself, its entries all zeroed or all divided by 1 - rate."""
    x = Tensor(rng.uniform(1, 2, (20, 30, 2, 3)).astype(np.float32), requires_grad=True)
    dropout = nn.Dropout2d(0.25, generator=np.random.default_rng(0))
    y = dropout(x)
    factor = y.data / x.data
    assert y.dtype == np.float32 and np.allclose(factor, factor[:, :, :1, :1], rtol=1e-6)
    np.testing.assert_allclose(np.unique(factor.round(5)), [0, 4 / 3], rtol=1e-5)
    assert 0.2 < np.mean(factor[:, :, 0, 0] == 0) < 0.3
    assert np.unique(factor[:, 0, 0, 0]).size > 1 and np.unique(factor[0, :, 0, 0]).size > 1
    y.backward(np.ones(y.shape, np.float32))
    np.testing.assert_allclose(x.grad, factor, rtol=1e-6)
    assert np.any(dropout(x).data != y.data)
    np.testing.assert_array_equal(dropout.eval()(x).data, x.data)
    with pytest.raises(ValueError, match=r"Dropout2d: x should be \(N, C, H, W\), received \(2, 3\) float32"):
        dropout(np.ones((2, 3), np.float32))


def test_batch_norm_moves_its_statistics_in_training_only(rng):
    x = Tensor((rng.standard_normal((4, 3, 2, 5)) * 2 + 1).astype(np.float32))
    norm = nn.BatchNorm2d(3)
    norm(x)
    mean = x.data.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(norm.running_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * x.data.var(axis=(0, 2, 3), ddof=1), rtol=1e-5)
    before = norm.running_mean.copy()
    norm.eval()(x)
    np.testing.assert_array_equal(norm.running_mean, before)


def test_layers_show_their_options():
    assert repr(nn.Conv2d(1, 2, 3)) == "Conv2d(1, 2, (3, 3), stride=1, padding=0)"
    assert repr(nn.Conv3d(1, 2, (1, 3, 2), padding=1)) == "Conv3d(1, 2, (1, 3, 2), stride=1, padding=1)"
    assert repr(nn.MaxPool3d(2)) == "MaxPool3d(2, stride=2, padding=0)"


@pytest.mark.parametrize("call, message", [
    (lambda: nn.Dense(0, 3), "every size should be a positive integer"),
    (lambda: nn.Dropout(1.0), r"Dropout: rate should be a number from 0 to below 1, received 1.0"),
    (lambda: nn.Dense(3, 2)(Tensor(np.ones((2, 4), np.float32))), "dense: .*should be"),
    (lambda: nn.Conv2d(3, 2, 3)(Tensor(np.ones((2, 4, 5, 5), np.float32))), "conv2d: .*should be"),
    (lambda: nn.Conv3d(3, 2, (3, 3)), "Conv3d: kernel_size should be a positive integer or a triple of them"),
    (lambda: nn.Conv3d(0, 2, 3), "Conv3d: every size should be a positive integer"),
    (lambda: nn.Dense(3, 2)(Tensor(np.ones((2, 3)))), "dense: .*float32"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, stride=1, padding=1)])
def test_a_rectifier_behind_its_max_pool_is_as_before_it(rng, pool):
    """Same bits of values and gradients, with ties, zeros of both signs, windows without a positive entry and NaN."""
    x = rng.integers(-3, 3, (2, 3, 6, 8)).astype(np.float32)
    x[0, 0, :2, :2] = [[-0.0, 0.0], [0.0, -1.0]]
    x[0, 0, 2:4, :2] = [[-1.0, np.nan], [np.nan, 2.0]]
    x[0, 0, 4:, :4] = -1
    results = []
    for modules in (nn.Sequential(nn.ReLU(), pool, nn.MaxPool2d(1), nn.ReLU()), [nn.ReLU(), pool]):
        given = Tensor(x.copy(), requires_grad=True)
        y = modules(given) if isinstance(modules, nn.Module) else pool(modules[0](given))
        y.backward(np.arange(1, y.data.size + 1, dtype=np.float32).reshape(y.shape))
        results.append((y.data + 0, given.grad + 0))
    for one, other in zip(*results, strict=True):
        assert one.tobytes() == other.tobytes()
