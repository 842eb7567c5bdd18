import functools
import http.server
import sys
import threading

import pytest

from nanostn.datasets.fetch import available, fetch
from nanostn.datasets.mnist import mnist

pytest.importorskip("pooch")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(made, monkeypatch):
    """A mirror on this machine that serves the made files; its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(made[0] / "mnist"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def test_fetches_from_the_second_mirror_where_the_first_fails(made, server, tmp_path, capsys):
    _, files, arrays = made
    home = tmp_path / "new" / "home"
    assert available(home, files) == {"digits": "drawn by the program"}
    assert fetch("mnist", home, [server + "nowhere/", server], files) == home / "mnist"
    assert available(home, files)["mnist"] == str(home / "mnist")
    assert (mnist(home, files)[0] == arrays[0]).all()
    assert f"fetching {server}train-images.gz" in capsys.readouterr().err


def test_keeps_what_is_right_and_replaces_what_is_damaged(made, server, tmp_path, capsys):
    _, files, arrays = made
    home = tmp_path / "home"
    fetch("mnist", home, [server], files)
    (home / "mnist" / files[1].name).write_bytes(b"damaged")
    capsys.readouterr()
    fetch("mnist", home, [server], files)
    assert capsys.readouterr().err == f"fetching {server}{files[1].name}\n"
    assert (mnist(home, files)[1] == arrays[1]).all()


def test_a_wrong_file_is_refused_and_leaves_nothing(made, server, tmp_path):
    data_dir, files, _ = made
    (data_dir / "mnist" / files[0].name).write_bytes(b"<html>sign in first</html>")
    with pytest.raises(ConnectionError, match="fetch: train-images.gz should be the original .* check the network"):
        fetch("mnist", tmp_path / "home", [server, server], files)
    assert list((tmp_path / "home" / "mnist").iterdir()) == []


def test_offline_the_cause_is_said_once_and_in_short(made, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mirrors = ["http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"]  # nobody listens there
    with pytest.raises(ConnectionError) as caught:
        fetch("mnist", tmp_path / "home", mirrors, made[1])
    said = str(caught.value)
    assert "refused" in said and "pool" not in said and "Retries" not in said and len(said) < 250 + len(str(tmp_path))


def test_an_error_without_words(made, tmp_path, monkeypatch):
    def silent(*arguments):
        raise TimeoutError

    monkeypatch.setattr("pooch.retrieve", silent)
    with pytest.raises(ConnectionError, match=r"received none \(TimeoutError\)"):
        fetch("mnist", tmp_path / "home", ["http://127.0.0.1:9/"], made[1])


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:50])])
def test_files_that_are_not_whole_are_at_hand_but_said_to_be_damaged(made, damage):
    data_dir, files, _ = made
    damage(data_dir / "mnist" / files[2].name)
    place = data_dir / "mnist"
    assert available(data_dir, files)["mnist"] == f"{place}, incomplete or damaged (nanostn data fetch mnist)"


def test_a_folder_that_cannot_be_made(made, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="fetch: data_dir should be a folder that can be written"):
        fetch("mnist", tmp_path / "file")


def test_unknown_name(tmp_path):
    with pytest.raises(ValueError, match="fetch: name should be mnist, received 'digits'; digits are drawn"):
        fetch("digits", tmp_path)


def test_without_pooch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "nanostn\[app\]"'):
        fetch("mnist", tmp_path)
