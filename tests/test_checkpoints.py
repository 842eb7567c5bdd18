"""Saving and loading: the same bits back, atomically, and a clear refusal of everything else."""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from nanostn import checkpoints
from nanostn.checkpoints import load, save

CONTENTS = {
    "model": {"weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "empty": np.zeros((0, 3)),
              "flat": np.array(2.5)},
    "numbers": {"steps": 7, "rate": 0.1, "done": True, "name": "größer", "none": "", "NUL": "a\0b\0", "big": -2**62},
    "mask": np.array([True, False, True]),
    "nothing": {},
}


def test_comes_back_as_it_was(tmp_path):
    path = tmp_path / "checkpoint.h5"
    save(path, CONTENTS)
    back = load(path)
    assert back.keys() == CONTENTS.keys() and back["nothing"] == {}
    assert back["numbers"] == CONTENTS["numbers"]
    assert [type(value) for value in back["numbers"].values()] == \
        [type(CONTENTS["numbers"][name]) for name in back["numbers"]]
    for name, array in CONTENTS["model"].items():
        assert back["model"][name].dtype == array.dtype and back["model"][name].shape == array.shape
        assert back["model"][name].tobytes() == array.tobytes()
    assert back["mask"].dtype == bool and back["mask"].tolist() == [True, False, True]
    assert os.listdir(tmp_path) == ["checkpoint.h5"]


def test_every_bit_counts_not_a_number_and_infinity_too(tmp_path):
    odd = np.array([np.nan, -np.inf, -0.0, 5e-324, np.pi])
    save(tmp_path / "a", {"odd": odd, "nan": float("inf")})
    assert load(tmp_path / "a")["odd"].tobytes() == odd.tobytes()


@pytest.mark.parametrize(("contents", "words"), [
    ({"a": [1, 2]}, "'a' should be an array, .* received list"),
    ({"a": {"b": None}}, "'a/b' should be .* received NoneType"),
    ({"a": 2**63}, "received int"),
    ({"a": np.array(["x"])}, "received ndarray"),
    ({"a": np.array([{}], dtype=object)}, "received ndarray"),
    ({"a/b": 1}, "without NUL and '/', received 'a/b'"),
    ({"a\0b": 1}, "without NUL"), ({"a\udc80": 1}, "of text"),
    ({"x": "a\udc80"}, "a string of text"),
    ({"x": np.ma.masked_array([1.0], [True])}, "received MaskedArray; .filled"),
    ({"x": 1j}, "received complex"),
    ({3: 1}, "should be a string .* received 3"),
])
def test_refuses_what_it_cannot_keep(tmp_path, contents, words):
    path = tmp_path / "kept"
    save(path, {"x": 1})
    with pytest.raises(ValueError, match=words):
        save(path, contents)
    assert load(path) == {"x": 1} and os.listdir(tmp_path) == ["kept"]


def test_missing_foreign_and_newer_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load(tmp_path / "none")
    (tmp_path / "text").write_text("no hdf5")
    with h5py.File(tmp_path / "other", "w") as file:
        file["x"] = 1
    for name in ("text", "other"):
        with pytest.raises(ValueError, match=f"{name}.*a file of something else"):
            load(tmp_path / name)
    save(tmp_path / "newer", {"x": 1})
    (tmp_path / "newer").write_bytes((tmp_path / "newer").read_bytes().replace(b"version 2", b"version 3"))
    with pytest.raises(ValueError, match="format version 3"):
        load(tmp_path / "newer")


def test_other_programs_can_read_it(tmp_path):
    save(tmp_path / "x.h5", {"model": {"weight": np.eye(2)}})
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["model/weight"][:].tolist() == [[1, 0], [0, 1]]


def test_damage_is_noticed_wherever_it_is(tmp_path):
    """Cut at many lengths, and one bit flipped at many places."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    save(whole, {"weight": np.arange(500, dtype=np.float32), "steps": 7, "name": "affine"})
    good = whole.read_bytes()
    used = [*range(80), *range(512, len(good), 29)]  # the header's padding means nothing
    for damaged in ([good[:length] for length in used]
                    + [good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1:] for place in used]):
        broken.write_bytes(damaged)
        with pytest.raises(ValueError, match="should be a file written by nanostn.save"):
            load(broken)


@pytest.mark.parametrize("moment", ["os.replace", "os.fsync"])
def test_killed_while_saving_leaves_the_old_file(tmp_path, moment):
    path = tmp_path / "checkpoint.h5"
    save(path, {"epoch": 1})
    program = f"import os, signal; from nanostn.checkpoints import save\n" \
              f"{moment} = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n" \
              f"save({str(path)!r}, {{'epoch': 2}})"
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    assert load(path) == {"epoch": 1}
    save(path, {"epoch": 3})
    assert load(path) == {"epoch": 3}


def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path):
    """A limit on the size of files stands for the disk; HDF5 on its own ends the process here."""
    pytest.importorskip("resource")
    path = tmp_path / "checkpoint.h5"
    save(path, {"epoch": 1})
    program = f"""if True:
        import resource
        import numpy as np
        from nanostn.checkpoints import save
        import h5py
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        try:
            save({str(path)!r}, {{"weight": np.zeros(100000)}})
        except OSError:
            print("refused")"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
    assert load(path) == {"epoch": 1} and os.listdir(tmp_path) == ["checkpoint.h5"]


