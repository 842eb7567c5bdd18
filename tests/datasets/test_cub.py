"""Photographs of birds: small folders in the layout of CUB-200-2011, crops, and the sample at hand."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nanostn.datasets import cub
from nanostn.datasets.archives import unpack
from nanostn.datasets.cub import files
from nanostn.datasets.cub.parts import MIRRORED, NAMES

SAMPLE = Path(os.environ.get("NANOSTN_DATA", ".")) / "cub44"
NUMBERS = (3, 4, 7, 12, 30)  # of images; not in a row, as where a part of the set is at hand
SIZES = ((40, 31), (30, 45), (35, 35), (64, 32), (33, 50))
BOXES = ((5, 4, 20, 10), (2.5, 30, 20, 20), (0, 0, 35, 35), (60, 1, 30, 30), (10, 10, 5, 8))


@pytest.fixture
def place(tmp_path):
    """Five photographs of two classes, three for training; the red of a pixel tells its x, the green its y."""
    folder = tmp_path / "cub" / "CUB_200_2011"
    names = [f"{1 + n % 2:03}.Bird_{n % 2}/Photo_{number}.png" for n, number in enumerate(NUMBERS)]
    for name, (width, height) in zip(names, SIZES, strict=True):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        image = np.zeros((height, width, 3), np.uint8)
        image[:, :, 0], image[:, :, 1] = 3 * np.arange(width), 3 * np.arange(height)[:, None]
        Image.fromarray(image).save(folder / "images" / name)
    lines = {"images": names, "image_class_labels": ["1", "2", "1", "2", "1"], "train_test_split": list("11001"),
             "bounding_boxes": [" ".join(map(str, box)) for box in BOXES]}
    for table, values in lines.items():
        write(folder / f"{table}.txt", [f"{number} {value}" for number, value in zip(NUMBERS, values, strict=True)])
    write(folder / "classes.txt", ["1 001.Bird_0", "2 002.Bird_1"])
    (folder / "parts").mkdir()
    write(folder / "parts" / "part_locs.txt", [f"{number} {part} {10 + part}.5 {2 * part} {int(part != 3)}"
                                               for number in NUMBERS for part in range(1, 16)])
    return folder


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")


def load(place):
    return cub.load("cub", place.parent.parent)


def test_a_part_of_the_data_set_is_said(place, capsys):
    load(place)
    assert capsys.readouterr().err == f"cub: {place} has 5 of the data set's 11,788 photographs\n"


def test_the_layout_of_the_data_set(place):
    train, test = load(place)
    assert [path.name for path in train.files] == ["Photo_3.png", "Photo_4.png", "Photo_30.png"]
    assert list(train.labels) == [0, 1, 0] and list(test.labels) == [0, 1] and train.labels.dtype == np.int64
    assert train.sizes.tolist() == [[40, 31], [30, 45], [33, 50]] and train.classes == ["001.Bird_0", "002.Bird_1"]
    assert train.boxes.tolist() == [[5, 4, 20, 10], [2.5, 30, 20, 15], [10, 10, 5, 8]]  # the second is cut off below
    assert test.boxes.tolist() == [[0, 0, 35, 35], [60, 1, 4, 30]]
    assert train.parts.shape == (3, 15, 3) and test.parts.shape == (2, 15, 3)
    assert train.parts[2, 4].tolist() == [15.5, 10, 1] and train.parts[2, 2].tolist() == [13.5, 6, 0]


def test_lines_in_any_order_parts_elsewhere_or_nowhere(place):
    train, test = load(place)
    for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs"):
        write(place / f"{name}.txt", (place / f"{name}.txt").read_text().splitlines()[::-1])
    (place / "parts" / "part_locs.txt").rename(place / "part_locs.txt")
    again, _ = load(place)
    for a, b in zip(train, again, strict=True):
        assert np.array_equal(a, b)
    (place / "part_locs.txt").unlink()
    assert load(place)[0].parts is None
    place.rename(place.parent.parent / "CUB_200_2011")                # the archive unpacked right there
    assert len(load(place)[1].files) == len(test.files)


@pytest.mark.parametrize("table, old, new, message", [
    ("images", "3 001.Bird_0", "4 001.Bird_0", r"line 2 of .*images\.txt should be a new number and a name"),
    ("images", "3 001", "x 001", r"line 1 of .*images\.txt should be a new number"),
    ("images", "001.Bird_0/Photo_3.png", "../../Photo_3.png", r"images\.txt should be names of files below images/"),
    ("images", "001.Bird_0/Photo_3.png", "/etc/hosts", r"images\.txt should be names of files below images/"),
    ("images", "Photo_7", "Photo_8", r"Photo_8\.png should be a picture, received no such file"),
    ("image_class_labels", "7 1\n", "", r"image_class_labels\.txt should be 5 lines of 2 numbers.*received 4 of 2"),
    ("image_class_labels", "7 1\n", "7 3\n", r"image_class_labels\.txt, image 7, should be one of the 2 .*received 3"),
    ("image_class_labels", "7 1\n", "7 1.5\n", r"image_class_labels\.txt, image 7, .*received 1.5"),
    ("image_class_labels", "7 1\n", "8 1\n", r"image_class_labels\.txt should be 1 for each image, also for 7"),
    ("train_test_split", "12 0", "12 2", r"train_test_split\.txt, image 12, should be 1 \(training\) or 0, received 2"),
    ("train_test_split", "12 0", "12 no", r"train_test_split\.txt should be lines of 2 numbers"),
    ("bounding_boxes", "5 4 20 10", "41 4 20 10", r"box of .*Photo_3\.png .* should be .* inside 40 x 31 pixels"),
    ("bounding_boxes", "5 4 20 10", "5 -4 20 3", r"box of .*Photo_3\.png .*received 5, -4, 20, 3"),
    ("bounding_boxes", "5 4 20 10", "5 4 0 10", r"box of .*Photo_3\.png .*received 5, 4, 0, 10"),
    ("bounding_boxes", "5 4 20 10", "5 nan 20 10", r"box of .*Photo_3\.png .*received 5, nan, 20, 10"),
    ("bounding_boxes", "5 4 20 10", "5 4 20", r"bounding_boxes\.txt should be"),
    ("classes", "2 002", "3 002", r"classes\.txt should be classes from 1 to 2"),
    ("parts/part_locs", "30 15 25.5 30 1\n", "", r"part_locs\.txt should be 75 lines .*15 for each .*received 74 of 5"),
    ("parts/part_locs", "30 15 ", "30 14 ", r"part_locs\.txt, image 30, should be parts 1 to 15"),
    ("parts/part_locs", "30 15 25.5", "30 15 inf", r"part_locs\.txt, image 30, should be parts 1 to 15"),
    ("parts/part_locs", "30 15 25.5 30 1", "30 15 25.5 30 7", r"part_locs\.txt, image 30, should be parts 1 to 15"),
])
def test_tables_that_are_damaged_or_do_not_agree(place, table, old, new, message):
    path = place / f"{table}.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises((ValueError, FileNotFoundError), match="^cub: .*" + message):
        load(place)


@pytest.mark.parametrize("table", ["image_class_labels", "train_test_split", "bounding_boxes", "classes", "images"])
def test_a_table_that_is_missing_empty_or_no_text(place, table):
    path = place / f"{table}.txt"
    for content in (b"", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^cub: .*{table}\.txt should be"):
            load(place)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"^cub: .* should be a table|^cub: .* a folder cub/CUB_200_2011"):
        load(place)


def test_without_files_it_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder cub/CUB_200_2011 .*nanostn data fetch cub.*--data drawn-birds"):
        cub.load("cub", tmp_path)
    with pytest.raises(FileNotFoundError, match="folder cub44"):
        cub.load("cub-sample", tmp_path)
    with pytest.raises(ValueError, match="data should be one of cub, cub-sample, drawn-birds, received 'birds'"):
        cub.load("birds", tmp_path)


def test_windows_lie_inside_and_have_the_share_of_the_paper(place):
    train, _ = load(place)
    middle = cub.windows(train, [0, 1, 2])
    assert middle[:, 2].tolist() == [31 * 7 / 8, 30 * 7 / 8, 33 * 7 / 8] and not middle[:, 3].any()
    assert np.allclose(middle[:, :2] + middle[:, 2:3] / 2, train.sizes / 2)
    many = cub.windows(train, [1] * 400, np.random.default_rng(0))
    left, top, side, mirrored = many.T
    assert (many[:, :2] >= 0).all() and (left + side <= 30).all() and (top + side <= 45).all()
    assert left.min() < 0.1 and left.max() > 30 / 8 - 0.1 and top.min() < 0.2 and top.max() > 45 - side[0] - 0.2
    assert 0.4 < mirrored.mean() < 0.6 and set(mirrored) == {0, 1}


def test_the_pixels_of_a_crop_tell_where_they_come_from(place):
    """Red is 3 x and green 3 y, so that each pixel's place in the photograph can be read from it."""
    train, _ = load(place)
    for windows in (np.array([[4, 6, 20, 0.0], [3, 10, 20, 1.0]]), np.array([[2.5, 1.25, 26, 1.0], [0, 7, 24.6, 0]])):
        x = cub.crop(train, [0, 1], windows, 10)
        assert x.shape == (2, 3, 10, 10) and x.dtype == np.float32 and (x[:, 2] == 0).all()
        for image, (left, top, side, mirrored) in zip(x * 255 / 3, windows, strict=True):
            centres = (np.arange(10) + 0.5) * side / 10 - 0.5
            across = left + (centres[::-1] if mirrored else centres)
            inner = slice(2, -2)                                       # at the rim the filter leans inwards
            assert abs(image[0, :, inner] - across[inner]).max() < 0.4
            assert abs(image[1, inner] - (top + centres)[inner, None]).max() < 0.4


