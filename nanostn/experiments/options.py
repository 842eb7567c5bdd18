"""The settings of a run: fields, each with its option on the command line; config.json keeps them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from nanostn import datasets
from nanostn.checks import argument_error
from nanostn.console import Parser, momentum, natural, number_or_zero, positive, positive_number
from nanostn.runs import RunDirectory

if TYPE_CHECKING:
    from nanostn.experiments.experiment import Experiment

S = TypeVar("S", bound="Settings")


def option(group: str, help: str, default: Any = None, type: Any = None, metavar: str | None = None, **how: Any) -> Any:
    """A field of `Settings` that has an option: its group of the help, and the rest for `add_argument`."""
    if default is not None:
        help += " (default: %(default)s)"
    return field(default=default, metadata={"group": group, "help": help, "type": type, "metavar": metavar, **how})


@dataclass(frozen=True)
class Settings:
    """What a run is, in the order of config.json; where it is and what it computes on change no bit of its result.

    An experiment with options of its own adds fields; one that is no option is fixed. A default of None is filled in by
    `settings` where others tell it; what is None then is off.
    """

    experiment: str
    model: str = option("what", "{models}", MISSING, metavar="NAME")
    data: str = option("what", "{data}: the last are drawn by the program (default: the first that is found)")
    limit: int | None = option("what", "only N of the training images, the same in every run", None, positive, "N")
    test_limit: int | None = option("what", "only N of the test images, the same for every run", None, positive, "N")
    seed: int = option("what", "of initial weights, order and distortions", 0, natural, "N")
    epochs: int | None = option("how", "passes over the training images, each distorted afresh (default: "
                                "{experiment.epochs}, or what --steps needs)", None, positive, "N")
    steps: int | None = option("how", "at most so many steps, whatever the epoch", None, positive, "N")
    batch_size: int = option("how", "images per step", 256, positive, "N")
    optimiser: str = option("how", "adam gets further in few epochs", "adam", choices=("adam", "sgd"))
    momentum: float | None = option("how", "with --optimiser sgd (default: {experiment.momentum:g})", None,
                                    momentum, "X")
    learning_rate: float = option("how", "at the start (default: {experiment.rates[adam]:g} for adam, "
                                  "{experiment.rates[sgd]:g} for sgd)", None, positive_number, "X")
    schedule: str = option("how", "cosine: the learning rate falls to zero over the run; steps: it falls at intervals, "
                           "as in the paper; constant: it stays", "cosine", choices=("cosine", "steps", "constant"))
    decay: float | None = option("how", "with --schedule steps: factor on the learning rate at each fall (default: "
                                 "0.1)", None, positive_number, "X")
    decay_every: int | None = option("how", "with --schedule steps: steps between falls (default: a third of the run)",
                                     None, positive, "N")
    localisation_rate: float = option(
        "how", "learning rate of the localisation network, as a part of the other (default: "
        "{experiment.localisation_rates[adam]:g} for adam, {experiment.localisation_rates[sgd]:g} for sgd)",
        None, positive_number, "X")
    freeze_localisation: int | None = option("how", "leave the localisation network alone for the first N steps; {off}",
                                             None, natural, "N")
    warm_up_localisation: int | None = option("how", "then let its learning rate rise in N equal steps; {off}",
                                              None, natural, "N")
    weight_decay: float | None = option("how", "add X times a parameter to its gradient; {off}", None, number_or_zero,
                                        "X")
    identity_penalty: float | None = option("how", "add X |theta - identity|^2, the mean over a batch, to the loss; "
                                            "{off}", None, number_or_zero, "X")
    clip_gradient: float | None = option("how", "scale a step's gradient down to a norm of X where it is longer; {off}",
                                         None, number_or_zero, "X")


def _options(experiment: Experiment[Any]) -> list[Field[Any]]:
    return [each for each in fields(experiment.defaults) if each.metadata]


def argument_parser(experiment: Experiment[Any], prog: str | None) -> Parser:
    """An option for each setting, and those of where to compute and to keep what."""
    parser = Parser(prog=prog or f"python -m nanostn.experiments.{experiment.name.replace('-', '_')}",
                    description=experiment.description)
    groups = {title: parser.add_argument_group(title) for title in ("what", "how", "where")}
    choices = {"model": experiment.models, "data": experiment.data}
    for each in _options(experiment):
        default, how = getattr(experiment.defaults, each.name), dict(each.metadata)
        if each.name in choices:
            how["choices"] = choices[each.name]
        how["help"] = how["help"].format(experiment=experiment, models=", ".join(experiment.models),
                                         data=", ".join(experiment.data),
                                         off=f"0: not at all (default: {default or 0})")
        groups[how.pop("group")].add_argument(_flag(each.name), default=default, **how)
    where = groups["where"]
    where.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    where.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")
    where.add_argument("--data-dir", metavar="DIR",
                       help=f"holds a folder {experiment.data[0]} with its files (default: $NANOSTN_DATA, else the "
                            "user's cache)")
    where.add_argument("--run-dir", metavar="DIR",
                       help="keeps the run (default: a folder in runs/, named after the settings)")
    where.add_argument("--resume", action="store_true",
                       help="go on with the run in the run directory, with its settings, to the same bits; with more "
                            "--epochs or --steps than it has, train it further")
    return parser


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def settings(experiment: Experiment[S], options: argparse.Namespace) -> S:
    """What the run is, with the defaults that depend on others filled in."""
    given = {each.name: getattr(options, each.name) for each in _options(experiment)}
    if given["data"] is None:
        available = datasets.available(options.data_dir)
        found = [name for name in experiment.data if name in available]
        # Where a place was named, drawings that nobody asked for would be a surprise: there, what is missing is said.
        named = datasets.named_directory(options.data_dir) and found == [experiment.data[-1]]
        given["data"] = experiment.data[0] if named else found[0]
    if given["epochs"] is None and given["steps"] is None:
        given["epochs"] = experiment.epochs
    for option, other, needed in (("momentum", "optimiser", "sgd"), ("decay", "schedule", "steps"),
                                  ("decay_every", "schedule", "steps")):
        if given[option] is not None and given[other] != needed:
            raise argument_error("train", _flag(option), f"given with --{other} {needed} only",
                                 f"--{other} {given[other]}")
    for option, other, defaults in (("learning_rate", "optimiser", experiment.rates),
                                    ("localisation_rate", "optimiser", experiment.localisation_rates),
                                    ("momentum", "optimiser", {"sgd": experiment.momentum}),
                                    ("decay", "schedule", {"steps": 0.1})):
        if given[option] is None:
            given[option] = defaults.get(given[other])
    return replace(experiment.defaults, **given)


def differing(experiment: Experiment[Any], words: Sequence[str], others: Sequence[str],
              file: str | None = None) -> dict[str, Any]:
    """The settings that the words of a command line come to, where those of the other words are different.

    Words from a `file` that are no options are a ValueError.
    """
    parser = argument_parser(experiment, "nanostn table")
    parser.file = file
    one, other = (asdict(settings(experiment, parser.parse_args(each))) for each in (words, others))
    return {name: value for name, value in one.items() if value != other[name]}


def read(experiment: Experiment[S], run: RunDirectory) -> S:
    """The settings of a run from its config.json, which must say what the command line could have said: somebody may
    have edited it.

    Each goes through the parser as an option, so both have the same limits and the same words for them. The file may
    come from a version that had no such option, and lacks what is off by default.
    """
    parser = argument_parser(experiment, None)
    parser.file = "config.json"
    try:
        found = settings(experiment, parser.parse_args(as_options(experiment, run.config)))
    except ValueError as error:
        raise run.damaged("config.json", f"has settings that are none: {error}") from None
    right = asdict(found)
    if missing := sorted(key for key in right.keys() - run.config.keys() if right[key] is not None):
        raise run.damaged("config.json", f"has no {missing[0]!r}")
    if unknown := sorted(run.config.keys() - right.keys()):
        raise run.damaged("config.json", f"has an unknown {unknown[0]!r}")
    for key, value in run.config.items():
        if value != right[key] or isinstance(value, bool):
            raise run.damaged("config.json", f"has {key} = {value!r} for {right[key]!r}")
    return found


def command(experiment: Experiment[S], wanted: S) -> str:
    """The command line, as short as it can be, that trains a run of these settings."""
    parser = argument_parser(experiment, None)
    chosen = asdict(wanted)
    for key in list(chosen):
        shorter = {name: value for name, value in chosen.items() if name != key}
        try:
            same = key != "data" and settings(experiment, parser.parse_args(
                [*as_options(experiment, shorter), f"--data={wanted.data}"])) == wanted
        except ValueError:  # an option that another one needs
            same = False
        if same:
            chosen = shorter
    if chosen["data"] == experiment.data[0]:
        del chosen["data"]  # the default, where it is found
    return " ".join(["nanostn train", experiment.name,
                     *(f"{name} {shlex.quote(value)}" for name, _, value in
                       (option.partition("=") for option in as_options(experiment, chosen)))])


def as_options(experiment: Experiment[Any], config: dict[str, Any]) -> list[str]:
    """Words of a command line that come to these settings."""
    fixed = {each.name for each in fields(experiment.defaults) if not each.metadata}
    return [f"{_flag(key)}={value}" for key, value in config.items() if value is not None and key not in fixed]
