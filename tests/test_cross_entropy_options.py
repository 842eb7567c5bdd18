"""cross_entropy with a label that does not count, class weights, smoothed labels, and its three reductions."""

from itertools import product

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn.functional import cross_entropy
from nanostn.kernels.networks import losses as kernels

NAN, INF = np.nan, np.inf
WEIGHTS = [None, [0.5, 0.0, 2.0, 1.0, 0.7]]
COMBINATIONS = [*product([None, 3, -100], WEIGHTS, [0.0, 0.3, 1.0], ["mean", "sum", "none"])]


@pytest.mark.parametrize("ignore, weights, smoothing, reduction", COMBINATIONS)
@pytest.mark.parametrize("T", [np.float32, np.float64])
def test_against_torch(rng, T, ignore, weights, smoothing, reduction):
    torch = pytest.importorskip("torch")
    x, labels = (rng.standard_normal((7, 5)) * 4).astype(T), np.array([3, 0, 4, 3, 1, 2, 2])
    if ignore == -100:
        labels[[1, 5]] = -100
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    loss = cross_entropy(ours, labels, ignore, weights, smoothing, reduction)
    expected = torch.nn.functional.cross_entropy(
        theirs, torch.tensor(labels), None if weights is None else torch.tensor(weights, dtype=theirs.dtype),
        ignore_index=-1 if ignore is None else ignore, label_smoothing=smoothing, reduction=reduction)
    dV = rng.standard_normal(tuple(expected.shape)).astype(T)
    loss.backward(dV)
    expected.backward(torch.tensor(dV))
    tolerance = 1e-5 if T == np.float32 else 1e-12
    assert loss.dtype == ours.grad.dtype == T
    np.testing.assert_allclose(loss.data, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("ignore, weights, smoothing, reduction", COMBINATIONS[::5])
def test_gradients(rng, ignore, weights, smoothing, reduction):
    labels = np.array([3, 0, 4], np.uint8)
    gradcheck(lambda x: cross_entropy(x, labels, ignore, weights, smoothing, reduction),
              [Tensor(rng.standard_normal((3, 5)), requires_grad=True)])


def test_by_hand():
    """Softmax (1/4, 1/2, 1/4) and (3/8, 1/8, 1/2)."""
    x, labels = np.log(np.array([[1.0, 2.0, 1.0], [3.0, 1.0, 4.0]])), np.array([1, 0])
    first, second = np.log(2), np.log(8 / 3)
    weights = np.array([3.0, 1.0, 5.0])
    for options, expected in [
            ({"reduction": "none"}, [first, second]), ({"reduction": "sum"}, first + second),
            ({"ignore_index": 0}, first), ({"ignore_index": 0, "reduction": "none"}, [first, 0]),
            ({"class_weights": weights}, (first + 3 * second) / 4),
            ({"class_weights": weights, "reduction": "sum"}, first + 3 * second),
            ({"class_weights": weights, "ignore_index": 1}, second),
            ({"label_smoothing": 0.3, "ignore_index": 0}, 0.7 * first + 0.1 * (np.log(4) + np.log(2) + np.log(4))),
            ({"label_smoothing": 0.3, "ignore_index": 0, "class_weights": weights},
             0.7 * first + 0.1 * (3 * np.log(4) + np.log(2) + 5 * np.log(4)))]:
        np.testing.assert_allclose(cross_entropy(x, labels, **options).data, expected, rtol=1e-14)


def test_options_that_say_nothing_change_no_bit(rng):
    x, labels = rng.standard_normal((9, 5)).astype(np.float32), rng.integers(0, 5, 9)
    plain = [Tensor(x, requires_grad=True) for _ in range(2)]
    cross_entropy(plain[0], labels).backward()
    cross_entropy(plain[1], labels, None, None, 0, "mean").backward()
    np.testing.assert_array_equal(plain[0].grad, plain[1].grad)
    loss, slope = kernels.cross_entropy(x, labels)
    assert cross_entropy(x, labels).data == loss
    np.testing.assert_array_equal(plain[0].grad, slope * (np.float32(1) / np.float32(9)))


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero)")
@pytest.mark.parametrize("weights, smoothing", [*product(WEIGHTS, [0.0, 0.2])])
def test_where_no_sample_counts_the_mean_is_nan_and_the_gradient_zero(weights, smoothing):
    for reduction, expected in (("mean", NAN), ("sum", 0.0), ("none", [0.0, 0.0])):
        x = Tensor(np.ones((2, 5)), requires_grad=True)
        loss = cross_entropy(x, np.array([-1, -1]), -1, weights, smoothing, reduction)
        np.testing.assert_array_equal(loss.data, expected)
        loss.backward(np.ones(loss.shape))
        np.testing.assert_array_equal(x.grad, np.zeros((2, 5)))


