"""The options of an experiment's command line, and the settings that they come to: what config.json holds."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nanostn import datasets
from nanostn.checks import argument_error
from nanostn.console import Parser, momentum, natural, number_or_zero, positive, positive_number
from nanostn.runs import RunDirectory

# Settings of where, not of what: they change no bit of the result and are not part of config.json.
PLACES = ("device", "threads", "data_dir", "run_dir", "resume")


def argument_parser(experiment: Any, prog: str | None) -> Parser:
    """The options that every experiment has, and its own."""
    parser = Parser(prog=prog or f"python -m nanostn.experiments.{experiment.name.replace('-', '_')}",
                    description=experiment.description)
    what, how, where = (parser.add_argument_group(title) for title in ("what", "how", "where"))
    what.add_argument("--model", choices=experiment.models, default=experiment.models[0], metavar="NAME",
                      help=f"{', '.join(experiment.models)} (default: %(default)s)")
    what.add_argument("--data", choices=("mnist", "digits"),
                      help="MNIST, or digits that the program draws itself (default: mnist where found, else digits)")
    what.add_argument("--limit", type=positive, metavar="N", help="only the first N training images")
    what.add_argument("--test-limit", type=positive, metavar="N", help="only the first N test images")
    what.add_argument("--seed", type=natural, default=0, metavar="N",
                      help="of initial weights, order and distortions (default: %(default)s)")
    how.add_argument("--epochs", type=positive, metavar="N",
                     help="passes over the training images, each distorted afresh "
                          f"(default: {experiment.epochs}, or what --steps needs)")
    how.add_argument("--steps", type=positive, metavar="N", help="at most so many steps, whatever the epoch")
    how.add_argument("--batch-size", type=positive, default=256, metavar="N",
                     help="images per step (default: %(default)s)")
    how.add_argument("--optimiser", choices=("adam", "sgd"), default="adam",
                     help="adam gets further in few epochs (default: %(default)s)")
    how.add_argument("--momentum", type=momentum, metavar="X",
                     help=f"with --optimiser sgd (default: {experiment.momentum:g})")
    how.add_argument("--learning-rate", type=positive_number, metavar="X",
                     help=f"at the start (default: {_by_optimiser(experiment.rates)})")
    how.add_argument("--schedule", choices=("cosine", "steps", "constant"), default="cosine",
                     help="cosine: the learning rate falls to zero over the run; steps: it falls at intervals, as in "
                          "the paper; constant: it stays (default: %(default)s)")
    how.add_argument("--decay", type=positive_number, metavar="X",
                     help="with --schedule steps: factor on the learning rate at each fall (default: 0.1)")
    how.add_argument("--decay-every", type=positive, metavar="N",
                     help="with --schedule steps: steps between falls (default: a third of the run)")
    how.add_argument("--localisation-rate", type=positive_number, metavar="X",
                     help="learning rate of the localisation network, as a part of the other "
                          f"(default: {_by_optimiser(experiment.localisation_rates)})")
    for name, kind, letter, words in (
            ("freeze-localisation", natural, "N", "leave the localisation network alone for the first N steps"),
            ("warm-up-localisation", natural, "N", "then let its learning rate rise in N equal steps"),
            ("identity-penalty", number_or_zero, "X", "add X |theta - identity|^2, the mean over a batch, to the loss"),
            ("clip-gradient", number_or_zero, "X", "scale a step's gradient down to a norm of X where it is longer")):
        off = experiment.defaults.get(name.replace("-", "_"), 0)
        how.add_argument(f"--{name}", type=kind, metavar=letter, help=f"{words}; 0: not at all (default: {off})")
    where.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    where.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")
    where.add_argument("--data-dir", metavar="DIR",
                       help="holds a folder mnist with the four files (default: $NANOSTN_DATA, else the user's cache)")
    where.add_argument("--run-dir", metavar="DIR",
                       help="keeps the run (default: a folder in runs/, named after the settings)")
    where.add_argument("--resume", action="store_true",
                       help="go on with the run in the run directory, with its settings, to the same bits; with more "
                            "--epochs or --steps than it has, train it further")
    experiment.add_options(what, how)
    parser.set_defaults(**experiment.defaults)
    return parser


def _by_optimiser(rates: Mapping[str, float]) -> str:
    return ", ".join(f"{rate:g} for {name}" for name, rate in rates.items())


def settings(experiment: Any, options: argparse.Namespace) -> dict[str, Any]:
    """What the run is: every option but the places, with the defaults that depend on others filled in."""
    given = {key: value for key, value in vars(options).items() if key not in PLACES}
    config = {"experiment": experiment.name, **experiment.fixed, **given}
    if config["data"] is None:
        # Where a place was named, digits that nobody asked for would be a surprise: there, what is missing is said.
        wanted = datasets.named_directory(options.data_dir) or "mnist" in datasets.available()
        config["data"] = "mnist" if wanted else "digits"
    if config["epochs"] is None and config["steps"] is None:
        config["epochs"] = experiment.epochs
    for option, other, needed in (("momentum", "optimiser", "sgd"), ("decay", "schedule", "steps"),
                                  ("decay_every", "schedule", "steps")):
        if config[option] is not None and config[other] != needed:
            raise argument_error("train", f"--{option.replace('_', '-')}", f"given with --{other} {needed} only",
                                 f"--{other} {config[other]}")
    for option, other, defaults in (("learning_rate", "optimiser", experiment.rates),
                                    ("localisation_rate", "optimiser", experiment.localisation_rates),
                                    ("momentum", "optimiser", {"sgd": experiment.momentum}),
                                    ("decay", "schedule", {"steps": 0.1})):
        if config[option] is None:
            config[option] = defaults.get(config[other])
    return config


def differing(experiment: Any, words: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """The settings that the words of a command line come to, where those of the other words are different."""
    parser = argument_parser(experiment, "nanostn table")
    one, other = (settings(experiment, parser.parse_args(each)) for each in (words, others))
    return {name: value for name, value in one.items() if value != other[name]}


def check(experiment: Any, run: RunDirectory) -> None:
    """An error unless config.json says what the command line could have said: somebody may have edited it.

    Each setting goes through the parser as an option, so both have the same limits and the same words for them. The
    file may come from a version that had no such option, and lacks what is off by default.
    """
    parser = argument_parser(experiment, None)
    parser.file = "config.json"
    try:
        right = settings(experiment, parser.parse_args(as_options(experiment, run.config)))
    except ValueError as error:
        raise run.damaged("config.json", f"has settings that are none: {error}") from None
    if missing := sorted(key for key in right.keys() - run.config.keys() if right[key] is not None):
        raise run.damaged("config.json", f"has no {missing[0]!r}")
    if unknown := sorted(run.config.keys() - right.keys()):
        raise run.damaged("config.json", f"has an unknown {unknown[0]!r}")
    run.config = {key: run.config.get(key) for key in right}
    for key, value in run.config.items():
        if value != right[key] or isinstance(value, bool):
            raise run.damaged("config.json", f"has {key} = {value!r} for {right[key]!r}")


def command(experiment: Any, config: dict[str, Any]) -> str:
    """The command line, as short as it can be, that trains a run of these settings."""
    parser = argument_parser(experiment, None)
    chosen = {**config}
    for key in list(chosen):
        shorter = {name: value for name, value in chosen.items() if name != key}
        try:
            same = key != "data" and settings(experiment, parser.parse_args(
                as_options(experiment, shorter) + [f"--data={config['data']}"])) == config
        except ValueError:  # an option that another one needs
            same = False
        if same:
            chosen = shorter
    if chosen["data"] == "mnist":
        del chosen["data"]  # the default, where it is found
    return " ".join(["nanostn train", experiment.name,
                     *(f"{name} {shlex.quote(value)}" for name, _, value in
                       (option.partition("=") for option in as_options(experiment, chosen)))])


def as_options(experiment: Any, config: dict[str, Any]) -> list[str]:
    """Words of a command line that come to these settings."""
    return [f"--{key.replace('_', '-')}={value}" for key, value in config.items()
            if value is not None and key not in ("experiment", *experiment.fixed)]
