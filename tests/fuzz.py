"""Hostile inputs: a program answers each with a result or with a sentence of ours, never with anything else.

    python -m tests.fuzz [idx checkpoint config metrics result cli] --count 1000 --seed 0 --minutes 5
    python -m tests.fuzz --replay FILE

Number i of a kind depends on the seed and i alone. A finding (another exception, a hang, a death of the process) is
printed and kept under --keep, named after its kind, seed and number.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import mmap
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import zlib
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import numpy as np

HANG = 5  # seconds; --hang alters it
MEMORY = (8 << 30, 8 << 30)  # bytes: an absurd shape is a MemoryError, and the machine does not swap


class Hang(BaseException):
    """Not an Exception, so that nobody on the way catches it."""


def flipped(draw: random.Random, content: bytes) -> bytes:
    """A few bytes altered, a piece cut out, doubled or moved."""
    new = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at, size = draw.randrange(len(new) + 1), draw.choice((1, 2, 4, 8, 64))
        what = draw.randrange(5)
        if what == 0:
            del new[at:at + size]
        elif what == 1:
            new[at:at] = new[at:at + size]
        elif what == 2:
            new[at:at + size] = draw.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * len(new[at:at + size])
        elif at < len(new):
            new[at] = draw.randrange(256) if what == 3 else new[at] ^ 1 << draw.randrange(8)
    return bytes(new)


def value(draw: random.Random, depth: int = 0) -> object:
    """Anything that JSON can say, NaN and Infinity as well, which Python's reader takes."""
    plain = [None, True, False, 0, -1, 1, 2, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "",
             "cpu", "st-cnn-affine", "R", "adam", "\ud800", "é", "1", "x" * 1000]
    what = draw.randrange(10)
    if what == 0 and depth < 3:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if what == 1 and depth < 3:
        return {str(value(draw, 3)): value(draw, depth + 1) for _ in range(draw.randrange(4))}
    return draw.choice(plain)


def record(draw: random.Random, valid: dict) -> bytes:
    """A JSON file with entries altered, lacking or added, or with its bytes flipped."""
    if draw.randrange(3) == 0:
        return flipped(draw, json.dumps(valid).encode())
    changed = dict(valid)
    for name in draw.sample(sorted(valid), min(len(valid), draw.choice((1, 1, 2, 3)))):
        if draw.randrange(6) == 0:
            del changed[name]
        else:
            changed[name] = value(draw)
    return json.dumps(changed).encode()


