"""The fuzzer itself: the same number is the same input, and a wrong answer, a hang and a death are each seen."""

import os
import signal
import time

import pytest

from . import fuzz


@pytest.fixture
def eats(monkeypatch, tmp_path):
    """Let the metrics be eaten by another function; then what the fuzzer finds in three inputs."""
    def run(function):
        monkeypatch.setattr(fuzz.Kinds, "eat_metrics", function)
        monkeypatch.setattr(fuzz, "HANG", 1)
        return fuzz.fuzz("metrics", 3, 0, time.monotonic() + 60, tmp_path / "kept")
    return run


def test_a_number_is_an_input(tmp_path):
    kinds = fuzz.Kinds(tmp_path)
    for kind in set(fuzz.NAMES) - {"checkpoint"}:  # HDF5 writes the time into some of those built here
        assert fuzz.made(kinds, kind, 0, 5) == fuzz.made(kinds, kind, 0, 5)
        assert len({fuzz.made(kinds, kind, 0, number) for number in range(20)}) > 10


def test_a_sentence_of_ours_is_survived(eats):
    def refuse(self, content):
        raise ValueError("metrics: file should be another, received this")

    assert eats(refuse) == (3, [])


def test_another_error_is_found_and_kept(eats, tmp_path):
    def fail(self, content):
        raise KeyError("kind")

    tried, findings = eats(fail)
    assert tried == 3 and [number for number, _ in findings] == [0, 1, 2]
    assert "KeyError" in findings[0][1] and (tmp_path / "kept" / "metrics-0-2").exists()


def test_a_death_is_found_and_the_rest_is_tried(eats):
    tried, findings = eats(lambda self, content: os.kill(os.getpid(), signal.SIGKILL))
    assert tried == 3 and [wrong for _, wrong in findings] == ["the process died of signal 9"] * 3


def test_a_hang_is_found(eats):
    _, findings = eats(lambda self, content: time.sleep(30))
    assert len(findings) == 3 and all("no answer within 1 s" in wrong for _, wrong in findings)


@pytest.mark.parametrize("kind", ["idx", "metrics", "result", "cli"])
def test_a_few_inputs_are_survived(kind, tmp_path):
    assert fuzz.fuzz(kind, 50, 0, time.monotonic() + 60, tmp_path)[1] == []
