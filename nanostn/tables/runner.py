"""Runs the cells of a table: those that are missing, or not finished, in processes side by side.

A cell is trained by `nanostn train` in a directory of its own, which is locked while that process lives; so whoever is
stopped or killed, the next to come goes on where it was, and of two tables over one folder each takes other cells.
"""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from nanostn.checks import argument_error
from nanostn.experiments import find as find_experiment
from nanostn.experiments import options as command_line
from nanostn.runs import RunDirectory
from nanostn.tables import Cell, Table
from nanostn.training import Interrupted, deferred_interrupt, duration, say

# Beside its epochs, what a cell has to tell.
TOLD = ("warning:", "encoder:", "data:", "computing on the CPU")
TRIES = 3  # to get hold of a cell that another process has


class Runner:
    """The cells of a table under one folder. `options` are further ones of `nanostn train`, for all cells."""

    def __init__(self, table: Table, folder: Path, cells: Sequence[Cell], length: Sequence[str] = (),
                 options: Sequence[str] = ()):
        if (folder / "config.json").exists():
            raise argument_error("table", "--folder", "a place for runs", repr(str(folder)), "it is one run itself")
        self.table, self.folder, self.cells = table, folder, list(cells)
        self.experiment = find_experiment(table.experiment)
        self.words = {cell: [*table.arguments(cell, length), *options] for cell in cells}
        self.seconds: dict[Cell, float] = {}  # that a cell has taken so far
        self.parts: dict[Cell, float] = {}    # of it that are done, from 0 to 1
        self.failed: dict[Cell, str] = {}
        self.elsewhere: list[Cell] = []       # in training by other processes
        for cell in cells:
            self._check(cell)
            self._note(cell)

    def path(self, cell: Cell) -> Path:
        return self.folder / cell.name

    def _check(self, cell: Cell) -> None:
        """An error unless the options leave the cell what it is, and the run that lies there is the one asked for."""
        words = self.words[cell]
        changed = command_line.differing(self.experiment, words, self.table.arguments(cell))
        told = [word[2:].replace("-", "_") for word in (*self.table.options, "--seed") if word.startswith("--")]
        if named := [name for name in told if name in changed]:
            raise argument_error("table", "options of the runs", "none that the cells are told by",
                                 f"--{named[0]} {changed[named[0]]}", "cells are chosen with --only and --seeds")
        if not (self.path(cell) / "config.json").exists():
            return
        run = RunDirectory.open(self.path(cell))
        found = asdict(self.experiment.read(run))
        for name, value in command_line.differing(self.experiment, words,
                                                  command_line.as_options(self.experiment, found)).items():
            raise argument_error("table", "--folder", f"one whose runs have {name} = {value!r}",
                                 f"{str(run.path)!r}, which has {found[name]!r}",
                                 "give the options that it was made with, or another folder")

    def _note(self, cell: Cell) -> bool:
        """Read how far a cell is; whether it is finished."""
        if (self.path(cell) / "config.json").exists():
            run = RunDirectory.open(self.path(cell))
            rows = run.metrics()
            self.seconds[cell] = rows[-1]["seconds"] if rows else 0.0
            if run.result() is not None:
                self.parts[cell] = 1.0
        return self.parts.get(cell) == 1.0

    def run(self, jobs: int, threads: int, places: Sequence[str] = ()) -> bool:
        """Train what is not finished, `jobs` cells at a time with `threads` threads each; whether a cell failed."""
        waiting = [cell for cell in self.cells if not self._note(cell)]
        tries = dict.fromkeys(waiting, 0)
        running: dict[Cell, subprocess.Popen[str]] = {}
        said: queue.Queue[tuple[Cell, str | None]] = queue.Queue()
        last: dict[Cell, str] = {}
        told = False
        with deferred_interrupt() as interrupted, _ended(running):
            while running or (waiting and not interrupted):
                while waiting and len(running) < jobs and not interrupted:
                    cell = waiting.pop(0)
                    if self._note(cell):  # by another process, since
                        continue
                    tries[cell] += 1
                    running[cell] = self._start(cell, [*places, "--threads", str(threads)], said)
                if interrupted and not told:
                    told = True
                    for process in running.values():
                        process.send_signal(interrupted[0])  # each saves after its step
                try:
                    cell, line = said.get(timeout=0.2)
                except queue.Empty:
                    continue
                if line is not None:
                    last[cell] = line
                    self._progress(cell, line, jobs)
                elif running.pop(cell).wait() and not interrupted and not self._note(cell):
                    self._failed(cell, last.get(cell, ""), waiting, tries)
                elif not interrupted:
                    self._progress(cell, last[cell], jobs, done=self._note(cell))
        if interrupted:
            raise Interrupted("interrupted; all is saved, the same command goes on", interrupted[0])
        if self.elsewhere:
            say(f"in training by another process: {', '.join(cell.name for cell in self.elsewhere)}")
        return bool(self.failed)

    def _start(self, cell: Cell, places: Sequence[str], said: queue.Queue) -> subprocess.Popen[str]:
        path = self.path(cell)
        resume = ["--resume"] if (path / "config.json").exists() else []
        # A session of its own: Ctrl-C reaches this process alone, which hands it on once.
        process = subprocess.Popen(
            [sys.executable, "-m", "nanostn", "train", self.table.experiment, *self.words[cell], *places,
             "--run-dir", str(path), *resume], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                said.put((cell, line.strip()))
            said.put((cell, None))

        threading.Thread(target=listen, daemon=True).start()
        return process

    def _failed(self, cell: Cell, line: str, waiting: list[Cell], tries: dict[Cell, int]) -> None:
        """Another process may train the cell, or have begun it at the same moment: then it is looked at once more."""
        begun = "which holds a run" in line and (self.path(cell) / "config.json").exists()
        if "no other process trains" in line or begun:
            if tries[cell] < TRIES:
                waiting.append(cell)
            else:
                self.elsewhere.append(cell)
            return
        self.failed[cell] = line
        say(f"{self._count()} {cell.name}: {line}")

    def _progress(self, cell: Cell, line: str, jobs: int, done: bool = False) -> None:
        if step := re.match(r"epoch +(\d+)/(\d+)", line):
            self.parts[cell] = min(int(step[1]) / int(step[2]), 0.99)
            self._note(cell)
            say(f"{self._count()} {cell.name}: {line}" + self._left(jobs))
        elif line.startswith(TOLD):
            say(f"{self._count()} {cell.name}: {line}")
        elif done:
            say(f"{self._count()} {cell.name}: {line.partition(';')[0]}")

    def _count(self) -> str:
        return f"[{sum(part == 1.0 for part in self.parts.values())}/{len(self.cells)}]"

    def _left(self, jobs: int) -> str:
        """The time that the whole table needs yet: a cell that has not begun takes as long as others of its column."""
        known = {cell: self.seconds[cell] / part for cell, part in self.parts.items() if part and cell in self.seconds}

        def whole(cell: Cell) -> float:
            alike = [seconds for other, seconds in known.items() if other.column == cell.column] or list(known.values())
            return known.get(cell) or (sum(alike) / len(alike) if alike else 0.0)

        left = [whole(cell) * (1 - self.parts.get(cell, 0.0)) for cell in self.cells if cell not in self.failed]
        seconds = max([sum(left) / jobs, *left])  # no cell is divided
        return f"; the table: {duration(seconds)} left" if seconds else ""


@contextmanager
def _ended(running: dict[Cell, subprocess.Popen[str]]) -> Iterator[None]:
    """However this context is left, no process stays behind; what they wrote is whole at any moment."""
    try:
        yield
    finally:
        for process in running.values():
            process.kill()
            process.wait()
