"""A run directory: everything that a training run leaves behind, and the rules that keep two runs apart.

    config.json     what was asked for: written at the start, compared on resume, and anew where a run is made longer
    metrics.csv     a row per epoch
    checkpoint.h5   parameters, optimiser, random states, progress: all that is needed to go on to the same bits
    result.json     the outcome, written at the end

Every file is written whole beside its place and then renamed, the checkpoint first: metrics.csv follows from it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nanostn import checkpoints
from nanostn._version import version
from nanostn.checks import LARGEST
from nanostn.module import Module

_FILES = ("config.json", "metrics.csv", "checkpoint.h5", "result.json")
_STATE = {"model", "optimiser", "schedule", "random", "progress", "history"}  # what a checkpoint of a run holds
_COLUMNS = {"epoch", "steps", "train_loss", "seconds"}  # of metrics.csv, whatever else an experiment measures
_NUMBERS = {"epochs", "steps", "parameters", "seconds"}  # in result.json


class RunDirectory:
    """A run on disk. `RunDirectory.create` starts one, `RunDirectory.open` finds one that exists."""

    def __init__(self, path: Path, config: dict[str, Any], further: list[int] | None = None):
        self.path = path
        self.config = config
        self.further = further or []  # the steps at which a run was made longer, if it was

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any]) -> RunDirectory:
        """Make the directory (or use an empty one) and write config.json; refuse one that holds a run already.

        Of several processes that ask for one place at the same time, one gets it.
        """
        path = Path(path)
        check_free(path)
        run = cls(path, dict(config))
        with run._writing():
            path.mkdir(parents=True, exist_ok=True)
            text = _json({**config, "version": version})
            try:
                checkpoints.write_atomically(path / "config.json", lambda file: file.write_text(text, encoding="utf-8"),
                                             new=True)
            except FileExistsError:
                raise _taken(path, "config.json") from None
        return run

    @contextmanager
    def locked(self, wait: bool = False) -> Iterator[None]:
        """Within this context no other process trains the run. However the process ends, the lock ends with it.

        Where one does, that is an error, or with `wait` its end is waited for. The directory itself is locked, since
        every file in it may be replaced. What a process that was killed while writing left unfinished there is removed.
        """
        with ExitStack() as held:
            try:
                import fcntl

                folder = os.open(self.path, os.O_RDONLY)
                held.callback(os.close, folder)
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not wait:
                        raise
                    print(f"waiting for the process that trains {self.path}", flush=True)
                    fcntl.flock(folder, fcntl.LOCK_EX)
            except BlockingIOError:
                raise ValueError(f"train: run directory should be one that no other process trains, received "
                                 f"{str(self.path)!r}, which one is training") from None
            except (OSError, ImportError) as error:  # some network file systems, and systems without flock
                print(f"train: {self.path} cannot be locked here ({error}): nothing keeps another process from "
                      "training the same run", file=sys.stderr, flush=True)
            checkpoints.remove_unfinished(self.path)
            yield

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """A run that exists, finished or not."""
        path = Path(path)
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"run directory should be one that `nanostn train` wrote, received {str(path)!r}, "
                                    "which has no config.json")
        config = _Record(path / "config.json")
        config.pop("version", None)  # which version wrote it is for the reader; it is no setting
        further = config.pop("trained_further", [])
        if not isinstance(further, list) or not all(type(steps) is int and steps >= 0 for steps in further):
            raise _damaged(path / "config.json", "JSON", f"has trained_further = {further!r}")
        return cls(path, config, further)

    def extend(self, config: Mapping[str, Any], steps: int) -> None:
        """Let the run go on from step `steps` with these settings."""
        self.config, self.further = dict(config), [*self.further, steps]
        self._write_json("config.json", {**self.config, "trained_further": self.further, "version": version})

    def unfinish(self) -> None:
        """Remove the result of a shorter run, before this one goes on."""
        with self._writing():
            (self.path / "result.json").unlink(missing_ok=True)

    def damaged(self, name: str, reason: str) -> ValueError:
        """The error for a file of the run that is not as it should be."""
        return _damaged(self.path / name, "JSON", reason)

    def check_same(self, config: Mapping[str, Any]) -> None:
        """A resumed run must be the same run, else its result would belong to neither."""
        for name in [*self.config, *config]:
            if self.config.get(name) != config.get(name):
                raise ValueError(f"train: with --resume the settings should be those of the run in {str(self.path)!r}, "
                                 f"{name} = {self.config.get(name)!r}, received {name} = {config.get(name)!r}")

    def load_state(self) -> dict[str, Any] | None:
        """The last checkpoint, or None where the run has not reached its first."""
        path = self.path / "checkpoint.h5"
        if not path.exists():
            return None
        state = checkpoints.load(path)
        if not _STATE <= state.keys():
            raise _damaged(path, "the checkpoint", f"has no {min(_STATE - state.keys())!r}")
        return state

    def steps_done(self) -> int:
        """Of the last checkpoint."""
        state = self.load_state()
        return 0 if state is None else int(state["progress"]["steps"])

    def save_state(self, state: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
        """Checkpoint and metrics; `history` has a dict per epoch, and travels inside the checkpoint too."""
        with self._writing():
            checkpoints.save(self.path / "checkpoint.h5", {**state, "history": json.dumps(history)})
        self.save_metrics(history)

    def save_metrics(self, history: list[dict[str, Any]]) -> None:
        """Let metrics.csv be what the checkpoint says, if it is not."""
        table = io.StringIO()
        if history:
            rows = csv.DictWriter(table, fieldnames=list(history[0]), lineterminator="\n")
            rows.writeheader()
            rows.writerows(history)
        try:
            same = (self.path / "metrics.csv").read_text(encoding="utf-8") == table.getvalue()
        except (OSError, UnicodeError):
            same = False
        if not same:
            self._write("metrics.csv", table.getvalue())

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv as numbers."""
        path = self.path / "metrics.csv"
        if not path.is_file():
            return []
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (ValueError, TypeError, csv.Error):  # TypeError: a row that is shorter or longer than the first
            rows = [{}]
        if not all(_COLUMNS <= row.keys() and all(map(_is_number, row.values())) for row in rows):
            raise _damaged(path, "a table of numbers")
        return rows

    def result(self) -> dict[str, Any] | None:
        """What result.json holds, or None where the run is not finished."""
        return read_result(self.path / "result.json")

    def finish(self, result: Mapping[str, Any]) -> None:
        self._write_json("result.json", result)

    def _write_json(self, name: str, contents: Mapping[str, Any]) -> None:
        self._write(name, _json(contents))

    def _write(self, name: str, text: str) -> None:
        with self._writing():
            checkpoints.write_atomically(self.path / name, lambda file: file.write_text(text, encoding="utf-8"))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ValueError(f"train: run directory should be a place to write in, received {str(self.path)!r} "
                             f"({error.strerror or error})") from None


