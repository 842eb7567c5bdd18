"""The paper's networks: parameter counts, shapes, and a transformer that starts as the identity."""

import numpy as np
import pytest

from nanostn import no_grad
from nanostn.models import MODELS, build, build_lasagne
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


def test_lasagne_counts_by_hand():
    localisation = (20 * 25 + 20) + (20 * 20 * 25 + 20) + (1620 * 50 + 50) + (50 * 6 + 6)
    convolutions, dense = (32 * 9 + 32) + (32 * 32 * 9 + 32), 256 * 10 + 10
    assert build_lasagne("st-cnn-affine").count_parameters() == localisation + convolutions + (288 * 256 + 256) + dense
    assert build_lasagne("cnn").count_parameters() == convolutions + (32 * 13 * 13 * 256 + 256) + dense


@pytest.mark.parametrize("model", MODELS)
def test_scores_and_gradients_everywhere(model):
    network = build(model, 28, seed=3, filters=2)
    x = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    scores = network(Tensor(x))
    assert scores.shape == (3, 10) and scores.dtype == np.float32
    (scores * scores).sum().backward()
    assert all(p.grad is not None and np.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize(("model", "size"), [("st-cnn-affine", 28), ("st-cnn-projective", 28), ("st-fcn-tps", 28),
                                             ("st-cnn-tps", 60), ("st-fcn-affine", 60)])
def test_transformer_starts_as_the_identity(model, size):
    network = build(model, size, filters=2)
    x = np.random.default_rng(0).random((2, 1, size, size), dtype=np.float32)
    with no_grad():
        V = network.transformer(Tensor(x))
    assert V.shape == x.shape and np.abs(V.data - x).max() < 1e-4


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
