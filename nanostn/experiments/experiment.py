"""What the experiments have in common. One is a class with a network, data, a loss and an evaluation of its own, or
those of its base where they suit; the run itself, the training loop, the tables and the report are the same for all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Generic

from nanostn import datasets, report
from nanostn.checks import argument_error
from nanostn.compilation import announced_compilation
from nanostn.console import Parser, guarded, use_device
from nanostn.experiments import options as command_line
from nanostn.experiments.options import S, Settings
from nanostn.finite import NotFinite
from nanostn.machine import machine
from nanostn.nn import Module
from nanostn.optim import SGD, Adam, CosineDecay, GroupWarmUp, Optimiser, Schedule, StepDecay
from nanostn.runs import Revived, RunDirectory, check_free
from nanostn.tensor import Tensor
from nanostn.training import Interrupted, classification, evaluate, say, train

TEST_SEED = 0  # one distorted test set for all runs, whatever their own seed
Data = tuple[Any, Any, Any, Any]  # training images and labels, test images and labels


class Experiment(Generic[S]):
    """The base: digits to be classified. `description`, its module's docstring, heads the help."""

    models: tuple[str, ...]
    data: tuple[str, ...] = ("mnist", "digits")   # where images come from, the best first; the last are drawn
    defaults: S                                   # where nothing is said; its class says which settings there are
    epochs = 10                                   # where no length is given
    rates: Mapping[str, float] = {"adam": 0.001, "sgd": 0.01}  # where no learning rate is given
    # Of the localisation network, as a part of it: Adam scales steps by itself; 0.1 for SGD is the paper's.
    localisation_rates: Mapping[str, float] = {"adam": 1.0, "sgd": 0.1}
    momentum = 0.9                                # of sgd, where none is given
    told_by: tuple[str, ...] = ("distortion",)    # settings that tell its runs apart, beside model, data and seed

    def __init__(self, description: str | None):
        self.name, self.description = self.defaults.experiment, description

    def build_model(self, settings: S) -> Module:
        raise NotImplementedError(f"{self.name}: an experiment defines build_model(settings)")

    def initialise(self, model: Module, settings: S, data_dir: str | None) -> None:
        """What a new run's network is given beside its initial weights: nothing."""

    def kind(self, settings: S) -> str | datasets.Kind:
        """How inputs are made from digits."""
        raise NotImplementedError(f"{self.name}: an experiment on distorted digits defines kind(settings)")

    def load_data(self, settings: S, data_dir: str | None = None) -> Data:
        """Training images (as they are) and labels, test images (distorted) and labels."""
        images, labels, test_images, test_labels = datasets.load(settings.data, data_dir)
        x, y = datasets.fixed_test_set(test_images, test_labels, self.kind(settings), TEST_SEED)
        limit, count = settings.limit, settings.test_limit
        return images[:limit], labels[:limit], x[:count], y[:count]  # cut at last: the first of the same test set

    def steps_per_epoch(self, settings: S, data: Data) -> int:
        return datasets.steps(len(data[0]), settings.batch_size)

    def batches(self, settings: S, data: Data, epoch: int, start: int, device: str) -> Iterator[Any]:
        """The batches of an epoch from its step `start` on; all randomness follows from (seed, epoch, step)."""
        return datasets.epoch_batches(*data[:2], settings.batch_size, self.kind(settings), settings.seed, epoch, start,
                                      device)

    def loss(self, model: Module, *batch: Any) -> tuple[Tensor, Any]:
        """The loss of a batch, and how many of it the model gets wrong (None: they are not counted)."""
        return classification(model, *batch)

    def evaluate(self, model: Module, images: Any, labels: Any) -> Mapping[str, float]:
        """Numbers under names that begin with test_, test_error (in percent) among them."""
        return evaluate(model, images, labels)

    def pictures(self, revived: Revived) -> list[report.Picture]:
        """What the report shows of a run beside its curves."""
        return report.transformer_pictures(revived)

    def main(self, arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
        """Train as the arguments say; the exit code."""
        return run(self, command_line.argument_parser(self, prog), arguments)

    def read(self, directory: RunDirectory) -> S:
        """The settings of a run of this experiment, from its config.json."""
        return command_line.read(self, directory)

    def told(self, settings: S) -> list[str]:
        return [str(getattr(settings, name)) for name in self.told_by]

    def run_name(self, settings: S) -> str:
        return "-".join([self.name, settings.model, *self.told(settings), settings.data, f"seed{settings.seed}"])


@guarded
def run(experiment: Experiment[S], parser: Parser, arguments: Sequence[str] | None = None) -> int:
    """Train as the arguments say, or go on with what is there."""
    options = parser.parse_args(arguments)
    device = use_device("train", options.device, options.threads)
    path = Path(options.run_dir or Path("runs", experiment.run_name(command_line.settings(experiment, options))))
    with ExitStack() as held:
        if options.resume:
            held.enter_context(RunDirectory.open(path).locked())  # before it is read: another process may change it
            directory = RunDirectory.open(path)
            before = experiment.read(directory)
            parser.set_defaults(**asdict(before))  # what is not given again stays as it was
            settings = _longer(before, options, command_line.settings(experiment, parser.parse_args(arguments)))
            directory.check_same(asdict(replace(settings, epochs=before.epochs, steps=before.steps)))
        else:
            settings = command_line.settings(experiment, options)
            check_free(path)  # before anything is drawn or trained for it; `create` asks once more
            first, *_, drawn = experiment.data
            if options.data is None and settings.data == drawn:
                print(f"data: {first} was not found in {datasets.data_directory()} (nanostn data fetch {first}): "
                      f"training on {drawn} that the program draws", flush=True)
        with announced_compilation():
            data = experiment.load_data(settings, options.data_dir)
        model = experiment.build_model(settings).to(device)
        if not (options.resume and directory.steps_done()):
            experiment.initialise(model, settings, options.data_dir)
        if not options.resume:
            directory = RunDirectory.create(path, asdict(settings))
            held.enter_context(directory.locked())
        return train_run(experiment, settings, model, directory, data, f"{parser.prog} --run-dir {path} --resume")


def _longer(before: S, options: argparse.Namespace, settings: S) -> S:
    """The settings of a run that goes on: a limit of before does not hold what was asked for now by the other one."""
    if options.epochs not in (None, before.epochs) and options.steps is None:
        return replace(settings, steps=None)
    if options.steps not in (None, before.steps) and options.epochs is None:
        return replace(settings, epochs=None)
    return settings


def train_run(experiment: Experiment[S], settings: S, model: Module, directory: RunDirectory, data: Data, again: str,
              report: Callable[[str], None] = say) -> int:
    """Train a run that this process has for itself, and say what comes of it; `again` is what an interrupted one goes
    on with, `report` is told of each epoch."""
    path = directory.path
    training = Training(experiment, settings, model, directory, data)
    found = directory.result()
    if found is not None and "diverged" in found:
        raise NotFinite(f"{path}: this run diverged; {found['diverged']}")
    if (before := experiment.read(directory)) != settings:
        training.further(Training(experiment, before, model, directory, data))
    elif found is not None and found["steps"] >= training.steps:
        print(f"{path}: this run is finished, test error {found['test_error']:.2f} %")
        return 0
    directory.unfinish()
    print(f"{' '.join([experiment.name, *experiment.told(settings)])}: {settings.model} with "
          f"{model.count_parameters():,} parameters on {len(data[0]):,} {settings.data}, "
          f"{training.steps:,} steps of {settings.batch_size}, "
          f"{'on the GPU, ' if model.device == 'cuda' else ''}in {path}", flush=True)
    try:
        outcome = training.run(report=report)
    except Interrupted as interruption:
        raise Interrupted(f"{interruption}; saved, go on with: {again}",
                          interruption.signal) from None
    except NotFinite as error:
        directory.finish(result(experiment, settings, directory, {"diverged": str(error)}))  # it would end so again
        raise
    directory.finish(result(experiment, settings, directory, outcome))
    print(f"test error {outcome['test_error']:.2f} %; look at it with: nanostn report {path}")
    return 0


class Training(Generic[S]):
    """A network, its optimiser and its data, brought together as the settings say."""

    def __init__(self, experiment: Experiment[S], settings: S, model: Module, directory: RunDirectory, data: Data):
        self.settings, self.directory = settings, directory
        self.steps_per_epoch = experiment.steps_per_epoch(settings, data)
        limits = (settings.steps, settings.epochs and settings.epochs * self.steps_per_epoch)
        self.steps = min(limit for limit in limits if limit)
        optimiser = make_optimiser(settings, model)
        self.options: dict[str, Any] = {
            "model": model, "optimiser": optimiser, "run": directory, "steps_per_epoch": self.steps_per_epoch,
            "schedule": make_schedule(settings, optimiser, self.steps), "loss": experiment.loss,
            "identity_penalty": settings.identity_penalty or 0.0, "max_norm": settings.clip_gradient or None,
            "batches": lambda epoch, start: experiment.batches(settings, data, epoch, start, model.device),
            "evaluation": lambda model: experiment.evaluate(model, *data[2:])}

    def run(self, steps: int | None = None, **options: Any) -> dict[str, Any]:
        """Train up to step `steps`, by default to the end."""
        return train(steps=steps or self.steps, **self.options, **options)

    def further(self, before: Training[S]) -> None:
        """Let the run be as long as this one is; say what that means for the learning rate.

        The schedule is that of a run of the new length, taken up where the run is. So with a constant rate, or falls
        at given steps, it ends like one that was as long from the start, to the same bits; a cosine rises again.
        """
        if self.steps <= before.steps:
            raise argument_error("train", "--epochs or --steps with --resume", "for more than the run's "
                                 f"{before.steps:,} steps", f"{self.steps:,}")
        at = self.directory.steps_done()
        was, rate = (schedule.initial[0] * schedule.factors_at(at)[0]
                     for schedule in (before.options["schedule"], self.options["schedule"]))
        print(f"training further: {before.steps:,} -> {self.steps:,} steps; from step {at:,} on the learning rate is "
              f"{rate:.3g}, as in a run so long from the start" + ("" if was == rate else f"; it was {was:.3g}"),
              flush=True)
        self.directory.extend(asdict(self.settings), at)


def make_optimiser(settings: Settings, model: Module) -> Optimiser:
    """Adam, or SGD with momentum; the localisation network is a group with a learning rate of its own."""
    rate = settings.learning_rate
    named = list(model.named_parameters())
    groups = [{"parameters": [parameter for name, parameter in named if "localisation" not in name],
               "learning_rate": rate},
              {"parameters": [parameter for name, parameter in named if "localisation" in name],
               "learning_rate": rate * settings.localisation_rate}]
    if settings.optimiser == "adam":
        return Adam(groups, weight_decay=settings.weight_decay or 0.0)
    return SGD(groups, momentum=settings.momentum or 0.0, weight_decay=settings.weight_decay or 0.0)


def make_schedule(settings: Settings, optimiser: Optimiser, steps: int) -> Schedule:
    """Half a cosine over the run, falls at intervals or none; the localisation network may begin later."""
    schedule: Schedule
    if settings.schedule == "cosine":
        schedule = CosineDecay(optimiser, steps)
    elif settings.schedule == "steps":
        assert settings.decay is not None
        schedule = StepDecay(optimiser, settings.decay_every or -(-steps // 3), settings.decay)
    else:
        schedule = StepDecay(optimiser, steps, factor=1.0)
    frozen, warm = settings.freeze_localisation, settings.warm_up_localisation
    if not (frozen or warm):
        return schedule
    return GroupWarmUp(optimiser, group=1, frozen=frozen or 0, steps=warm or 1, then=schedule)


def result(experiment: Experiment[S], settings: S, directory: RunDirectory,
           outcome: Mapping[str, Any]) -> dict[str, Any]:
    """What result.json holds."""
    told = ("experiment", "model", "data", *experiment.told_by, "seed")
    return {**{name: getattr(settings, name) for name in told}, **outcome, "trained_further": directory.further,
            "command": command_line.command(experiment, settings), "machine": machine()}
