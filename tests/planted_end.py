"""The process that tests/kills.py ends: `python -m nanostn` with a small network, and with an end planted at a moment.

    python -m tests.planted_end PLACE '["SIGKILL", "after replace checkpoint.h5", 2]' train distorted-mnist ...

PLACE/started is made when nanostn begins, PLACE/reached when the moment comes.
"""

import errno
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

TEST_SET = "the test set"

SIGNALS = {"SIGKILL": [signal.SIGKILL], "SIGTERM": [signal.SIGTERM], "SIGINT": [signal.SIGINT],
           "SIGTERM twice": [signal.SIGTERM] * 2, "SIGINT twice": [signal.SIGINT] * 2}
RAISED = {"no space": errno.ENOSPC, "read-only": errno.EROFS, "input/output": errno.EIO}  # by every call from then on
DISKS = ("full disk", "disk read-only", "folder immutable")  # real ones
WAYS = (*SIGNALS, *RAISED, "file size limit", *DISKS)


class Kill(NamedTuple):
    way: str
    moment: str
    n: int  # at its n-th coming


def small_network(settings: Any) -> Any:
    """A transformer, and dropout with a random state that is to go on."""
    import numpy as np

    from nanostn import nn, transformations

    generator = np.random.default_rng(settings.seed)
    localisation = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Dense(49, 6, generator=generator))
    return nn.Sequential(nn.SpatialTransformer(localisation, transformations.Affine(), (14, 14)), nn.Flatten(),
                         nn.Dense(196, 16, generator=generator), nn.ReLU(), nn.Dropout(0.3, generator),
                         nn.Dense(16, 10, generator=generator))


def child(place: Path, kill: Kill | None, arguments: list[str]) -> None:
    from nanostn import datasets
    from nanostn.experiments.distorted_mnist import EXPERIMENT

    EXPERIMENT.build_model = small_network
    digits = datasets.digits
    datasets.digits = lambda count, seed=0: digits(count // 100, seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    if kill is not None:
        plant(place, kill)
    (place / "started").touch()
    sys.argv[1:] = arguments
    runpy.run_module("nanostn", run_name="__main__", alter_sys=True)


def plant(place: Path, kill: Kill) -> None:
    """Let `kill` come when its moment comes."""
    from nanostn.experiments import experiment
    from nanostn.optim import SGD

    left, broken, written = kill.n, 0, ""

    def reached(moment):
        nonlocal left, broken
        left -= moment == kill.moment
        if left or moment != kill.moment:
            return
        (place / "reached").touch()
        if kill.way in SIGNALS:
            send(os.getpid(), kill.way)
        elif kill.way == "file size limit":
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        elif kill.way in DISKS:
            damage(kill.way, place)
        broken = RAISED.get(kill.way, 0)

    def wrap(owner, name, before, after="", changes=True):
        """`before` and `after` name a moment: in them {} is the file."""
        given = getattr(owner, name)

        def call(*arguments, **options):
            file = file_of(arguments)
            reached(before.format(file))
            if broken and changes:
                raise OSError(broken, os.strerror(broken), str(arguments[-1]))
            value = given(*arguments, **options)
            reached(after.format(file))
            return value

        setattr(owner, name, call)

    def file_of(arguments):
        if not arguments or not isinstance(arguments[-1], str | Path):
            return written
        path = Path(arguments[-1])
        return TEST_SET if path.parent.name == "test-sets" else path.name

    def half(given):
        def write(path, contents, **options):
            nonlocal written
            written = TEST_SET if path.parent.name == "test-sets" else path.name[1:].rsplit(".", 3)[0]
            if broken:
                raise OSError(broken, os.strerror(broken), str(path))
            given(path, contents[:len(contents) // 2], **options)
            reached(f"write {written}")
            if broken:
                raise OSError(broken, os.strerror(broken), str(path))
            return given(path, contents, **options)
        return write

    Path.write_text, Path.write_bytes = half(Path.write_text), half(Path.write_bytes)
    wrap(os, "fsync", "fsync {}")
    wrap(os, "link", "before link {}", "after link {}")
    wrap(os, "replace", "before replace {}", "after replace {}")
    wrap(Path, "mkdir", "")
    wrap(Path, "unlink", "before unlink {}", "after unlink {}")
    wrap(SGD, "step", "before update", "after update", changes=False)
    wrap(experiment, "evaluate", "evaluation", changes=False)

def send(process: int, way: str) -> None:
    first, *second = SIGNALS[way]
    os.kill(process, first)
    for number in second:
        time.sleep(0.25)
        os.kill(process, number)


def damage(way: str, place: Path) -> None:
    if way == "full disk":
        with open(place / "filler", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
    elif way == "disk read-only":
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    else:
        subprocess.run(["chattr", "+i", *folders(place)], check=True)


def folders(place: Path) -> list[Path]:
    return [folder for folder in (place, place / "run", place / "cache", place / "cache" / "test-sets")
            if folder.is_dir()]


if __name__ == "__main__":
    told = json.loads(sys.argv[2])
    child(Path(sys.argv[1]), told and Kill(*told), sys.argv[3:])
