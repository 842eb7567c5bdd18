"""The training loop: interrupted and resumed runs end with the same bits, diverging ones stop and say where."""

import errno
import re
from pathlib import Path

import numpy as np
import pytest

from nanostn import nn
from nanostn.finite import NotFinite
from nanostn.optim import SGD, Adam, StepDecay
from nanostn.runs import RunDirectory
from nanostn.tensor import Tensor, op
from nanostn.training import duration, evaluate, train

STEPS_PER_EPOCH = 5


def make_model(seed=0):
    generator = np.random.default_rng(seed)
    return nn.Sequential(nn.Dense(6, 7, generator=generator), nn.ReLU(), nn.Dropout(0.3, generator),
                         nn.Dense(7, 10, generator=generator))


def batches(epoch, start):
    """Like those of the data sets: a function of epoch and step; the last one is smaller."""
    for step in range(start, STEPS_PER_EPOCH):
        rng = np.random.default_rng([epoch, step])
        count = 3 if step == STEPS_PER_EPOCH - 1 else 8
        yield rng.normal(size=(count, 6)).astype(np.float32), rng.integers(0, 10, count)


TEST_SET = next(iter(batches(99, 0)))


class Trial:
    """A model, its optimiser and its schedule, as a new process would make them, on a run directory."""

    def __init__(self, path, model=None, optimiser=Adam, **changes):
        self.model = model or make_model()
        self.optimiser = optimiser(self.model.parameters(), learning_rate=0.01)
        self.schedule = StepDecay(self.optimiser, every=7, factor=0.5)
        self.directory = RunDirectory.create(path, {}) if not path.exists() else RunDirectory.open(path)
        self.options = {"batches": batches, "evaluation": lambda model: evaluate(model, *TEST_SET),
                        "report": lambda line: None, **changes}

    def run(self, steps):
        return train(self.model, self.optimiser, schedule=self.schedule, run=self.directory, steps=steps,
                     steps_per_epoch=STEPS_PER_EPOCH, **self.options)

    def bits(self):
        state = self.directory.load_state()
        arrays = [(name, array.tobytes()) for name, array in sorted(self.model.state().items())]
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in self.directory.metrics()]
        return arrays, state["random"], str(state["optimiser"]), rows


@pytest.mark.parametrize("optimiser", [Adam, SGD])
def test_resumed_run_has_the_bits_of_an_uninterrupted_one(tmp_path, optimiser):
    whole = Trial(tmp_path / "whole", optimiser=optimiser)
    outcome = whole.run(17)  # three epochs, and two steps of a fourth
    Trial(tmp_path / "parts", optimiser=optimiser).run(10)
    parts = Trial(tmp_path / "parts", make_model(seed=5), optimiser=optimiser)  # its own weights do not matter
    again = parts.run(17)
    assert whole.bits() == parts.bits()
    assert {**outcome, "seconds": 0} == {**again, "seconds": 0}
    assert (outcome["steps"], outcome["epochs"], outcome["parameters"]) == (17, 4, 6 * 7 + 7 + 7 * 10 + 10)
    assert [row["steps"] for row in whole.directory.metrics()] == [5, 10, 15, 17]


def test_a_step_is_as_long_as_the_longest_gradient_allowed(tmp_path):
    """All parameters together move by learning rate times norm; without a limit, and below it, by more and by less."""
    lengths = []
    for number, max_norm in enumerate((None, 0.01, 1e6)):
        trial = Trial(tmp_path / str(number), optimiser=SGD, max_norm=max_norm)
        before = {name: array.copy() for name, array in trial.model.state().items()}
        trial.run(1)
        moved = [array - before[name] for name, array in trial.model.state().items()]
        lengths.append(np.sqrt(sum((each**2).sum() for each in moved)))
    assert lengths[1] == pytest.approx(0.01 * 0.01, rel=1e-3) and lengths[0] == lengths[2] > 0.002


@pytest.mark.parametrize("steps", [10, 15])
@pytest.mark.parametrize("left", [None, "epoch,steps\n", "cut"])
def test_a_table_that_lags_behind_its_checkpoint_is_written_anew(tmp_path, steps, left):
    """As where a process ends between the two; with 10 steps nothing is left to train, and nothing to save."""
    whole = Trial(tmp_path / "whole")
    whole.run(steps)
    Trial(tmp_path / "parts").run(10)
    table = tmp_path / "parts" / "metrics.csv"
    table.unlink() if left is None else table.write_text(left)
    parts = Trial(tmp_path / "parts")
    parts.run(steps)
    assert whole.bits() == parts.bits() and len(parts.directory.metrics()) == steps // 5


