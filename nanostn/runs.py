"""A run directory: everything that a training run leaves behind, and the rules that keep two runs apart.

    config.json     what was asked for: written at the start, compared on resume
    metrics.csv     a row per epoch
    checkpoint.h5   parameters, optimiser, random states, progress: all that is needed to go on to the same bits
    result.json     the outcome, written at the end

Every file is written whole beside its place and then renamed, the checkpoint first: metrics.csv follows from it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanostn import checkpoints
from nanostn._version import version
from nanostn.module import Module

_FILES = ("config.json", "metrics.csv", "checkpoint.h5", "result.json")


class RunDirectory:
    """A run on disk. `RunDirectory.create` starts one, `RunDirectory.open` finds one that exists."""

    def __init__(self, path: Path, config: dict[str, Any]):
        self.path = path
        self.config = config

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any]) -> RunDirectory:
        """Make the directory (or use an empty one) and write config.json; refuse one that holds a run already."""
        path = Path(path)
        taken = [name for name in _FILES if (path / name).exists()] if path.is_dir() else []
        if taken:
            raise ValueError(f"train: run directory should be a new one, received {str(path)!r}, which holds a run "
                             f"({taken[0]}); continue that one with --resume, or choose another with --run-dir")
        run = cls(path, dict(config))
        try:
            path.mkdir(parents=True, exist_ok=True)
            run._write_json("config.json", {**config, "version": version})
        except OSError as error:
            raise ValueError(f"train: run directory should be a place to write in, received {str(path)!r} "
                             f"({error.strerror})") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """A run that exists, finished or not."""
        path = Path(path)
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"run directory should be one that `nanostn train` wrote, received {str(path)!r}, "
                                    "which has no config.json")
        config = _read_json(path / "config.json")
        config.pop("version", None)  # which version wrote it is for the reader; it is no setting
        return cls(path, config)

    def check_same(self, config: Mapping[str, Any]) -> None:
        """A resumed run must be the same run, else its result would belong to neither."""
        for name in [*self.config, *config]:
            if self.config.get(name) != config.get(name):
                raise ValueError(f"train: with --resume the settings should be those of the run in {str(self.path)!r}, "
                                 f"{name} = {self.config.get(name)!r}, received {name} = {config.get(name)!r}")

    def load_state(self) -> dict[str, Any] | None:
        """The last checkpoint, or None where the run has not reached its first."""
        path = self.path / "checkpoint.h5"
        return checkpoints.load(path) if path.exists() else None

    def save_state(self, state: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
        """Checkpoint and metrics; `history` has a dict per epoch, and travels inside the checkpoint too."""
        checkpoints.save(self.path / "checkpoint.h5", {**state, "history": json.dumps(history)})
        table = io.StringIO()
        if history:
            rows = csv.DictWriter(table, fieldnames=list(history[0]), lineterminator="\n")
            rows.writeheader()
            rows.writerows(history)
        self._write("metrics.csv", table.getvalue())

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv as numbers."""
        path = self.path / "metrics.csv"
        if not path.is_file():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    def result(self) -> dict[str, Any] | None:
        """What result.json holds, or None where the run is not finished."""
        path = self.path / "result.json"
        return _read_json(path) if path.is_file() else None

    def finish(self, result: Mapping[str, Any]) -> None:
        self._write_json("result.json", result)

    def _write_json(self, name: str, contents: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(contents, indent=2) + "\n")

    def _write(self, name: str, text: str) -> None:
        checkpoints.write_atomically(self.path / name, lambda file: file.write_text(text, encoding="utf-8"))


class Revived(NamedTuple):
    """A run brought back to life, to be evaluated or looked at."""

    run: RunDirectory
    model: Module
    images: np.ndarray  # of the test set
    labels: np.ndarray


def _read_json(path: Path) -> dict[str, Any]:
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        contents = None
    if not isinstance(contents, dict):
        raise ValueError(f"run directory: {path.name} should be JSON as `nanostn train` writes it, "
                         f"received {str(path)!r}, which is damaged")
    return contents
