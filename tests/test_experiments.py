"""Every experiment for a few steps on the digits that the program draws; what a run leaves behind; resuming one."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from nanostn.checkpoints import load
from nanostn.cli import main
from nanostn.experiments import EXPERIMENTS, demo, find

SMALL = ["--data", "digits", "--limit", "24", "--test-limit", "10", "--batch-size", "8", "--epochs", "2"]
DISTORTED = ["train", "distorted-mnist", *SMALL, "--filters", "2", "--distortion", "R"]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Runs and the cache of test sets go to a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


def same_checkpoints(one, other):
    one, other = load(one / "checkpoint.h5"), load(other / "checkpoint.h5")
    return all(np.array_equal(one["model"][name], other["model"][name]) for name in one["model"])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_two_steps_of_each(experiment, tmp_path, capfd):
    assert main(["train", experiment, *SMALL, "--steps", "2", "--run-dir", "run"]) == 0
    out = capfd.readouterr().out
    assert "epoch   1/1" in out and "nanostn report run" in out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"experiment", "model", "data", "distortion", "seed", "epochs", "parameters", "test_error", "seconds",
            "device", "version"} <= result.keys()
    assert (result["experiment"], result["data"], result["steps"], result["device"]) == (experiment, "digits", 2, "cpu")
    assert 0 <= result["test_error"] <= 100
    assert find(experiment).build_model(json.loads((tmp_path / "run" / "config.json").read_text())).count_parameters() \
        == result["parameters"]


def test_script_of_its_own(tmp_path):
    program = [sys.executable, "-m", "nanostn.experiments.distorted_mnist", *DISTORTED[2:], "--model", "fcn",
               "--steps", "1", "--run-dir", str(tmp_path / "run")]
    where = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    assert subprocess.run(program, capture_output=True, cwd=where).returncode == 0
    assert (tmp_path / "run" / "result.json").exists()


def test_resume_after_ctrl_c(tmp_path, capfd, monkeypatch):
    """Interrupted in the second epoch, resumed with nothing but the run directory: the bits of the run in one piece."""
    assert main([*DISTORTED, "--run-dir", "whole"]) == 0
    from nanostn import datasets
    given = datasets.epoch_batches

    def interrupting(*arguments):
        for batch in given(*arguments):
            if arguments[5] == 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    monkeypatch.setattr(datasets, "epoch_batches", interrupting)
    assert main([*DISTORTED, "--run-dir", "parts"]) == 130
    said = capfd.readouterr().err
    assert "after step 4 of 6" in said and "go on with: nanostn train distorted-mnist --run-dir parts --resume" in said
    monkeypatch.setattr(datasets, "epoch_batches", given)
    assert main(["train", "distorted-mnist", "--run-dir", "parts", "--resume"]) == 0
    assert same_checkpoints(tmp_path / "whole", tmp_path / "parts")
    capfd.readouterr()
    assert main(["train", "distorted-mnist", "--run-dir", "parts", "--resume"]) == 0
    assert "this run is finished" in capfd.readouterr().out


def test_another_run_is_never_touched(tmp_path, capfd):
    first = [*DISTORTED, "--model", "fcn", "--run-dir", "run"]
    assert main(first) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for arguments, words in [(first, "holds a run"), ([*first, "--resume", "--seed", "3"], "received seed = 3"),
                             ([*first, "--resume", "--model", "cnn"], "model = 'fcn', received model = 'cnn'")]:
        assert main(arguments) == 2
        assert words in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_that_diverges_exits_with_1(tmp_path, capfd):
    with np.errstate(all="ignore"):
        assert main([*DISTORTED, "--optimiser", "sgd", "--learning-rate", "1e30", "--run-dir", "run"]) == 1
    assert "no longer finite" in capfd.readouterr().err
    assert not (tmp_path / "run" / "result.json").exists()


def test_evaluate_agrees_with_the_result(tmp_path, capfd):
    assert main([*DISTORTED, "--steps", "1", "--run-dir", "run"]) == 0
    capfd.readouterr()
    assert main(["evaluate", "run"]) == 0
    error = json.loads((tmp_path / "run" / "result.json").read_text())["test_error"]
    assert f"test error {error:.2f} %" in capfd.readouterr().out


def test_checkpoint_of_another_model(tmp_path, capfd):
    for model in ("cnn", "fcn"):
        assert main([*DISTORTED, "--steps", "1", "--model", model, "--run-dir", model]) == 0
    (tmp_path / "cnn" / "checkpoint.h5").write_bytes((tmp_path / "fcn" / "checkpoint.h5").read_bytes())
    assert main(["evaluate", "cnn"]) == 2
    assert "is it the state of another model?" in capfd.readouterr().err


def test_demo(tmp_path, capfd):
    pytest.importorskip("matplotlib")
    settings = [*SMALL, "--filters", "2", "--distortion", "RTS", "--epochs", "1"]
    assert demo.main(None, settings) == 0
    out = capfd.readouterr().out
    assert "test error of cnn" in out and "test error of st-cnn-affine" in out
    assert (tmp_path / "runs" / "demo" / "report" / "index.html").exists()
    assert demo.main(None, settings) == 0  # a second one finds a place of its own
    assert (tmp_path / "runs" / "demo-2" / "cnn" / "result.json").exists()
