"""The command line: help worth reading, one line for a mistake, exit codes."""

import errno
import os
import subprocess
import sys

import pytest

from nanostn import compilation, console
from nanostn.cli import main
from nanostn.compilation import Compiled
from nanostn.console import guarded
from nanostn.kernels.gpu.errors import NO_DRIVER


def run(arguments, capfd):
    try:
        code = main(arguments)
    except SystemExit as exit:  # argparse leaves this way
        code = exit.code
    said = capfd.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(("arguments", "words"), [
    ([], "start here"), (["--help"], "Exit codes"), (["train", "--help"], "cluttered-mnist"),
    (["train", "distorted-mnist", "--help"], "--localisation-rate"),
    (["train", "cluttered-mnist", "--help"], "Lasagne"),
    (["evaluate", "--help"], "RUN_DIR"), (["data", "list"], "digits"), (["--version"], "nanostn 0"),
])
def test_help_and_lists(arguments, words, capfd):
    code, out, err = run(arguments, capfd)
    assert code == 0 and words in out and err == ""


def test_info(capfd, tmp_path):
    code, out, _ = run(["info", "--data-dir", str(tmp_path)], capfd)
    assert code == 0
    for words in ("numba", "threads for kernels", "GPU         none", "digits: drawn", "mnist: not found"):
        assert words in out
    assert "argument types" not in out


@pytest.mark.parametrize(("name", "words"), [
    ("inception", ["blocks.4e.double_2.convolution.weight  ", " 256 x 256 x 3 x 3", "conv1.normalisation.running_var  ",
                   "10,260,224 parameters, and 20,032 numbers that are not trained"]),
    ("plain-mnist:cnn", ["0.weight   10 x 1 x 5 x 5", "21,840 parameters, and 0 numbers"]),
    ("plain-mnist", ["transformer.localisation.9.weight"]),
])
def test_info_lists_the_weights_of_a_network(name, words, capfd):
    code, out, err = run(["info", "--model", name], capfd)
    assert code == 0 and err == "" and all(each in out for each in words)


@pytest.mark.parametrize(("outcome", "words"), [
    (([Compiled("pooling", "_max_pool", 52_400, "float32 4-D x2, int64")], {"there": 2_500_000}),
     ["pooling  _max_pool      52  float32 4-D x2, int64", "1 compiled, 0.1 MB", "there: 2.5 MB in"]),
    (([], {"there": 0}), ["no kernel is compiled yet", "there: 0.0 MB"]),
    (RuntimeError("Numba 9 keeps its cache in a way that is not known here"), ["Numba 9 keeps its cache"]),
])
def test_info_lists_the_kernels_on_disk(outcome, words, monkeypatch, capfd):
    def found():
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(compilation, "compiled_kernels", found)
    code, out, err = run(["info", "--kernels"], capfd)
    assert code == 0 and err == "" and all(each in out for each in words)