def test_of_no_samples():
    for options in ({"reduction": "sum"}, {"reduction": "none", "label_smoothing": 0.1, "ignore_index": 2}):
        x = Tensor(np.zeros((0, 5), np.float32), requires_grad=True)
        loss = cross_entropy(x, np.zeros(0, int), **options)
        loss.backward(np.ones(loss.shape, np.float32))
        assert (loss.shape, x.grad.shape) == (() if "sum" in options.values() else (0,), (0, 5))
        assert loss.data.sum() == 0


def test_an_impossible_class_is_no_harm_without_smoothing():
    x = Tensor(np.array([[0.0, -INF, 0.0]]), requires_grad=True)
    loss = cross_entropy(x, np.array([2]), class_weights=[1.0, 1.0, 2.0], reduction="sum")
    loss.backward()
    assert loss.item() == pytest.approx(2 * np.log(2))
    np.testing.assert_allclose(x.grad, [[1, 0, -1]])


def test_labels_of_every_kind(rng):
    x = rng.standard_normal((3, 5))
    expected = cross_entropy(x, np.array([1, 4, 0]), ignore_index=4).item()
    for labels in ([1, 4, 0], (1, 4, 0), np.array([1, 4, 0], np.uint8), Tensor(np.array([1, 4, 0], np.int32))):
        assert cross_entropy(x, labels, ignore_index=np.int64(4)).item() == expected
    assert cross_entropy(x, np.array([1, 255, 0], np.uint8), ignore_index=255).item() == expected
    assert cross_entropy(x, np.array([1, 2, 0], np.uint8), ignore_index=-254).data == cross_entropy(x, [1, 2, 0]).data
    assert cross_entropy(x, [1, 2, 0], ignore_index=10**400).data == cross_entropy(x, [1, 2, 0]).data


@pytest.mark.parametrize("options, message", [
    ({"ignore_index": 1.0}, "ignore_index should be an integer or None, received 1.0"),
    ({"ignore_index": True}, "ignore_index should be an integer or None, received True"),
    ({"ignore_index": "1"}, "ignore_index should be an integer or None, received '1'"),
    ({"class_weights": [1.0, 2.0]}, r"class_weights should be \(classes,\) with classes = 3 from logits"),
    ({"class_weights": np.ones((3, 1))}, r"class_weights should be \(classes,\)"),
    ({"class_weights": [1, 2, -1]}, "class_weights should be finite numbers of 0 or more"),
    ({"class_weights": [1, NAN, 1]}, "class_weights should be finite numbers of 0 or more"),
    ({"class_weights": [1, INF, 1]}, "class_weights should be finite numbers of 0 or more"),
    ({"class_weights": np.ones(3, np.float32)}, "class_weights should be float64 like logits"),
    ({"class_weights": np.ones(3, int)}, "class_weights should be a float32 or float64 array"),
    ({"class_weights": "abc"}, r"class_weights should be \(classes,\), received 'abc'"),
    ({"class_weights": ["a", "b", "c"]}, "class_weights should be a float32 or float64 array"),
    ({"class_weights": [[1], [1, 2]]}, "class_weights should be an array of numbers, all rows of one length"),
    ({"class_weights": [10**400, 1, 1]}, "class_weights should be"),
    ({"class_weights": 1.0}, r"class_weights should be \(classes,\), received 1.0"),
    ({"class_weights": Tensor(np.ones(3), requires_grad=True)}, "class_weights should be constants, received a "),
    ({"label_smoothing": -0.1}, "label_smoothing should be a number from 0 to 1, received -0.1"),
    ({"label_smoothing": 1.1}, "label_smoothing should be a number from 0 to 1"),
    ({"label_smoothing": NAN}, "label_smoothing should be a number from 0 to 1"),
    ({"label_smoothing": None}, "label_smoothing should be a number from 0 to 1, received None"),
    ({"label_smoothing": "0.1"}, "label_smoothing should be a number from 0 to 1"),
    ({"label_smoothing": np.zeros(3)}, "label_smoothing should be a number from 0 to 1"),
    ({"reduction": "batchmean"}, "reduction should be 'mean', 'sum' or 'none', received 'batchmean'"),
    ({"reduction": None}, "reduction should be 'mean', 'sum' or 'none', received None"),
    ({"reduction": np.array(["mean", "sum"])}, "reduction should be 'mean', 'sum' or 'none'"),
    ({"labels": [0, -100]}, "labels should be from 0 to 2, as logits has 3 classes, received -100"),
    ({"labels": [0, -100], "ignore_index": -1}, "labels should be from 0 to 2"),
    ({"labels": None}, r"labels should be \(N,\)"), ({"labels": [[0], [1, 2]]}, "labels should be an array of numbers"),
    ({"labels": [0, 10**400]}, "labels should be"), ({"labels": ["a", "b"]}, "labels should be integers"),
    ({"logits": None}, r"logits should be \(N, classes\), received None"),
    ({"logits": np.zeros((2, 0))}, "logits should be at least one sample, of at least one class"),
])
def test_errors(options, message):
    options = {"logits": Tensor(np.zeros((2, 3))), "labels": np.array([0, 1]), **options}
    with pytest.raises(ValueError, match=f"cross_entropy: {message}"):
        cross_entropy(**options)
