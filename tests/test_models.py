"""The paper's networks: parameter counts, shapes, and a transformer that starts as the identity."""

import numpy as np
import pytest

from nanostn import nn, no_grad
from nanostn.finite import after_forward
from nanostn.models import MODELS, VARIANTS, build, build_lasagne
from nanostn.tensor import Tensor

COUNTS = {  # conv 64 9x9 (5,248), conv 64 7x7 (200,768), dense 10; by hand from appendix A.4
    28: 5248 + 200768 + 64 * 2 * 2 * 10 + 10,
    42: 5248 + 200768 + 64 * 5 * 5 * 10 + 10,
    60: 5248 + 200768 + 64 * 10 * 10 * 10 + 10,
}


@pytest.mark.parametrize("size", COUNTS)
def test_parameter_counts_are_as_equal_as_the_layers_allow(size):
    counts = {model: build(model, size).count_parameters() for model in MODELS}
    assert counts["cnn"] == COUNTS[size]
    for model, count in counts.items():
        # A fully connected network has a width to choose; a convolutional one is what the paper says it is.
        assert abs(count / counts["cnn"] - 1) < (0.01 if "fcn" in model else 0.08), (model, count)


@pytest.mark.parametrize("size", COUNTS)
def test_variants_have_no_more_parameters_than_their_control(size):
    most = build("st-cnn-affine", size).count_parameters()
    for model in VARIANTS:
        assert 0.97 * most < build(model, size).count_parameters() <= 1.01 * most, model


def test_counts_of_variants_by_hand():
    """On 42 x 42 pixels, with the filters that are left of 64."""
    def cnn(filters, features, others=0):
        return filters * 81 + filters + filters * filters * 49 + filters + (features * filters + others) * 10 + 10

    localisation = (20 * 25 + 20) + (20 * 20 * 25 + 20) + (20 * 4 * 4 * 20 + 20) + (20 * 6 + 6)
    on_features = (59 * 20 * 25 + 20) + (20 * 4 * 4 * 20 + 20) + (20 * 6 + 6)  # 17 x 17, pooled to 8 x 8
    assert build("st-st-cnn-affine", 42).count_parameters() == 2 * localisation + cnn(61, 2 * 2)
    assert build("conv-st-cnn-affine", 42).count_parameters() == on_features + cnn(59, 5 * 5)
    assert build("st-cnn-affine-theta", 42).count_parameters() == localisation + cnn(64, 2 * 2, others=6)


def test_lasagne_counts_by_hand():
    localisation = (20 * 25 + 20) + (20 * 20 * 25 + 20) + (1620 * 50 + 50) + (50 * 6 + 6)
    convolutions, dense = (32 * 9 + 32) + (32 * 32 * 9 + 32), 256 * 10 + 10
    assert build_lasagne("st-cnn-affine").count_parameters() == localisation + convolutions + (288 * 256 + 256) + dense
    assert build_lasagne("cnn").count_parameters() == convolutions + (32 * 13 * 13 * 256 + 256) + dense


@pytest.mark.parametrize("model", MODELS + VARIANTS)
def test_scores_and_gradients_everywhere(model):
    """Away from where a network starts: behind the zeros of a transformer's last layer all gradients are zero."""
    network, rng = build(model, 28, seed=3, filters=2), np.random.default_rng(0)
    for parameter in network.parameters():
        parameter.data += 0.05 * rng.standard_normal(parameter.shape, dtype=np.float32)
    scores = network(Tensor(rng.random((3, 1, 28, 28), dtype=np.float32)))
    assert scores.shape == (3, 10) and scores.dtype == np.float32
    (scores * scores).sum().backward()
    for name, parameter in network.named_parameters():
        assert np.isfinite(parameter.grad).all() and parameter.grad.any(), name


@pytest.mark.parametrize(("model", "size"), [("st-cnn-affine", 28), ("st-cnn-projective", 28), ("st-fcn-tps", 28),
                                             ("st-cnn-tps", 60), ("st-fcn-affine", 60)])
def test_transformer_starts_as_the_identity(model, size):
    network = build(model, size, filters=2)
    x = np.random.default_rng(0).random((2, 1, size, size), dtype=np.float32)
    with no_grad():
        V = network.transformer(Tensor(x))
    assert V.shape == x.shape and np.abs(V.data - x).max() < 1e-4