def test_batches_are_the_same_for_the_same_generator(place):
    train, _ = load(place)
    a, b, c = (cub.batch(train, np.array([2, 0]), np.random.default_rng(seed), 16) for seed in (1, 1, 2))
    assert np.array_equal(a, b) and (a != c).any() and a.shape == (2, 3, 16, 16) and 0 <= a.min() and a.max() <= 1
    central = cub.batch(train, [0], None, 16)
    assert np.array_equal(central, cub.crop(train, [0], cub.windows(train, [0]), 16))
    with pytest.raises(ValueError, match="side should be a positive integer, received 0"):
        cub.batch(train, [0], None, 0)


def test_a_photograph_that_is_cut_short_is_named_when_it_is_read(place):
    path = place / "images" / "001.Bird_0" / "Photo_3.png"
    path.write_bytes(path.read_bytes()[:-40])
    train, _ = load(place)
    with pytest.raises(ValueError, match=r"^cub: .*Photo_3\.png should be a picture .* that does not decode"):
        cub.batch(train, [1, 0], None, 8)


def test_boxes_and_parts_go_with_the_crop(place):
    train, _ = load(place)
    windows = np.array([[4, 2, 20, 0.0], [4, 2, 20, 1.0]])
    boxes, parts = cub.located(train, [0, 0], windows, 40)             # twice as large
    assert boxes.tolist() == [[2, 4, 40, 24], [0, 4, 38, 24]]          # x from 5 to 25: a pixel lies beyond the crop
    assert parts[0, 0].tolist() == [2 * (11.5 - 4), 0, 1]              # the back
    assert parts[1, 0].tolist() == [40 - 2 * (11.5 - 4), 0, 1]
    left, right = NAMES.index("left wing"), NAMES.index("right wing")
    assert parts[1, left, :2].tolist() == [40 - parts[0, right, 0], parts[0, right, 1]]
    assert not parts[0, 2, 2] and parts[0, 10, 2] and not parts[0, 11, 2]  # hidden; inside; below the crop, y = 24
    assert (train.parts[0, :, 0] == 10.5 + np.arange(1, 16)).all()     # what was read stays
    train = train._replace(parts=None)
    assert cub.located(train, [0], windows[:1], 40)[1] is None


