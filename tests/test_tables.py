"""Tables of experiments: which cells there are, how they are trained side by side, and what is shown."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from nanostn.checkpoints import load
from nanostn.cli import main
from nanostn.experiments import find as find_experiment
from nanostn.experiments import options as command_line
from nanostn.runs import RunDirectory
from nanostn.tables import TABLES, Cell, runner, show

SMALL = ["--data", "digits", "--limit", "24", "--test-limit", "10", "--batch-size", "8"]
TABLE = ["table", "distorted-mnist", "--only", "fcn", "st-fcn-affine", "R", "--epochs", "2"]
WHERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))


def process(*arguments, **options):
    """The command line in a process of its own, from a folder in which `nanostn` is what is tested."""
    path = os.pathsep.join(filter(None, [WHERE if os.path.isdir(os.path.join(WHERE, "nanostn")) else "",
                                         os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen([sys.executable, "-m", "nanostn", *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONPATH": path}, **options)


def result(path):
    return json.loads((path / "result.json").read_text())


def weights(path):
    state = load(path / "checkpoint.h5")["model"]
    return {name: value.tobytes() for name, value in state.items()}


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_is_a_run_of_its_experiment(name):
    """Each has settings of its own, and those say its row and column."""
    table = TABLES[name]
    experiment = find_experiment(table.experiment)
    parser = command_line.argument_parser(experiment, "table")
    seen = set()
    for recipe in table.recipes:
        for cell in table.cells(recipe=recipe, seeds=(0, 3)):
            words = [*table.arguments(cell), f"--data={experiment.data[-1]}"]
            settings = command_line.settings(experiment, parser.parse_args(words))
            seen.add(settings)
            assert settings.seed == cell.seed and settings.epochs == table.recipes[recipe].epochs
    assert len(seen) == 2 * len(table.recipes) * len(table.rows) * len(table.columns)
    for row, numbers in table.paper.items():
        assert row in table.rows and numbers.keys() <= set(table.columns)


def test_cells_that_are_asked_for():
    table = TABLES["distorted-mnist"]
    assert [cell[:2] for cell in table.cells(["P", "cnn", "fcn"])] == [("fcn", "P"), ("cnn", "P")]
    assert [cell.seed for cell in table.cells(["P", "cnn"], seeds=(0, 1, 2, 1))] == [0, 1, 2]
    assert len(table.cells(["RTS"])) == 8 and len(table.cells()) == 48
    steps = table.arguments(Cell("cnn", "R", "short", 1), ["--steps=7"])
    assert "--steps=7" in steps and "--epochs" not in steps


@pytest.mark.parametrize(("words", "said"), [
    (["table", "nothing"], "table: NAME should be one of .*, received nothing"),
    (["table", "distorted-mnist", "--only", "dnn"], "--only should be some of fcn, .*, received dnn"),
    (["table", "distorted-mnist", "--recipe", "best"], "--recipe should be one of short, long, paper, received best"),
    (["table", "distorted-mnist", "--jobs", "3", "--threads", "2"], "--jobs should be at most the 2 threads"),
    (["table", "distorted-mnist", "--jobs", "1", "--", "--model", "cnn"], "none that the cells are told by"),
    (["table", "distorted-mnist", "--", "--colour", "3"], "unrecognized arguments: --colour")])
def test_what_makes_no_table_is_refused_in_one_line(words, said, capfd):
    try:
        code = main(words)
    except SystemExit as error:  # from the parser
        code = error.code
    assert code == 2
    err = capfd.readouterr().err
    assert re.search(said, err) and len(err.splitlines()) == 1


def test_cells_are_trained_once_and_shown(tmp_path, capfd):
    assert main([*TABLE, "--jobs", "2", "--threads", "2", "--", *SMALL]) == 0
    said = capfd.readouterr().out
    assert "[2/2]" in said and said.count("epoch   2/2") == 2
    folder = tmp_path / "runs" / "table-distorted-mnist"
    found = {name: result(folder / f"{name}-R-short-seed0") for name in ("fcn", "st-fcn-affine")}
    assert [each["machine"]["threads"] for each in found.values()] == [1, 1]
    for name, each in found.items():
        assert re.search(rf"^{name} +{each['test_error']:.2f} \(", said, re.MULTILINE)
        assert f"| {name} | {each['test_error']:.2f} (" in (folder / "table.md").read_text()
        assert f"--model {name}" in each["command"] or name == "st-cnn-affine"
    assert re.search(r"^cnn +– \(1\.2\)", said, re.MULTILINE)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    assert main([*TABLE, "--", *SMALL]) == 0
    again = capfd.readouterr().out
    assert "epoch" not in again.split("Table 1")[0]
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*")} == before
    assert main(["table", "distorted-mnist", "--show", "--runs"]) == 0
    assert "| fcn-R-short-seed0 |" in capfd.readouterr().out
    for name in ("copy", "fcn-R-none-seed0", "fnc-R-short-seed0"):  # no cells
        (folder / name).mkdir()
        (folder / name / "result.json").write_text("{}")
    assert main(["table", "distorted-mnist", "--only", "cnn", "P", "--recipe", "long", "--show"]) == 0
    said = capfd.readouterr().out  # what was asked for, and what else there is
    assert said.count("recipe") == 2 and re.search(rf"^fcn +{found['fcn']['test_error']:.2f} \(", said, re.MULTILINE)
    assert main([*TABLE, "--epochs", "3", "--", *SMALL]) == 2
    assert "--folder should be one whose runs have epochs = 3" in capfd.readouterr().err
    assert main([*TABLE, "--folder", str(folder / "fcn-R-short-seed0")]) == 2
    assert "it is one run itself" in capfd.readouterr().err
    (folder / "fcn-R-short-seed0" / "result.json").write_text('{"test_error": "0.1"}')
    assert main(["table", "distorted-mnist", "--show"]) == 2
    assert "result.json should be JSON as `nanostn train` writes it" in capfd.readouterr().err


def test_stopped_and_killed_it_goes_on(tmp_path, capfd):
    """Interrupted once and killed once, with the process of the cell: the weights of a run in one piece."""
    long = ["table", "distorted-mnist", "--only", "fcn", "R", "--epochs", "40", "--folder"]
    assert main([*long, "whole", "--", *SMALL]) == 0
    for number in (signal.SIGTERM, signal.SIGKILL):
        table = process(*long, "parts", "--", *SMALL, cwd=tmp_path, start_new_session=True)
        for line in table.stdout:
            if "epoch" in line:
                break
        table.send_signal(number)
        said = table.communicate(timeout=60)[0]
        if number == signal.SIGTERM:
            assert table.returncode == 143 and "the same command goes on" in said
        # Whoever lost the table's ear stops at the end of its epoch; another table would leave its cell alone.
        config = tmp_path / "parts" / "fcn-R-short-seed0" / "config.json"
        wait_for(lambda path=config: not locked(path))
    assert not (tmp_path / "parts" / "fcn-R-short-seed0" / "result.json").exists()
    assert main([*long, "parts", "--", *SMALL]) == 0
    whole, parts = (tmp_path / name / "fcn-R-short-seed0" for name in ("whole", "parts"))
    assert weights(whole) == weights(parts) and result(parts)["epochs"] == 40


def locked(path):
    fcntl = pytest.importorskip("fcntl")
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def test_two_tables_over_one_folder_share_the_work(tmp_path):
    """Every cell is finished by one of them, and begun by no one else."""
    words = ["table", "distorted-mnist", "--only", "fcn", "R", "P", "E", "--epochs", "6", "--folder", "both", "--",
             *SMALL]
    started = [process(*words, cwd=tmp_path) for _ in range(2)]
    said = [each.communicate(timeout=120)[0] for each in started]
    assert [each.returncode for each in started] == [0, 0], said
    for column in "RPE":
        name = f"fcn-{column}-short-seed0"
        epochs = [re.findall(rf"{name}: epoch +(\d+)/6", words) for words in said]
        assert sorted(map(len, epochs)) == [0, 6], epochs
        assert result(tmp_path / "both" / name)["epochs"] == 6


def test_a_cell_that_diverges_is_recorded_and_the_table_goes_on(tmp_path, capfd):
    words = ["table", "distorted-mnist", "--only", "cnn", "R", "P", "--epochs", "1", "--", *SMALL, "--filters", "2",
             "--optimiser", "sgd", "--learning-rate", "1e30"]
    assert main(words) == 0
    said = capfd.readouterr().out
    assert said.count("diverged (1.") == 2 and "no longer finite" in said
    assert "| diverged (1.2) |" in (tmp_path / "runs" / "table-distorted-mnist" / "table.md").read_text()
    assert main(words) == 0  # they are not tried again
    assert "no longer finite" not in capfd.readouterr().out


def test_a_cell_that_fails_is_named_and_the_others_go_on(tmp_path, capfd):
    assert main([*TABLE, "--steps", "1", "--", *SMALL]) == 0
    folder = tmp_path / "runs" / "table-distorted-mnist"
    (folder / "fcn-R-short-seed0" / "result.json").unlink()
    (folder / "fcn-R-short-seed0" / "checkpoint.h5").write_bytes(b"no checkpoint")
    (folder / "st-fcn-affine-R-short-seed0" / "result.json").unlink()
    capfd.readouterr()
    assert main([*TABLE, "--steps", "1", "--", *SMALL]) == 1
    said = capfd.readouterr().out
    assert re.search(r"fcn-R-short-seed0: nanostn: load: path should be .*checkpoint\.h5", said)
    assert result(folder / "st-fcn-affine-R-short-seed0")["steps"] == 1


def test_a_cell_of_another_process_is_left_to_it(tmp_path, capfd, monkeypatch):
    assert main([*TABLE, "--steps", "1", "--", *SMALL]) == 0
    folder = tmp_path / "runs" / "table-distorted-mnist"
    (folder / "fcn-R-short-seed0" / "result.json").unlink()
    pytest.importorskip("fcntl")
    with RunDirectory.open(folder / "fcn-R-short-seed0").locked():
        assert main([*TABLE, "--steps", "1", "--", *SMALL]) == 0
    assert "in training by another process: fcn-R-short-seed0" in capfd.readouterr().out
    assert not (folder / "fcn-R-short-seed0" / "result.json").exists()


def test_mean_and_spread_by_hand():
    table = TABLES["distorted-mnist"]
    by_hand = "nanostn train distorted-mnist"
    short = "--model fcn --distortion R --limit 5 --batch-size=64"
    results = {Cell("fcn", "R", "short", seed): {"test_error": error, "parameters": 10 + seed, "steps": 20, "epochs": 2,
                                                     "data": "mnist", "command": f"{by_hand} {short} --seed {seed % 2}"}
               for seed, error in enumerate((1.0, 2.0, 4.5))}
    results[Cell("cnn", "R", "short", 0)] = {"diverged": "at step 3"}
    paper = "--distortion P --model cnn --schedule steps --decay 0.1 --optimiser sgd --momentum 0 --steps 1"
    results[Cell("cnn", "P", "paper", 0)] = {"test_error": 9.0, "parameters": 1, "steps": 1, "epochs": 1,
                                              "data": "digits", "command": f"{by_hand} {paper}"}
    lines = {line[0]: line[1:] for line in show.grid(table, results, "short")}
    assert lines["fcn"][0] == "2.50 ± 1.80 (2.1)"  # sqrt((1.5^2 + 0.5^2 + 2^2) / 2)
    assert lines["cnn"][:3] == ["diverged (1.2)", "– (0.8)", "– (1.5)"]
    assert lines["st-cnn-tps"][4] == "–"  # the paper has no figure either
    assert lines["parameters"] == ["10 to 12", "", "", "", "", ""]
    assert show.grid(table, results, "paper") == [["", "P"], ["cnn", "9.00 (1.5)"], ["parameters", "1"]]
    assert len(show.grid(table, results, "long")) == 9  # all missing
    said = show.heading(table, results, "short")
    assert "20 steps of mnist; seed 0, 1, 2" in said and said.endswith("some or all with --limit 5 --seed 0")
    said = show.heading(table, results, "paper")
    assert "1 steps of digits; seed 0" in said and "ALONE" not in said


def test_time_left_is_that_of_cells_of_the_same_column(tmp_path):
    table = TABLES["distorted-mnist"]
    work = runner.Runner(table, tmp_path, table.cells(["fcn", "cnn", "R", "TC"]))
    assert work._left(1) == ""
    work.seconds = {Cell("fcn", "R", "short", 0): 100.0, Cell("fcn", "TC", "short", 0): 900.0}
    work.parts = {Cell("fcn", "R", "short", 0): 1.0, Cell("fcn", "TC", "short", 0): 0.5}
    assert work._left(1) == "; the table: 47 min left"  # cnn R 100 s, fcn TC 900 s more, cnn TC 1800 s
    assert work._left(2) == "; the table: 30 min left"  # cnn TC alone


def test_a_warning_is_passed_on_whole(tmp_path, capfd):
    table, cell = TABLES["distorted-mnist"], Cell("fcn", "R", "short", 0)
    work = runner.Runner(table, tmp_path, [cell])
    work._progress(cell, "warning: it has collapsed; what may help: this", 1)
    work._progress(cell, "test error 1.00 %; look at it", 1, done=True)
    work._progress(cell, "anything else", 1)
    assert [line.partition("seed0: ")[2] for line in capfd.readouterr().out.splitlines()] == [
        "warning: it has collapsed; what may help: this", "test error 1.00 %"]


def test_what_a_cell_has_to_tell_is_passed_on(capfd, monkeypatch):
    monkeypatch.delenv("NANOSTN_DATA", raising=False)
    assert main([*TABLE[:3], "fcn", "R", "--steps", "1", "--", "--limit", "20", "--batch-size", "8"]) == 0
    said = capfd.readouterr().out
    assert "fcn-R-short-seed0: data: mnist was not found" in said and "1 steps of digits" in said
    assert "NOT BY THE RECIPE ALONE, some or all with --batch-size 8 --limit 20" in said


def test_a_directory_that_is_named_decides_on_the_data(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("NANOSTN_DATA", raising=False)
    table, cell = TABLES["distorted-mnist"], Cell("fcn", "R", "short", 0)
    experiment = find_experiment("distorted-mnist")
    parser = command_line.argument_parser(experiment, "table")
    settings = command_line.settings(experiment, parser.parse_args([*table.arguments(cell), "--data=mnist"]))
    run = RunDirectory.create(tmp_path / "there" / cell.name, asdict(settings))
    run.finish({"test_error": 1.25, "parameters": 9, "steps": 1, "epochs": 1, "data": "mnist",
                "command": command_line.command(experiment, settings)})
    words = [*TABLE[:3], "fcn", "R", "--folder", "there"]
    assert main([*words, "--data-dir", "given"]) == 0
    assert re.search(r"^fcn +1\.25 \(2\.1\)", capfd.readouterr().out, re.MULTILINE)
    assert main(words) == 2
    assert "runs have data = 'digits'" in capfd.readouterr().err


def test_page_with_images_that_only_the_transformer_gets_right(tmp_path, capfd, monkeypatch):
    """Of two networks of which one takes everything for a 0, and one nothing."""
    pytest.importorskip("matplotlib")
    words = ["table", "distorted-mnist", "--only", "cnn", "st-cnn-affine", "R", "--steps", "1", "--"]
    assert main([*words, *SMALL, "--filters", "2"]) == 0
    given = show.report.classes

    def classes(model, images):
        assert given(model, images).shape == (len(images),)
        _, labels = show_labels
        return labels if hasattr(model, "transformer") else (labels + 1) % 10

    experiment = find_experiment("distorted-mnist")
    run = RunDirectory.open("runs/table-distorted-mnist/cnn-R-short-seed0")
    show_labels = experiment.load_data(experiment.read(run))[2:]
    monkeypatch.setattr(show.report, "classes", classes)
    assert main(["table", "distorted-mnist", "--show"]) == 0
    folder = tmp_path / "runs" / "table-distorted-mnist"
    page = (folder / "index.html").read_text()
    assert "R: cnn is wrong, st-cnn-affine right" in page and (folder / "R-compared.png").exists()
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    monkeypatch.setattr(show.report, "classes", lambda model, images: show_labels[1])
    assert show.pictures(TABLES["distorted-mnist"], show.finished(TABLES["distorted-mnist"], folder),
                         folder, None) == []  # both are right


@pytest.mark.parametrize("name", TABLES)
def test_published_results_are_those_of_their_cells(name):
    """File name, contents and command agree; the command gives the settings of the cell, on genuine data."""
    table = TABLES[name]
    experiment = find_experiment(table.experiment)
    parser = command_line.argument_parser(experiment, "table")
    for cell, found in show.published(name).items():
        assert cell.row in table.rows and cell.column in table.columns and cell.recipe in table.recipes
        named = command_line.settings(experiment, parser.parse_args(table.arguments(cell))).data
        assert found["data"] == ("mnist" if "mnist" in experiment.data else named) and "drawn" not in found["data"]
        assert found["machine"]["processor"] and found["seconds"] > 0
        assert found["epochs"] == table.recipes[cell.recipe].epochs and found["trained_further"] == []
        _, _, experiment_name, *words = found["command"].split()
        assert experiment_name == table.experiment
        told, asked = (command_line.settings(experiment, parser.parse_args([*each, f"--data={found['data']}"]))
                       for each in (words, table.arguments(cell)))
        assert found["model"] == asked.model and found["seed"] == cell.seed == asked.seed
        assert replace(told, epochs=0, steps=0) == replace(asked, epochs=0, steps=0)
        assert 0 <= found["test_error"] <= 100 and np.isfinite(found["test_error"])


def test_published_tables_are_shown(capfd):
    for name in TABLES:
        assert main(["table", name, "--published", "--runs"]) == 0
        out = capfd.readouterr().out
        assert "ALONE" not in out  # all by their recipes
        for cell in show.published(name):
            assert f"| {cell.name} |" in out


def test_a_result_with_a_command_of_another_version_is_named():
    table = TABLES["distorted-mnist"]
    cell, result = next(iter(show.published("distorted-mnist").items()))
    given = {**result, "command": f"{result['command']} --no-such-option 1"}
    with pytest.raises(ValueError, match=f"table: result.json of {cell.name} should be .* --no-such-option"):
        show._further(table, cell, given)
