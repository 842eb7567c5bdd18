"""The tester of the tests: it catches a fault, lets an equal program live, ends a loop, and alters no checkout."""

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