def test_mirrored_names_pair_left_with_right():
    swapped = {"left": "right", "right": "left"}
    expected = [" ".join(swapped.get(word, word) for word in name.split()) for name in NAMES]
    assert [NAMES[i] for i in MIRRORED] == expected


def test_what_a_box_holds():
    parts = np.zeros((3, 15, 3))
    parts[:2, NAMES.index("beak")] = 10, 10, 1
    parts[:2, NAMES.index("crown")] = 20, 5, 1
    parts[:2, NAMES.index("tail")] = 3, 30, 1
    parts[:2, NAMES.index("nape")] = 10, 10, 0                         # hidden: not counted
    parts[:2, NAMES.index("left leg")] = 10, 10, 1                     # neither head nor body
    boxes = np.array([[0, 8, 12, 40], [8, 0, 25, 12], [0, 0, 50, 50]], float)
    assert cub.share_held(parts, boxes, cub.HEAD)[:2].tolist() == [0.5, 1]
    assert cub.share_held(parts, boxes, cub.BODY)[:2].tolist() == [1, 0]
    assert np.isnan(cub.share_held(parts, boxes, cub.HEAD)[2])
    assert set(cub.HEAD) | set(cub.BODY) == set(NAMES) - {"left leg", "right leg"}
    with pytest.raises(ValueError, match=r"boxes should be \(N, 4\)"):
        cub.share_held(parts, boxes[:, :3], cub.HEAD)


