"""The tester of the tests: it catches a fault, lets an equal program live, ends a loop, and alters no checkout."""

import functools
from pathlib import Path

import pytest

from . import mutation

SOURCE = ("def double(x):\n    return x * 2\n\n\ndef same(x):\n    return x * 1\n\n\n"
          "def fall(x):\n    while x > 0:\n        x = x - 1\n    return x\n")
TEST = ("from code_under_test import double, fall, same\n\n\ndef test_all():\n"
        "    assert double(3) == 6 and same(3) == 3 and fall(3) == 0\n")


@pytest.fixture
def copy(tmp_path):
    (tmp_path / "code_under_test.py").write_text(SOURCE)
    (tmp_path / "test_it.py").write_text(TEST)
    return tmp_path


def outcome(copy, line, before, after, limit=60):
    found = [each for each in mutation.mutants("code_under_test.py", SOURCE)
             if (each.line, each.before, each.after) == (line, before, after)]
    assert len(found) == 1
    result = mutation.attempt(copy, found[0], ["test_it.py"], limit)
    assert (copy / "code_under_test.py").read_text() == SOURCE
    return result


def test_a_fault_is_caught(copy):
    assert outcome(copy, 2, "*", "/") == "failed"


def test_an_equal_program_survives(copy):
    assert outcome(copy, 6, "*", "/") == "survived"


def test_an_endless_loop_is_ended(copy):
    assert outcome(copy, 11, "-", "+", limit=4) == "time"


@pytest.mark.skipif(not (mutation.ROOT / "kernels").is_dir(), reason="an installed copy has no sources to alter")
def test_every_mutant_of_the_table_is_a_program():
    for file, tests in mutation.TESTS.items():
        source = (mutation.ROOT / file).read_text(encoding="utf-8")
        assert tests and all((mutation.ROOT / test).exists() for test in tests)
        for mutant in mutation.mutants(file, source)[::25]:
            assert source != mutation.mutated(source, mutant)
            compile(mutation.mutated(source, mutant), file, "exec")


DEVICE = """def double(x):
    if is_device(x):
        return on_device(x, 3 * 4)
    _max_pool(5, 6 + 1, x.reshape(-1))
    return x * 2 if is_device(x) else x + x

def thread(x):
    return cuda.grid(1) + 7

_device = cuda_kernel(thread, 8)
"""


def test_what_runs_on_a_gpu_only_is_left_as_it_is():
    found = [(each.line, each.before) for each in mutation.mutants("kernels/any.py", DEVICE)]
    assert found == [(4, "5"), (5, "+")]  # nor is the number of threads altered, nor the word -1


def test_a_mutant_makes_stale_what_imports_it(tmp_path):
    """In a copy: not all of the folder, as in the checkout."""
    names = {"functools": functools, "Path": Path, "_short": str, "Cache": type("Cache", (), {}), "FOLDER": tmp_path}
    exec(mutation._CACHING, names)
    versions = {}
    for text in ("1", "2"):
        for name, lines in {"a": "from .b import c", "b": "from .x.y import z", "x/y": "from .. import d, e",
                            "e": text, "other": ""}.items():
            (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.py").write_text(lines)
        names["_with_imports"].cache_clear()
        versions[text] = {name: names["_with_imports"](tmp_path / f"{name}.py") for name in ("a", "b", "other")}
    assert [versions["1"][name] == versions["2"][name] for name in ("a", "b", "other")] == [False, False, True]
