"""A run that is made longer: --resume with more --epochs or --steps than it has."""

import itertools
import json
import multiprocessing

import pytest

from nanostn import datasets
from nanostn.cli import main
from nanostn.runs import RunDirectory

from .test_experiments import digits, same_checkpoints

NEW = ["train", "distorted-mnist", "--data", "digits", "--limit", "24", "--test-limit", "10", "--batch-size", "8",
       "--filters", "2", "--distortion", "R", "--learning-rate", "0.004"]  # 3 steps in an epoch
MORE = ["train", "distorted-mnist", "--resume", "--run-dir"]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "digits", digits)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


@pytest.fixture
def interrupt(monkeypatch):
    """Let Ctrl-C come before the n-th batch from here on."""
    given = datasets.epoch_batches

    def set_to(n):
        count = itertools.count(1)

        def interrupting(*arguments):
            for batch in given(*arguments):
                if next(count) == n:
                    raise KeyboardInterrupt
                yield batch
        monkeypatch.setattr(datasets, "epoch_batches", interrupting)
    return set_to


def read(path, name):
    return json.loads((path / name).read_text())


def rows(path):
    found = RunDirectory.open(path).metrics()
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


@pytest.mark.parametrize("schedule", [["constant"], ["steps", "--decay-every", "5", "--decay", "0.5"]])
@pytest.mark.parametrize("late", [[], ["--freeze-localisation", "4", "--warm-up-localisation", "6"]])
def test_the_bits_of_a_run_as_long_from_the_start(schedule, late, tmp_path, capfd):
    new = [*NEW, "--schedule", *schedule, *late]
    assert main([*new, "--epochs", "4", "--run-dir", "whole"]) == 0
    assert main([*new, "--epochs", "2", "--run-dir", "parts"]) == 0
    capfd.readouterr()
    assert main([*MORE, "parts", "--epochs", "4"]) == 0
    rate = 0.002 if schedule[0] == "steps" else 0.004
    said = capfd.readouterr().out.splitlines()
    assert said[0] == (f"training further: 6 -> 12 steps; from step 6 on the learning rate is {rate}, as in a run so "
                       "long from the start")
    assert "epoch   3/4" in said[2] and "12 steps of 8" in said[1]
    assert same_checkpoints(tmp_path / "whole", tmp_path / "parts")
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    whole, parts = (read(tmp_path / run, "result.json") for run in ("whole", "parts"))
    assert parts == {**whole, "seconds": parts["seconds"], "trained_further": [6]} and whole["trained_further"] == []
    assert "--epochs 4" in parts["command"]
    whole, parts = (read(tmp_path / run, "config.json") for run in ("whole", "parts"))
    assert parts == {**whole, "trained_further": [6]}


def test_interrupted_before_and_after(interrupt, tmp_path):
    """In its second epoch, made longer there, interrupted once more, and made longer once more."""
    assert main([*NEW, "--schedule", "constant", "--epochs", "4", "--run-dir", "whole"]) == 0
    interrupt(5)
    assert main([*NEW, "--schedule", "constant", "--epochs", "2", "--run-dir", "parts"]) == 130
    interrupt(6)
    assert main([*MORE, "parts", "--epochs", "3"]) == 130
    interrupt(99)
    assert main([*MORE, "parts"]) == 0
    assert read(tmp_path / "parts", "result.json")["epochs"] == 3
    assert main([*MORE, "parts", "--epochs", "4"]) == 0
    assert same_checkpoints(tmp_path / "whole", tmp_path / "parts")
    assert read(tmp_path / "parts", "result.json")["trained_further"] == [3, 9]
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


