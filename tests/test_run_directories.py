"""Run directories that somebody edited, renamed or damaged; data directories that are not there; where reports go."""

import functools
import json
import os
import re
import shutil
from dataclasses import asdict

import pytest

from nanostn import datasets
from nanostn._version import version
from nanostn.cli import main
from nanostn.experiments import EXPERIMENTS, experiment, find, options
from nanostn.runs import RunDirectory

RUN = ["train", "distorted-mnist", "--data", "digits", "--limit", "8", "--test-limit", "6", "--batch-size", "8",
       "--steps", "1", "--filters", "2", "--distortion", "R"]
digits = functools.cache(datasets.digits)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "digits", digits)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.delenv("NANOSTN_DATA", raising=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, trained once."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "digits", digits)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("LOCALAPPDATA", str(folder / "cache"))
        assert main([*RUN, "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run, here."""
    return shutil.copytree(trained, tmp_path / "run")


def one_line(capfd):
    """What a mistake said: one line in our form, and no traceback."""
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("nanostn: ") and "should be" in said[0], said
    return said[0]


EDITED = [
    ("batch_size", 0, "--batch-size: should be a positive integer, received '0'"), ("batch_size", "8", "'8' for 8"),
    ("batch_size", 8.0, "--batch-size: should be"), ("batch_size", True, "--batch-size: should be"),
    ("batch_size", 10**400, "--batch-size: should be"), ("seed", "x", "--seed: should be an integer"),
    ("seed", -1, "--seed: should be"), ("seed", 1.5, "--seed: should be"), ("seed", None, "seed = None for 0"),
    ("seed", [], "--seed: should be"), ("momentum", [0.9], "--momentum: should be a number from 0 to below 1"),
    ("momentum", 0.5, "--momentum should be given with --optimiser sgd only"), ("optimiser", "sgd", "momentum = None"),
    ("learning_rate", "fast", "--learning-rate: should be a positive number, received 'fast'"),
    ("learning_rate", {}, "--learning-rate: should be"), ("learning_rate", float("inf"), "--learning-rate: should be"),
    ("learning_rate", float("nan"), "--learning-rate: should be"), ("learning_rate", None, "None for 0.001"),
    ("localisation_rate", 0, "--localisation-rate: should be"), ("experiment", ["distorted-mnist"], "experiment"),
    ("experiment", "imagenet", "experiment"), ("experiment", "cluttered-mnist", "cluttered-mnist' for|--filters=2"),
    ("data", {}, "--data: invalid choice"), ("data", None, "data = None"), ("distortion", [], "--distortion: invalid"),
    ("model", 3, "--model: invalid choice: '3'"), ("filters", 10**9, "--filters: should be at most 4096, received"),
    ("limit", 0, "--limit: should be"), ("limit", "all", "--limit: should be"), ("colour", 3, "--colour=3"),
    ("device", "cpu", "an unknown 'device'"), ("mod", "cnn", "an unknown 'mod'"), ("help", None, "unknown 'help'"),
    ("", 1, "--=1"), ("epochs", False, "--epochs: should be"), ("schedule", "linear", "--schedule: invalid choice"),
    ("decay", 0.3, "--decay should be given with --schedule steps only"), ("steps", None, "epochs = None for 10"),
]


# config.json and the command of runs of before settings had a class; in the second, one that is no option.
EARLIER = [
    ("""{"experiment": "distorted-mnist", "model": "fcn", "data": "digits", "limit": 640, "test_limit": 100, "seed": 0,
        "epochs": null, "steps": 20, "batch_size": 32, "optimiser": "adam", "momentum": null, "learning_rate": 0.001,
        "schedule": "cosine", "decay": null, "decay_every": null, "localisation_rate": 1.0, "freeze_localisation": null,
        "warm_up_localisation": null, "identity_penalty": null, "clip_gradient": null, "distortion": "RTS",
        "filters": 64, "version": "0.1.0"}""",
     "--model fcn --data digits --limit 640 --test-limit 100 --steps 20 --batch-size 32"),
    ("""{"experiment": "mnist-addition", "distortion": "RTS", "model": "fcn", "data": "digits", "limit": 64,
        "test_limit": 10, "seed": 0, "epochs": null, "steps": 1, "batch_size": 32, "optimiser": "adam",
        "momentum": null, "learning_rate": 0.0015, "schedule": "cosine", "decay": null, "decay_every": null,
        "localisation_rate": 0.3, "freeze_localisation": 0, "warm_up_localisation": 1000, "identity_penalty": null,
        "clip_gradient": null, "version": "0.1.0"}""",
     "--model fcn --data digits --limit 64 --test-limit 10 --steps 1 --freeze-localisation 0"),
]


@pytest.mark.parametrize("text, words", EARLIER)
def test_a_config_of_an_earlier_version_is_read(text, words, tmp_path):
    (tmp_path / "config.json").write_text(text)
    run = RunDirectory.open(tmp_path)
    config = {name: value for name, value in json.loads(text).items() if name != "version"}
    found = find(config["experiment"])
    settings = found.read(run)
    off = dict.fromkeys(asdict(settings).keys() - config.keys())  # what that version did not know
    assert asdict(settings) == {**config, **off} and config == run.config
    assert options.command(found, settings) == f"nanostn train {found.name} {words}"
    again = RunDirectory.create(tmp_path / "again", asdict(settings))
    assert json.loads((again.path / "config.json").read_text()) == {**config, **off, "version": version}


def test_an_edited_config_is_refused_by_every_command(run, capfd):
    path = run / "config.json"
    config = json.loads(path.read_text())
    capfd.readouterr()
    for key, value, words in EDITED:
        path.write_text(json.dumps({**config, key: value}))
        for command in (["evaluate", "run"], ["train", "distorted-mnist", "--run-dir", "run", "--resume"]):
            assert main(command) == 2, (key, value)
            assert re.search(words, one_line(capfd)), (key, value)
    for key in config.keys() - {"version"}:
        path.write_text(json.dumps({name: config[name] for name in config if name != key}))
        if key in ("limit", "test_limit") or (config[key] is None and key != "steps"):
            find("distorted-mnist").read(RunDirectory.open("run"))  # what is not there is off
            continue
        assert main(["evaluate", "run"]) == 2
        assert re.search(f"which has (no '{key}'|epochs = None for 10)", one_line(capfd))
    path.write_text(json.dumps({**config, "learning_rate": 0.002}))  # a setting like another
    assert main(["evaluate", "run"]) == 0
    path.write_text(json.dumps(config, indent=7))
    assert main(["evaluate", "run"]) == 0


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("options", [[], ["--optimiser", "sgd", "--schedule", "steps", "--decay-every", "3"],
                                     ["--optimiser", "sgd", "--momentum", "0", "--seed", "123456789"],
                                     ["--learning-rate", "1e-3", "--localisation-rate", "0.25", "--test-limit", "7"]])
def test_what_the_command_line_writes_is_never_refused(name, options, monkeypatch):
    for part in ("load_data", "initialise"):
        monkeypatch.setattr(find(name), part, lambda *arguments: None)
    monkeypatch.setattr(experiment, "train_run", lambda *arguments: 0)
    model = find(name).models[-1]
    given = ["train", name, "--model", model, "--data", find(name).data[-1], "--limit", "8", "--batch-size", "8",
             "--steps", "1", *options]
    small = {"distorted-mnist": ["--filters", "2", "--distortion", "P"], "birds": ["--size", "64", "--width", "0.02"]}
    assert main([*given, *small.get(name, []), "--run-dir", "run"]) == 0
    find(name).read(RunDirectory.open("run"))
    assert main(["train", name, "--run-dir", "run", "--resume"]) == 0


@pytest.mark.parametrize("entry, value", [("test_error", "2.3"), ("test_error", None), ("parameters", "many"),
                                          ("parameters", [1]), ("steps", True), ("seconds", float("inf")),
                                          ("test_loss", float("nan"))])
def test_a_result_that_is_no_number(entry, value, run, capfd):
    pytest.importorskip("matplotlib")
    path = run / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), entry: value}))
    capfd.readouterr()
    for command in (["report", "run"], ["train", "distorted-mnist", "--run-dir", "run", "--resume"]):
        assert main(command) == 2
        assert f"received 'run/result.json', which has {entry}" in one_line(capfd)