def test_two_processes_may_write_the_same_file(tmp_path, monkeypatch):
    from nanostn import checkpoints

    given = os.replace

    def other_writes_first(temporary, path):
        monkeypatch.setattr(checkpoints.os, "replace", given)
        monkeypatch.setattr(checkpoints.os, "getpid", lambda: -1)
        save(path, {"epoch": 1})
        given(temporary, path)

    monkeypatch.setattr(checkpoints.os, "replace", other_writes_first)
    save(tmp_path / "checkpoint.h5", {"epoch": 2})
    assert load(tmp_path / "checkpoint.h5") == {"epoch": 2} and os.listdir(tmp_path) == ["checkpoint.h5"]


def test_save_refuses_what_nests_without_end(tmp_path):
    own: dict = {}
    own["own"] = own
    with pytest.raises(ValueError, match="save: dicts should be nested 64 deep at most"):
        save(tmp_path / "x", own)
    deep: dict = {"x": 1}
    for _ in range(64):
        deep = {"d": deep}
    save(tmp_path / "x", deep)
    assert load(tmp_path / "x") == deep
    for contents in (None, [1], "text"):
        with pytest.raises(ValueError, match="save: contents should be a dict"):
            save(tmp_path / "y", contents)


def signed(path, build, mangle=lambda body: body, version=2):
    """A file with a right checksum whose contents `build(file)` makes; kinds are bytes from version 2 on."""
    buffer = io.BytesIO()

    def in_bytes(name, item):
        kind = item.attrs.get("kind")
        if isinstance(kind, str) and kind.isascii():
            item.attrs["kind"] = np.bytes_(kind)

    with h5py.File(buffer, "w", userblock_size=512) as file:
        build(file)
        if version > 1:
            file.visititems(in_bytes)
    body = mangle(buffer.getvalue()[512:])
    header = checkpoints._HEADER.format(version, hashlib.sha256(body).hexdigest()).encode().ljust(512, b"\0")
    path.write_bytes(header + body)


def entry(file, kind="array", **options):
    file.create_dataset("x", **({"data": np.arange(3.0)} | options)).attrs["kind"] = kind


def levels(file, count):
    for _ in range(count):
        file = file.create_group("d")


def inside_itself(file):
    group = file.create_group("a")
    group["a"] = group


@pytest.mark.parametrize("build", [
    lambda f: f.create_dataset("x", data=1.0), lambda f: entry(f, "unknown"), lambda f: entry(f, 3),
    lambda f: entry(f, np.array([1, 2])), lambda f: entry(f, "float"), lambda f: entry(f, "str"),
    lambda f: entry(f, "array", data="text"), lambda f: entry(f, "int", data=1.5), lambda f: entry(f, "float", data=1j),
    lambda f: entry(f, "array", data=np.array([1j])), lambda f: entry(f, "array", data=np.zeros(2, "f4,i4")),
    lambda f: entry(f, "array", data=None, shape=(1 << 40,), dtype="f8"),
    lambda f: entry(f, "array", data=None, shape=(1 << 40,), dtype="f8", chunks=(1 << 10,)),
    lambda f: entry(f, "array", data=None, shape=(3,), dtype="f8", external=[("/etc/hostname", 0, 24)]),
    lambda f: entry(f, "array", data=h5py.Empty("f4")), lambda f: entry(f, compression="gzip"),
    lambda f: f.__setitem__("x", h5py.SoftLink("/y")), lambda f: f.__setitem__("x", h5py.ExternalLink("y.h5", "/")),
    lambda f: f.__setitem__("x", np.dtype("f8")), lambda f: levels(f, 1000), inside_itself])
@pytest.mark.parametrize("version", [1, 2])
def test_hostile_contents_with_a_right_checksum(tmp_path, build, version):
    signed(tmp_path / "x", build, version=version)
    with pytest.raises(ValueError, match="load: path should be a file written by nanostn.save, received"):
        load(tmp_path / "x")


@pytest.mark.parametrize("build", [
    lambda f: entry(f, "str", data="text"), lambda f: entry(f, "str", data=np.uint8(3)),
    lambda f: entry(f, "str", data=np.full(2, 255, np.uint8)), lambda f: entry(f, "str", data=np.zeros(2, np.int8)),
    lambda f: entry(f, b"\xff"), lambda f: entry(f, b"")])
def test_strings_that_are_none(tmp_path, build):
    signed(tmp_path / "x", build)
    with pytest.raises(ValueError, match="load: path should be a file written by nanostn.save, received"):
        load(tmp_path / "x")


