"""What is compiled serves the sources it was compiled from, all files of the folder; and is not needed on disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba import float64, int64, types
from numba.core.registry import cpu_target

from nanostn.kernels.compiling import caching
from nanostn.kernels.gpu import ptx_cache

SOURCES = {
    "formulas/formula.py": """
from ..compiling.linking import linked

@linked()
def formula(x):
    return {factor} * x
""",
    "middle.py": """
from numba import njit
from .formulas.formula import formula

@njit
def middle(x):
    return formula(x) + 1
""",
    "outer.py": """
from .compiling.caching import compiled
from .middle import middle
from .compiling.parallel import Kernel

def _items(first, last, x):
    for i in range(first, last):
        x[i] = middle(x[i])

kernel = Kernel(_items)

@compiled()
def plain(x):
    return middle(x)
""",
}
PROGRAM = """
import numpy as np
from numba.core import event

passes = []
class Listener(event.Listener):
    def on_start(self, e): passes.append(e)
    def on_end(self, e): pass
event.register("numba:run_pass", Listener())

from folder.outer import kernel, plain
x = np.array([1.0, 10.0])
kernel(2, 2, x)
print(*x, plain(100.0), len(passes) > 0)
"""


@pytest.fixture
def folder(tmp_path):
    """A package like ours: its kernel and its function call a formula in the second file from theirs."""
    path = tmp_path / "folder"
    (path / "formulas").mkdir(parents=True)
    shutil.copy(caching.FOLDER / "__init__.py", path / "__init__.py")
    shutil.copytree(caching.FOLDER / "compiling", path / "compiling", ignore=shutil.ignore_patterns("__pycache__"))
    write(path, 2)
    return path


def write(folder, factor):
    for name, text in SOURCES.items():
        (folder / name).write_text(text.replace("{factor}", str(factor)), encoding="utf-8")


def start(folder, preexec=None, **settings):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder.parent / "cache"), "PYTHONPATH": str(folder.parent),
                   "PYTHONDONTWRITEBYTECODE": "1", **settings}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, cwd=folder.parent, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=preexec)


def run(folder, preexec=None, **settings):
    """What it prints, and what it says."""
    process = start(folder, preexec, **settings)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return printed.split(), said


COMPILED, FOUND = (["3.0", "21.0", "201.0", compiled] for compiled in ("True", "False"))


@pytest.mark.parametrize("settings", [
    {},
    {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"},
    {"NUMBA_CACHE_DIR": "", "NUMBA_CACHE_LOCATOR_CLASSES": "numba.core.caching.InTreeCacheLocator"},
])
def test_an_edited_formula_in_another_file_is_compiled_and_nothing_else_twice(folder, settings):
    assert run(folder, **settings) == (COMPILED, "")
    assert run(folder, **settings) == (FOUND, "")  # found on disk: no pass of the compiler
    held = len(list(folder.parent.rglob("*.nbc")))
    write(folder, 3)
    assert run(folder, **settings) == (["4.0", "31.0", "301.0", "True"], "")
    assert run(folder, **settings) == (["4.0", "31.0", "301.0", "False"], "")
    assert len(list(folder.parent.rglob("*.nbc"))) == held == 3  # of a kernel, the loop for its arguments, a function


@pytest.mark.parametrize("change", ["edit", "add", "rename", "move"])
def test_the_stamp_is_of_every_file(tmp_path, change):
    (tmp_path / "inside").mkdir()
    for name in ("a.py", "inside/b.py"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    before = caching.source_stamp.__wrapped__(tmp_path)
    assert before == caching.source_stamp.__wrapped__(tmp_path)
    if change in ("rename", "move"):
        (tmp_path / "inside/b.py").rename(tmp_path / {"rename": "inside/c.py", "move": "b.py"}[change])
    else:
        (tmp_path / {"edit": "inside/b.py", "add": "inside/c.py"}[change]).write_text("other", encoding="utf-8")
    assert caching.source_stamp.__wrapped__(tmp_path) != before


SAID = "nanostn: compiled kernels cannot be kept on disk, so each process compiles them anew ("
WAY_OUT = "); set NUMBA_CACHE_DIR to a folder that can be written\n"


def said_once(text):
    return text.count("\n") == 1 and text.startswith(SAID) and text.endswith(WAY_OUT)


@pytest.mark.parametrize("locators", ["", "UserProvidedCacheLocator", "NoSuchLocator"])
def test_where_nothing_can_be_written_it_works_and_says_so_once(folder, tmp_path, locators):
    """As root, too, nothing can be written below a file."""
    (tmp_path / "file").write_text("")
    for inside in {file.parent for file in folder.rglob("*.py")}:
        (inside / "__pycache__").write_text("")
    nowhere = str(tmp_path / "file" / "folder")
    settings = {"NUMBA_CACHE_DIR": nowhere, "HOME": nowhere, "XDG_CACHE_HOME": nowhere,
                "NUMBA_CACHE_LOCATOR_CLASSES": locators}
    for _ in range(2):
        printed, said = run(folder, **settings)
        assert printed == COMPILED and said_once(said)


def small_files():
    import resource  # not on Windows
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # bytes: an index fits, a kernel does not


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_full_disk_is_said_once_and_leaves_nothing_wrong(folder):
    printed, said = run(folder, small_files)
    assert printed == COMPILED and said_once(said)
    assert run(folder) == (COMPILED, "") and run(folder) == (FOUND, "")
    write(folder, 3)
    printed, said = run(folder, small_files)
    assert printed == ["4.0", "31.0", "301.0", "True"] and said_once(said)
    assert run(folder) == (["4.0", "31.0", "301.0", "True"], "")  # not the code that was there before the edit
    assert not list(folder.parent.rglob("*.tmp.*"))


def first(x):
    return x


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Compiles a function, and tells whether it was found on disk."""
    monkeypatch.setattr(caching.numba.config, "CACHE_DIR", str(tmp_path))
    return lambda signature: caching.c_function(first, signature).cache_hits == 1


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:len(data) // 2], lambda data: b"garbage",
                                    lambda data: bytes(len(data)), None])
