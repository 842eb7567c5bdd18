import gzip
import io
import os
import tarfile

import pytest

from nanostn.checkpoints import UNFINISHED
from nanostn.datasets.archives import unpack

SPOILT = "a whole .tar.gz archive, received one cut short or damaged .*; remove it and fetch it again"


def member(name, type=tarfile.REGTYPE, size=0, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = type, size, target, 0o7777
    return info


def packed(path, *members):
    """An archive of these (info, contents)."""
    with tarfile.open(path, "w:gz") as tar:
        for info, contents in members:
            info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))
    return path


GOOD = [(member("train", tarfile.DIRTYPE), b""), (member("train/1.png"), os.urandom(3000)),
        (member("train/" + "long" * 40), b"name"), (member("./notes.txt"), b"")]


def visible(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_and_folders(tmp_path):
    archive = packed(tmp_path / "some.tar.gz", *GOOD)
    place = tmp_path / "new" / "place"
    assert unpack(archive, place) == [place / "notes.txt", place / "train"]
    assert visible(place) == ["notes.txt", "train", "train/1.png", "train/" + "long" * 40]
    assert (place / "train" / "1.png").read_bytes() == GOOD[1][1]
    assert not (place / "train" / "1.png").stat().st_mode & 0o7111  # its own modes are not taken over


@pytest.mark.parametrize("hostile, said", [
    (member("../outside"), "a path outside, '../outside'"),
    (member("train/../../outside"), "a path outside"),
    (member("/outside"), "a path outside"),
    (member("..\\outside"), "a path outside"),
    (member("C:outside"), "a path outside"),
    (member("a\nb"), "a path outside"),
    (member("link", tarfile.SYMTYPE, target="/etc"), "a link 'link'"),
    (member("link", tarfile.LNKTYPE, target="train/1.png"), "a link 'link'"),
    (member("pipe", tarfile.FIFOTYPE), "a device 'pipe'"),
    (member("disk", tarfile.BLKTYPE), "a device 'disk'"),
    (member("train/1.png"), "two of the name 'train/1.png'"),
    (member("train/1.png/x"), "two of the name"),
    (member("train"), "two of the name"),
])
def test_what_is_hostile_is_refused_and_nothing_stays(tmp_path, hostile, said):
    archive = packed(tmp_path / "hostile.tar.gz", *GOOD, (hostile, b""))
    with pytest.raises(ValueError) as caught:
        unpack(archive, tmp_path / "place")
    assert str(caught.value).startswith(f"unpack: {archive} should be an archive of files and folders, all inside")
    assert said in str(caught.value)
    assert visible(tmp_path) == ["hostile.tar.gz", "place"]


@pytest.mark.parametrize("spoil", [
    lambda raw: raw[:len(raw) // 2],
    lambda raw: raw[:-4],
    lambda raw: raw[:-7] + bytes([raw[-7] ^ 1]) + raw[-6:],                   # gzip's checksum
    lambda raw: b"",
    lambda raw: b"<html>sign in first</html>",
    lambda raw: gzip.compress(gzip.decompress(raw)[:512 * 4]),                # a tar that ends within a file
    lambda raw: gzip.compress(gzip.decompress(raw)[:512 * 8]),                # or where a header should come
    lambda raw: gzip.compress(gzip.decompress(raw)[:512 * 8 + 100]),          # or within it
    lambda raw: gzip.compress(gzip.decompress(raw).replace(b"train/1", b"train/2", 1)),  # a header's own checksum
    lambda raw: gzip.compress(b"no archive" * 1000),
])
def test_what_is_cut_or_spoilt_is_refused(tmp_path, spoil):
    archive = packed(tmp_path / "some.tar.gz", *GOOD)
    archive.write_bytes(spoil(archive.read_bytes()))
    with pytest.raises(ValueError, match=f"^unpack: {archive} should be {SPOILT}$"):
        unpack(archive, tmp_path / "place")
    assert visible(tmp_path) == ["place", "some.tar.gz"]


def test_a_header_that_leads_back_or_wants_memory(tmp_path):
    for size, kind in ((-512, tarfile.REGTYPE), (1 << 32, tarfile.XHDTYPE), (1 << 32, tarfile.GNUTYPE_LONGNAME)):
        header = member("x", kind, size).tobuf(tarfile.GNU_FORMAT)
        (tmp_path / "bad.tar.gz").write_bytes(gzip.compress(header + bytes(1 << 20)))
        with pytest.raises(ValueError, match=SPOILT):
            unpack(tmp_path / "bad.tar.gz", tmp_path / "place")


def test_one_that_would_fill_the_disk(tmp_path):
    archive = packed(tmp_path / "bomb.tar.gz", (member("zeros"), bytes(1 << 20)))
    with pytest.raises(ValueError, match="bomb.tar.gz should be an archive of at most 1,000,000 bytes on disk"):
        unpack(archive, tmp_path / "place", limit=1000000)
    archive = packed(tmp_path / "many.tar.gz", *((member(f"{i}"), b"") for i in range(300)))
    with pytest.raises(ValueError, match="many.tar.gz should be an archive of at most"):
        unpack(archive, tmp_path / "place", limit=1000000)
    assert visible(tmp_path / "place") == []


def test_what_is_there_already_stays(tmp_path):
    archive = packed(tmp_path / "some.tar.gz", *GOOD)
    place = tmp_path / "place"
    (place / "train").mkdir(parents=True)
    (place / "train" / "mine").write_text("mine")
    with pytest.raises(ValueError, match=r"without the contents of some.tar.gz, received one that holds 'train'"):
        unpack(archive, place)
    assert visible(place) == ["train", "train/mine"]


def test_contents_that_are_not_as_they_should_be(tmp_path):
    def check(place):
        assert visible(place) == ["notes.txt", "train", "train/1.png", "train/" + "long" * 40]
        raise ValueError("one image is missing")

    archive = packed(tmp_path / "some.tar.gz", *GOOD)
    with pytest.raises(ValueError, match="one image is missing"):
        unpack(archive, tmp_path / "place", check=check)
    assert visible(tmp_path / "place") == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    archive = packed(tmp_path / "some.tar.gz", *GOOD)
    left = tmp_path / "place" / f".some.tar.gz.0123abcd.{2**22 + 1}{UNFINISHED}"
    (left / "train").mkdir(parents=True)
    unpack(archive, tmp_path / "place")
    assert not left.exists()
