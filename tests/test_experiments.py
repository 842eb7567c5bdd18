"""Every experiment for a few steps on what the program draws; what a run leaves behind; resuming one."""

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from nanostn import datasets, experiments
from nanostn.checkpoints import load, save
from nanostn.cli import main
from nanostn.console import guarded
from nanostn.datasets import cub, gtsrb
from nanostn.experiments import EXPERIMENTS, demo, distorted_mnist, experiment, find, options
from nanostn.optim import GroupWarmUp
from nanostn.runs import RunDirectory

SMALL = ["--data", "digits", "--limit", "24", "--test-limit", "10", "--batch-size", "8", "--epochs", "2"]
# For networks that would take long.
SMALLER = {"svhn": ("--width", "0.03"), "traffic-signs": ("--size", "16"),
           "birds": ("--size", "64", "--width", f"{1 / 64}")}
DISTORTED_MNIST = distorted_mnist.EXPERIMENT
DISTORTED = ["train", "distorted-mnist", *SMALL, "--filters", "2", "--distortion", "R"]


digits = functools.cache(datasets.digits)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Runs and the cache of test sets go to a folder of the test's own; the digits are drawn once for all tests."""
    monkeypatch.setattr(datasets, "digits", digits)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


def same_checkpoints(one, other):
    """The same bits of all but the times."""
    one, other = (flat({name: part for name, part in load(path / "checkpoint.h5").items() if name != "history"})
                  for path in (one, other))
    assert {"model", "optimiser", "schedule", "random", "progress"} == {name.split("/")[0] for name in one}
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one
                                              if name != "progress/seconds")


def flat(contents, prefix=""):
    found = {prefix: "a dict"}
    for name, value in contents.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found if prefix else {name: value for name, value in found.items() if name}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_two_steps_of_each(name, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(datasets.svhn, "DRAWN", (24, 10))
    monkeypatch.setattr(gtsrb, "TRAIN", 24)
    monkeypatch.setattr(gtsrb, "TEST", 10)
    birds = functools.partial(cub.drawn_birds, tmp_path / "birds", train=2, test=1)
    monkeypatch.setattr(cub, "drawn_birds", birds)
    data = find(name).data[-1]
    words = ["--data", data, *SMALL[2:], *SMALLER.get(name, ()), "--steps", "2"]
    assert main(["train", name, *words, "--run-dir", "run"]) == 0
    out = capfd.readouterr().out
    assert "epoch   1/1" in out and "nanostn report run" in out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"experiment", "model", "data", *find(name).told_by, "seed", "epochs", "parameters", "test_error", "seconds",
            "device", "version"} <= result.keys()
    assert (result["experiment"], result["data"], result["steps"], result["device"]) == (name, data, 2, "cpu")
    assert 0 <= result["test_error"] <= 100
    settings = find(name).read(RunDirectory.open("run"))
    assert find(name).build_model(settings).count_parameters() == result["parameters"]


def test_script_of_its_own(tmp_path):
    program = [sys.executable, "-m", "nanostn.experiments.distorted_mnist", *DISTORTED[2:], "--model", "fcn",
               "--steps", "1", "--run-dir", str(tmp_path / "run")]
    where = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    assert subprocess.run(program, capture_output=True, cwd=where).returncode == 0
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_resume_after_ctrl_c(number, code, tmp_path, capfd, monkeypatch):
    """Interrupted in the second epoch, resumed with nothing but the run directory: the bits of the run in one piece."""
    assert main([*DISTORTED, "--run-dir", "whole"]) == 0
    given = datasets.epoch_batches

    def interrupting(*arguments):
        for batch in given(*arguments):
            if arguments[5] == 1:
                os.kill(os.getpid(), number)
            yield batch

    monkeypatch.setattr(datasets, "epoch_batches", interrupting)
    assert main([*DISTORTED, "--run-dir", "parts"]) == code
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