def test_the_checks_would_notice_a_lost_random_state(tmp_path):
    whole = Trial(tmp_path / "whole")
    whole.run(10)
    Trial(tmp_path / "parts").run(5)
    parts = Trial(tmp_path / "parts")
    saved = parts.directory.load_state
    parts.directory.load_state = lambda: {**saved(), "random": {
        name: Trial(tmp_path / "whole").directory.load_state()["random"][name] for name in saved()["random"]}}
    parts.run(10)
    assert whole.bits()[0] != parts.bits()[0]


def test_learning_rate_falls_for_all_groups(tmp_path):
    def two_groups(parameters, learning_rate):
        first, *others = parameters
        return SGD([{"parameters": others}, {"parameters": [first], "learning_rate": 0.004}], learning_rate)

    trial = Trial(tmp_path / "run", optimiser=two_groups)
    trial.run(15)
    assert [row["learning_rate"] for row in trial.directory.metrics()] == [0.01, 0.005, 0.0025]  # after 7 and 14 steps
    assert [group["learning_rate"] for group in trial.optimiser.groups] == [0.0025, 0.001]


def planting(at, plant):
    def planted(epoch, start):
        for step, batch in enumerate(batches(epoch, start), start):
            if (epoch, step) == at:
                plant()
            yield batch
    return planted


def test_a_loss_that_is_not_finite_names_step_and_parameter(tmp_path):
    model = make_model()

    def plant():
        model[3].weight.data[2, 1] = np.nan

    trial = Trial(tmp_path / "run", model, batches=planting((1, 2), plant))
    with pytest.raises(NotFinite, match=r"step 8 \(epoch 2\): the loss .*\(nan\), first seen in parameter 3.weight"):
        trial.run(15)
    assert all(np.isfinite(array).all() for array in trial.directory.load_state()["model"].values())


def test_a_layer_that_overflows_is_named(tmp_path):
    model = make_model()

    def plant():
        model[0].weight.data[...] *= 1e30
        model[3].weight.data[...] *= 1e30

    with np.errstate(all="ignore"), pytest.raises(NotFinite, match="step 4 .*first seen in layer 3;"):
        Trial(tmp_path / "run", model, batches=planting((0, 3), plant)).run(15)


def test_an_evaluation_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path):
    model = make_model()

    def throwing(batch):  # as a finite gradient times a huge learning rate would, in the last update of epoch 2
        evaluated.append(batch)
        if len(evaluated) == 2:
            model[3].weight.data[...] = 3e38
        return evaluate(model, *TEST_SET)

    evaluated = []
    trial = Trial(tmp_path / "run", model, evaluation=throwing)
    with np.errstate(all="ignore"), pytest.raises(
            NotFinite, match=r"after step 10 \(epoch 2\): the evaluation is no longer finite, first seen in layer 3"):
        trial.run(15)
    state = trial.directory.load_state()
    assert state["progress"]["steps"] == 5 and len(trial.directory.metrics()) == 1
    assert all(np.isfinite(array).all() for array in state["model"].values())


@op
def _flat_with_a_cliff(x):
    return x, (lambda dy: np.full_like(dy, np.inf),)


class Cliff(nn.Module):
    def forward(self, x):
        return _flat_with_a_cliff(x)


def test_a_gradient_that_is_not_finite_stops_before_the_update(tmp_path):
    model = nn.Sequential(nn.Dense(6, 10, generator=np.random.default_rng(0)), Cliff())
    before = model[0].weight.data.copy()
    with np.errstate(all="ignore"), pytest.raises(NotFinite, match="step 1 .*gradient of 0.weight is no longer finite"):
        Trial(tmp_path / "run", model).run(5)
    assert np.array_equal(model[0].weight.data, before)


class Blind(nn.Module):
    """Like a transformer whose theta does not show in what comes out."""

    def __init__(self):
        self.localisation = nn.Dense(6, 2, generator=np.random.default_rng(0))

    def forward(self, x):
        self.localisation(x)
        return x


def test_a_theta_that_is_not_finite_is_named_even_where_the_loss_is(tmp_path):
    blind = Blind()
    model = nn.Sequential(blind, nn.Dense(6, 10, generator=np.random.default_rng(0)))

    def plant():
        blind.localisation.bias.data[1] = np.inf

    with pytest.raises(NotFinite, match=r"step 3 .*theta of 0 is no longer finite \(image 0"):
        Trial(tmp_path / "run", model, batches=planting((0, 2), plant)).run(5)
    assert "forward" not in vars(blind.localisation)