@pytest.mark.parametrize("cell", ["nan", "inf", "1e999", "two", "", "1,2"])
def test_metrics_that_are_no_numbers(cell, run, capfd):
    pytest.importorskip("matplotlib")
    path = run / "metrics.csv"
    head, row = path.read_text().splitlines()
    path.write_text(f"{head}\n{row.rsplit(',', 1)[0]},{cell}\n")
    capfd.readouterr()
    assert main(["report", "run"]) == 2
    assert "metrics.csv should be a table of numbers" in one_line(capfd)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_directory_whose_name_is_no_text(trained, tmp_path, capfd):
    pytest.importorskip("matplotlib")
    name = os.fsdecode(b"run-\xff\xfe")
    try:
        shutil.copytree(trained, name)
    except OSError:
        pytest.skip("this file system has names of text only")
    for command in (["report", name], ["evaluate", name], ["train", "distorted-mnist", "--run-dir", name, "--resume"]):
        assert main(command) == 0
    assert "run-\\udcff" in (tmp_path / name / "report" / "index.html").read_text()
    assert main([*RUN, "--run-dir", name]) == 2
    assert "holds a run" in capfd.readouterr().err


@pytest.mark.parametrize("by", ["option", "variable"])
@pytest.mark.parametrize("place", ["nowhere", "empty", "file"])
def test_a_data_directory_that_was_named_and_has_no_mnist(by, place, tmp_path, capfd, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("data")
    arguments = [word for word in RUN if word not in ("--data", "digits")]
    if by == "option":
        arguments += ["--data-dir", place]
    else:
        monkeypatch.setenv("NANOSTN_DATA", place)
    assert main([*arguments, "--run-dir", "run"]) == 2
    said = one_line(capfd)
    assert f"mnist: {place}/mnist should be a folder with the files of MNIST" in said and "--data digits" in said
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(experiment, "train_run", lambda *arguments: 0)
    assert main([*arguments, "--data", "digits", "--run-dir", "run"]) == 0  # asked for


def test_that_digits_stand_in_for_mnist_is_said(capfd, monkeypatch):
    monkeypatch.setattr(experiment, "train_run", lambda *arguments: 0)
    arguments = [word for word in RUN if word not in ("--data", "digits")]
    assert main([*arguments, "--run-dir", "run"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith("data: mnist was not found in ") and "nanostn data fetch mnist" in said[0]
    assert main(["train", "distorted-mnist", "--run-dir", "run", "--resume"]) == 0
    assert main([*RUN, "--run-dir", "other"]) == 0
    assert "was not found" not in capfd.readouterr().out


def test_a_comparison_replaces_no_page(trained, tmp_path, capfd):
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    assert main(["report", "runs/one"]) == 0
    own = (tmp_path / "runs/one/report/index.html").read_bytes()
    capfd.readouterr()
    for folder in ("comparison", "comparison-2"):
        assert main(["report", "runs/one", "runs/two"]) == 0
        assert capfd.readouterr().out.strip() == str(tmp_path / "runs" / folder / "index.html")
    assert (tmp_path / "runs/one/report/index.html").read_bytes() == own
    assert not (tmp_path / "runs/two/report").exists()
    assert main(["report", "runs/one", "runs/two", "--output", "here"]) == 0
    assert (tmp_path / "here" / "index.html").is_file()
