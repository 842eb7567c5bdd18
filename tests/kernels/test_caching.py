"""What is compiled serves the sources it was compiled from: all files of the folder, not the caller's alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import FunctionCache

from nanostn.kernels import caching, sampling, updates

SOURCES = {
    "formula.py": """
from numba import njit

@njit(cache=True)
def formula(x):
    return {factor} * x
""",
    "middle.py": """
from numba import njit
from .formula import formula

@njit(cache=True)
def middle(x):
    return formula(x) + 1
""",
    "outer.py": """
from numba import njit
from .middle import middle
from .workers import Kernel

def _items(first, last, x):
    for i in range(first, last):
        x[i] = middle(x[i])

kernel = Kernel(_items)

@njit(cache=True)
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
    path.mkdir()
    here = Path(caching.__file__).parent
    for name in ("__init__.py", "caching.py", "memory.py", "workers.py"):
        shutil.copy(here / name, path / name)
    for name, text in SOURCES.items():
        (path / name).write_text(text.replace("{factor}", "2"), encoding="utf-8")
    return path


def run(folder):
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(folder.parent / "cache"), "PYTHONPATH": str(folder.parent)}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=settings, cwd=folder.parent, check=True, text=True,
                          capture_output=True).stdout.split()


def test_an_edited_formula_in_another_file_is_compiled_and_nothing_else_twice(folder):
    assert run(folder) == ["3.0", "21.0", "201.0", "True"]
    assert run(folder) == ["3.0", "21.0", "201.0", "False"]  # found on disk: no pass of the compiler
    (folder / "formula.py").write_text(SOURCES["formula.py"].replace("{factor}", "3"), encoding="utf-8")
    assert run(folder) == ["4.0", "31.0", "301.0", "True"]
    assert run(folder) == ["4.0", "31.0", "301.0", "False"]


@pytest.mark.parametrize("change", ["edit", "add", "rename"])
def test_the_stamp_is_of_every_file(tmp_path, monkeypatch, change):
    monkeypatch.setattr(caching, "FOLDER", tmp_path)
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    before = caching.source_stamp.__wrapped__()
    assert before == caching.source_stamp.__wrapped__()
    if change == "rename":
        (tmp_path / "b.py").rename(tmp_path / "c.py")
    else:
        (tmp_path / {"edit": "b.py", "add": "c.py"}[change]).write_text("other", encoding="utf-8")
    assert caching.source_stamp.__wrapped__() != before


@pytest.mark.parametrize("function", [sampling._forward.function, updates._sgd.py_func])
def test_kernels_and_functions_carry_the_stamp(function):
    assert FunctionCache(function)._cache_file._source_stamp[1] == caching.source_stamp()


def test_functions_of_others_are_left_to_numba():
    assert caching.Locator.from_function(run, __file__) is None
    caching.watch_all_sources()
    assert caching._locators.count(caching.Locator) == 1  # a second call adds nothing
