"""The gallery: its pictures are drawn, and its subjects are what their captions say."""

import numpy as np
import pytest

from nanostn import functional as F
from nanostn import gallery, transformations
from nanostn.datasets import digits


def test_both_pictures_are_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert gallery.main([str(tmp_path / "new"), "--size", "28"]) == 0
    files = [tmp_path / "new" / name for name in ("families.png", "kernels.png")]
    assert capsys.readouterr().out.splitlines() == [str(file) for file in files]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_too_small_a_size_is_one_line(tmp_path, capsys):
    assert gallery.main([str(tmp_path / "new"), "--size", "27"]) == 2
    assert capsys.readouterr().err == "nanostn: gallery: --size should be 28 or more, received 27\n"
    assert not (tmp_path / "new").exists()


def test_every_family_is_in_the_picture():
    shown = {type(family).__name__ for _, family, _ in gallery.plane_families(9) + gallery.volume_families()}
    assert shown == {name for name in transformations.__all__ if name[0].isupper()} - {"Transformation"}


def test_the_digits_are_those_of_the_program():
    image = gallery.digit(gallery.FIVE, 28)
    assert np.array_equal((image * 255).round().astype(np.uint8), digits(6)[0][gallery.FIVE])


def test_the_trained_basis_holds_the_swirl():
    size = 21
    family, theta = gallery.trained_basis(size)
    grid = family(theta[None]).data[0]
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    angle = gallery.SWIRL * np.clip(1 - x**2 - y**2, 0, None) ** 2
    expected = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)
    assert np.abs(grid - expected).max() < 0.02
    assert np.abs(grid - np.stack([x, y], axis=-1)).max() > 0.5  # the identity would not do


def test_the_block_shows_a_digit_from_the_front_and_another_from_the_side():
    size = 32
    volume = gallery.block(size)
    _, *views = gallery.volume_families()
    for (_, family, theta), number in zip(views, (gallery.TWO, gallery.THREE), strict=True):
        straight = theta[None].astype(np.float32) / np.float32(0.7 * 1.2)  # the scales of the view and of the block
        seen = F.spatial_transform(volume, straight, family, (size,) * 3, flatten_depth=True).data[0, 0]
        expected = gallery.digit(number, size)
        assert seen[expected == 1].min() > 10 * seen[expected == 0].mean()
        assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.9
        assert np.corrcoef(seen.ravel(), expected[:, ::-1].ravel())[0, 1] < 0.5  # not in a mirror
