"""House numbers: annotations, crops, the sample at hand and drawn ones; files in SVHN's own form are written here."""

import os

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from nanostn.datasets import svhn
from nanostn.datasets.svhn import crops, digit_struct, drawn, full_numbers
from nanostn.datasets.svhn.digit_struct import Annotation

from .conftest import data_at_hand

HAND = [Annotation("1.png", np.array([1, 9]), np.array([[2.0, 3, 4, 10], [7, 3, 5, 11]])),
        Annotation("2.png", np.array([0]), np.array([[1.0, -1, 5, 8]])),
        Annotation("3.png", np.array([1, 2, 3, 4, 5, 6]), np.array([[2.0 * d, 2, 2, 5] for d in range(6)]))]


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """An empty place for stores."""
    monkeypatch.setattr(svhn, "cache_directory", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "stores"


def same(read, wanted):
    assert [each.name for each in read] == [each.name for each in wanted]
    for one, other in zip(read, wanted, strict=True):
        np.testing.assert_array_equal(one.digits, other.digits)
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_annotations_are_read_as_written(tmp_path):
    path = tmp_path / "digitStruct.mat"
    digit_struct.write(path, HAND)
    same(digit_struct.read(path), HAND)
    assert digit_struct.count(path) == 3 and path.read_bytes().startswith(b"MATLAB 7.3 MAT-file")
    with h5py.File(path) as file:  # as in SVHN: one digit is a number, 0 is 10, several are references
        boxes = [file[reference] for reference in file["digitStruct/bbox"][:, 0]]
        assert boxes[1]["label"][()] == [[10.0]] and boxes[0]["label"].dtype == h5py.ref_dtype
        assert file[boxes[0]["left"][1, 0]][()] == [[7.0]]


def test_genuine_annotations():
    data = data_at_hand("svhn/full_sample/train/digitStruct.mat")
    read = digit_struct.read(data)
    assert len(read) == 39 and sum(len(each.digits) for each in read) == 83
    same(read[:1], [Annotation("1.png", np.array([1, 9]), np.array([[246, 77, 81, 219], [323, 81, 96, 219]]))])
    with np.load(data.parents[2] / "svhn_format1_annotations.npz") as every:
        first = every["train_first"]
        same(read, [Annotation(f"{n + 1}.png", every["train_label"][first[n]:first[n + 1]],
                               every["train_box"][first[n]:first[n + 1]]) for n in range(39)])


def replaced(n, name, value):
    def spoil(file):
        group = file[file["digitStruct/bbox"][n, 0]]
        if name in group:
            del group[name]
        if value is not None:
            group[name] = value
    return spoil


def named(letters):
    def spoil(file):
        file[file["digitStruct/name"][1, 0]][...] = np.array([[ord(letter)] for letter in letters], np.uint16)
    return spoil


def dangling(file):
    references = file["digitStruct/bbox"]
    references[1] = h5py.Reference()


def shortened(file):
    del file["digitStruct/name"]
    file["digitStruct"].create_dataset("name", data=file["digitStruct/bbox"][:2], dtype=h5py.ref_dtype)


def virtual(file):
    del file["digitStruct/name"]
    file["digitStruct"].create_dataset("name", (1 << 40, 1), dtype=h5py.ref_dtype, chunks=(1 << 10, 1))


@pytest.mark.parametrize("spoil, said", [
    (replaced(1, "label", None), "picture 2, received the fields height, left, top, width$"),
    (replaced(1, "angle", np.zeros((1, 1))), "picture 2, received the fields angle, height, label, left, top, width$"),
    (replaced(1, "label", np.array([[11.0]])), "picture 2, received the label 11, not 1 to 10"),
    (replaced(1, "label", np.array([[0.0]])), "picture 2, received the label 0, not"),
    (replaced(1, "left", np.array([[np.nan]])), "picture 2, received a box of no size"),
    (replaced(1, "width", np.array([[0.0]])), "picture 2, received a box of no size"),
    (replaced(1, "width", np.array([[1.0], [2.0]])), "picture 2, received fields of 1 and 2 digits"),
    (replaced(1, "width", np.zeros((0, 1))), "picture 2, received width, which is no array of 1 to 255 values"),
    (replaced(1, "width", np.zeros((256, 1))), "picture 2, received width, which is no array"),
    (replaced(1, "width", np.bytes_("7")), "picture 2, received width of .*, which are no numbers"),
    (replaced(0, "width", h5py.Empty("f")), "width, which is no array|cannot|read"),
    (named("../1s"), "picture 2, received the name '../1s', which is no file's"),
    (named("1.png"), "picture 2, received the name '1.png' again"),
    (dangling, "picture 2, received a reference to nothing"),
    (shortened, "as many boxes as names, received 3 and 2"),
    (virtual, r"references digitStruct/name \(n, 1\), received none such"),
    (lambda file: file["digitStruct"].pop("bbox"), r"references digitStruct/bbox \(n, 1\), received none such"),
    (lambda file: file.pop("digitStruct"), r"received none such; is it a digitStruct.mat"),
])
def test_annotations_that_are_not_as_they_should_be(tmp_path, spoil, said):
    path = tmp_path / "digitStruct.mat"
    digit_struct.write(path, HAND)
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(ValueError, match=f"svhn: {path} should be .*({said})"):
        digit_struct.read(path)


def test_annotations_that_are_cut_short(tmp_path):
    path = tmp_path / "digitStruct.mat"
    digit_struct.write(path, HAND)
    whole = path.read_bytes()
    for content in (whole[:len(whole) // 2], whole[:100], b"", b"<html>"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"svhn: {path} should be a MATLAB 7.3 file, whole, received one cut"):
            digit_struct.read(path)
    with pytest.raises(FileNotFoundError, match="nanostn data fetch svhn"):
        digit_struct.read(tmp_path / "none.mat")


def test_windows_by_hand():
    boxes = np.array([[10.0, 20, 5, 20], [16, 22, 14, 18]])
    assert crops.number_box(boxes) == (10, 20, 30, 40)
    assert crops.tight_window(boxes, 100, 100) == (7, 17, 33, 43)
    assert crops.tight_window(boxes, 42, 32) == (7, 17, 32, 42)
    rng = np.random.default_rng(0)
    windows = np.array([crops.loose_window(boxes, rng) for _ in range(300)])
    assert np.allclose(windows[:, 2:] - windows[:, :2], 44)
    shift = (windows[:, :2] + windows[:, 2:]) / 2 - [20, 30]
    assert 9 < np.abs(shift).max() <= 0.22 * 44


def test_a_crop_as_large_as_its_window_is_the_picture_itself(rng):
    image = rng.integers(256, size=(9, 12, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crops.crop(image, crops.Window(3, 2, 8, 7), 5), image[2:7, 3:8])
    padded = np.pad(image, ((3, 20), (4, 20), (0, 0)), mode="edge")
    np.testing.assert_array_equal(crops.crop(image, crops.Window(-4, -3, 12, 13), 16), padded[:16, :16])


@pytest.mark.parametrize("window", [(2.3, 1.6, 30.9, 20.2), (10, 4, 14.5, 9), (-8, -20, 60, 48)])
def test_crops_agree_with_pillow(rng, window):
    """Of a picture made wider, since pillow leaves out what is outside, and of grey colours, since it rounds to bytes
    in between."""
    Image = pytest.importorskip("PIL.Image")
    image = np.repeat(np.repeat(rng.integers(70, 180, size=(14, 20, 3), dtype=np.uint8), 3, axis=0), 3, axis=1)
    window = crops.Window(*window)
    wide = np.pad(image, ((30, 30), (30, 30), (0, 0)), mode="edge")
    wanted = np.asarray(Image.fromarray(wide).resize((17, 17), Image.Resampling.BICUBIC,
                                                     tuple(edge + 30 for edge in window)))
    assert np.abs(crops.crop(image, window, 17).astype(int) - wanted).max() <= 2


def test_genuine_crops():
    pytest.importorskip("PIL")
    from nanostn.datasets import pictures

    folder = data_at_hand("svhn/full_sample/train")
    train, _ = svhn.sample.read(folder.parents[1] / "svhn_train_64.npz", 64)
    for n, each in enumerate(digit_struct.read(folder / "digitStruct.mat")[:3]):
        image = pictures.read("test", folder / each.name)
        made = crops.crop_number(image, each.boxes, 64, np.random.default_rng(0), each.name)
        assert np.corrcoef(made.ravel(), train[n].ravel())[0, 1] > 0.99  # the sample went through JPEG


def test_boxes_outside_the_picture():
    image, rng = np.zeros((20, 30, 3), np.uint8), np.random.default_rng(0)
    assert crops.crop_number(image, np.array([[-3.0, -2, 8, 9], [25, 15, 9, 9]]), 64, rng, "1.png").shape == (64, 64, 3)
    for outside in ([30.0, 2, 3, 3], [2, 20, 3, 3], [-5, 2, 5, 3], [2, -5, 3, 5], [2, 2, 1e-9, 3], [-1e9, 2, 2e9, 3]):
        with pytest.raises(ValueError, match=r"svhn: 1.png should be a picture with its digits' boxes inside 30 x 20"):
            crops.crop_number(image, np.array([[2.0, 2, 3, 3], outside]), 128, rng, "1.png")


def test_drawn_numbers_are_the_same_again_and_of_all_kinds():
    some = list(drawn.scenes(300, seed=3))
    for n, (image, annotation) in enumerate(drawn.scenes(260, seed=3, first=130), 130):
        np.testing.assert_array_equal(image, some[n][0])
        same([annotation], [some[n][1]])
    assert not np.array_equal(next(drawn.scenes(1, seed=4))[0], some[0][0])
    assert {len(each.digits) for _, each in some} == {1, 2, 3, 4, 5}
    assert set(np.concatenate([each.digits for _, each in some])) == set(range(10))
    for image, each in some:
        right, bottom = (each.boxes[:, :2] + each.boxes[:, 2:]).T
        assert image.shape == (80, 152, 3) and (np.diff(each.boxes[:, 0] + right) > 0).all()  # from left to right
        assert (each.boxes[:, :2] > -4).all() and (right < 156).all() and (bottom < 84).all()
    with pytest.raises(ValueError, match="drawn numbers: count should be an integer, zero or more"):
        next(drawn.scenes(-1))


def test_drawn_numbers_can_be_told_from_their_wall():
    """A digit's pixels differ from what surrounds its number."""
    differs = []
    for image, each in drawn.scenes(100):
        x0, y0, x1, y1 = (int(edge) for edge in crops.number_box(each.boxes))
        inside = image[max(y0, 0):y1, max(x0, 0):x1].mean(axis=2)
        differs.append(inside.std())
    assert np.median(differs) > 15 and np.mean(np.array(differs) < 5) < 0.05


def written(folder, count=7, seed=0):
    pytest.importorskip("PIL")
    drawn.write(folder, count, seed)
    annotations = digit_struct.read(folder / "digitStruct.mat")
    return annotations, (len(annotations), sum(len(each.digits) for each in annotations))


@pytest.fixture
def format_1(tmp_path, monkeypatch):
    """A small SVHN in its own files, in a data directory."""
    counts = {split: written(tmp_path / "svhn" / split, count, seed)[1]
              for seed, (split, count) in enumerate((("train", 7), ("test", 4), ("extra", 5)))}
    monkeypatch.setattr(svhn, "COUNTS", counts)
    monkeypatch.setattr(full_numbers, "COUNTS", counts)
    return tmp_path


@pytest.mark.parametrize("side", [64, 128])
def test_whole_pictures_to_crops_and_back(format_1, stores, side, capsys):
    train, test = svhn.load("svhn", format_1, side)
    assert train.images.shape == (7, side, side, 3) and test.images.shape == (4, side, side, 3)
    assert train.labels.shape == (7, 5) and train.labels.dtype == np.int64
    for n, (image, each) in enumerate(drawn.scenes(7)):
        assert train.labels[n].tolist() == [*each.digits, *[10] * (5 - len(each.digits))]
        made = crops.crop_number(image, each.boxes, side, np.random.default_rng([1, n]), "")
        np.testing.assert_array_equal(train.images[n], made)
    assert sorted(os.listdir(stores)) == [f"svhn-test-{side}.h5", f"svhn-train-{side}.h5"]
    capsys.readouterr()
    svhn.load("svhn", format_1, side)
    assert capsys.readouterr().err == ""
    more, _ = svhn.load("svhn-extra", format_1, side)
    assert len(more.images) == 12
    np.testing.assert_array_equal(more.labels[:7], train.labels)


def test_six_digits_are_left_out(tmp_path):
    digit_struct.write(tmp_path / "digitStruct.mat", HAND)
    assert full_numbers.rows({tmp_path: (3, 9)}, 64)[0] == 2


def test_pictures_and_counts_that_do_not_agree(format_1, stores):
    folder = format_1 / "svhn" / "train"
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    with pytest.raises(ValueError, match="svhn: .*3.png should be a picture .* does not decode"):
        svhn.load("svhn", format_1, 64)
    assert not any(name.endswith(".h5") for name in os.listdir(stores))
    (folder / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match="3.png"):
        svhn.load("svhn", format_1, 64)
    with pytest.raises(ValueError, match="train should be a folder with the pictures of its annotations, .* 3.png"):
        full_numbers.check(folder)
    svhn.COUNTS["train"] = (8, 30)
    with pytest.raises(ValueError, match=r"digitStruct.mat should be annotations of 8 pictures with 30 digits, rec"):
        svhn.load("svhn", format_1, 64)
    with pytest.raises(ValueError, match="received 7 with"):
        full_numbers.check(folder, (8, 30))
    with pytest.raises(FileNotFoundError, match="digitStruct.mat should be a file of house numbers, .*drawn-numbers"):
        svhn.load("svhn", format_1 / "nowhere", 64)


def test_what_fetch_looks_for(format_1):
    train, test = (file.found(format_1 / "svhn") for file in full_numbers.SOURCES["svhn"].files)
    assert train is True and test is True
    (format_1 / "svhn" / "test" / "digitStruct.mat").write_bytes(b"")
    assert full_numbers.SOURCES["svhn"].files[1].found(format_1 / "svhn") is False
    assert full_numbers.SOURCES["svhn"].files[1].found(format_1) is None
    full_numbers.SOURCES["svhn"].files[0].check(format_1 / "svhn")
    with pytest.raises(ValueError, match="another file"):
        pytest.importorskip("pooch")
        (format_1 / "svhn" / "test_32x32.mat").write_bytes(b"")
        full_numbers.SOURCES["svhn-digits"].files[1].check(format_1 / "svhn")


def test_a_loaded_sample(stores):
    folder = data_at_hand("svhn/svhn_test_64.npz")
    pytest.importorskip("PIL")
    test = svhn.sample.read(folder, 64)
    assert test.images.shape == (128, 64, 64, 3) and test.labels.shape == (128, 5)
    with np.load(folder.parent / "svhn_format1_annotations.npz") as every:
        for n, label in enumerate(test.labels):
            digits = every["test_label"][every["test_first"][n]:every["test_first"][n + 1]].tolist()
            assert label.tolist() == digits + [10] * (5 - len(digits))
    count, rows = svhn.sample.rows(folder, 64)
    image, label = next(rows(127))
    assert count == 128 and (image == test.images[127]).all() and (label == test.labels[127]).all()


@pytest.mark.parametrize("labels, length, said", [
    ([[1, 10, 10, 10, 10, 10]], [2], "labels"), ([[1, 2, 10, 10, 10, 10]], [1], "labels"),
    ([[11, 10, 10, 10, 10, 10]], [1], "labels"), ([[10] * 6], [0], "labels"), ([[1] * 6], [6], "labels"),
    ([[1, 10, 10, 10, 10, 10]] * 2, [1], "label for each of its 1 pictures"),
])
def test_a_sample_that_does_not_agree(tmp_path, labels, length, said):
    import io

    Image = pytest.importorskip("PIL.Image")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(content := io.BytesIO(), "JPEG")
    path = tmp_path / "some.npz"
    jpeg = np.frombuffer(content.getvalue(), np.uint8)
    np.savez(path, jpeg=jpeg, first=np.array([0, len(jpeg)]), label=np.array(labels, np.uint8),
             length=np.array(length, np.uint8))
    with pytest.raises(ValueError, match=f"some.npz should be .*{said}"):
        svhn.sample.read(path, 64)


def test_cropped_digits(tmp_path, rng):
    place = tmp_path / "svhn" / "train_32x32.mat"
    place.parent.mkdir()
    X, y = rng.integers(256, size=(32, 32, 3, 4), dtype=np.uint8), np.array([[10], [1], [9], [5]], np.uint8)
    savemat(place, {"X": X, "y": y}, do_compression=True)
    images, labels = svhn.cropped_digits("train", tmp_path)
    np.testing.assert_array_equal(images, np.moveaxis(X, 3, 0))
    assert labels.tolist() == [0, 1, 9, 5] and labels.dtype == np.int64
    whole = place.read_bytes()
    place.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match="train_32x32.mat should be a MATLAB file, whole, received one cut short"):
        svhn.cropped_digits("train", tmp_path)
    for contents, said in (({"X": X}, "y"), ({"X": X[..., :3], "y": y}, "X .* and y"), ({"X": X / 2, "y": y}, "uint8"),
                           ({"X": X, "y": y * 2}, "labels from 1 to 10, received 20")):
        savemat(place, contents)
        with pytest.raises(ValueError, match="train_32x32.mat should be .*" + said):
            svhn.cropped_digits("train", tmp_path)
    with pytest.raises(FileNotFoundError, match="nanostn data fetch svhn-digits"):
        svhn.cropped_digits("test", tmp_path)
    with pytest.raises(ValueError, match="split should be one of train, test, extra"):
        svhn.cropped_digits("validation", tmp_path)


def test_names_and_sides(stores, monkeypatch):
    with pytest.raises(ValueError, match="svhn: data should be one of svhn, .*, received 'mnist'"):
        svhn.load("mnist")
    with pytest.raises(ValueError, match="svhn: side should be 64 .*, received 32"):
        svhn.load("svhn", side=32)
    monkeypatch.setattr(svhn, "DRAWN", (5, 3))
    train, test = svhn.load("drawn-numbers", side=128)
    assert train.images[:].shape == (5, 128, 128, 3) and len(test.images) == 3
    assert not np.array_equal(train.images[0], test.images[0])
