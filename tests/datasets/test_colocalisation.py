import numpy as np
import pytest

from nanostn.datasets.colocalisation import attention_boxes, located_digits, overlaps
from nanostn.sampler import spatial_transform
from nanostn.transformations import Attention


@pytest.fixture
def digits():
    """Thirty images of noise without a black pixel, of classes 0 to 2 in turn."""
    return np.random.default_rng(0).integers(1, 256, size=(30, 28, 28), dtype=np.uint8), np.arange(30) % 3


def test_a_digit_lies_in_its_box_and_nowhere_else(digits):
    images, labels = digits
    x, boxes = located_digits(images, labels, 1, "T", seed=0)
    assert x.shape == (100, 1, 84, 84) and x.dtype == np.float32 and boxes.shape == (100, 4)
    for (image,), (left, top, right, bottom) in zip(x, boxes.round().astype(int), strict=True):
        found = image[top:bottom, left:right]
        nearest = abs(images[1::3] / 255 - found).max(axis=(1, 2))
        assert nearest.min() < 0.01 and (image > 0.01).sum() == (found > 0.01).sum()
    np.testing.assert_allclose(boxes, boxes.round(), atol=1e-9)
    assert boxes[:, :2].min() >= 0 and boxes[:, 2:].max() <= 84
    assert boxes[:, :2].min(axis=0).max() < 6 and boxes[:, :2].max(axis=0).min() > 50  # anywhere: 0 to 56


def test_no_digit_comes_twice_where_there_are_enough(digits):
    images, labels = digits
    x, boxes = located_digits(images, labels, 2, "T", seed=0, count=10)
    crops = {image[int(top):int(top) + 28, int(left):int(left) + 28].tobytes()
             for (image,), (left, top, *_) in zip(x.round(3), boxes.round(), strict=True)}
    assert len(crops) == 10


def test_clutter_is_sixteen_pieces_over_the_digit(digits):
    images, labels = digits
    T, boxes = located_digits(images, labels, 0, "T", seed=3)
    TC, same = located_digits(images, labels, 0, "TC", seed=3)
    np.testing.assert_array_equal(boxes, same)
    added = (TC > T + 0.003).reshape(100, -1).sum(axis=1)
    assert (TC >= T).all() and added.max() <= 16 * 36 and 11 * 36 < added.mean()  # they may cover each other


def test_seed_and_class_alone_decide(digits):
    first, boxes = located_digits(*digits, 1, "TC", seed=5)
    again, same = located_digits(*digits, 1, "TC", seed=5)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(boxes, same)
    for other in (located_digits(*digits, 1, "TC", seed=6), located_digits(*digits, 2, "TC", seed=5)):
        assert (other[1] != boxes).any()


def test_the_attention_that_crops_a_digit_has_its_box(digits):
    x, boxes = located_digits(*digits, 0, "T", seed=1, count=5)
    left, top = boxes[:, 0], boxes[:, 1]
    theta = np.stack([np.full(5, 27 / 83), (left + 13.5) / 41.5 - 1, (top + 13.5) / 41.5 - 1], axis=1)
    np.testing.assert_allclose(attention_boxes(theta, crop=28), boxes, atol=1e-9)
    crops = spatial_transform(x, theta.astype(np.float32), Attention(), (28, 28)).data
    for (crop,), (image,), (left, top, *_) in zip(crops, x, boxes.round().astype(int), strict=True):
        np.testing.assert_allclose(crop, image[top:top + 28, left:left + 28], atol=1e-3)


def test_boxes_of_attention():
    theta = np.array([[1, 0, 0], [0.5, 1, 0], [-0.5, 1, 0]])
    half = 41.5 * 0.5 * 28 / 27
    whole = 41.5 * 28 / 27
    np.testing.assert_allclose(attention_boxes(theta, crop=28), [
        [42 - whole, 42 - whole, 42 + whole, 42 + whole], *[[83.5 - half, 42 - half, 83.5 + half, 42 + half]] * 2])


def test_overlaps():
    box = np.array([10.0, 20, 38, 48])
    others = np.array([box, box + [14, 0, 14, 0], box + [28, 0, 28, 0], box + [30, 30, 30, 30], [10, 20, 66, 76],
                       [17, 27, 31, 41]])
    # half of it shared: 1/2 of 3/2; beside it; off both ways, where two negative sides have a positive product
    np.testing.assert_allclose(overlaps(np.tile(box, (6, 1)), others), [1, 1 / 3, 0, 0, 1 / 4, 1 / 4])


def test_bad_arguments(digits):
    with pytest.raises(ValueError, match="located_digits: images should be some of digit 7, received 30 without one"):
        located_digits(*digits, 7, "T", seed=0)
    with pytest.raises(ValueError, match="located_digits: kind should be T or TC, received 'RTS'"):
        located_digits(*digits, 1, "RTS", seed=0)