def test_the_archive_is_judged_by_its_photographs(place, tmp_path, monkeypatch):
    source = cub.SOURCE
    (remote,) = source.files
    home = tmp_path / "home"
    assert source.folder(home) == home / "cub" and remote.name == "CUB_200_2011.tgz" and remote.archive
    assert remote.found(home) is None
    with tarfile.open(tmp_path / remote.name, "w:gz") as tar:
        tar.add(place, "CUB_200_2011")
    with pytest.raises(ValueError, match="a folder with 11,788 photographs, received 5 of images.txt"):
        unpack(tmp_path / remote.name, home, check=remote.check)
    assert remote.found(home) is None
    monkeypatch.setattr(files, "PHOTOGRAPHS", 5)
    unpack(tmp_path / remote.name, home, check=remote.check)
    assert remote.found(home) is True and len(cub.load("cub", home)[0].files) == 3
    monkeypatch.setattr(files, "PHOTOGRAPHS", 6)
    assert remote.found(home) is False
    monkeypatch.setattr(files, "PHOTOGRAPHS", 5)
    (home / "CUB_200_2011" / "images.txt").unlink()
    assert remote.found(home) is False


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of birds is not here; NANOSTN_DATA tells where")
def test_the_genuine_sample():
    train, test = cub.load("cub-sample")
    assert len(train.files) == 1320 and len(test.files) == 1209 and len(train.classes) == 44
    assert set(train.labels) == set(range(44))
    for photographs in (train, test):
        x, y, width, height = photographs.boxes.T
        assert (x >= 0).all() and (x + width <= photographs.sizes[:, 0] + 1e-9).all()
        assert (y >= 0).all() and (y + height <= photographs.sizes[:, 1] + 1e-9).all()
        left_top_right_bottom = np.stack([x - 3, y - 3, x + width + 3, y + height + 3], axis=1)
        for group in (cub.HEAD, cub.BODY):
            held = cub.share_held(photographs.parts, left_top_right_bottom, group)
            assert np.nanmin(held) > 0.5 and np.nanmean(held) > 0.999
    x = cub.batch(test, np.arange(0, 1200, 400), None, 112)
    assert x.shape == (3, 3, 112, 112) and x.std() > 0.1
