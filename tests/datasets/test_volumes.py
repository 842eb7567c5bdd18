"""Volumes whose voxels are known, poses as they were drawn, and a test set of which nothing is kept."""

import numpy as np
import pytest

from nanostn.datasets.batches import epoch_batches
from nanostn.datasets.volumes import ROOM, SCALE, SIDE, SLICES, TURN, VOLUMES, DrawnVolumes, lazy_test_set, placed
from nanostn.transformations import Affine3d

QUARTER = np.pi / 2
AT = np.arange(SIDE) - (SIDE - 1) / 2  # from the centre


@pytest.fixture
def images():
    """Noise in the 20 x 20 pixels where MNIST has its digits."""
    images = np.zeros((6, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = np.random.default_rng(0).integers(256, size=(6, 20, 20))
    return images


def volume(image, turns=(0, 0, 0), shift=(0, 0, 0)):
    """One digit as a volume (D, H, W)."""
    theta = placed(np.array(turns, float)[:, None], np.array(shift, float)[None]).astype(np.float32)
    return DrawnVolumes(Affine3d(), (SIDE,) * 3, (image[None], theta))[:][0, 0]


def spot(column, row):
    """A bright pixel, and where it lies from the centre of the volume: x, y."""
    image = np.zeros((28, 28), np.uint8)
    image[row, column] = 255
    return image, (SCALE * (column - 13.5), SCALE * (row - 13.5))


def centre(V):
    """Where the ink is: x, y, z from the centre of the volume."""
    return np.array([(V.sum(axis=axes) * AT).sum() for axes in ((0, 1), (0, 2), (1, 2))]) / V.sum()


def enlarged(image):
    """An image on 60 x 60 pixels, 1.5 of them to each of its own: linear between its pixels, which lie at 1.5 q."""
    hats = np.maximum(0, 1 - abs(AT[:, None] / SCALE - (np.arange(28) - 13.5)))
    return hats @ (image / 255) @ hats.T


def test_a_digit_as_it_is_fills_its_slab(images):
    V = volume(images[0])
    depth = np.clip((SLICES + 1) / 2 - abs(AT) / SCALE, 0, 1)  # linear at both ends
    assert depth.sum() == pytest.approx(21) and (depth == 1).sum() == 20
    np.testing.assert_allclose(V, depth[:, None, None] * enlarged(images[0]), atol=1e-4)


@pytest.mark.parametrize("shift", [(3, -5, 7), (6, 6, -6)])
def test_a_digit_is_moved_by_whole_voxels(images, shift):
    """Right, down and back are positive."""
    x, y, z = shift
    np.testing.assert_allclose(volume(images[0], shift=shift),
                               np.roll(volume(images[0]), (z, y, x), axis=(0, 1, 2)), atol=1e-4)


@pytest.mark.parametrize(("turns", "expected"), [
    ((QUARTER, 0, 0), lambda x, y: (x, 0, y)),             # about x: y becomes z
    ((0, QUARTER, 0), lambda x, y: (0, y, -x)),            # about y: z becomes x, and x becomes -z
    ((0, 0, QUARTER), lambda x, y: (-y, x, 0)),            # about z: x becomes y, as seen clockwise
    ((QUARTER, 0, QUARTER), lambda x, y: (-y, 0, x))])     # in its own plane first
def test_quarter_turns_by_hand(turns, expected):
    image, (x, y) = spot(20, 11)
    np.testing.assert_allclose(centre(volume(image, turns)), expected(x, y), atol=0.05)
    np.testing.assert_allclose(centre(volume(image, turns, (2, -6, 4))), np.add(expected(x, y), (2, -6, 4)),
                               atol=0.05)


def test_nothing_is_lost_at_the_walls():
    """A full 20 x 20 digit at the ends of what may be drawn: all of its ink is in the volume."""
    rng = np.random.default_rng(1)
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 4:24] = 255
    for _ in range(20):
        V = volume(image, rng.choice([-TURN, TURN], 3), rng.choice([-ROOM, ROOM], 3))
        assert V.sum() == pytest.approx(20 * 20 * SLICES * SCALE ** 3, rel=0.005)
        assert V.min() >= 0 and V.max() == pytest.approx(1, abs=1e-4)


def test_turns_and_places_fill_their_ranges():
    rng, N = np.random.default_rng(2), 3000
    made, _ = VOLUMES.draw(np.zeros((1, 28, 28), np.uint8), np.zeros(1), np.zeros(N, int), rng)
    theta = SCALE * made.arrays[1].astype(float) * np.array([[13.5], [13.5], [(SLICES - 1) / 2]])
    R = theta[:, :, :3].transpose(0, 2, 1) / ((SIDE - 1) / 2)
    shift = -(R @ theta[:, :, 3:])[:, :, 0]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (N, 1, 1)), atol=1e-5)
    turns = [np.arctan2(-R[:, 1, 2], R[:, 2, 2]), np.arcsin(R[:, 0, 2]), np.arctan2(-R[:, 0, 1], R[:, 0, 0])]
    for values, most in [(turn, TURN) for turn in turns] + [(place, ROOM) for place in shift.T]:
        counts, _ = np.histogram(values, 6, (-most - 1e-4, most + 1e-4))
        assert counts.sum() == N and counts.min() > 0.8 * N / 6


def test_batches_follow_from_seed_epoch_and_step(images):
    images = np.where(images > 0, 20 + 40 * np.arange(6)[:, None, None], 0).astype(np.uint8)
    labels = np.arange(6)
    whole = list(epoch_batches(images, labels, 4, VOLUMES, 3, 1))
    assert [x.shape for x, _ in whole] == [(4, 1, 60, 60, 60), (2, 1, 60, 60, 60)]
    for x, y in whole:
        assert x.dtype == np.float32 and y.dtype == np.int64
        np.testing.assert_allclose(x.max(axis=(1, 2, 3, 4)) * 255, 20 + 40 * y, rtol=1e-4)
    (x, y), = epoch_batches(images, labels, 4, VOLUMES, 3, 1, start=1)
    assert (x == whole[1][0]).all() and (y == whole[1][1]).all()
    (x, y), *_ = epoch_batches(images, labels, 4, VOLUMES, 3, 2)
    assert (x[:2] != whole[0][0][:2]).any()


def test_a_test_set_is_made_where_it_is_read(images, monkeypatch):
    made = []
    canvas = DrawnVolumes.canvas
    monkeypatch.setattr(DrawnVolumes, "canvas", lambda drawn: made.append(len(drawn)) or canvas(drawn))
    x, y = lazy_test_set(images, np.arange(6, dtype=np.uint8), 0)
    assert len(x) == 6 and y.dtype == np.int64 and made == []
    whole = x[:]
    assert whole.shape == (6, 1, 60, 60, 60) and whole.dtype == np.float32
    assert (x[2:4] == whole[2:4]).all() and (x.part(slice(5))[3:] == whole[3:5]).all() and (x[4:9] == whole[4:]).all()
    assert made == [6, 2, 2, 2]
    again, other = (lazy_test_set(images, y, seed)[0][:2] for seed in (0, 1))
    assert (again == whole[:2]).all() and (other != whole[:2]).any(axis=(1, 2, 3, 4)).all()
    assert lazy_test_set(images[:0], y[:0], 0)[0][:].shape == (0, 1, 60, 60, 60)
