import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import nanostn
from nanostn.datasets.store import BLOCK, PART, stored

N, H, W, C = 2 * BLOCK + 100, 5, 4, 3


def picture(n):
    return np.random.default_rng(n).integers(256, size=(H, W, C), dtype=np.uint8), np.array([n, n % 11])


class Rows:
    """Pictures from any number on; `asked` says where it was begun. At number `breaks` something goes wrong."""

    def __init__(self, count=N, breaks=None):
        self.count, self.breaks, self.asked = count, breaks, []

    def __call__(self, first):
        self.asked.append(first)
        for n in range(first, self.count):
            if n == self.breaks:
                raise KeyboardInterrupt
            yield picture(n)


def opened(path, rows, count=N, made_from="a test"):
    return stored(path, (H, W, C), 2, made_from, lambda: (count, rows))


def test_reads_what_was_written_in_any_order(tmp_path, rng):
    path, rows = tmp_path / "new" / "some.h5", Rows()
    images, labels = opened(path, rows)
    assert images.shape == (N, H, W, C) and images.dtype == np.uint8 and len(images) == N
    assert labels.dtype == np.int64 and (labels == [picture(n)[1] for n in range(N)]).all()
    order = rng.permutation(N)[:128]
    np.testing.assert_array_equal(images[order], [picture(n)[0] for n in order])
    np.testing.assert_array_equal(images[3:-1:400], [picture(n)[0] for n in range(3, N - 1, 400)])
    np.testing.assert_array_equal(images[-1], picture(N - 1)[0])
    np.testing.assert_array_equal(images[np.arange(N) == 7], [picture(7)[0]])
    assert images[[[1, 2, 3], [4, 5, 6]]].shape == (2, 3, H, W, C) and images[:0].shape == (0, H, W, C)
    with pytest.raises(IndexError):
        images[N]
    with h5py.File(path) as file:
        assert file["images"].chunks == (1, H, W, C)
    again, _ = opened(path, rows)
    np.testing.assert_array_equal(again[5], picture(5)[0])
    assert rows.asked == [0] and os.listdir(path.parent) == ["some.h5"]


def test_an_interrupted_build_is_no_store_and_continues(tmp_path, capsys):
    path = tmp_path / "some.h5"
    with pytest.raises(KeyboardInterrupt):
        opened(path, Rows(breaks=BLOCK + 50))
    assert os.listdir(tmp_path) == ["some.h5" + PART]
    rows = Rows()
    images, labels = opened(path, rows)
    assert rows.asked == [BLOCK] and os.listdir(tmp_path) == ["some.h5"]
    assert f"from picture {BLOCK:,} on" in capsys.readouterr().err
    np.testing.assert_array_equal(images[:], [picture(n)[0] for n in range(N)])


def test_a_process_that_is_killed(tmp_path):
    """In the middle of a block, without a word: what was marked as written is whole, and the build goes on."""
    code = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store import N, Rows, opened
class Killed(Rows):
    def __call__(self, first):
        for n, row in enumerate(super().__call__(first)):
            if n == {2 * BLOCK + 50}:
                os.kill(os.getpid(), signal.SIGKILL)
            yield row
opened({str(tmp_path / 'some.h5')!r}, Killed())
"""
    root = str(Path(nanostn.__file__).parent.parent)
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root}, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    rows = Rows()
    images, _ = opened(tmp_path / "some.h5", rows)
    assert rows.asked == [2 * BLOCK]
    np.testing.assert_array_equal(images[:], [picture(n)[0] for n in range(N)])


@pytest.mark.parametrize("made_from, count", [("another test", N), ("a test", BLOCK)])
def test_an_unfinished_one_of_something_else_is_built_anew(tmp_path, made_from, count):
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path / "some.h5", Rows(breaks=BLOCK + 50))
    rows = Rows(count)
    images, _ = opened(tmp_path / "some.h5", rows, count, made_from)
    assert rows.asked == [0] and len(images) == count


def test_a_whole_one_of_something_else_is_built_anew(tmp_path):
    for made_from, wanted in (("a test", [0]), ("a test", []), ("another test", [0])):
        rows = Rows()
        opened(tmp_path / "some.h5", rows, made_from=made_from)
        assert rows.asked == wanted


@pytest.mark.parametrize("spoil", [
    lambda content: content[:len(content) // 2], lambda content: b"", lambda content: b"no store" * 100,
    lambda content: content[:2000] + bytes(1000) + content[3000:]])
@pytest.mark.parametrize("ending", ["", PART])
def test_a_damaged_file_is_built_anew(tmp_path, spoil, ending):
    path = tmp_path / "some.h5"
    images, _ = opened(path, Rows())
    images.dataset.file.close()
    place = path.rename(tmp_path / ("some.h5" + ending))
    place.write_bytes(spoil(place.read_bytes()))
    rows = Rows()
    images, _ = opened(path, rows)
    assert rows.asked == [0]
    np.testing.assert_array_equal(images[-2:], [picture(n)[0] for n in (N - 2, N - 1)])


def test_a_damaged_picture_is_said(tmp_path):
    path = tmp_path / "some.h5"
    images, _ = opened(path, Rows())
    images.dataset.file.close()
    content = path.read_bytes()
    at = content.index(picture(7)[0].tobytes())
    path.write_bytes(content[:at + 3] + bytes([content[at + 3] ^ 1]) + content[at + 4:])
    images, _ = opened(path, Rows())
    assert (images[8] == picture(8)[0]).all()
    with pytest.raises(ValueError, match="store: .*some.h5 should be as it was written, received picture 7 damaged"):
        images[[8, 7]]


@pytest.mark.parametrize("rows, said", [
    (Rows(BLOCK + 3), f"made from {N:,} pictures, received {BLOCK + 3}; .*a test"),
    (Rows(N + 1), f"made from {N:,} pictures, received more; .*a test"),
    (Rows(0), "received 0; .*a test"),
    (lambda first: iter([(np.zeros((H, W, 1), np.uint8), np.zeros(2))]), r"picture 0 should be \(5, 4, 3\) uint8 with"),
    (lambda first: iter([(np.zeros((H, W, C)), np.zeros(2))]), r"received \(5, 4, 3\) float64 with"),
    (lambda first: iter([(np.zeros((H, W, C), np.uint8), np.zeros(3))]), r"received .* with \(3,\) float64"),
])
def test_counts_and_shapes_that_do_not_agree(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        opened(tmp_path / "some.h5", rows)
    assert not (tmp_path / "some.h5").exists()


def test_two_processes_do_not_build_the_same(tmp_path):
    """The second waits for the first, and takes what that has built."""
    path, others = tmp_path / "some.h5", []

    def rows(first):
        code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_store import *; "
                f"opened({str(path)!r}, Rows())")
        root = str(Path(nanostn.__file__).parent.parent)
        others.append(subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root},
                                       stderr=subprocess.PIPE, text=True))
        assert others[0].stderr.readline() == f"waiting for the process that builds {path}\n"
        yield from Rows()(first)

    opened(path, rows)
    assert "storing" not in others[0].communicate(timeout=120)[1] and others[0].returncode == 0


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 1000}))
    with pytest.raises(ValueError, match=r"store: .* should be a folder on a disk with .* free bytes, received 1,000"):
        opened(tmp_path / "some.h5", Rows())
    assert os.listdir(tmp_path) == []
