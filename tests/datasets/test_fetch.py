import functools
import http.server
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from nanostn.datasets.fetch import DRAWN, available, fetch
from nanostn.datasets.mnist import mnist, source
from nanostn.datasets.remote import RemoteFile, Source

pytest.importorskip("pooch")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and knows ranges; `breaks` names those whose connection ends in the middle, once."""

    breaks: set[str] = set()
    ranges: list[str] = []

    def log_message(self, *args):
        pass

    def do_GET(self):
        wanted, path = self.headers["Range"], Path(self.translate_path(self.path))
        if not path.is_file():
            return super().do_GET()
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.ranges.append(wanted)
        self.send_response(206 if wanted and start < len(content) else 416 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = (start + len(content)) // 2 if path.name in self.breaks else len(content)
        self.breaks.discard(path.name)
        self.wfile.write(content[start:end])


@pytest.fixture
def server(made, monkeypatch):
    """A mirror on this machine that serves the made files; its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Quiet, "breaks", set())
    monkeypatch.setattr(Quiet, "ranges", [])
    monkeypatch.setattr(sys.modules[fetch.__module__], "AT_ONCE", 100)
    handler = functools.partial(Quiet, directory=str(made[0] / "mnist"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def mirrored(files, *mirrors):
    return {"mnist": source(files, mirrors)}


def test_fetches_from_the_second_mirror_where_the_first_fails(made, server, tmp_path, capsys):
    _, files, arrays = made
    home = tmp_path / "new" / "home"
    assert available(home, {"mnist": source(files)}) == dict.fromkeys(DRAWN, "drawn by the program")
    assert fetch("mnist", home, mirrored(files, server + "nowhere/", server)) == home / "mnist"
    assert available(home, {"mnist": source(files)})["mnist"] == str(home / "mnist")
    assert (mnist(home, files)[0] == arrays[0]).all()
    assert f"fetching {server}train-images.gz" in capsys.readouterr().err


def test_keeps_what_is_right_and_replaces_what_is_damaged(made, server, tmp_path, capsys):
    _, files, arrays = made
    home = tmp_path / "home"
    fetch("mnist", home, mirrored(files, server))
    (home / "mnist" / files[1].name).write_bytes(b"damaged")
    capsys.readouterr()
    fetch("mnist", home, mirrored(files, server))
    assert capsys.readouterr().err == f"fetching {server}{files[1].name}\n"
    assert (mnist(home, files)[1] == arrays[1]).all()


def test_a_wrong_file_is_refused_and_leaves_nothing(made, server, tmp_path):
    data_dir, files, _ = made
    (data_dir / "mnist" / files[0].name).write_bytes(b"<html>sign in first</html>")
    with pytest.raises(ConnectionError, match="fetch: train-images.gz should be the original .* check the network"):
        fetch("mnist", tmp_path / "home", mirrored(files, server, server))
    assert list((tmp_path / "home" / "mnist").iterdir()) == []


def test_offline_the_cause_is_said_once_and_in_short(made, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mirrors = ["http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"]  # nobody listens there
    with pytest.raises(ConnectionError) as caught:
        fetch("mnist", tmp_path / "home", mirrored(made[1], *mirrors))
    said = str(caught.value)
    assert "refused" in said and "pool" not in said and "Retries" not in said and len(said) < 250 + len(str(tmp_path))


def test_an_error_without_words(made, tmp_path, monkeypatch):
    def silent(*arguments, **options):
        raise TimeoutError

    monkeypatch.setattr("pooch.retrieve", silent)
    with pytest.raises(ConnectionError, match=r"received none \(TimeoutError\)"):
        fetch("mnist", tmp_path / "home", mirrored(made[1], "http://127.0.0.1:9/"))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:50])])
def test_files_that_are_not_whole_are_at_hand_but_said_to_be_damaged(made, damage):
    data_dir, files, _ = made
    damage(data_dir / "mnist" / files[2].name)
    place = data_dir / "mnist"
    assert (available(data_dir, {"mnist": source(files)})["mnist"]
            == f"{place}, incomplete or damaged (nanostn data fetch mnist)")


def test_a_folder_that_cannot_be_made(made, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="fetch: data_dir should be a folder that can be written"):
        fetch("mnist", tmp_path / "file")


def test_unknown_name(tmp_path):
    with pytest.raises(ValueError, match="fetch: name should be one of mnist.*, received 'digits'; .* drawn"):
        fetch("digits", tmp_path)


def test_without_pooch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "nanostn\[app\]"'):
        fetch("mnist", tmp_path)