def read_result(path: Path) -> dict[str, Any] | None:
    """What a result.json holds, or None where there is none; an error where its numbers are none."""
    if not path.is_file():
        return None
    result = _Record(path)
    for name, value in result.items():
        if (name in _NUMBERS or name.startswith("test_")) and not _is_number(value):
            raise _damaged(path, "JSON", f"has {name} = {value!r}")
    return result


def _json(contents: Mapping[str, Any]) -> str:
    return json.dumps(contents, indent=2, allow_nan=False) + "\n"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def check_free(path: Path) -> None:
    """An error where the directory holds a run."""
    if taken := [name for name in _FILES if (path / name).exists()]:
        raise _taken(path, taken[0])


def _taken(path: Path, name: str) -> ValueError:
    return ValueError(f"train: run directory should be a new one, received {str(path)!r}, which holds a run ({name}); "
                      "continue that one with --resume, or choose another with --run-dir")


def new_folder(parent: Path, name: str) -> Path:
    """name, name-2, name-3 ...: the first that is not there yet."""
    number = 1
    while (folder := parent / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


class Revived(NamedTuple):
    """A run brought back to life, to be evaluated or looked at."""

    experiment: Any  # which it is of: it knows how to evaluate the model and what to draw
    run: RunDirectory
    settings: Any  # of the run, a dataclass of the experiment's own
    model: Module
    images: Any  # of the test set
    labels: Any


class _Record(dict[str, Any]):
    """What a JSON file holds; to ask for an entry that it lacks is the file's mistake, not the program's."""

    def __init__(self, path: Path):
        self.path = path
        try:
            contents = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            contents = None
        if not isinstance(contents, dict):
            raise _damaged(path, "JSON")
        super().__init__(contents)

    def __missing__(self, name: str) -> Any:
        raise _damaged(self.path, "JSON", f"has no {name!r}")


def _damaged(path: Path, kind: str, reason: str = "is damaged") -> ValueError:
    return ValueError(f"run directory: {path.name} should be {kind} as `nanostn train` writes it, "
                      f"received {str(path)!r}, which {reason}")