def test_the_first_version_is_read(tmp_path):
    """Its strings, and the names of kinds, were HDF5's strings of any length."""
    def build(file):
        for name, kind, value in (("a", "array", np.arange(3)), ("b", "bool", True), ("i", "int", 3), ("s", "str", "ü"),
                                  ("f", "float", 0.5)):
            file.create_dataset(name, data=value).attrs["kind"] = kind
        file.create_group("d")

    signed(tmp_path / "x", build, version=1)
    back = load(tmp_path / "x")
    np.testing.assert_array_equal(back.pop("a"), [0, 1, 2])
    assert back == {"b": True, "i": 3, "s": "ü", "f": 0.5, "d": {}}
    signed(tmp_path / "x", lambda f: entry(f, "array"), version=1)
    assert load(tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(content.replace(b"version 1", b"version 2"))
    with pytest.raises(ValueError, match="'x' is of no kind"):
        load(tmp_path / "x")


def test_a_body_cut_short_with_a_right_checksum(tmp_path):
    for length in (0, 10, 600, 1000):
        signed(tmp_path / "x", entry, lambda body, length=length: body[:length])
        with pytest.raises(ValueError, match="load: path should be"):
            load(tmp_path / "x")


@pytest.mark.parametrize("high_byte", [0x7f, 0x80, 0xff])
def test_addresses_beyond_64_bits_with_a_right_checksum(tmp_path, high_byte):
    """The most significant byte of one of the addresses that HDF5's first block gives."""
    for at in (31, 39, 47, 55):
        signed(tmp_path / "x", entry, lambda body, at=at: body[:at] + bytes([high_byte]) + body[at + 1:])
        try:
            np.testing.assert_array_equal(load(tmp_path / "x")["x"], [0, 1, 2])  # HDF5 does not look at all of them
        except ValueError as error:
            assert "load: path should be a file written by nanostn.save" in str(error)


def test_numbers_of_a_precision_that_nothing_has(tmp_path):
    """h5py's own error for a floating-point type of another layout than any of NumPy's is a ValueError too."""
    layout = h5py.h5t.IEEE_F64LE.copy()
    layout.set_fields(63, 52, 11, 0, 51)
    layout.set_ebias(1 << 14)

    def build(file):
        made = h5py.Dataset(h5py.h5d.create(file.id, b"x", layout, h5py.h5s.create_simple((3,))))
        made.attrs["kind"] = np.bytes_("array")

    signed(tmp_path / "x", build)
    with pytest.raises(ValueError, match="load: path should be a file written by nanostn.save, .*Insufficient"):
        load(tmp_path / "x")


def test_reading_needs_no_lock(tmp_path):
    """Somebody may hold the file locked, and the file system may know no locks."""
    path = tmp_path / "x"
    save(path, {"x": np.arange(3)})
    fcntl = pytest.importorskip("fcntl")
    with open(path, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        np.testing.assert_array_equal(load(path)["x"], [0, 1, 2])


def test_places_and_names(tmp_path, monkeypatch):
    longest = tmp_path / ("\u00e4" * 127)  # 254 bytes
    save(longest, {"x": 1})
    assert load(str(longest)) == load(os.fsencode(longest)) == {"x": 1}
    monkeypatch.setenv("HOME", str(tmp_path))
    save("~/home.h5", {"x": 2})
    assert load(tmp_path / "home.h5") == load("~/home.h5") == {"x": 2}
    for path, kind in ((tmp_path / "none" / "x", FileNotFoundError), (tmp_path / "home.h5" / "x", NotADirectoryError),
                       (tmp_path / ("x" * 256), OSError), (tmp_path, IsADirectoryError)):
        with pytest.raises(kind) as error:
            save(path, {"x": 1})
        assert str(path) in str(error.value) and "unfinished" not in str(error.value)
    with pytest.raises(ValueError, match="received .*, which is a folder"):
        load(tmp_path)
    for path in (None, 3, object()):
        for use in (load, lambda p: save(p, {})):
            with pytest.raises(ValueError, match="path should be the name of a file"):
                use(path)
    assert not list(tmp_path.glob(".*"))


def test_what_the_dead_left_unfinished_goes_and_the_living_keep_theirs(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    parent = os.getppid()
    for name in (f"0a.{dead.pid}", dead.pid, parent, os.getpid(), "word"):
        (tmp_path / f".x.{name}.unfinished").touch()
    (tmp_path / "kept").touch()
    checkpoints.remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", f".x.{parent}.unfinished", ".x.word.unfinished"}


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_new_file_where_there_are_no_hard_links(tmp_path, monkeypatch, number):
    def no_links(*names):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "x"
    checkpoints.write_atomically(path, lambda file: file.write_text("first"), new=True)
    with pytest.raises(FileExistsError) as error:
        checkpoints.write_atomically(path, lambda file: file.write_text("second"), new=True)
    assert error.value.filename == str(path) and path.read_text() == "first" and os.listdir(tmp_path) == ["x"]

    def full(*names):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write_atomically(tmp_path / "y", lambda file: file.write_text("third"), new=True)
    assert os.listdir(tmp_path) == ["x"]