def test_what_was_interrupted_goes_on(made, server, tmp_path):
    _, files, arrays = made
    home = tmp_path / "home"
    Quiet.breaks.add(files[0].name)
    with pytest.raises(ConnectionError, match=r"received none \(.*\)"):
        fetch("mnist", home, mirrored(files, server))
    part = home / "mnist" / (files[0].name + ".part")
    half = part.stat().st_size
    assert half == files[0].bytes // 200 * 100 and [path.name for path in part.parent.iterdir()] == [part.name]
    assert "mnist" not in available(home, {"mnist": source(files)})
    fetch("mnist", home, mirrored(files, server))
    assert Quiet.ranges[:3] == [None, f"bytes={half}-", None]
    assert not part.exists() and (mnist(home, files)[0] == arrays[0]).all()


def test_a_second_mirror_goes_on_where_the_first_broke_off(made, server, tmp_path):
    _, files, arrays = made
    Quiet.breaks.add(files[0].name)
    fetch("mnist", tmp_path / "home", mirrored(files, server, server))
    assert Quiet.ranges[:2] == [None, f"bytes={files[0].bytes // 200 * 100}-"]
    assert (mnist(tmp_path / "home", files)[0] == arrays[0]).all()


@pytest.mark.parametrize("left", [b"of another file", b"of another, longer file" * 200])
def test_a_part_of_another_file_does_no_harm(made, server, tmp_path, left):
    _, files, arrays = made
    home = tmp_path / "home"
    (home / "mnist").mkdir(parents=True)
    (home / "mnist" / (files[0].name + ".part")).write_bytes(left)
    fetch("mnist", home, mirrored(files, server))
    assert (mnist(home, files)[0] == arrays[0]).all()


def letters(server, checksum=None):
    """A data set of one archive that holds a folder `letters` with a file of three bytes."""
    def check(folder):
        if (size := (folder / "letters" / "a").stat().st_size) != 3:
            raise ValueError(f"letters: {folder / 'letters'} should hold 3 bytes, received {size}")

    file = RemoteFile("letters.tar.gz", checksum, lambda folder: (folder / "letters").is_dir() or None, check, True)
    return {"letters": Source(lambda data_dir: Path(data_dir) / "set", (server,), (file,))}


def packed(folder, content):
    (folder / "a").write_bytes(content)
    with tarfile.open(folder / "letters.tar.gz", "w:gz") as tar:
        tar.add(folder / "a", "letters/a")


def test_an_archive_is_unpacked_and_its_contents_decide(made, server, tmp_path, capsys):
    served, home = made[0] / "mnist", tmp_path / "home"
    packed(served, b"four")
    with pytest.raises(ConnectionError, match="letters.tar.gz .* should hold 3 bytes, received 4"):
        fetch("letters", home, letters(server))
    assert list((home / "set").iterdir()) == []
    packed(served, b"abc")
    whole = (served / "letters.tar.gz").read_bytes()
    (served / "letters.tar.gz").write_bytes(whole[:-20])
    with pytest.raises(ConnectionError, match="letters.tar.gz should be the original"):
        fetch("letters", home, letters(server))
    assert list((home / "set").iterdir()) == []
    (served / "letters.tar.gz").write_bytes(whole)
    assert fetch("letters", home, letters(server)) == home / "set"
    assert (home / "set" / "letters" / "a").read_bytes() == b"abc"
    capsys.readouterr()
    fetch("letters", home, letters(server))
    assert capsys.readouterr().err == ""


def test_what_is_left_of_an_archive_is_not_fetched_over(made, server, tmp_path, capsys):
    """Its name is taken: what was fetched could not be unpacked, and would be thrown away."""
    packed(made[0] / "mnist", b"abc")
    (tmp_path / "set" / "letters").mkdir(parents=True)
    (tmp_path / "set" / "letters" / "a").write_bytes(b"ab")
    with pytest.raises(ValueError, match="without the contents of letters.tar.gz, received one with a part"):
        fetch("letters", tmp_path, letters(server))
    assert capsys.readouterr().err == ""


def test_an_archive_that_lies_there_is_not_fetched_but_unpacked(made, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    packed(tmp_path / "set", b"abc")
    fetch("letters", tmp_path, letters("http://127.0.0.1:9/"))
    assert capsys.readouterr().err == f"unpacking {tmp_path / 'set' / 'letters.tar.gz'}\n"
    assert (tmp_path / "set" / "letters" / "a").read_bytes() == b"abc"
