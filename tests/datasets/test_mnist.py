import gzip
from pathlib import Path

import numpy as np
import pytest

from nanostn import datasets
from nanostn.datasets.locations import cache_directory, data_directory
from nanostn.datasets.mnist import FILES, mnist, source

from .conftest import idx


def test_reads_what_was_written(made):
    data_dir, files, arrays = made
    for received, wanted in zip(mnist(data_dir, files), arrays, strict=True):
        assert received.dtype == np.uint8
        np.testing.assert_array_equal(received, wanted)


def unpack(folder):
    for path in folder.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("given", ["parent", "itself"])
def test_unpacked_files_and_the_folder_itself(made, unpacked, given):
    data_dir, files, arrays = made
    if unpacked:
        unpack(data_dir / "mnist")
    place = data_dir if given == "parent" else data_dir / "mnist"
    assert datasets.available(place, {"mnist": source(files)})["mnist"] == str(data_dir / "mnist")
    for received, wanted in zip(mnist(place, files), arrays, strict=True):
        np.testing.assert_array_equal(received, wanted)


def test_unpacked_files_are_verified_too(made):
    data_dir, files, arrays = made
    unpack(data_dir / "mnist")
    path = data_dir / "mnist" / "train-images"
    whole = path.read_bytes()
    for content, message in ((idx(arrays[0] ^ 1), "the original with sha256 .* altered; fetch it again"),
                             (whole[:-1], r"shape \(5, 28, 28\), received \(5, 28, 28\) in 3919 bytes"),
                             (idx(arrays[1]), "magic number 2051, received magic number 2049"),
                             (b"", "magic number 2051, received magic number 0")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="mnist: .*train-images should be .*" + message):
            mnist(data_dir, files)
    path.write_bytes(whole[:-1])
    said = datasets.available(data_dir, {"mnist": source(files)})["mnist"]
    assert said.endswith("incomplete or damaged (nanostn data fetch mnist)")


def test_gzipped_again_is_the_same_file(made):
    """Its bytes differ, what is in it does not."""
    data_dir, files = replaced(made, gzip.compress(idx(made[2][0]), compresslevel=1))
    np.testing.assert_array_equal(mnist(data_dir, files)[0], made[2][0])


def test_missing(made):
    data_dir, files, _ = made
    (data_dir / "mnist" / "t10k-images.gz").unlink()
    with pytest.raises(FileNotFoundError, match="none named t10k-images.gz; fetch them with `nanostn data fetch"):
        mnist(data_dir, files)


def replaced(made, content):
    data_dir, files, _ = made
    (data_dir / "mnist" / "train-images.gz").write_bytes(content)
    return data_dir, files


def test_truncated(made):
    whole = (made[0] / "mnist" / "train-images.gz").read_bytes()
    with pytest.raises(ValueError, match=f"train-images.gz should be the {len(whole)} bytes of a whole gzip file, "
                                         f"received {len(whole) - 9} bytes, cut short .*; fetch it again"):
        mnist(*replaced(made, whole[:-9]))


@pytest.mark.parametrize("damage", ["flipped", "not gzip", "empty"])
def test_damaged(made, damage):
    whole = (made[0] / "mnist" / "train-images.gz").read_bytes()
    middle = len(whole) // 2
    content = {"flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1:],
               "not gzip": b"<html>404</html>" + whole, "empty": b""}[damage]
    with pytest.raises(ValueError, match="mnist: .*train-images.gz should be .*nanostn data fetch mnist"):
        mnist(*replaced(made, content))


def test_labels_under_the_name_of_images(made):
    with pytest.raises(ValueError, match="magic number 2051, received magic number 2049; is it another file"):
        mnist(*replaced(made, gzip.compress(idx(made[2][1]))))


def test_test_images_under_the_name_of_training_images(made):
    with pytest.raises(ValueError, match=r"shape \(5, 28, 28\), received \(3, 28, 28\)"):
        mnist(*replaced(made, gzip.compress(idx(made[2][2]))))


def test_fewer_bytes_than_the_header_says(made):
    with pytest.raises(ValueError, match=r"shape \(5, 28, 28\), received \(5, 28, 28\) in 3919 bytes"):
        mnist(*replaced(made, gzip.compress(idx(made[2][0])[:-1])))


def test_altered(made):
    with pytest.raises(ValueError, match="the original with sha256 .* altered; fetch it again"):
        mnist(*replaced(made, gzip.compress(idx(made[2][0] ^ 1))))


def test_where_data_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOSTN_DATA", str(tmp_path))
    assert data_directory() == tmp_path
    assert data_directory("elsewhere") == Path("elsewhere")
    monkeypatch.delenv("NANOSTN_DATA")
    assert data_directory() == cache_directory()


def test_load_names():
    with pytest.raises(ValueError, match="load: name should be one of digits, mnist, received 'cifar'"):
        datasets.load("cifar")


@pytest.mark.skipif(not all((data_directory() / "mnist" / file.name).is_file() for file in FILES),
                    reason="the files of MNIST are not here; NANOSTN_DATA tells where they lie")
def test_the_real_thing():
    images, labels, test_images, test_labels = datasets.load("mnist")
    assert images.shape == (60000, 28, 28) and test_images.shape == (10000, 28, 28)
    assert list(labels[:5]) == [5, 0, 4, 1, 9] and list(test_labels[:5]) == [7, 2, 1, 0, 4]
    assert np.bincount(labels)[5] == 5421 and np.bincount(test_labels)[5] == 892
    assert round(images.mean() / 255, 4) == 0.1307
