"""Transformers in series as one: what the last one reads of an image in which every pixel says where it is."""

import numpy as np
import pytest

from nanostn import no_grad
from nanostn.composition import composed, window
from nanostn.nn import AvgPool2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential, SpatialTransformer
from nanostn.tensor import Tensor
from nanostn.transformations import Affine, Attention

SIZE = 61, 48
THETAS = ([0.8, 0.1, 0.05, -0.15, 0.7, -0.1], [0.6, -0.2, 0.1, 0.1, 0.7, 0.02], [0.5, 0.05, -0.15, 0.15, 0.5, 0.1])


def transformer(theta, given, size, align_corners, family=Affine):
    """One that finds this theta in every image."""
    localisation = Sequential(Flatten(), Dense(2 * given[0] * given[1], len(theta), dtype=np.float64))
    made = SpatialTransformer(localisation, family(), size, align_corners=align_corners)
    localisation[-1].bias.data[...] = theta
    return made


def passing(kernel, stride, padding):
    """A convolution that gives the pixel in the middle of its window."""
    layer = Conv2d(2, 2, kernel, stride, padding, dtype=np.float64)
    layer.weight.data[...] = 0
    layer.weight.data[[0, 1], [0, 1], kernel[0] // 2, kernel[1] // 2] = 1
    return layer


def places(H, W):
    """(1, 2, H, W): the x and the y of every pixel."""
    return np.stack(np.meshgrid(np.arange(W), np.arange(H))).astype(np.float64)[None]


def networks(align_corners):
    return {
        "one": ([transformer(THETAS[0], SIZE, (31, 20), align_corners)], (31, 20)),
        "pooled by 2, odd": ([AvgPool2d(2), transformer(THETAS[0], (30, 24), (30, 24), align_corners)], (30, 24)),
        "kept by a convolution": ([transformer(THETAS[0], SIZE, SIZE, align_corners), passing((5, 3), 1, (2, 1)),
                                   transformer(THETAS[1], SIZE, (9, 8), align_corners)], (9, 8)),
        "all": ([transformer(THETAS[0], SIZE, (44, 52), align_corners), ReLU(), AvgPool2d(2),
                 transformer(THETAS[1], (22, 26), (25, 27), align_corners), passing((3, 5), (1, 2), (0, 1)), ReLU(),
                 AvgPool2d(3, stride=2), transformer(THETAS[2], (11, 6), (7, 10), align_corners)], (7, 10)),
    }


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("name", ["one", "pooled by 2, odd", "kept by a convolution", "all"])
def test_the_product_reads_what_the_series_reads(name, align_corners):
    layers, size = networks(align_corners)[name]
    network = Sequential(*layers)
    with no_grad():
        read = network(Tensor(places(*SIZE))).data[0]                                # (2, H', W'), in pixels
    thetas = [layer.localisation[-1].bias.data[None] for layer in layers if isinstance(layer, SpatialTransformer)]
    theta = composed(network, SIZE, thetas)
    assert theta.shape == (1, 6)
    grid = Affine().grid(theta, size, align_corners).data[0]
    half = [(n - 1 if align_corners else n) / 2 for n in reversed(SIZE)]
    expected = grid * half + [(n - 1) / 2 for n in reversed(SIZE)]
    assert 0 < expected.min() and (expected < np.array(SIZE[::-1]) - 1).all()        # nothing is read outside
    np.testing.assert_allclose(read, expected.transpose(2, 0, 1), atol=1e-9)


def test_pooling_by_two_between_centres_shrinks_and_between_edges_does_nothing():
    """By hand: the first window of 8 pixels has its centre at pixel 1/2, at -6/7 where -1 is pixel 0."""
    for align_corners, scale in ((True, 6 / 7), (False, 1.0)):
        network = Sequential(MaxPool2d(2), transformer(Affine().identity(), (4, 4), (4, 4), align_corners))
        theta = composed(network, (8, 8), [Affine().identity()[None]])
        np.testing.assert_allclose(theta, [[scale, 0, 0, 0, scale, 0]], atol=1e-12)


def test_each_image_has_its_own_product_and_other_families_are_matrices_too(rng):
    layers = [transformer(THETAS[0], SIZE, (20, 24), True),
              transformer([0.5, 0.1, 0], (20, 24), (9, 9), True, Attention)]
    thetas = np.array(THETAS), np.array([[0.5, 0.1, -0.2], [1, 0, 0], [0.3, 0, 0.4]])
    found = composed(Sequential(*layers), SIZE, thetas)
    for n, theta in enumerate(found):
        (s, x, y), A = thetas[1][n], np.vstack([thetas[0][n].reshape(2, 3), [0, 0, 1]])
        np.testing.assert_allclose(theta.reshape(2, 3), (A @ [[s, 0, x], [0, s, y], [0, 0, 1]])[:2], atol=1e-12)


def test_a_window_that_lies_outside_at_first():
    matrix, size = window(Conv2d(1, 1, (5, 3), stride=(2, 1), padding=(2, 0)), (11, 9))
    assert size == (6, 7) and matrix.tolist() == [[1, 0, 1], [0, 2, 0], [0, 0, 1]]


def test_more_thetas_than_transformers():
    with pytest.raises(ValueError, match="composed: thetas should be those of one transformer"):
        composed(Sequential(transformer(THETAS[0], SIZE, SIZE, True)), SIZE, [np.array([THETAS[0]])] * 2)