def test_zero_switches_a_default_off_and_the_command_is_quoted(tmp_path):
    addition, localisation = find("mnist-addition"), find("co-localisation")
    parser = options.argument_parser(addition, None)
    settings = options.settings(addition, parser.parse_args(["--data=digits", "--freeze-localisation=0",
                                                             "--warm-up-localisation=0"]))
    assert options.command(addition, settings).endswith("--freeze-localisation 0 --warm-up-localisation 0")
    model = addition.build_model(replace(settings, model="st-fcn-affine"))
    optimiser = experiment.make_optimiser(settings, model)
    assert not isinstance(experiment.make_schedule(settings, optimiser, 10), GroupWarmUp)
    settings = options.settings(localisation, options.argument_parser(localisation, None).parse_args(
        ["--data=digits", "--clip-gradient=0", "--encoder=a b/x=1"]))
    assert "--encoder 'a b/x=1'" in options.command(localisation, settings)
    run = RunDirectory.create(tmp_path / "run", asdict(settings))
    data = (np.zeros((2, 1, 84, 84)), np.zeros((2, 4))) * 2
    training = experiment.Training(localisation, settings, localisation.build_model(settings), run, data)
    assert training.options["max_norm"] is None
    assert localisation.read(RunDirectory.open(tmp_path / "run")) == settings


def test_what_is_given_to_a_resumed_run_is_judged_by_its_own_settings(tmp_path, capfd):
    sgd = [*DISTORTED, "--optimiser", "sgd", "--momentum", "0.5", "--run-dir", "run"]
    assert main(sgd) == 0
    assert main(["train", "distorted-mnist", "--run-dir", "run", "--resume", "--momentum", "0.5"]) == 0
    assert main(["train", "distorted-mnist", "--run-dir", "run", "--resume", "--momentum", "0.9"]) == 2
    assert "momentum = 0.5" in capfd.readouterr().err


def test_a_run_that_diverges_exits_with_1(tmp_path, capfd):
    with np.errstate(all="ignore"):
        assert main([*DISTORTED, "--optimiser", "sgd", "--learning-rate", "1e30", "--run-dir", "run"]) == 1
    assert "no longer finite" in capfd.readouterr().err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "no longer finite" in result["diverged"] and "test_error" not in result
    assert main(["train", "distorted-mnist", "--run-dir", "run", "--resume"]) == 1  # it would end so again
    assert "this run diverged; training stopped at step" in capfd.readouterr().err


def test_a_run_that_diverges_in_its_last_step_too(tmp_path, capfd):
    with np.errstate(all="ignore"):
        assert main([*DISTORTED, "--steps", "1", "--model", "cnn", "--optimiser", "sgd", "--learning-rate", "1e30",
                     "--run-dir", "run"]) == 1
    assert "after step 1 (epoch 1): the evaluation is no longer finite, first seen in layer" in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json", "result.json"]


def configured(*arguments):
    given = options.argument_parser(DISTORTED_MNIST, None).parse_args(["--data", "digits", *arguments])
    settings = options.settings(DISTORTED_MNIST, given)
    model = DISTORTED_MNIST.build_model(replace(settings, filters=2))
    nothing = np.zeros((3000, 28, 28), np.uint8), np.zeros(3000, np.uint8)
    return settings, experiment.Training(DISTORTED_MNIST, settings, model, None, nothing * 2)


@pytest.mark.parametrize(("arguments", "steps"), [
    ([], 10 * 12), (["--epochs", "3"], 3 * 12), (["--steps", "150"], 150), (["--epochs", "3", "--steps", "150"], 36),
    (["--epochs", "30", "--steps", "150"], 150)])
def test_epochs_and_steps(arguments, steps):
    assert configured(*arguments)[1].steps == steps


def test_optimiser_as_the_options_say():
    assert configured("--optimiser", "sgd", "--momentum", "0")[1].options["optimiser"].groups[0]["momentum"] == 0
    _, training = configured("--optimiser", "sgd")
    others, localisation = training.options["optimiser"].groups
    assert (others["momentum"], others["learning_rate"], localisation["learning_rate"]) == (0.9, 0.01, 0.001)
    shapes = {parameter.shape for parameter in localisation["parameters"]}
    assert (20, 1, 5, 5) in shapes and (10,) not in shapes and others["parameters"][-1].shape == (10,)


def test_limited_test_set_is_the_first_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(256, size=(30, 28, 28), dtype=np.uint8), np.arange(30, dtype=np.uint8)
    monkeypatch.setattr(datasets, "load", lambda *arguments: (images, labels) * 2)
    settings = replace(DISTORTED_MNIST.defaults, data="digits", distortion="TC", limit=4)
    *_, x, y = DISTORTED_MNIST.load_data(settings)
    train, _, first, its_labels = DISTORTED_MNIST.load_data(replace(settings, test_limit=7))
    assert len(train) == 4 and np.array_equal(first, x[:7]) and np.array_equal(its_labels, y[:7]) and len(x) == 30