@pytest.mark.parametrize("ends", [(4, 5, 7), (1, 6, 8), (3, 4, 12)])
def test_a_run_that_ended_within_an_epoch_goes_on_within_it(ends, tmp_path):
    """The row of metrics.csv for a part of an epoch gives way to that of the whole one."""
    new = [*NEW, "--schedule", "constant"]
    assert main([*new, "--steps", str(ends[-1]), "--run-dir", "whole"]) == 0
    assert main([*new, "--steps", str(ends[0]), "--run-dir", "parts"]) == 0
    for end in ends[1:]:
        assert main([*MORE, "parts", "--steps", str(end)]) == 0
        assert rows(tmp_path / "parts")[-1]["steps"] == end
    assert same_checkpoints(tmp_path / "whole", tmp_path / "parts")
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert [row["steps"] for row in rows(tmp_path / "parts")] == [*range(3, ends[-1], 3), ends[-1]]
    assert read(tmp_path / "parts", "result.json")["epochs"] == -(-ends[-1] // 3)


def test_what_the_learning_rate_does_on_a_cosine(tmp_path, capfd):
    assert main([*NEW, "--epochs", "2", "--run-dir", "run"]) == 0
    capfd.readouterr()
    assert main([*MORE, "run", "--epochs", "4"]) == 0
    assert ("training further: 6 -> 12 steps; from step 6 on the learning rate is 0.002, as in a run so long from the "
            "start; it was 0\n") in capfd.readouterr().out
    assert [f"{row['learning_rate']:.6f}" for row in rows(tmp_path / "run")] == [  # of the last step of each epoch
        "0.003000", "0.000268", "0.001000", "0.000068"]
    assert read(tmp_path / "run", "config.json")["trained_further"] == [6]


@pytest.mark.parametrize("before, more, length", [
    (["--epochs", "1"], ["--steps", "5"], (None, 5)), (["--steps", "2"], ["--epochs", "2"], (2, None)),
    (["--epochs", "3", "--steps", "2"], ["--steps", "5"], (None, 5)),
    (["--epochs", "1", "--steps", "9"], ["--epochs", "2"], (2, None)),
    (["--epochs", "1", "--steps", "9"], ["--epochs", "2", "--steps", "5"], (2, 5))])
def test_a_limit_of_before_does_not_hold_what_is_asked_for(before, more, length, tmp_path):
    assert main([*NEW, *before, "--model", "fcn", "--run-dir", "run"]) == 0
    assert main([*MORE, "run", *more]) == 0
    config = read(tmp_path / "run", "config.json")
    assert (config["epochs"], config["steps"]) == length
    assert read(tmp_path / "run", "result.json")["steps"] == (6 if length == (2, None) else 5)


def test_what_is_refused(tmp_path, capfd):
    """In one line, and nothing is touched."""
    assert main([*NEW, "--model", "fcn", "--epochs", "2", "--run-dir", "run"]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    longer = "train: --epochs or --steps with --resume should be for more than the run's 6 steps, received "
    for more, words in [(["--epochs", "1"], longer + "3"), (["--steps", "6"], longer + "6"),
                        (["--steps", "2"], longer + "2"), (["--epochs", "4", "--seed", "1"], "received seed = 1"),
                        (["--epochs", "4", "--limit", "8"], "received limit = 8")]:
        capfd.readouterr()
        assert main([*MORE, "run", *more]) == 2
        said = capfd.readouterr().err
        assert words in said and len(said.splitlines()) == 1
    for more in ([], ["--epochs", "2"]):
        assert main([*MORE, "run", *more]) == 0
        assert "run: this run is finished, test error" in capfd.readouterr().out
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_diverged_run_is_not_made_longer(tmp_path, capfd):
    assert main([*NEW, "--optimiser", "sgd", "--learning-rate", "1e30", "--epochs", "1", "--run-dir", "run"]) == 1
    assert main([*MORE, "run", "--epochs", "2"]) == 1
    assert "this run diverged; training stopped" in capfd.readouterr().err
    assert "trained_further" not in read(tmp_path / "run", "config.json")


def test_evaluated_and_reported_while_it_is_made_longer(interrupt, tmp_path, capfd):
    """With the checkpoint of the shorter run, and its result, which is gone as soon as training goes on."""
    pytest.importorskip("matplotlib")
    assert main([*NEW, "--epochs", "2", "--run-dir", "run"]) == 0
    run = RunDirectory.open("run")
    error = f"test error {run.result()['test_error']:.2f} %"
    run.extend({**run.config, "epochs": 4}, 6)
    for round in range(2):
        capfd.readouterr()
        assert main(["evaluate", "run"]) == 0
        assert error in capfd.readouterr().out
        assert main(["report", "run"]) == 0
        page = (tmp_path / "run" / "report" / "index.html").read_text()
        assert f"<b>{error.removeprefix('test error ')}</b>" in page and "<td>2</td><td>6</td>" in page
        assert ("unfinished" in page) == bool(round)
        interrupt(1 + round)
        assert main([*MORE, "run"]) == 130  # before the third epoch, then in it
        assert not (tmp_path / "run" / "result.json").exists()
    assert main(["report", "run"]) == 0


@pytest.mark.parametrize("further", [3, [1.5], [-1], ["6"], [True]])
def test_an_edited_note_is_refused(further, capfd):
    assert main([*NEW, "--model", "fcn", "--steps", "1", "--run-dir", "run"]) == 0
    run = RunDirectory.open("run")
    run._write_json("config.json", {**run.config, "trained_further": further})
    assert main(["evaluate", "run"]) == 2
    assert "trained_further = " in capfd.readouterr().err


def holder(path, locked, done):
    run = RunDirectory.open(path)
    with run.locked():
        run.extend({**run.config, "epochs": 4}, 6)  # which replaces config.json
        locked.set()
        done.wait(60)


def test_a_run_that_was_made_longer_is_still_locked(capfd):
    """And who comes while another process makes it longer sees what that has made of it."""
    pytest.importorskip("fcntl")
    assert main([*NEW, "--epochs", "2", "--run-dir", "run", "--model", "fcn"]) == 0
    context = multiprocessing.get_context("fork")
    locked, done = context.Event(), context.Event()
    other = context.Process(target=holder, args=("run", locked, done))
    other.start()
    assert locked.wait(60)
    capfd.readouterr()
    assert main([*MORE, "run", "--epochs", "4"]) == 2
    assert "should be one that no other process trains" in capfd.readouterr().err
    done.set()
    other.join(60)
    assert main([*MORE, "run", "--epochs", "4"]) == 0
    assert read(RunDirectory.open("run").path, "result.json")["trained_further"] == [6]


def test_the_settings_are_read_when_the_run_is_locked(monkeypatch, tmp_path):
    """Another process made it longer, and ended, while this one waited to begin."""
    assert main([*NEW, "--epochs", "1", "--run-dir", "run", "--model", "fcn"]) == 0
    given = RunDirectory.locked

    def locked(run):
        monkeypatch.setattr(RunDirectory, "locked", given)
        assert main([*MORE, "run", "--epochs", "2"]) == 0
        return given(run)

    monkeypatch.setattr(RunDirectory, "locked", locked)
    assert main([*MORE, "run", "--epochs", "2"]) == 0
    assert read(tmp_path / "run", "config.json")["trained_further"] == [3]
