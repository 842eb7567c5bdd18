"""Birds drawn by the program, in the layout of CUB-200-2011."""

import numpy as np
import pytest

from nanostn.datasets import cub, pictures
from nanostn.datasets.cub import drawn
from nanostn.datasets.cub.bird import BODIES, BODY_MARKS, HEAD_MARKS, HEADS, Bird
from nanostn.datasets.cub.files import read
from nanostn.datasets.cub.parts import NAMES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.drawn_birds(tmp_path_factory.mktemp("birds") / "drawn", 2, 1)


def test_they_are_read_like_the_photographs(folder):
    train, test = read(folder)
    assert len(train.files) == 32 and len(test.files) == 16 and len(train.classes) == 16
    assert list(np.bincount(train.labels)) == [2] * 16 and list(test.labels) == list(range(16))
    assert train.classes[5] == "006.eye_ring_breast_spots"
    assert train.sizes.max() == 320 and train.sizes.min() >= 224 and (train.sizes[:, 0] != train.sizes[:, 1]).any()
    assert cub.batch(test, np.arange(16), None, 32).shape == (16, 3, 32, 32)


def test_a_central_crop_has_all_of_the_bird(folder):
    for photographs in read(folder):
        chosen = np.arange(len(photographs.files))
        boxes, parts = cub.located(photographs, chosen, cub.windows(photographs, chosen), 224)
        whole = np.tile([0.0, 0, 224, 224], (len(chosen), 1))
        assert (parts[:, :, 2].sum(axis=1) == 13).all()                # one eye and one wing are on the far side
        for group in (cub.HEAD, cub.BODY):
            assert (cub.share_held(parts, boxes + [-2, -2, 2, 2], group) == 1).all()
            assert (cub.share_held(parts, whole, group) == 1).all()
        assert (boxes[:, 2:] - boxes[:, :2]).min() > 30


def test_they_stand_anywhere_and_look_both_ways():
    birds = [Bird(HEADS[0], BODIES[0], np.random.default_rng(n)) for n in range(200)]
    centres = np.array([(bird.box[:2] + bird.box[2:] / 2 - bird.size / 2) for bird in birds])
    assert (np.ptp(centres, axis=0) > 40).all() and abs(centres.mean(axis=0)).max() < 8
    assert 60 < sum(bird.mirrored for bird in birds) < 140
    beaks = np.array([bird.parts[NAMES.index("beak"), 0] - bird.parts[NAMES.index("tail"), 0] for bird in birds])
    assert ((beaks < 0) == [bird.mirrored for bird in birds]).all()
    for bird in birds:                                                 # who looks right shows its right side
        side, other = ("left", "right") if bird.mirrored else ("right", "left")
        assert bird.parts[NAMES.index(f"{side} eye"), 2] and not bird.parts[NAMES.index(f"{other} eye"), 2]
        low, high = bird.box[:2] - 1, bird.box[:2] + bird.box[2:] + 1
        seen = bird.parts[bird.parts[:, 2] > 0, :2]
        assert ((low <= seen) & (seen <= high)).all()


def test_classes_differ_by_their_markings_alone():
    """Two birds of one seed and different markings differ near the head, or the body, and nowhere else."""
    assert set(HEAD_MARKS) == set(HEADS) and set(BODY_MARKS) == set(BODIES)
    one, head, body = (Bird(*marks, np.random.default_rng(5)) for marks in (
        ("eye line", "wing bars"), ("bib", "wing bars"), ("eye line", "breast spots")))
    assert np.array_equal(one.parts, head.parts) and np.array_equal(one.box, body.box)
    plain, *others = (np.asarray(bird.painted(), int) for bird in (one, head, body))
    for other, (name, reach) in zip(others, (("right eye", .4), ("right wing", .9)), strict=True):
        y, x = np.nonzero(abs(other - plain).max(axis=2) > 20)
        part = one.parts[NAMES.index(name.replace("right", "left") if one.mirrored else name)]
        assert len(x) > 30 and np.hypot(x - part[0], y - part[1]).max() < reach * one.length


def test_the_same_bits_and_an_interrupted_drawing_goes_on(folder, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt
    painted = Bird.painted
    count = []
    monkeypatch.setattr(Bird, "painted", lambda bird: count.append(1) or (
        painted(bird) if len(count) < 7 else interrupted()))
    with pytest.raises(KeyboardInterrupt):
        drawn.drawn_birds(tmp_path / "again", 2, 1)
    assert not (tmp_path / "again" / "images.txt").exists()
    monkeypatch.setattr(Bird, "painted", lambda bird: count.append(1) or painted(bird))
    drawn.drawn_birds(tmp_path / "again", 2, 1)
    assert len(count) == 7 + 48 - 6                                    # those that were there are not drawn again
    for path in sorted(folder.rglob("*.*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(folder)).read_bytes(), path
    monkeypatch.setattr(Bird, "painted", interrupted)
    assert drawn.drawn_birds(tmp_path / "again", 2, 1) == tmp_path / "again"


def test_they_are_drawn_into_the_cache_directory_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drawn, "cache_directory", lambda: tmp_path)
    monkeypatch.setattr(drawn, "CLASSES", drawn.CLASSES[:2])
    monkeypatch.setattr(drawn.drawn_birds, "__defaults__", (None, 1, 1))
    train, test = cub.load("drawn-birds")
    assert len(train.files) == len(test.files) == 2 and train.files[0].is_relative_to(tmp_path / "drawn-birds-v1")
    assert pictures.read("cub", train.files[0]).std() > 10
    assert len(cub.load("drawn-birds")[0].files) == 2
    assert capsys.readouterr().err == f"drawing 4 birds into {tmp_path / 'drawn-birds-v1'}, once\n"


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="drawn_birds: the cache directory should be a folder that can be written"):
        drawn.drawn_birds(tmp_path / "file" / "birds")