@pytest.mark.parametrize(("arguments", "words"), [
    (["tarin"], "invalid choice: 'tarin'"),
    (["train"], "required: EXPERIMENT"),
    (["train", "imagenet"], "invalid choice: 'imagenet'"),
    (["train", "distorted-mnist", "--model", "resnet"], "invalid choice: 'resnet'"),
    (["train", "distorted-mnist", "--epochs", "none"], "positive integer, received 'none'"),
    (["train", "distorted-mnist", "--learning-rate", "-1"], "positive number, received '-1'"),
    (["train", "distorted-mnist", "--seed", "-1"], "0 or more, received '-1'"),
    (["train", "distorted-mnist", "--wide"], "unrecognized arguments: --wide"),
    (["train", "cluttered-mnist", "--distortion", "R"], "unrecognized arguments"),
    (["train", "--run-dir", "distorted-mnist", "cluttered-mnist"], "unrecognized arguments: --run-dir"),
    (["train", "distorted-mnist", "--momentum", "1"], "number from 0 to below 1, received '1'"),
    (["train", "distorted-mnist", "--momentum", "0"], "--momentum should be given with --optimiser sgd only"),
    (["train", "distorted-mnist", "--decay", "0.5"], "--decay should be given with --schedule steps only"),
    (["train", "distorted-mnist", "--decay-every", "5"], "--decay-every should be given with --schedule steps only"),
    (["train", "distorted-mnist", "--device", "cuda"], "nanostn: train: --device should be auto or cpu, received cuda"),
    (["train", "distorted-mnist", "--data", "mnist", "--data-dir", "nowhere"], "nanostn data fetch mnist"),
    (["train", "distorted-mnist", "--resume", "--run-dir", "nowhere"], "has no config.json"),
    (["train", "distorted-mnist", "--data", "digits", "--run-dir", "/dev/null/run"], "should be a place to write in"),
    (["train", "distorted-mnist", "--threads", "100000"], "should be"),
    (["evaluate", "nowhere"], "has no config.json"),
    (["info", "--model", "resnet"], "--model should be inception or one of distorted-mnist"),
    (["info", "--model", "plain-mnist:fcn"], "--model should be plain-mnist:NAME with one of st-cnn-affine, cnn"),
    (["data", "fetch"], "NAME should be given"),
    (["data", "fetch", "cifar"], "should be mnist"),
    (["data", "list", "foo"], "NAME should be left out, received 'foo'"),
    (["report"], "required: RUN_DIR"),
])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words, capfd):
    code, out, err = run(arguments, capfd)
    said = [line for line in err.splitlines() if not line.startswith("compiling kernels")]  # on a fresh machine
    assert code == 2 and words in err and out == ""
    assert len(said) == 1


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    from nanostn import datasets

    def broken(*arguments):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(datasets, "available", broken)
    with pytest.raises(ValueError, match="broadcast"):
        main(["data", "list"])


@pytest.mark.parametrize("mistake", [ZeroDivisionError("division by zero"), FloatingPointError("overflow")])
def test_arithmetic_of_ours_keeps_its_traceback_too(mistake):
    @guarded
    def broken():
        raise mistake

    with pytest.raises(type(mistake)):
        broken()


def test_whatever_a_disk_does_is_one_line(capfd):
    @guarded
    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "picture.png")

    assert full() == 2
    assert capfd.readouterr().err == f"nanostn: [Errno {errno.ENOSPC}] No space left on device: 'picture.png'\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_has_seen_enough():
    program = [sys.executable, "-c", "import sys, nanostn.cli; sys.exit(nanostn.cli.main(['data', 'list']))"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_command_line_starts_without_what_only_some_commands_need():
    program = "import sys, nanostn.cli\nassert not {'matplotlib', 'tqdm', 'pooch', 'h5py', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("kind, words, device, expected, said", [
    ("gpu", "a card", "auto", "cuda", ""),
    ("gpu", "a card", "cpu", "cpu", ""),
    ("simulator", "a simulator", "auto", "cpu", ""),  # for tests, and only when asked for
    ("simulator", "a simulator", "cuda", "cuda", ""),
    ("none", NO_DRIVER, "auto", "cpu", ""),
    ("none", "there is an NVIDIA driver, but", "auto", "cpu", "computing on the CPU: there is an NVIDIA driver, but\n"),
])
def test_where_to_compute(monkeypatch, capsys, kind, words, device, expected, said):
    monkeypatch.setattr(console, "state", lambda: (kind, words))
    assert console.use_device("train", device, None) == expected
    assert capsys.readouterr().err == said


def test_a_gpu_that_is_asked_for_and_not_there(monkeypatch):
    monkeypatch.setattr(console, "state", lambda: ("none", NO_DRIVER))
    with pytest.raises(ValueError, match="train: --device should be auto or cpu, received cuda; no NVIDIA driver"):
        console.use_device("train", "cuda", None)
