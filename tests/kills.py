"""Does a training run survive whatever ends its process? It is ended again and again, resumed, and has the same bits.

    python -m tests.kills --count 100 --seed 0 --minutes 30
    python -m tests.kills --replay '[["SIGKILL", "after replace checkpoint.h5", 2], ["SIGTERM", "at", 400]]'

Each run is trained by `python -m nanostn train`, with a network that has dropout put in and fewer digits drawn. It is
ended one to three times, each time at the n-th coming of a moment (in a step, in writing, between two renames), or "at"
so many milliseconds; then resumed to its end. Everything that lies on disk is read all the time. For those that need a
disk of their own the script asks for a small one (tmpfs, for root only), and does without where it gets none.
"""

import argparse
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .planted_end import DISKS, SIGNALS, TEST_SET, WAYS, Kill, damage, folders, send

ROOT = Path(__file__).resolve().parents[1]
EPOCHS, STEPS, DECAY = 4, 8, 5  # of the run; steps in an epoch; steps between falls of the learning rate
ARGUMENTS = ["train", "distorted-mnist", "--data", "digits", "--distortion", "R", "--limit", "60", "--batch-size", "8",
             "--test-limit", "20", "--epochs", str(EPOCHS), "--optimiser", "sgd", "--momentum", "0.8", "--schedule",
             "steps", "--decay-every", str(DECAY), "--threads", "1", "--device", "cpu"]
LIMIT = 60  # seconds for a process

# A moment, and how often it comes in a run.
ONCE = {f"{what} {name}": 1 for name, rename in (("config.json", "link"), (TEST_SET, "replace"),
                                                 ("result.json", "replace"))
        for what in ("write", "fsync", f"before {rename}", f"after {rename}")}
MOMENTS = {**ONCE, **{f"{what} {name}": EPOCHS for name in ("checkpoint.h5", "metrics.csv")
                      for what in ("write", "fsync", "before replace", "after replace")},
           "before update": EPOCHS * STEPS, "after update": EPOCHS * STEPS, "evaluation": EPOCHS}
START = [moment for moment in MOMENTS if moment.endswith(("config.json", TEST_SET))]  # only where a run begins


