import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from nanostn.checkpoints import load, save
from nanostn.datasets import distortions
from nanostn.datasets.batches import epoch_batches, fixed_test_set, steps


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(23, 28, 28), dtype=np.uint8), np.arange(23, dtype=np.uint8)


def epoch(data, kind="RTS", seed=0, epoch=0, start=0):
    return list(epoch_batches(*data, 5, kind, seed, epoch, start))


def same(first, second):
    return all((x == u).all() and (y == v).all() for (x, y), (u, v) in zip(first, second, strict=True))


def test_every_image_once_and_a_smaller_last_batch(data):
    got = epoch(data, "TC")
    assert len(got) == steps(23, 5) == 5
    assert [x.shape for x, _ in got] == [(5, 1, 60, 60)] * 4 + [(3, 1, 60, 60)]
    assert all(x.dtype == np.float32 and y.dtype == np.int64 for x, y in got)
    assert sorted(np.concatenate([y for _, y in got])) == list(range(23))


def test_image_and_label_stay_together(data):
    images = np.zeros((23, 28, 28), np.uint8)
    images[:] = 10 * data[1][:, None, None] + 20
    for x, y in epoch((images, data[1]), "T"):
        np.testing.assert_allclose(x.max(axis=(1, 2, 3)) * 255, 10 * y + 20, rtol=1e-4)


def test_same_seed_same_bits_wherever_it_starts(data):
    whole = epoch(data, "TC", 3, 2)
    assert same(whole, epoch(data, "TC", 3, 2))
    assert same(whole[3:], epoch(data, "TC", 3, 2, start=3))
    assert epoch(data, "TC", 3, 2, start=5) == []


def test_every_epoch_and_seed_is_another(data):
    orders = [tuple(np.concatenate([y for _, y in epoch(data, "R", seed, e)])) for seed, e in ((0, 0), (0, 1), (1, 0))]
    assert len(set(orders)) == 3
    one = np.repeat(data[0][:1], 23, axis=0), data[1]      # with one image, only the distortion differs
    first = [x for seed, e in ((0, 0), (0, 1), (1, 0)) for x, _ in epoch(one, "R", seed, e)[:2]]
    assert all((a != b).any() for i, a in enumerate(first) for b in first[:i])


@pytest.mark.parametrize("change, message", [
    ({"batch_size": 0}, "batch_size should be an integer, 1 or more, received 0"),
    ({"seed": -1}, "seed should be an integer, 0 or more, received -1"),
    ({"start": 1.5}, "start should be an integer, 0 or more, received 1.5"),
    ({"kind": "X"}, "kind should be one of R, RTS, P, P5, E, T, TC, received 'X'"),
    ({"labels": np.zeros(4)}, r"labels should be \(N,\) with N = 23 from images, received \(4,\)"),
])
def test_bad_arguments_are_refused_before_the_first_batch(data, change, message):
    arguments = {"images": data[0], "labels": data[1], "batch_size": 5, "kind": "R", "seed": 0, "epoch": 0, **change}
    with pytest.raises(ValueError, match=message):
        epoch_batches(**arguments)


def made(monkeypatch):
    """Count how often a test set is distorted rather than read."""
    calls = []
    canvas = distortions.Drawn.canvas
    monkeypatch.setattr(distortions.Drawn, "canvas", lambda drawn: calls.append(1) or canvas(drawn))
    return calls


def test_test_set_is_made_once(data, tmp_path, monkeypatch):
    calls = made(monkeypatch)
    x, y = fixed_test_set(*data, "RTS", 0, tmp_path / "new")
    again, _ = fixed_test_set(*data, "RTS", 0, tmp_path / "new")
    assert x.shape == (23, 1, 42, 42) and x.dtype == np.float32 and 0 <= x.min() and 0.5 < x.max() <= 1
    assert y.dtype == np.int64 and (y == data[1]).all()
    assert (x == again).all() and len(calls) == 1
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".h5"]


def test_another_seed_kind_or_data_is_another_set(data, tmp_path, monkeypatch):
    calls = made(monkeypatch)
    images, labels = data
    x = fixed_test_set(images, labels, "R", 0, tmp_path)[0]
    assert (x != fixed_test_set(images, labels, "R", 1, tmp_path)[0]).any()
    assert (x != fixed_test_set(images, labels, "E", 0, tmp_path)[0]).any()
    assert (x != fixed_test_set(images[::-1], labels, "R", 0, tmp_path)[0]).any()
    assert len(calls) == 4 and len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["one pixel", "cut short", "another file", "another shape"])
def test_a_damaged_file_is_made_anew(data, tmp_path, damage):
    x, _ = fixed_test_set(*data, "R", 0, tmp_path)
    (path,) = tmp_path.iterdir()
    if damage == "one pixel":
        with h5py.File(path, "r+") as file:
            file["images"][3, 0, 5, 7] ^= 1
    elif damage == "another shape":
        save(path, {"images": np.zeros((2, 1, 28, 28), np.uint8)})
    else:
        path.write_bytes(path.read_bytes()[:3000] if damage == "cut short" else b"something else")
    assert (fixed_test_set(*data, "R", 0, tmp_path)[0] == x).all()
    assert (load(path)["images"] == np.rint(x * 255)).all()


def test_without_a_place_to_write(data, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    x, _ = fixed_test_set(*data, "R", 0, tmp_path / "file")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and f"is made each time: {tmp_path / 'file'} cannot be written (" in said[0]
    again, _ = fixed_test_set(*data, "R", 0, tmp_path / "file")
    assert (x == again).all()


def test_an_interrupted_write_leaves_nothing(data, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fixed_test_set(*data, "R", 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_unfinished_goes(data, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".R-seed0.0a.{dead.pid}.unfinished").touch()
    fixed_test_set(*data, "R", 0, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".h5"]