def test_damaged_mnist_is_not_replaced_unnoticed(tmp_path, capfd):
    place = tmp_path / "home" / "mnist"
    place.mkdir(parents=True)
    (place / "train-images-idx3-ubyte.gz").write_bytes(b"cut short")
    assert main(["train", "distorted-mnist", "--data-dir", "home", "--run-dir", "run"]) == 2
    assert "mnist: home/mnist should be a folder with the files of MNIST" in capfd.readouterr().err
    assert main(["data", "list", "--data-dir", "home"]) == 0
    assert "incomplete or damaged (nanostn data fetch mnist)" in capfd.readouterr().out


def test_what_is_compiled_for_the_data_is_announced(tmp_path, monkeypatch):
    """By whatever command loads data first."""
    inside = []

    @contextlib.contextmanager
    def announced():
        inside.append(True)
        yield
        inside.pop()

    given = DISTORTED_MNIST.load_data

    def load_data(*arguments):
        assert inside
        return given(*arguments)

    for module in (experiments, experiment, demo):
        monkeypatch.setattr(module, "announced_compilation", announced)
    monkeypatch.setattr(DISTORTED_MNIST, "load_data", load_data)
    assert main([*DISTORTED, "--steps", "1", "--model", "fcn", "--run-dir", "run"]) == 0
    assert main(["evaluate", "run"]) == 0
    assert demo.main("both", [*SMALL, "--filters", "2", "--distortion", "RTS", "--epochs", "1"]) == 0


def test_files_of_another_program(tmp_path, capfd):
    """Each is one sentence and exit code 2."""
    assert main([*DISTORTED, "--steps", "1", "--model", "fcn", "--run-dir", "run"]) == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    config = json.loads(files["config.json"])
    save(tmp_path / "other.h5", {"weights": np.zeros(3)})
    resume = ["train", "distorted-mnist", "--run-dir", "run", "--resume"]
    for name, contents, words in [
            ("config.json", b'{"name": "webpack"}', "config.json should be JSON as .*, which has no 'experiment'"),
            ("config.json", json.dumps({"experiment": "distorted-mnist"}).encode(), "which has no 'batch_size'"),
            ("config.json", json.dumps({**config, "experiment": "imagenet"}).encode(), "experiment should be one of"),
            ("checkpoint.h5", (tmp_path / "other.h5").read_bytes(), "should be the checkpoint .* has no 'history'"),
            ("metrics.csv", b"epoch,steps\n1,one\n", "metrics.csv should be a table of numbers"),
            ("result.json", b"{}", "result.json should be JSON .*, which has no 'steps'")]:
        (tmp_path / "run" / name).write_bytes(contents)
        command = resume if name == "result.json" else ["report" if name == "metrics.csv" else "evaluate", "run"]
        capfd.readouterr()
        assert main(command) == 2
        said = capfd.readouterr().err
        assert re.search(words, said) and len(said.splitlines()) == 1, (name, said)
        if name == "config.json":
            assert main(resume) == 2
        (tmp_path / "run" / name).write_bytes(files[name])


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


@pytest.mark.parametrize("moment", ["in a step", "in the evaluation"])
def test_ctrl_c_in_the_demo(moment, capfd, monkeypatch):
    """It says how to go on with either network, whether that has begun or not."""
    name, module = {"in a step": ("epoch_batches", datasets), "in the evaluation": ("evaluate", experiment)}[moment]
    given = getattr(module, name)

    def interrupting(*arguments):
        monkeypatch.setattr(module, name, given)
        os.kill(os.getpid(), signal.SIGINT)
        return given(*arguments)

    monkeypatch.setattr(module, name, interrupting)
    settings = [*SMALL, "--filters", "2", "--distortion", "R", "--epochs", "1"]
    assert guarded(demo.main)("both", settings) == 130
    said = capfd.readouterr().err
    first, other = (os.path.join("both", model) for model in demo.MODELS)
    assert f"go on with either network: nanostn train distorted-mnist --run-dir {first} or {other} --resume" in said
    for run_dir in (first, other):
        assert main(["train", "distorted-mnist", "--run-dir", run_dir, "--resume"]) == 0