class Workshop:
    """The run that was never ended, and the places where others are made."""

    def __init__(self, folder: Path):
        self.folder, self.numbers, self.mounted = folder, itertools.count(), []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.unreached, self.processes, self.looks = 0, 0, 0
        place = self.place()
        start = time.monotonic()
        code, err, wrong = self.process(place)
        if code or err or wrong:
            raise RuntimeError(f"an undisturbed run should end with code 0 and no word, received {code}: {err}{wrong}")
        self.seconds = time.monotonic() - start - self.waited
        self.expected = self.contents(place)
        self.history = self.expected["history"]

    def place(self, disk: bool = False) -> Path:
        place = self.folder / str(next(self.numbers))
        place.mkdir()
        if disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True, capture_output=True)
            self.mounted.append(place)
        return place

    def ways(self) -> tuple[str, ...]:
        """Those that this machine and its user allow."""
        able = list(WAYS)
        try:
            damage("disk read-only", self.place(disk=True))
        except (OSError, subprocess.CalledProcessError):
            able = [way for way in able if way not in ("full disk", "disk read-only")]
        try:
            place = self.place()
            damage("folder immutable", place)
            self.repair(place)
        except (OSError, subprocess.CalledProcessError):
            able.remove("folder immutable")
        return tuple(able)

    def repair(self, place: Path) -> None:
        if place in self.mounted:
            subprocess.run(["mount", "-o", "remount,rw", place], check=True)
        (place / "filler").unlink(missing_ok=True)
        subprocess.run(["chattr", "-i", *folders(place)], capture_output=True)  # where it is unknown, nothing is to do

    def close(self) -> None:
        for place in self.mounted:
            subprocess.run(["umount", place])

    def process(self, place: Path, kill: Kill | None = None, *more: str) -> tuple[int, str, list[str]]:
        """Begin or resume a run, with `more` arguments, and see it end: exit code, stderr, and what was wrong on disk
        meanwhile."""
        run = place / "run"
        arguments = [*ARGUMENTS, "--run-dir", str(run), *more]
        if (run / "config.json").exists():
            arguments = ["train", "distorted-mnist", "--run-dir", str(run), "--threads", "1", "--resume", *more]
        for name in ("started", "reached"):
            (place / name).unlink(missing_ok=True)
        timed = kill is not None and kill.moment == "at"
        planted = json.dumps(None if timed else kill)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(place / "cache")}
        wrong: list[str] = []
        self.processes += 1
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.planted_end", str(place), planted, *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        started = None
        while process.poll() is None:
            if started is None and (place / "started").exists():
                started = time.monotonic()
                self.waited = started - began
            if timed and started and time.monotonic() - started > kill.n / 1000:
                send(process.pid, kill.way)
                (place / "reached").touch()
                timed = False
            if time.monotonic() - began > LIMIT:
                process.kill()
                wrong.append(f"no end within {LIMIT} s")
            wrong += self.unreadable(run)
            time.sleep(0.01)
        with process.stderr as err:  # a few lines, which a pipe holds
            said = "".join(line for line in err if not line.startswith("compiling kernels"))  # where some are new
        return process.returncode, said, wrong

    def unreadable(self, run: Path) -> list[str]:
        """What of a run directory cannot be read, or says what it should not."""
        from nanostn.runs import RunDirectory

        self.looks += 1
        try:
            if not (run / "config.json").exists():
                return []
            directory = RunDirectory.open(run)
            state = directory.load_state()
            directory.metrics(), directory.result()
            if hasattr(self, "history") and state is not None:
                rows = timeless(json.loads(state["history"]))
                assert rows == self.history[:len(rows)], "history of the checkpoint"
        except Exception as error:
            return [f"on disk: {type(error).__name__}: {error}"]
        return []

    def contents(self, place: Path) -> dict[str, Any]:
        """All that a finished run holds, without the seconds."""
        from nanostn.runs import RunDirectory

        run = RunDirectory.open(place / "run")
        state = run.load_state()
        progress = {name: value for name, value in state.pop("progress").items() if name != "seconds"}
        return {"history": timeless(json.loads(state.pop("history"))), "metrics": timeless(run.metrics()),
                "result": timeless([run.result()]), "config": (place / "run" / "config.json").read_text(),
                "progress": progress, "state": bits(state),
                "files": sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()
                                and path.name not in ("started", "reached"))}

    def end(self, place: Path, kill: Kill) -> tuple[bool, list[str]]:
        """Begin or resume a run and end it: whether the moment came, and what was wrong."""
        code, err, wrong = self.process(place, kill)
        reached = (place / "reached").exists()
        wrong += self.unreadable(place / "run")
        self.repair(place)
        if not reached:
            return False, wrong + ([f"exit code {code}: {err}"] if code else [])
        self.counts[kill.way, kill.moment] += 1
        allowed = {"SIGKILL": (-9,), "SIGTERM": (143, -15), "SIGTERM twice": (143, -15), "SIGINT": (130, -2),
                   "SIGINT twice": (130, -2)}.get(kill.way, (2,))
        finished = (place / "run" / "result.json").exists()
        if code not in allowed and not (finished and code in (0, -2)):  # Python was about to end, and says no word
            wrong.append(f"exit code {code}: {err}")
        said = [line for line in err.splitlines() if line and not line.startswith(
            ("interrupted: saving after this step", "the distorted test set is made each time"))]
        least, most = code in (2, 130, 143), code in (2, 130, 143, -2, -15)  # the last two: before a word, or after it
        if not least <= len(said) <= most or not all(line.startswith("nanostn: ") for line in said) or (
                code == 2 and "should be" not in err):
            wrong.append(f"with exit code {code} it said: {err}")
        if saved := re.search("interrupted after step ([0-9]+) of [0-9]+; saved, go on with: ", err):
            from nanostn.runs import RunDirectory

            steps = RunDirectory.open(place / "run").load_state()["progress"]["steps"]
            if steps != int(saved[1]):
                wrong.append(f"it said {saved[0]}, and saved step {steps}")
        return True, wrong

    def run(self, kills: list[Kill]) -> list[str]:
        """One run, ended by each of `kills` in turn and resumed to its end: what was wrong."""
        place = self.place(any(kill.way in DISKS[:2] for kill in kills))
        wrong = []
        for kill in kills:
            reached, found = self.end(place, kill)
            self.unreached += not reached
            wrong += [f"{json.dumps(kill)}: {each}" for each in dict.fromkeys(found)]
        code, err, found = self.process(place)
        if code or err:
            wrong.append(f"resumed: exit code {code}: {err}")
        wrong += dict.fromkeys(found)
        try:
            contents = self.contents(place)
            wrong += [f"{name} differs from the run that was never ended: {contents[name]!s:.300}"
                      for name in contents if contents[name] != self.expected[name]]
        except Exception as error:
            wrong.append(f"at the end: {type(error).__name__}: {error}")
        return wrong


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: bits(each) for name, each in value.items()}
    return (str(value.dtype), value.shape, value.tobytes()) if hasattr(value, "tobytes") else value


