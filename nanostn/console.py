"""How the program speaks on a terminal: one clear line for a mistake, and an exit code that tells what went wrong.

    0    done            2    wrong arguments, data or files
    1    the run failed  130  interrupted with Ctrl-C, 143 with SIGTERM
"""

from __future__ import annotations

import argparse
import functools
import io
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from nanostn.checks import argument_error
from nanostn.kernels.gpu.device import state
from nanostn.kernels.gpu.errors import NO_DRIVER, DeviceError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose help keeps its lines as they are written.

    Where the arguments stand in a `file`, an error is a ValueError.
    """

    file: str | None = None

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        if self.file is not None:
            raise ValueError(message)
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


DIGITS = 18  # at most: 64 bits hold them, whatever they are


def positive(text: str) -> int:
    """An argument that counts something."""
    if not text.isdecimal() or len(text) > DIGITS or int(text) < 1:
        raise argparse.ArgumentTypeError(f"should be a positive integer, received {text!r}")
    return int(text)


def natural(text: str) -> int:
    """An argument such as a seed."""
    if not text.isdecimal() or len(text) > DIGITS:
        raise argparse.ArgumentTypeError(f"should be an integer, 0 or more, received {text!r}")
    return int(text)


def _number(text: str, right: Callable[[float], bool], words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # which no condition holds for
    if not right(value):
        raise argparse.ArgumentTypeError(f"should be a {words}, received {text!r}")
    return value


def positive_number(text: str) -> float:
    """An argument such as a learning rate."""
    return _number(text, lambda value: 0 < value < math.inf, "positive number")


def number_or_zero(text: str) -> float:
    """An argument that 0 switches off."""
    return _number(text, lambda value: 0 <= value < math.inf, "number of 0 or more")


def momentum(text: str) -> float:
    """An argument from 0 to below 1."""
    return _number(text, lambda value: 0 <= value < 1, "number from 0 to below 1")


def guarded(command: Callable[..., int]) -> Callable[..., int]:
    """Turn what a user can cause into a line on stderr and an exit code; a mistake of ours keeps its traceback."""
    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> int:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # the names of files may be no text
        try:
            code = command(*arguments, **options)
            sys.stdout.flush()  # here, and not while Python ends, where nobody can catch an error
            return code
        except KeyboardInterrupt as error:
            code, message = 128 + getattr(error, "signal", signal.SIGINT), str(error) or "interrupted"
        except DeviceError as error:
            code, message = 1, str(error)
        except ArithmeticError as error:
            from nanostn.finite import NotFinite

            if not isinstance(error, NotFinite):
                raise
            code, message = 1, str(error)
        except MemoryError as error:
            code, message = 1, f"out of memory ({error}): smaller networks, batches or data may fit"
        except ModuleNotFoundError as error:
            if error.name is not None:  # not one of the sentences that name the extra to install
                raise
            code, message = 2, str(error)
        except BrokenPipeError:  # the reader has seen enough: nanostn info | head -1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:  # a file, a disk or a network: none of them our mistake
            code, message = 2, str(error)
        except ValueError as error:
            if "should be" not in str(error):  # the form of every message of this package
                raise
            code, message = 2, str(error)
        print(f"nanostn: {message}", file=sys.stderr)
        return code
    return run


def use_device(command: str, device: str, threads: int | None) -> str:
    """Act on --threads of a command; what its --device means here, "cpu" or "cuda": auto takes a GPU that is real."""
    if threads is not None:
        from nanostn.kernels.compiling.threads import set_threads

        set_threads(threads)
    if device == "cpu":
        return device
    kind, words = state()
    if device == "cuda" and kind == "none":
        raise argument_error(command, "--device", "auto or cpu", "cuda", words)
    if kind == "none" and words != NO_DRIVER:  # a GPU that cannot be used is no secret
        print(f"computing on the CPU: {words}", file=sys.stderr, flush=True)
    return "cuda" if kind == "gpu" or device == "cuda" else "cpu"
