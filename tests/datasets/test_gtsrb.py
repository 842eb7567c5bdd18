"""Traffic signs: small files in the benchmark's layout, the sample at hand, and the drawn ones."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nanostn.datasets import gtsrb
from nanostn.datasets.signs import NAMES, SIGNS, drawn_signs

HEAD = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"
SAMPLE = Path(os.environ.get("NANOSTN_DATA", ".")) / "gtsrb"


def shade(label, n):
    return 5 * label + 2 * n


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """All 43 classes, one picture of each and three of class 2, and four for tests; one shade of grey each."""
    monkeypatch.setattr(gtsrb, "COUNTS", (45, 4))
    root = tmp_path / "gtsrb" / "GTSRB"
    for label in range(43):
        folder = root / "Final_Training" / "Images" / f"{label:05}"
        folder.mkdir(parents=True)
        lines = [written(folder / f"00000_{n:05}.ppm", label, n) for n in range(3 if label == 2 else 1)]
        (folder / f"GT-{label:05}.csv").write_bytes((HEAD + "".join(lines)).encode())
    folder = root / "Final_Test" / "Images"
    folder.mkdir(parents=True)
    lines = [written(folder / f"{n:05}.ppm", label, 0) for n, label in enumerate((7, 0, 42, 7))]
    (root / "GT-final_test.csv").write_bytes((HEAD + "".join(lines)).encode())
    return tmp_path


def written(path, label, n):
    height, width = 20 + n, 30 + label
    Image.fromarray(np.full((height, width, 3), shade(label, n), np.uint8)).save(path)
    return f"{path.name};{width};{height};5;5;{width - 5};{height - 5};{label}\r\n"


def table(benchmark, label=2):
    return benchmark / "gtsrb" / "GTSRB" / "Final_Training" / "Images" / f"{label:05}" / f"GT-{label:05}.csv"


def test_the_layout_of_the_benchmark(benchmark):
    x, y, x_test, y_test = gtsrb.load("gtsrb", benchmark, side=9)
    assert x.shape == (45, 9, 9, 3) and x_test.shape == (4, 9, 9, 3) and x.dtype == x_test.dtype == np.uint8
    assert y.dtype == y_test.dtype == np.int64
    assert list(y) == sorted([*range(43), 2, 2]) and list(y_test) == [7, 0, 42, 7]
    assert list(x[:5, 4, 4, 0]) == [shade(0, 0), shade(1, 0), shade(2, 0), shade(2, 1), shade(2, 2)]
    assert (x_test == 5 * y_test[:, None, None, None]).all()
    assert gtsrb.load("gtsrb", benchmark)[0].shape == (45, 48, 48, 3)


def test_a_part_of_the_benchmark_is_refused(benchmark, monkeypatch):
    monkeypatch.setattr(gtsrb, "COUNTS", (45, 5))
    with pytest.raises(ValueError, match="should be 45 pictures for training and 5 for tests, received 45 and 4;"):
        gtsrb.load("gtsrb", benchmark, side=4)


@pytest.mark.parametrize("place", ["gtsrb/GTSRB/Final_Test/Images", "gtsrb", "gtsrb/GTSRB/Final_Test"])
def test_the_table_of_the_test_may_lie_where_people_unpack_it(benchmark, place):
    (benchmark / "gtsrb" / "GTSRB" / "GT-final_test.csv").rename(benchmark / place / "GT-final_test.csv")
    assert list(gtsrb.load("gtsrb", benchmark, side=4)[3]) == [7, 0, 42, 7]


@pytest.mark.parametrize("old, new, message", [
    ("00000_00001.ppm;32;21", "00000_00001.ppm;33;21", r"00000_00001\.ppm should be 33 x 21 pixels .*received 32 x 21"),
    ("5;5;27;16", "5;5;33;16", r"GT-00002\.csv should be a table .*received a box outside its picture in line 3"),
    ("5;5;27;16", "27;5;5;16", "received a box outside its picture in line 3"),
    ("5;5;27;16;2", "5;5;27;16;3", r"the line of .*00000_00001\.ppm in GT-00002\.csv should be of class 2"),
    ("5;5;27;16;2", "5;5;27;16;43", "received a class or a file that cannot be in line 3"),
    ("00000_00001.ppm", "../00000_00001.ppm", "received a class or a file that cannot be in line 3"),
    ("00000_00001.ppm", "00000_00009.ppm", r"00000_00009\.ppm should be a picture, received no such file"),
    ("32;21", "32;some", r"GT-00002\.csv should be a table .*'some'"),
    ("5;5;27;16;2\r\n", "5;5", r"GT-00002\.csv should be a table"),
    (HEAD, HEAD.replace(";", ","), r"GT-00002\.csv should be a table of .*received the columns Filename,Width"),
    (HEAD, "\xff", r"GT-00002\.csv should be a table"),
])
def test_bad_tables_are_named(benchmark, old, new, message):
    path = table(benchmark)
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new).encode("latin-1"))
    with pytest.raises((ValueError, FileNotFoundError), match="^gtsrb: .*" + message):
        gtsrb.load("gtsrb", benchmark, side=4)


def test_files_that_do_not_agree_with_their_table(benchmark):
    path = table(benchmark)
    (path.parent / "00000_00002.ppm").unlink()
    with pytest.raises(ValueError, match=r"GT-00002\.csv should be a line for each of the 2 pictures .*received 3"):
        gtsrb.load("gtsrb", benchmark)
    table(benchmark, 1).unlink()
    with pytest.raises(FileNotFoundError, match=r"GT-00001\.csv should be a table of pictures, received no such file"):
        gtsrb.load("gtsrb", benchmark)


def test_a_truncated_picture_is_named(benchmark):
    path = table(benchmark).parent / "00000_00001.ppm"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"00000_00001\.ppm should be a picture .*received one that does not decode"):
        gtsrb.load("gtsrb", benchmark)


def test_without_files_it_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder gtsrb with what is in GTSRB_Final_Training_Images.zip.*drawn"):
        gtsrb.load("gtsrb", tmp_path)
    with pytest.raises(FileNotFoundError, match="folder gtsrb with gtsrb_train_32.npz and gtsrb_test_32.npz"):
        gtsrb.load("gtsrb-sample", tmp_path)
    with pytest.raises(ValueError, match="data should be one of gtsrb, gtsrb-sample, drawn-signs, received 'signs'"):
        gtsrb.load("signs", tmp_path)
    with pytest.raises(ValueError, match="side should be a positive integer or None, received 0"):
        gtsrb.load("gtsrb", tmp_path, side=0)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of traffic signs is not here; NANOSTN_DATA tells where")
def test_the_genuine_sample():
    x, y, x_test, y_test = gtsrb.load("gtsrb-sample")
    assert x.shape == (5227, 32, 32, 3) and x_test.shape == (6315, 32, 32, 3)
    assert len(y) == 5227 and len(y_test) == 6315 and set(y) == set(y_test) == set(range(43))
    assert list(np.bincount(y)[:4]) == [28, 296, 300, 188]
    red = x[y == 14][:, :, :, 0].mean() / x[y == 14][:, :, :, 2].mean()   # stop
    blue = x[y == 38][:, :, :, 2].mean() / x[y == 38][:, :, :, 0].mean()  # keep right
    assert red > 1.2 and blue > 1.1


def test_drawn_signs_are_the_same_for_the_same_seed():
    x, y = drawn_signs(12, seed=3, side=20)
    again, fewer, other = drawn_signs(12, 3, 20), drawn_signs(5, 3, 20), drawn_signs(12, 4, 20)
    assert x.shape == (12, 20, 20, 3) and x.dtype == np.uint8 and y.dtype == np.int64
    assert np.array_equal(x, again[0]) and np.array_equal(y, again[1])
    assert np.array_equal(x[:5], fewer[0]) and (x != other[0]).any()
    assert drawn_signs(0)[0].shape == (0, 48, 48, 3)
    with pytest.raises(ValueError, match="count should be an integer, 0 or more, received -1"):
        drawn_signs(-1)


def test_drawn_signs_are_of_every_class_and_as_diverse():
    assert len(SIGNS) == len(set(NAMES)) == 43
    x, y = drawn_signs(400, side=16)
    assert len(set(y)) == 43
    means = x.mean(axis=(1, 2, 3))
    assert means.std() > 15 and 60 < means.mean() < 150


def test_drawn_data(monkeypatch):
    monkeypatch.setattr(gtsrb, "TRAIN", 6)
    monkeypatch.setattr(gtsrb, "TEST", 3)
    x, y, x_test, y_test = gtsrb.load("drawn-signs", side=16)
    assert x.shape == (6, 16, 16, 3) and x_test.shape == (3, 16, 16, 3) and len(y) == 6 and len(y_test) == 3
    assert (x[:3] != x_test).any()