def drawn(draw: random.Random, ways: tuple[str, ...], milliseconds: float) -> list[Kill]:
    """One to three ends of a run. A third of them come at any time; what comes only at a start is the first."""
    kills = []
    for number in range(draw.choice((1, 2, 3))):
        if draw.randrange(3) == 0:
            kills.append(Kill(draw.choice(list(SIGNALS)), "at", draw.randint(50, max(60, round(milliseconds)))))
            continue
        moment = draw.choice([moment for moment in MOMENTS if not number or moment not in START])
        most = MOMENTS[moment] if not number else -(-MOMENTS[moment] // 2)  # a part of the run is behind it
        able = [way for way in ways if way != DISKS[1] or "fsync" not in moment]  # not while a file is open for writing
        kills.append(Kill(draw.choice(able), moment, draw.randint(1, most)))
    if any(kill.way in DISKS[:2] for kill in kills):  # there are no immutable folders on that disk
        kills = [kill if kill.way != DISKS[2] else kill._replace(way=DISKS[0]) for kill in kills]
    return kills


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="ends that come to pass")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--replay", metavar="KILLS", help="one run, as it was printed")
    options = parser.parse_args(arguments)
    finish, findings, runs = time.monotonic() + 60 * options.minutes, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        try:
            ways = workshop.ways()
            if missing := sorted({*WAYS} - {*ways}):
                print(f"not on this machine: {', '.join(missing)}", flush=True)
            draw = random.Random(options.seed)
            while workshop.counts.total() < options.count and time.monotonic() < finish:
                kills = ([Kill(*kill) for kill in json.loads(options.replay)] if options.replay else
                         drawn(draw, ways, 1000 * workshop.seconds))
                wrong = workshop.run(kills)
                runs, findings = runs + 1, findings + bool(wrong)
                if wrong:
                    print(json.dumps(kills), *wrong, sep="\n    ", flush=True)
                if options.replay:
                    break
                if runs % 10 == 0:
                    print(f"{runs} runs, {workshop.counts.total()} kills, {findings} findings", flush=True)
        finally:
            workshop.close()
    for title, index in (("way", 0), ("moment", 1)):
        print(f"\nby {title}")
        for name, count in sorted(Counter(each[index] for each in workshop.counts.elements()).items()):
            print(f"  {count:4}  {name}")
    print(f"\n{runs} runs, {workshop.counts.total()} kills, {workshop.unreached} moments that did not come, "
          f"{workshop.processes} processes, {workshop.looks} looks at the disk, {findings} findings")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
