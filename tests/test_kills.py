"""A training run that is ended at chosen moments and resumed has the bits of one that was not; and the judge is awake.

tests/kills.py does the same at random, a hundred times.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from . import kills
from .planted_end import Kill

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
              pytest.mark.skipif(not (kills.ROOT / "nanostn").is_dir(), reason="an installed copy has no sources")]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    made = kills.Workshop(tmp_path_factory.mktemp("runs"))
    yield made
    made.close()


@pytest.mark.parametrize("ends", [
    [("SIGKILL", "write config.json", 1), ("SIGTERM", "after update", 11)],
    [("SIGKILL", "fsync the test set", 1), ("SIGKILL", "after replace checkpoint.h5", 4)],
    [("SIGINT", "evaluation", 2), ("file size limit", "before replace metrics.csv", 1)],
    [("no space", "write checkpoint.h5", 2), ("SIGTERM twice", "before update", 3)],
    [("SIGKILL", "after link config.json", 1), ("read-only", "write result.json", 1)],
], ids=lambda ends: ", ".join(f"{way} {moment}" for way, moment, _ in ends))
def test_the_same_bits(workshop, ends):
    before, unreached = workshop.counts.total(), workshop.unreached
    assert workshop.run([Kill(*end) for end in ends]) == []
    assert workshop.counts.total() == before + len(ends) and workshop.unreached == unreached


def test_a_run_that_is_made_longer(workshop):
    """Ended at every moment of that, one after the other: the bits of a run that was as long from the start."""
    place, longer = workshop.place(), ("--epochs", str(kills.EPOCHS))
    assert workshop.process(place, None, "--epochs", str(kills.EPOCHS - 2)) == (0, "", [])
    for kill in [("no space", "write config.json", 1), ("SIGKILL", "before replace config.json", 1),
                 ("SIGKILL", "after replace config.json", 1), ("SIGKILL", "after unlink result.json", 1),
                 ("SIGTERM", "after update", 3), ("SIGKILL", "before replace result.json", 1)]:
        code, said, wrong = workshop.process(place, Kill(*kill), *longer)
        assert (place / "reached").exists() and code == {"SIGKILL": -9, "no space": 2, "SIGTERM": 143}[kill[0]], said
        assert wrong == workshop.unreadable(place / "run") == []
    assert workshop.process(place) == (0, "", [])
    found, at = workshop.contents(place), (kills.EPOCHS - 2) * kills.STEPS
    for name in workshop.expected.keys() - {"config", "result"}:
        assert found[name] == workshop.expected[name], name
    assert found["result"] == [{**workshop.expected["result"][0], "trained_further": [at]}]
    assert json.loads(found["config"]) == {**json.loads(workshop.expected["config"]), "trained_further": [at]}


def test_the_judge_sees_other_bits_and_what_is_left_behind(workshop, monkeypatch):
    given = workshop.process

    def careless(place, kill=None):
        outcome = given(place, kill)
        (place / "run" / ".metrics.csv.0a.1.unfinished").touch()
        return outcome

    monkeypatch.setattr(workshop, "process", careless)
    monkeypatch.setitem(workshop.expected, "state", {})
    monkeypatch.setattr(workshop, "history", [{}] * len(workshop.history))
    wrong = " ".join(workshop.run([]))
    for words in ("state differs", "files differs", "history of the checkpoint"):
        assert words in wrong


def test_the_judge_sees_a_damaged_file(workshop, tmp_path):
    for name in ("config.json", "checkpoint.h5", "metrics.csv", "result.json"):
        (tmp_path / "config.json").write_text("{}")
        assert workshop.unreadable(tmp_path) == []
        Path(tmp_path, name).write_bytes(b"a,b\n1")
        assert len(workshop.unreadable(tmp_path)) == 1
        os.unlink(tmp_path / name)
