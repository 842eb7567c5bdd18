import importlib

import numpy as np
import pytest

from nanostn.datasets.digits import BLOCK, CURVES, digits, ink, written
from nanostn.datasets.strokes import WAYS, curve

module = importlib.import_module("nanostn.datasets.digits")  # of one name with its function


def test_same_seed_same_bits_and_another_seed_others():
    images, labels = digits(7, seed=3)
    again, labels_again = digits(7, seed=3)
    other, _ = digits(7, seed=4)
    assert images.dtype == labels.dtype == np.uint8 and images.shape == (7, 28, 28)
    assert (images == again).all() and (labels == labels_again).all()
    assert (images != other).any()


def test_fewer_digits_are_the_first_of_more():
    images, labels = digits(BLOCK + 5, seed=1)
    for count in (0, 3, BLOCK):
        fewer, fewer_labels = digits(count, seed=1)
        assert (fewer == images[:count]).all() and (fewer_labels == labels[:count]).all()
    assert (images[:5] != images[BLOCK:]).any(axis=(1, 2)).all()


def test_every_class_and_every_way_is_drawn():
    images, labels = digits(1000)
    assert np.bincount(labels, minlength=10).min() > 70
    assert len(WAYS) == 10 and min(len(ways) for ways in WAYS) >= 2
    assert (images.max(axis=(1, 2)) > 200).all()


def test_in_the_form_of_mnist():
    images, _ = digits(500, seed=2)
    weight = images / images.sum(axis=(1, 2), keepdims=True, dtype=float)
    at = np.arange(28)
    for axis in (1, 2):                                    # thick strokes that meet weigh less than thin ones would
        away = abs((weight.sum(axis=axis) * at).sum(axis=1) - 13.5)
        assert away.mean() < 0.4 and away.max() < 1.5
    sides = np.array([[np.ptp(np.flatnonzero(image.max(axis=axis) > 64)) + 1 for axis in (0, 1)] for image in images])
    assert 18 <= sides.max(axis=1).min() and sides.max() <= 21
    assert 15 < images.mean() < 50                         # MNIST's is 33


def test_not_trivial_and_not_noise():
    images, labels = digits(3000, seed=5)
    means = np.stack([images[labels == label].mean(axis=0) for label in range(10)])
    test, test_labels = digits(500, seed=6)
    distance = ((test[:, None] - means) ** 2).sum(axis=(2, 3))
    assert 0.5 < (distance.argmin(axis=1) == test_labels).mean() < 0.95


def test_a_hand_that_only_turns_keeps_the_shape(monkeypatch):
    for knob, value in {"CUT": 0, "MISPLACED": 0, "WOBBLE": 0, "SLANT": 0, "WIDTH": (1, 1), "ROTATION": 0.5}.items():
        monkeypatch.setattr(module, knob, value)
    points, _, _ = written(np.random.default_rng(0))
    turned, straight = (shape.reshape(2, len(shape[0]), -1) for shape in (points[:, :50], CURVES))
    sizes = [np.hypot(*(shape - shape[..., :1])) for shape in (turned, straight)]
    turned, straight = (size / size.max(axis=1, keepdims=True) for size in sizes)
    assert abs(turned[:, None] - straight).max(axis=2).min(axis=1).max() < 1e-4


def test_one_stroke_is_one_line():
    points, _, _ = written(np.random.default_rng(1))
    same = (points[:, :, 0] == points[:, :, 1]).all(axis=(0, 2))
    share = np.mean([np.mean([len(way) == 1 for way in ways]) for ways in WAYS])
    assert abs(same.mean() - share) < 0.06


def test_the_pen_by_hand():
    stroke = np.array([[[[2, 5]]], [[[3, 3]]]], np.float32)  # from x = 2 to x = 5 on row 3
    image = np.empty((1, 7, 9), np.uint8)
    ink(stroke, np.array([2], np.float32), image)
    assert (image[0, 3, 2:6] == 255).all()
    assert (image[0, [2, 4], 2:6] == 128).all()            # at distance 1 of a pen of radius 1: half
    assert image[0, 3, 1] == 128 and image[0, 3, 6] == 128
    assert image[0, 2, 1] == 22                            # beyond the end: 1.5 - sqrt(2)
    assert image[0, [0, 1, 5, 6]].max() == 0 and image[0, :, 7:].max() == 0


def test_curve_through_its_points_and_round_its_corner():
    points = curve([(0, 0), (1, 0), (1, 0), (1, 2)], 31)
    np.testing.assert_allclose(points[[0, 10, 30]], [(0, 0), (1, 0), (1, 2)], atol=1e-12)
    np.testing.assert_allclose(np.hypot(*np.diff(points, axis=0).T), 0.1, rtol=1e-9)
    smooth = curve([(0, 0), (1, 1), (2, 0)], 401)
    assert np.hypot(*(smooth - (1, 1)).T).min() < 0.01


@pytest.mark.parametrize("count, seed, message", [(-1, 0, "count"), (2.5, 0, "count"), (3, -2, "seed")])
def test_bad_arguments(count, seed, message):
    with pytest.raises(ValueError, match=f"digits: {message} should be an integer, zero or more"):
        digits(count, seed)
