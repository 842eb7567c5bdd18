"""The networks that read house numbers: layers and parameters by hand, measures, gradients through the series."""

import numpy as np
import pytest

from nanostn import gradcheck, no_grad
from nanostn.models.house_numbers import MODELS, as_text, build, errors, prepared
from nanostn.nn import Conv2d, Dense, Dropout, SpatialTransformer
from nanostn.tensor import Tensor

FILTERS = 48, 64, 128, 160, 192, 192, 192, 192


def convolution(channels, filters):
    return filters * (25 * channels + 1)


def dense(inputs, outputs):
    return outputs * (inputs + 1)


def by_hand(model, side, filters, units, hidden, localising):
    count = sum(map(convolution, (3, *filters), filters))
    sizes = [filters[-1] * (side // 16) ** 2, units, units, units, 55]
    count += sum(map(dense, sizes, sizes[1:]))

    def regression(inputs):
        return dense(inputs, hidden) + dense(hidden, hidden) + dense(hidden, 6)

    if model == "st-cnn-single":
        count += convolution(3, localising) + convolution(localising, localising)
        count += regression(localising * (side // 2) ** 2)
    if model == "st-cnn-multi":
        seen = (3, side), (filters[0], side // 2), (filters[1], side // 2), (filters[2], side // 4)
        count += sum(regression(channels * s * s) for channels, s in seen)
    return count


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("side", [64, 128])
def test_parameters_by_hand_at_a_quarter_of_the_width(model, side):
    filters = [f // 4 for f in FILTERS]
    assert build(model, side, 0.25).count_parameters() == by_hand(model, side, filters, 768, 32, 8)


def test_parameters_by_hand_as_the_paper_has_them():
    assert build("st-cnn-single", 64).count_parameters() == by_hand("st-cnn-single", 64, FILTERS, 3072, 32, 32)


def test_layers_in_their_order():
    """Eleven hidden layers; transformers before the first four convolutions, on their maps; dropout from the third."""
    layers = build("st-cnn-multi", 64, 0.05).modules
    kept = [layer for layer in layers if isinstance(layer, Conv2d | Dense | SpatialTransformer | Dropout)]
    names = [type(layer).__name__ for layer in kept]
    transformed, dropped = ["SpatialTransformer", "Conv2d"], ["Dropout", "Conv2d"]
    assert names == [*transformed * 2, *["SpatialTransformer", *dropped] * 2, *dropped * 4, *["Dropout", "Dense"] * 3,
                     "Dropout"]
    sides = [layer.size for layer in kept if isinstance(layer, SpatialTransformer)]
    assert sides == [(64, 64), (32, 32), (32, 32), (16, 16)]
    assert layers[-1].scores.weight.shape == (55, round(3072 * 0.05))
    assert not [layer for layer in build("cnn", 64, 0.05, dropout=0).modules if isinstance(layer, Dropout)]
    single = build("st-cnn-single", 64, 0.05)
    assert isinstance(single[0], SpatialTransformer)
    assert [type(layer).__name__ for layer in single[0].localisation.modules if isinstance(layer, Conv2d | Dense)] == [
        "Conv2d", "Conv2d", "Dense", "Dense", "Dense"]


@pytest.mark.parametrize("model", MODELS)
def test_scores_and_gradients_everywhere(model):
    """Away from where a network starts: behind the zeros of a transformer's last layer all gradients are zero."""
    network, rng = build(model, 32, 0.06, seed=3), np.random.default_rng(0)
    for parameter in network.parameters():
        parameter.data += 0.05 * rng.standard_normal(parameter.shape, dtype=np.float32)
    scores = network(Tensor(rng.random((3, 3, 32, 32), dtype=np.float32)))
    assert scores.shape == (3, 5, 11) and scores.dtype == np.float32
    (scores * scores).sum().backward()
    for name, parameter in network.named_parameters():
        assert np.isfinite(parameter.grad).all() and parameter.grad.any(), name


@pytest.mark.parametrize("model", ["st-cnn-single", "st-cnn-multi"])
def test_every_transformer_starts_as_the_identity(model, rng):
    x = Tensor(rng.standard_normal((2, 3, 32, 32), dtype=np.float32))
    with no_grad():
        for layer in build(model, 32, 0.05).eval().modules:
            if isinstance(layer, SpatialTransformer):
                np.testing.assert_allclose(layer(x).data, x.data, atol=1e-5)
            x = layer(x)


def test_a_seed_gives_weights_and_what_is_dropped(rng):
    x = Tensor(rng.standard_normal((2, 3, 16, 16), dtype=np.float32))
    one, other, another = (build("cnn", 16, 0.05, seed=seed)(x).data for seed in (0, 0, 1))
    assert np.array_equal(one, other) and not np.array_equal(one, another)
    network = build("cnn", 16, 0.05)
    assert not np.array_equal(network(x).data, network(x).data)
    assert np.array_equal(network.eval()(x).data, network(x).data)


def test_gradients_through_four_transformers_in_series(rng):
    """Of a sum of the scores to the four thetas, by finite differences."""
    network = build("st-cnn-multi", 16, 0.04, dropout=0, dtype=np.float64)
    identity = np.array([1.0, 0, 0, 0, 1, 0])
    thetas = [Tensor(identity + 0.1 * rng.standard_normal((1, 6)), requires_grad=True) for _ in range(4)]
    U, weights = rng.standard_normal((1, 3, 16, 16)), rng.standard_normal((1, 5, 11))

    def score(*thetas):
        x, found = Tensor(U), iter(thetas)
        for layer in network.modules:
            x = layer.transform(x, next(found)) if isinstance(layer, SpatialTransformer) else layer(x)
        return (x * weights).sum()

    assert gradcheck(score, thetas).error < 1e-6
    score(*thetas).backward()
    assert all(theta.grad.any() for theta in thetas)


@pytest.mark.parametrize(("options", "said"), [
    ({"model": "fcn"}, "build: model should be one of cnn, st-cnn-single, st-cnn-multi, received 'fcn'"),
    ({"side": 40}, "build: side should be a multiple of 16, received 40"),
    ({"width": 0}, "build: width should be a number from 0.01 to 4, received 0")])
def test_what_makes_no_network(options, said):
    with pytest.raises(ValueError, match=said):
        build(**{"model": "cnn", "side": 64, **options})


def test_errors_by_hand():
    """Of four numbers 123, 40, 5 and 5 one is right, one has a wrong digit, one a digit too many, one is too short."""
    truth = np.array([[1, 2, 3, 10, 10], [4, 0, 10, 10, 10], [5, 10, 10, 10, 10], [5, 10, 10, 10, 10]])
    found = np.array([[1, 2, 3, 10, 10], [4, 1, 10, 10, 10], [5, 10, 10, 10, 3], [10, 10, 10, 10, 10]])
    error, digit_error = errors(found, truth)
    assert error == 75 and digit_error == pytest.approx(100 * 2 / 7)
    assert errors(truth, truth) == (0, 0)


def test_numbers_as_text():
    assert [as_text(np.array(places)) for places in ([1, 9, 0, 10, 10], [10, 2, 10, 3, 10], [10] * 5, [1, 2, 3, 4, 5])
            ] == ["190", "-2-3", "", "12345"]


def test_images_on_their_way_in(rng):
    """The mean over pixels and colours of each image is 0, and differences are what they were, in steps of 1/255."""
    images = rng.integers(256, size=(3, 5, 7, 3), dtype=np.uint8)
    x = prepared(images)
    assert x.shape == (3, 3, 5, 7) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(x[1, 2, 3, 4] - x[1, 0, 1, 2], (int(images[1, 3, 4, 2]) - int(images[1, 1, 2, 0])) / 255,
                               atol=1e-6)
    assert prepared(images[:0]).shape == (0, 3, 5, 7)
