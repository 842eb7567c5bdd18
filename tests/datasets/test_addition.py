"""Pairs of digits and their sums."""

import numpy as np
import pytest

from nanostn.datasets import epoch_batches, fixed_test_set
from nanostn.datasets.addition import ADDITION, CLASSES
from nanostn.datasets.distortions import distort


@pytest.fixture
def data():
    """Images that tell their label: all of a digit's pixels are 20 + 20 label."""
    labels = (np.arange(23) % 10).astype(np.uint8)
    return np.full((23, 28, 28), 20, np.uint8) + 20 * labels[:, None, None], labels


def read(x):
    """The labels that the two channels (N, 2, 42, 42) show."""
    return np.rint((x.max(axis=(2, 3)) * 255 - 20) / 20).astype(int)


def epoch(data, seed=0, epoch=0, start=0):
    return list(epoch_batches(*data, 5, ADDITION, seed, epoch, start))


def test_the_target_is_the_sum_of_what_the_channels_show(data):
    batches = epoch(data)
    assert [x.shape for x, _ in batches] == [(5, 2, 42, 42)] * 4 + [(3, 2, 42, 42)]
    assert all(x.dtype == np.float32 and y.dtype == np.int64 for x, y in batches)
    shown, y = np.concatenate([read(x) for x, _ in batches]), np.concatenate([y for _, y in batches])
    assert np.array_equal(shown.sum(axis=1), y) and y.max() < CLASSES
    assert sorted(shown[:, 0]) == sorted(data[1])  # every image comes once as the first digit
    assert sorted(shown[:, 1]) != sorted(data[1]) and len(set(shown[:, 1])) > 5  # the second is drawn by lot


def test_sums_beyond_a_byte_and_up_to_18():
    nines = np.full((6, 28, 28), 200, np.uint8), np.full(6, 9, np.uint8)
    assert all((y == 18).all() for _, y in epoch(nines))


def test_each_digit_is_distorted_by_itself(data):
    """With one image everywhere the two channels still differ; a channel is an RTS digit like any other."""
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 10:16] = 255
    x = np.concatenate([x for x, _ in epoch((np.repeat(image[None], 23, axis=0), data[1]))])
    assert (np.abs(x[:, 0] - x[:, 1]).sum(axis=(1, 2)) > 5).all()
    single = distort(np.repeat(image[None], 500, axis=0), "RTS", np.random.default_rng(0))
    for channel in (0, 1):
        assert x[:, channel].sum(axis=(1, 2)).mean() == pytest.approx(single.sum(axis=(1, 2, 3)).mean(), rel=0.15)


def test_same_seed_same_bits_wherever_it_starts(data):
    whole, again, late, other = epoch(data, 3, 2), epoch(data, 3, 2), epoch(data, 3, 2, start=3), epoch(data, 3, 1)
    for (x, y), (u, v) in [*zip(whole, again, strict=True), *zip(whole[3:], late, strict=True)]:
        assert np.array_equal(x, u) and np.array_equal(y, v)
    assert any(not np.array_equal(y, v) for (_, y), (_, v) in zip(whole, other, strict=True))


def test_test_set_has_every_digit_once_as_the_first(data, tmp_path):
    x, y = fixed_test_set(*data, ADDITION, 0, tmp_path)
    shown = read(x)
    assert x.shape == (23, 2, 42, 42) and np.array_equal(shown[:, 0], data[1])
    assert np.array_equal(shown.sum(axis=1), y) and y.dtype == np.int64
    again, its_sums = fixed_test_set(*data, ADDITION, 0, tmp_path)  # from its file
    assert np.array_equal(x, again) and np.array_equal(y, its_sums)