def set_theta(transformer, *theta):
    """Let a new transformer's theta be this one, whatever it sees."""
    transformer.localisation.modules[-1].bias.data[...] = theta


def test_transformers_in_series_see_what_was_made_before():
    """Two quarter turns are a half turn; and the second's localisation network is given what the first made."""
    network = build("st-st-cnn-affine", 60, filters=1)
    first, second = network.transformer.modules
    set_theta(first, 0, -1, 0, 1, 0, 0)
    x = np.random.default_rng(0).random((2, 1, 60, 60), dtype=np.float32)
    seen = []
    with no_grad(), after_forward([("", second.localisation)], lambda *_: None, lambda _, U: seen.append(U.data)):
        once = network.transformer(Tensor(x)).data
        set_theta(second, 0, -1, 0, 1, 0, 0)
        twice = network.transformer(Tensor(x)).data
    np.testing.assert_allclose(once, np.rot90(x, axes=(2, 3)), atol=1e-4)
    np.testing.assert_allclose(twice, x[:, :, ::-1, ::-1], atol=1e-4)
    np.testing.assert_allclose(seen[0], once, atol=1e-4)
    assert dict(network.named_parameters()).keys() >= {"transformer.0.localisation.1.weight",
                                                       "transformer.1.localisation.1.weight"}


@pytest.mark.parametrize("size", COUNTS)
def test_a_transformer_on_feature_maps_starts_as_the_plain_cnn(size):
    network = build("conv-st-cnn-affine", size, filters=3)
    convolution, relu, pool, transformer, *rest = network.modules
    x = Tensor(np.random.default_rng(0).random((2, 1, size, size), dtype=np.float32))
    with no_grad():
        features = pool(relu(convolution(x)))
        np.testing.assert_allclose(transformer(features).data, features.data, atol=1e-4)
        np.testing.assert_allclose(network(x).data, nn.Sequential(convolution, relu, pool, *rest)(x).data, atol=1e-4)
        before = network(x).data
        set_theta(transformer, 1, 0, 0.5, 0, 1, 0)
        assert np.abs(network(x).data - before).max() > 1e-3


def test_theta_fed_forward():
    """The scores of features and theta are those of the plain network plus the last weights times theta."""
    network = build("st-cnn-affine-theta", 42, filters=3)
    theta = np.array([0.8, 0.1, 0.2, -0.1, 0.9, 0.3], np.float32)
    set_theta(network.transformer, *theta)
    x = Tensor(np.random.default_rng(0).random((2, 1, 42, 42), dtype=np.float32))
    with no_grad():
        features = network.features(network.transformer(x)).data
        scores = network(x).data
    weight, bias = network.scores.weight.data, network.scores.bias.data
    assert weight.shape == (10, features.shape[1] + 6)
    np.testing.assert_allclose(scores, features @ weight[:, :-6].T + weight[:, -6:] @ theta + bias, rtol=1e-4)


def test_rts_is_sampled_finer_and_pooled():
    network = build("st-cnn-affine", 42, filters=2)
    with no_grad():
        V = network.transformer(Tensor(np.ones((2, 1, 42, 42), np.float32)))
    assert V.shape == (2, 1, 56, 56) and np.allclose(V.data, 1, atol=1e-5) and network.pool(V).shape == (2, 1, 28, 28)


def test_seeds():
    same, again, other = (build("cnn", 28, seed, filters=2).state() for seed in (4, 4, 5))
    assert all(np.array_equal(same[name], again[name]) for name in same)
    assert not np.array_equal(same["0.weight"], other["0.weight"])


def test_float64_for_verification():
    network = build("st-cnn-affine", 28, filters=2, dtype=np.float64)
    assert {parameter.dtype for parameter in network.parameters()} == {np.dtype(np.float64)}


def test_names_and_sizes_that_do_not_exist():
    with pytest.raises(ValueError, match="model should be one of fcn, cnn, .* received 'resnet'"):
        build("resnet", 28)
    with pytest.raises(ValueError, match="size should be one of 28, 42, 60, received 32"):
        build("cnn", 32)
    with pytest.raises(ValueError, match="build_lasagne: model should be"):
        build_lasagne("fcn")
