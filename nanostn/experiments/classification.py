"""What the experiments with distorted digits have in common: options, data, optimiser, and the run itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanostn import datasets
from nanostn.checks import argument_error
from nanostn.compilation import announced_compilation
from nanostn.console import Parser, guarded, momentum, natural, positive, positive_number, use_device
from nanostn.nn import Module
from nanostn.optim import SGD, Adam, CosineDecay, Optimiser, Schedule, StepDecay
from nanostn.runs import RunDirectory
from nanostn.training import Interrupted, evaluate, train

# Settings of where, not of what: they change no bit of the result and are not part of config.json.
_PLACES = ("device", "threads", "data_dir", "run_dir", "resume")

EPOCHS = 10
TEST_SEED = 0  # one distorted test set for all runs, whatever their own seed


def argument_parser(name: str, description: str | None, models: Sequence[str], prog: str | None,
                    epochs: int = EPOCHS) -> tuple[Parser, argparse._ArgumentGroup]:
    """The options that every experiment with digits has, and the group of those that say what is trained."""
    parser = Parser(prog=prog or f"python -m nanostn.experiments.{name.replace('-', '_')}", description=description)
    what, how, where = (parser.add_argument_group(title) for title in ("what", "how", "where"))
    what.add_argument("--model", choices=models, default="st-cnn-affine", metavar="NAME",
                      help=f"{', '.join(models)} (default: %(default)s)")
    what.add_argument("--data", choices=("mnist", "digits"),
                      help="MNIST, or digits that the program draws itself (default: mnist where found, else digits)")
    what.add_argument("--limit", type=positive, metavar="N", help="only the first N training images")
    what.add_argument("--test-limit", type=positive, metavar="N", help="only the first N test images")
    what.add_argument("--seed", type=natural, default=0, metavar="N",
                      help="of initial weights, order and distortions (default: %(default)s)")
    how.add_argument("--epochs", type=positive, metavar="N",
                     help="passes over the training images, each distorted afresh "
                          f"(default: {epochs}, or what --steps needs)")
    how.add_argument("--steps", type=positive, metavar="N", help="at most so many steps, whatever the epoch")
    how.add_argument("--batch-size", type=positive, default=256, metavar="N",
                     help="images per step (default: %(default)s)")
    how.add_argument("--optimiser", choices=("adam", "sgd"), default="adam",
                     help="adam gets further in few epochs (default: %(default)s)")
    how.add_argument("--momentum", type=momentum, metavar="X", help="with --optimiser sgd (default: 0.9)")
    how.add_argument("--learning-rate", type=positive_number, metavar="X",
                     help="at the start (default: 0.001 for adam, 0.01 for sgd)")
    how.add_argument("--localisation-rate", type=positive_number, metavar="X",
                     help="learning rate of the localisation network, as a part of the other "
                          "(default: 1 for adam, which scales steps by itself; 0.1 for sgd, as in the paper)")
    how.add_argument("--schedule", choices=("cosine", "steps"), default="cosine",
                     help="cosine: the learning rate falls to zero over the run; steps: it falls at intervals, as in "
                          "the paper (default: %(default)s)")
    how.add_argument("--decay", type=positive_number, metavar="X",
                     help="with --schedule steps: factor on the learning rate at each fall (default: 0.1)")
    how.add_argument("--decay-every", type=positive, metavar="N",
                     help="with --schedule steps: steps between falls (default: a third of the run)")
    where.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    where.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")
    where.add_argument("--data-dir", metavar="DIR",
                       help="holds a folder mnist with the four files (default: $NANOSTN_DATA, else the user's cache)")
    where.add_argument("--run-dir", metavar="DIR",
                       help="keeps the run (default: a folder in runs/, named after the settings)")
    where.add_argument("--resume", action="store_true",
                       help="go on with the run in the run directory, with its settings, to the same bits")
    return parser, what


@guarded
def run(name: str, parser: Parser, build_model: Callable[[dict[str, Any]], Module],
        arguments: Sequence[str] | None = None, epochs: int = EPOCHS, **fixed: Any) -> int:
    """Train as the arguments say, for `epochs` if they say nothing; `fixed` settings are not left open."""
    options = parser.parse_args(arguments)
    device = use_device("train", options.device, options.threads)
    config = settings(name, options, epochs, **fixed)
    path = Path(options.run_dir or Path("runs", "-".join(
        [name, config["model"], config["distortion"], config["data"], f"seed{config['seed']}"])))
    if options.resume:
        directory = RunDirectory.open(path)
        check(directory, name, parser, epochs, **fixed)
        parser.set_defaults(**directory.config)  # what is not given again stays as it was
        directory.check_same(settings(name, parser.parse_args(arguments), epochs, **fixed))
        config = directory.config
    elif options.data is None and config["data"] == "digits":
        print(f"MNIST was not found in {datasets.data_directory()} (nanostn data fetch mnist): training on digits that "
              "the program draws", flush=True)
    with announced_compilation():
        data = load_data(config, options.data_dir)
    if not options.resume:
        directory = RunDirectory.create(path, config)
    with directory.locked():
        return _train(config, build_model(config).to(device), directory, data, parser.prog)


def _train(config: dict[str, Any], model: Module, directory: RunDirectory, data: tuple[np.ndarray, ...],
           prog: str) -> int:
    """Train a run that this process has for itself, and say what comes of it."""
    path = directory.path
    if (finished := directory.result()) is not None:
        print(f"{path}: this run is finished, test error {finished['test_error']:.2f} %")
        return 0
    training = Training(config, model, directory, *data)
    print(f"{config['experiment']}: {config['model']} with {model.count_parameters():,} parameters on "
          f"{config['distortion']} of {len(data[0]):,} {config['data']}, {training.steps:,} steps of "
          f"{config['batch_size']}, {'on the GPU, ' if model.device == 'cuda' else ''}in {path}", flush=True)
    try:
        outcome = training.run()
    except Interrupted as interruption:
        raise Interrupted(f"{interruption}; saved, go on with: {prog} --run-dir {path} --resume",
                          interruption.signal) from None
    directory.finish(result(config, outcome))
    print(f"test error {outcome['test_error']:.2f} %; look at it with: nanostn report {path}")
    return 0


class Training:
    """A network, its optimiser and its data, brought together as a configuration says."""

    def __init__(self, config: dict[str, Any], model: Module, directory: RunDirectory,
                 images: np.ndarray, labels: np.ndarray, test_images: np.ndarray, test_labels: np.ndarray):
        batch_size, kind, seed = config["batch_size"], config["distortion"], config["seed"]
        self.steps_per_epoch = datasets.steps(len(images), batch_size)
        limits = (config["steps"], config["epochs"] and config["epochs"] * self.steps_per_epoch)
        self.steps = min(limit for limit in limits if limit)
        optimiser = make_optimiser(config, model)

        def batches(epoch: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            return datasets.epoch_batches(images, labels, batch_size, kind, seed, epoch, start, model.device)

        self.options: dict[str, Any] = {
            "model": model, "optimiser": optimiser, "run": directory, "steps_per_epoch": self.steps_per_epoch,
            "schedule": make_schedule(config, optimiser, self.steps), "batches": batches,
            "evaluation": lambda model: evaluate(model, test_images, test_labels)}

    def run(self, steps: int | None = None, **options: Any) -> dict[str, Any]:
        """Train up to step `steps`, by default to the end."""
        return train(steps=steps or self.steps, **self.options, **options)


def load_data(config: dict[str, Any], data_dir: str | None = None) -> tuple[np.ndarray, ...]:
    """Training images (as they are) and labels, test images (distorted) and labels."""
    images, labels, test_images, test_labels = datasets.load(config["data"], data_dir)
    x, y = datasets.fixed_test_set(test_images, test_labels, config["distortion"], TEST_SEED)
    limit, count = config["limit"], config["test_limit"]
    return images[:limit], labels[:limit], x[:count], y[:count]  # cut at last: the first of the same test set


def make_schedule(config: dict[str, Any], optimiser: Optimiser, steps: int) -> Schedule:
    """Half a cosine over the run, or falls at intervals."""
    if config["schedule"] == "cosine":
        return CosineDecay(optimiser, steps)
    return StepDecay(optimiser, config["decay_every"] or -(-steps // 3), config["decay"])


def make_optimiser(config: dict[str, Any], model: Module) -> Optimiser:
    """Adam, or SGD with momentum; the localisation network is a group with a learning rate of its own."""
    rate = config["learning_rate"]
    named = list(model.named_parameters())
    groups = [{"parameters": [parameter for name, parameter in named if "localisation" not in name],
               "learning_rate": rate},
              {"parameters": [parameter for name, parameter in named if "localisation" in name],
               "learning_rate": rate * config["localisation_rate"]}]
    if config["optimiser"] == "adam":
        return Adam(groups)
    return SGD(groups, momentum=config["momentum"])


def result(config: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """What result.json holds."""
    return {key: config[key] for key in ("experiment", "model", "data", "distortion", "seed")} | outcome


def check(run: RunDirectory, name: str, parser: Parser, epochs: int = EPOCHS, **fixed: Any) -> None:
    """An error unless config.json says what the command line could have said: somebody may have edited it.

    Each setting goes through the parser as an option, so both have the same limits and the same words for them.
    """
    given = {key: value for key, value in run.config.items() if key not in ("experiment", *fixed)}
    parser.file = "config.json"
    try:
        options = parser.parse_args([f"--{key.replace('_', '-')}={value}" for key, value in given.items()
                                     if value is not None])
        right = settings(name, options, epochs, **fixed)
    except ValueError as error:
        raise run.damaged("config.json", f"has settings that are none: {error}") from None
    finally:
        parser.file = None
    if differing := sorted(right.keys() ^ run.config.keys()):
        raise run.damaged("config.json", f"{'has no' if differing[0] in right else 'has an unknown'} {differing[0]!r}")
    for key, value in run.config.items():
        if value != right[key] or isinstance(value, bool):
            raise run.damaged("config.json", f"has {key} = {value!r} for {right[key]!r}")


def settings(name: str, options: argparse.Namespace, epochs: int = EPOCHS, **fixed: Any) -> dict[str, Any]:
    """What the run is: every option but the places, with the defaults that depend on others filled in."""
    given = {key: value for key, value in vars(options).items() if key not in (*_PLACES, "experiment")}
    config = {"experiment": name, **fixed, **given}
    if config["data"] is None:
        # Where a place was named, digits that nobody asked for would be a surprise: there, what is missing is said.
        wanted = datasets.named_directory(options.data_dir) or "mnist" in datasets.available()
        config["data"] = "mnist" if wanted else "digits"
    if config["epochs"] is None and config["steps"] is None:
        config["epochs"] = epochs
    for option, other, needed in (("momentum", "optimiser", "sgd"), ("decay", "schedule", "steps"),
                                  ("decay_every", "schedule", "steps")):
        if config[option] is not None and config[other] != needed:
            raise argument_error("train", f"--{option.replace('_', '-')}", f"given with --{other} {needed} only",
                                 f"--{other} {config[other]}")
    for option, other, defaults in (("learning_rate", "optimiser", {"adam": 0.001, "sgd": 0.01}),
                                    ("localisation_rate", "optimiser", {"adam": 1.0, "sgd": 0.1}),
                                    ("momentum", "optimiser", {"adam": None, "sgd": 0.9}),
                                    ("decay", "schedule", {"cosine": None, "steps": 0.1})):
        if config[option] is None:
            config[option] = defaults[config[other]]
    return config