class Kinds:
    """For each kind a maker `NAME` (draw -> bytes) and a consumer `eat_NAME` (bytes); files go to `folder`."""

    def __init__(self, folder: Path):
        from nanostn.checkpoints import save
        from nanostn.datasets.mnist import IdxFile
        from nanostn.experiments import EXPERIMENTS

        self.folder = folder
        raw = (2051).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in (3, 5, 4)) + bytes(range(60))
        self.idx_raw, self.idx_valid = raw, gzip.compress(raw, mtime=0)
        self.idx_file = IdxFile("x.gz", len(self.idx_valid), (3, 5, 4), "", "")
        save(folder / "valid.h5", {"model": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(2)},
                                   "epoch": 3, "name": "é", "on": True})
        self.body = (folder / "valid.h5").read_bytes()[512:]
        self.words = ["--help", "--version", "--device", "--threads", "--data-dir", "--run-dir", "--output", "--resume",
                      "--model", "--seed", "--epochs", "--batch-size", "--all", "--only", "--kernels", "--data",
                      "--learning-rate", "train", "report", "evaluate", "verify", "bench", "info", "data", "list",
                      "fetch", "demo", "mnist", "cpu", "cuda", "auto", "0", "1", "-1", "1e400", "nan", "9" * 5000,
                      "", " ", "é", "\udcff", "\0", "²", "--", "-", "=", "--seed=-1", str(folder), *EXPERIMENTS]
        self.settings = {"model": "cnn", "seed": 0}

    def idx(self, draw):
        if draw.randrange(2):
            return flipped(draw, self.idx_valid)
        return gzip.compress(flipped(draw, self.idx_raw), compresslevel=1)

    def eat_idx(self, content):
        """Gzipped, and as they are."""
        from nanostn.datasets.mnist import read_idx

        try:
            raw = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raw = content
        # The digest is that of the altered file: it is looked at last, and what stands before it has to be right alone.
        file, errors = self.idx_file._replace(unpacked=hashlib.sha256(raw).hexdigest()), []
        for name, body in (("x.gz", content), ("x", raw)):
            (self.folder / name).write_bytes(body)
            try:
                read_idx(self.folder / name, file)
            except ValueError as error:
                errors.append(error)
        for error in errors:
            raise error

    def checkpoint(self, draw):
        if draw.randrange(4):
            body = flipped(draw, self.body)
        else:
            import h5py

            buffer = io.BytesIO()
            with h5py.File(buffer, "w", userblock_size=512) as file:
                for name in "abc"[:draw.randrange(4)]:
                    self._hostile(draw, h5py, file, name)
            body = buffer.getvalue()[512:]
        header = f"nanostn checkpoint, version 2, sha256 of the rest {hashlib.sha256(body).hexdigest()}\n"
        return header.encode().ljust(512, b"\0") + body

    @staticmethod
    def _hostile(draw, h5py, file, name):
        what = draw.randrange(9)
        if what == 0:
            file[name] = h5py.SoftLink(draw.choice(("/", "/nowhere", f"/{name}")))
            return
        if what == 1:
            file[name] = h5py.ExternalLink("elsewhere.h5", "/")
            return
        if what == 2:
            file[name] = file["/"]  # a group inside itself
            return
        if what == 3:
            file[name] = np.dtype("f4")  # a type with a name
            return
        if what == 4:
            item = file.create_dataset(name, shape=(2**40,), dtype="f4", chunks=(64,))  # no byte of it is stored
        elif what == 5:
            item = file.create_dataset(name, data=h5py.Empty("f4"))
        else:
            item = file.create_dataset(name, data=draw.choice(
                (1, 1.5, "é", b"\xff", np.full(3, 255, np.uint8), np.zeros(0, np.uint8), [1, 2], np.float16(1), 1j,
                 np.zeros(2, "i4,f4"), np.zeros((0, 3)), True)))
        if draw.randrange(5):
            item.attrs["kind"] = draw.choice(
                tuple(map(np.bytes_, ("array", "int", "float", "str", "bool", "dict"))) + ("str", "", 3, [1, 2]))

    def eat_checkpoint(self, content):
        from nanostn.checkpoints import load

        (self.folder / "x.h5").write_bytes(content)
        load(self.folder / "x.h5")

    def _valid_config(self, draw):
        from nanostn.experiments import options
        from nanostn.experiments.distorted_mnist import EXPERIMENT

        parser = options.argument_parser(EXPERIMENT, None)
        return asdict(options.settings(EXPERIMENT, parser.parse_args(["--data", "digits", "--filters", "2"])))

    def config(self, draw):
        return record(draw, {**self._valid_config(draw), "version": "1"})

    def eat_config(self, content):
        from nanostn.experiments import distorted_mnist, find
        from nanostn.experiments.experiment import make_optimiser, make_schedule
        from nanostn.runs import RunDirectory

        (self.folder / "config.json").write_bytes(content)
        run = RunDirectory.open(self.folder)
        experiment = find(run.config["experiment"])
        with mock.patch.object(distorted_mnist, "MOST_FILTERS", 8):  # what is above would take memory and time
            settings = experiment.read(run)
        run.check_same(asdict(settings))
        model = experiment.build_model(settings)
        optimiser = make_optimiser(settings, model)
        make_schedule(settings, optimiser, 10)

    def _reported(self, run):
        """What the report makes of the numbers."""
        from nanostn import nn, report
        from nanostn.experiments import find
        from nanostn.runs import Revived

        experiment = find("distorted-mnist")
        report._table([Revived(experiment, run, experiment.defaults, nn.Sequential(), None, None)])

    def metrics(self, draw):
        return flipped(draw, b"epoch,steps,train_loss,seconds\n" + b"1,10,0.5,2.5\n" * draw.randrange(4))

    def eat_metrics(self, content):
        from nanostn.runs import RunDirectory

        (self.folder / "metrics.csv").write_bytes(content)
        self._reported(RunDirectory(self.folder, self.settings))

    def result(self, draw):
        return record(draw, {"test_error": 1.5, "test_loss": 0.1, "epochs": 3, "seconds": 2.0, "parameters": 5})

    def eat_result(self, content):
        from nanostn.runs import RunDirectory

        (self.folder / "result.json").write_bytes(content)
        self._reported(RunDirectory(self.folder, self.settings))

    def cli(self, draw):
        return json.dumps([draw.choice(self.words) for _ in range(draw.randrange(1, 8))]).encode()

    def eat_cli(self, content):
        from nanostn import cli, datasets
        from nanostn.experiments import experiment

        # The commands stop where the work would begin: at the device, which all of them ask for, and at a download.
        stop = mock.Mock(side_effect=ValueError("fuzz: work should be left out"))
        said = io.StringIO()
        with (mock.patch.object(cli, "use_device", stop), mock.patch.object(experiment, "use_device", stop),
              mock.patch.object(datasets, "fetch", stop), mock.patch.object(cli, "_gpu", lambda: "none"),
              contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said)):
            try:
                code = cli.main(json.loads(content))
            except SystemExit as error:
                code = error.code or 0
        lines = said.getvalue().count("\n")
        assert code in (0, 1, 2, 130), f"exit code {code}"
        assert "Traceback" not in said.getvalue() and lines <= 1, f"{lines} lines on stderr: {said.getvalue()[:300]}"