def test_a_loss_that_is_not_finite_is_traced_through_a_transformer_too(tmp_path):
    blind = Blind()
    model = nn.Sequential(blind, nn.Dense(6, 10, generator=np.random.default_rng(0)))
    model[1].weight.data[...] = 1e38
    with np.errstate(all="ignore"), pytest.raises(NotFinite, match="step 1 .*first seen in layer 1"):
        Trial(tmp_path / "run", model).run(5)
    assert not any("forward" in vars(module) for _, module in model.named_modules())


def test_evaluation_is_by_hand_and_without_dropout(tmp_path):
    class Fixed(nn.Module):
        def forward(self, x):
            assert not self.training
            return x

    model = nn.Sequential(Fixed())
    scores = np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]], np.float32))
    outcome = evaluate(model, scores, np.array([0, 1, 2]), batch_size=2)
    assert outcome["test_error"] == pytest.approx(100 / 3)
    assert outcome["test_loss"] == pytest.approx((2 * np.log(2) + np.log(4)) / 3)
    assert model.training


def test_other_measures_than_errors(tmp_path):
    """Of a loss that counts no wrong answers, and an evaluation with a measure of its own."""
    lines = []
    trial = Trial(tmp_path / "run", loss=lambda model, x, y: ((model(Tensor(x)) ** 2).mean(), None),
                  evaluation=lambda model: {"test_distance": 0.25}, report=lines.append)
    assert trial.run(5)["test_distance"] == 0.25
    assert "test distance 0.2500  " in lines[0] and "error" not in lines[0]
    assert trial.directory.metrics()[0].keys() == {"epoch", "steps", "learning_rate", "train_loss", "test_distance",
                                                   "seconds"}


def test_line_of_an_epoch(tmp_path):
    lines = []
    Trial(tmp_path / "run", report=lines.append).run(10)
    number = r" +\d+\.\d\d %"
    assert re.fullmatch(rf"epoch   1/2  loss \d\.\d{{4}}  train error{number}  test error{number}  \d+ s  \d+ s left",
                        lines[0])


def test_run_directories_do_not_mix(tmp_path):
    run = RunDirectory.create(tmp_path / "a" / "run", {"seed": 1, "model": "cnn"})
    with pytest.raises(ValueError, match=r"should be a new one, .*holds a run .*--resume"):
        RunDirectory.create(tmp_path / "a" / "run", {"seed": 2})
    assert RunDirectory.open(tmp_path / "a" / "run").config == {"seed": 1, "model": "cnn"}
    run.check_same({"model": "cnn", "seed": 1})
    with pytest.raises(ValueError, match="should be those of the run .*, seed = 1, received seed = 2"):
        run.check_same({"model": "cnn", "seed": 2})
    with pytest.raises(FileNotFoundError, match="has no config.json"):
        RunDirectory.open(tmp_path / "nothing")
    with pytest.raises(ValueError, match="config.json should be .*, which has no 'filters'"):
        run.open(run.path).config["filters"]
    (tmp_path / "a" / "run" / "config.json").write_text("{ half")
    with pytest.raises(ValueError, match="config.json should be JSON"):
        RunDirectory.open(tmp_path / "a" / "run")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nanostn"):
        with pytest.raises(ValueError, match="run directory should be a place to write in"):
            RunDirectory.create(path, {})
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_disk_that_fills_up_during_a_run(tmp_path, monkeypatch):
    trial = Trial(tmp_path / "run")
    trial.run(5)
    before = {path.name: path.read_bytes() for path in trial.directory.path.iterdir()}

    def full(path, contents):
        with open(path, "wb") as file:
            file.write(contents[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ValueError, match="run directory should be a place to write in, .*(No space left on device)"):
        Trial(tmp_path / "run").run(10)
    assert {path.name: path.read_bytes() for path in trial.directory.path.iterdir()} == before


HEAD = "epoch,steps,train_loss,seconds\n"


@pytest.mark.parametrize("text", ["epoch,steps\n1,2\n", HEAD + "1,2,3,none\n", HEAD + "1,2,0.5\n",
                                  HEAD + "1,2,3,4,5\n", HEAD + "1,\xff\0,3,4\n"])
def test_a_damaged_table_is_named(tmp_path, text):
    run = RunDirectory.create(tmp_path, {})
    (tmp_path / "metrics.csv").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="metrics.csv should be a table of numbers .* is damaged"):
        run.metrics()


def test_what_is_written_is_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunDirectory.create(tmp_path, {}).finish({"test_loss": float("nan")})
    assert not (tmp_path / "result.json").exists()


def test_durations():
    assert [duration(s) for s in (7.4, 100, 3600, 7500)] == ["7 s", "2 min", "60 min", "2 h 05 min"]