def test_a_damaged_file_is_compiled_again(tmp_path, keep, kind, damage):
    signature = float64(float64)
    assert not keep(signature) and keep(signature)
    file, = tmp_path.rglob(kind)
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    assert not keep(signature) and keep(signature)


def test_processes_that_compile_at_once(folder):
    processes = [start(folder) for _ in range(4)]
    for process in processes:
        printed, said = process.communicate(timeout=120)
        assert printed.split() in (COMPILED, FOUND) and said == ""
    assert run(folder) == (FOUND, "")


def test_forms_saved_at_once_are_not_taken_for_each_other(keep, monkeypatch):
    """Another process saves one between index and code of this one's: with one index, both would be number 1."""
    codegen = cpu_target.target_context.codegen()

    def saved(signature, between=lambda: None):
        file = caching.Cache(first)
        file._choose(signature, codegen)
        file = file._cache_file
        write = file._save_data
        monkeypatch.setattr(file, "_save_data", lambda name, data: (between(), write(name, data)))
        file.save("key", str(signature))
        return file

    kinds = types.void(int64), types.void(float64)
    others = []
    mine = saved(kinds[0], lambda: others.append(saved(kinds[1])))
    assert mine.load("key") == str(kinds[0]) and others[0].load("key") == str(kinds[1])


def test_everything_that_is_kept_is_kept_by_these_caches():
    """Numba's own `cache=True` knows one source, and stops the import where nothing can be written."""
    folders = [caching.FOLDER, Path(sys.modules["nanostn"].__file__).parent, caching.FOLDER.parent / "datasets"]
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        assert "cache=True" not in file.read_text(encoding="utf-8").replace("cache=True`", "").replace(
            "Numba's cache=True", ""), file


@pytest.mark.parametrize("platform, variable, default", [
    ("linux", "XDG_CACHE_HOME", ".cache"), ("win32", "LOCALAPPDATA", "AppData/Local"),
    ("darwin", None, "Library/Caches")])
def test_the_users_cache(tmp_path, monkeypatch, platform, variable, default):
    monkeypatch.setattr(caching.sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert caching.cache_directory() == Path.home() / default / "nanostn"
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert caching.cache_directory() == (tmp_path / variable if variable else Path.home() / default) / "nanostn"


def test_ptx_that_cannot_be_kept_is_said_once_and_leaves_no_part(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(caching, "_said", False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    file = ptx_cache.place("topic.kernel float32", (9, 0))

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    for _ in range(2):
        ptx_cache.write(file, "PTX")
    assert said_once(capfd.readouterr().err) and list(file.parent.iterdir()) == []


def test_without_a_home_ptx_is_not_kept(monkeypatch, capfd):
    def homeless(_path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(caching, "_said", False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    file = ptx_cache.place("topic.kernel float32", (9, 0))
    assert file is None and said_once(capfd.readouterr().err)