NAMES = ("idx", "checkpoint", "config", "metrics", "result", "cli")


def judged(kinds: Kinds, kind: str, content: bytes) -> str:
    """Empty where the input was survived, else what went wrong."""
    def ring(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG)
    try:
        getattr(kinds, "eat_" + kind)(content)
    except Hang:
        return f"no answer within {HANG} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, (ValueError, FileNotFoundError)) and "should be" in str(error):
            return ""
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:160]} ({Path(place.filename).name}:{place.lineno})"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ""


def made(kinds: Kinds, kind: str, seed: int, number: int) -> bytes:
    return getattr(kinds, kind)(random.Random(f"{kind} {seed} {number}"))


def in_child(work) -> int:
    """Fork, so that a death inside a C library is seen: the number of the process, in which `work` runs."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, MEMORY)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return process


def fuzz(kind: str, count: int, seed: int, finish: float, keep: Path) -> tuple[int, list[tuple[int, str]]]:
    """Inputs tried, and findings (number, what went wrong). One child works until it dies or hangs; then another."""
    findings: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        kinds, log = Kinds(Path(folder)), Path(folder, "findings")
        log.touch()
        at = np.frombuffer(mmap.mmap(-1, 8), dtype=np.int64)  # shared with the child; a word, so never half written
        number = 0
        while number < count and time.monotonic() < finish:
            at[0] = number

            def work(first=number):
                with open(log, "a", encoding="utf-8") as found:
                    for each in range(first, count):
                        if time.monotonic() > finish:
                            return
                        at[0] = each
                        if wrong := judged(kinds, kind, made(kinds, kind, seed, each)):
                            found.write(json.dumps([each, wrong]) + "\n")
                            found.flush()
                    at[0] = count

            # A loop inside C never lets Python's alarm speak, so the parent looks at the clock too.
            process, seen, since, stuck = in_child(work), -1, time.monotonic(), False
            while True:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    break
                now = int(at[0])
                if now != seen:
                    seen, since = now, time.monotonic()
                elif time.monotonic() - since > HANG + 1 and not stuck:
                    os.kill(process, signal.SIGKILL)
                    stuck = True
                time.sleep(0.02)
            number = int(at[0])
            if status and number < count:
                died = os.WTERMSIG(status)
                findings.append((number, f"no answer within {HANG} s, from inside C" if stuck else
                                 f"the process died of signal {died}" if died else "the fuzzer itself failed"))
                number += 1
            elif time.monotonic() > finish:
                break
        findings += [tuple(json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]
        for each, _ in findings:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{kind}-{seed}-{each}").write_bytes(made(kinds, kind, seed, each))
    return number, sorted(findings)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(NAMES) + " (default: all)")
    parser.add_argument("--count", type=int, default=1000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=5, help="for each kind")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "nanostn-fuzz"))
    parser.add_argument("--hang", type=int, default=HANG, metavar="SECONDS", help="an input may take so long")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="one kept input, its kind read from its name")
    options = parser.parse_args(arguments)
    globals()["HANG"] = options.hang
    if unknown := [kind for kind in options.kinds if kind not in NAMES]:
        parser.error(f"KIND should be one of {', '.join(NAMES)}, received {unknown[0]}")
    if options.replay:
        kind = options.replay.name.partition("-")[0]
        resource.setrlimit(resource.RLIMIT_AS, MEMORY)
        with tempfile.TemporaryDirectory() as folder:
            wrong = judged(Kinds(Path(folder)), kind, options.replay.read_bytes())
        print(wrong or "survived")
        return bool(wrong)
    failed = False
    for kind in options.kinds or NAMES:
        start = time.monotonic()
        tried, findings = fuzz(kind, options.count, options.seed, start + 60 * options.minutes, options.keep)
        print(f"{kind}: {tried} inputs, {len(findings)} findings, {tried / (time.monotonic() - start):.0f} a second")
        alike: dict[str, list[int]] = {}
        for number, wrong in findings:
            sentence, bracket, place = wrong.rpartition(" (")  # numbers in the sentence make no new kind of fault
            alike.setdefault(re.sub("[0-9]+", "N", sentence) + bracket + place, []).append(number)
        for wrong, numbers in sorted(alike.items(), key=lambda each: -len(each[1]))[:30]:
            print(f"  {len(numbers):6}  {wrong}  {options.keep / f'{kind}-{options.seed}-{numbers[0]}'}")
        failed |= bool(findings)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
