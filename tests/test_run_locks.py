"""Two processes and one run directory: one of them gets it, however close they come, and the dead bar nobody's way."""

import contextlib
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nanostn import datasets
from nanostn.cli import main
from nanostn.runs import RunDirectory

fcntl = pytest.importorskip("fcntl")

RACES = 40


def race(folder, start, name, outcomes):
    """Ask for one directory after the other at the same moment as somebody else."""
    for number in range(RACES):
        start.wait(60)
        try:
            run = RunDirectory.create(folder / str(number), {"winner": name})
            with run.locked():
                outcomes.put((number, name, ""))
                start.wait(60)  # held until the other has tried
        except ValueError as error:
            outcomes.put((number, name, str(error)))
            start.wait(60)


def test_one_of_two_gets_a_new_run(tmp_path):
    context = multiprocessing.get_context("fork")  # others would have to find this file by its name
    start, outcomes = context.Barrier(2), context.Queue()
    both = [context.Process(target=race, args=(tmp_path, start, name, outcomes)) for name in ("a", "b")]
    for each in both:
        each.start()
    told = [outcomes.get(timeout=60) for _ in range(2 * RACES)]
    for each in both:
        each.join(60)
        assert each.exitcode == 0
    for number in range(RACES):
        (winner,) = [name for race, name, error in told if race == number and not error]
        (words,) = [error for race, _, error in told if race == number and error]
        assert "should be a new one" in words and "holds a run (config.json)" in words
        assert RunDirectory.open(tmp_path / str(number)).config == {"winner": winner}
        assert os.listdir(tmp_path / str(number)) == ["config.json"]


@contextlib.contextmanager
def holder(path):
    """Another process that trains the run; it is killed at the end."""
    program = f"import time; from nanostn.runs import RunDirectory\n" \
              f"with RunDirectory.open({str(path)!r}).locked():\n    print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
                               cwd=Path(__file__).parents[1])
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_holder_bars_nobody(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {})
    with holder(run.path) as process:
        with pytest.raises(ValueError, match="run directory should be one that no other process trains, received"), \
                run.locked():
            pass
        left = run.path / f".metrics.csv.0a.{process.pid}.unfinished"
        left.touch()
        process.send_signal(signal.SIGKILL)
        process.wait()
        with run.locked():
            assert not left.exists()
    with run.locked():
        pass


def test_resume_during_a_run_is_refused_and_works_after_it(tmp_path, monkeypatch, capfd):
    digits = datasets.digits
    monkeypatch.setattr(datasets, "digits", lambda count, seed=0: digits(count // 100, seed))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = ["--run-dir", str(tmp_path / "run")]
    settings = ["--data", "digits", "--distortion", "R", "--model", "fcn", "--limit", "8", "--batch-size", "4",
                "--test-limit", "4", "--filters", "2", "--steps", "1"]
    assert main(["train", "distorted-mnist", *settings, *run]) == 0
    os.unlink(tmp_path / "run" / "result.json")
    resume = ["train", "distorted-mnist", *run, "--resume"]
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with holder(tmp_path / "run"):
        capfd.readouterr()
        assert main(resume) == 2
        said = capfd.readouterr().err
        assert len(said.splitlines()) == 1 and "should be one that no other process trains" in said
        assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert main(resume) == 0
    assert (tmp_path / "run" / "result.json").exists()


def test_without_locks_a_run_is_trained_and_says_so(tmp_path, monkeypatch, capfd):
    def none(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with RunDirectory.create(tmp_path / "run", {}).locked():
        assert "cannot be locked here" in capfd.readouterr().err
