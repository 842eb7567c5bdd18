"""Ctrl-C and SIGTERM in training: the step is finished, the state saved, the exit code right; a second is at once."""

import errno
import io
import os
import signal

import pytest

from nanostn import training
from nanostn.runs import RunDirectory
from nanostn.training import Interrupted, evaluate

from .test_training import STEPS_PER_EPOCH, TEST_SET, Trial, batches


def interrupting(at, times=1, number=signal.SIGINT):
    """The batches of every epoch, and Ctrl-C (or another signal) while step `at` of epoch 1 is under way."""
    def interrupted(epoch, start):
        for step, batch in enumerate(batches(epoch, start), start):
            if (epoch, step) == (1, at):
                for _ in range(times):
                    os.kill(os.getpid(), number)
            yield batch
    return interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [0, 2, STEPS_PER_EPOCH - 1])
def test_interrupted_anywhere_in_an_epoch(tmp_path, step, number):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    whole = Trial(tmp_path / "whole")
    whole.run(15)
    with pytest.raises(Interrupted, match=f"after step {5 + step + 1} of 15") as caught:
        Trial(tmp_path / "parts", batches=interrupting(step, number=number)).run(15)
    assert caught.value.signal == number
    assert before == {each: signal.getsignal(each) for each in before}
    parts = Trial(tmp_path / "parts")
    parts.run(15)
    assert whole.bits() == parts.bits()


def test_interrupted_while_the_last_evaluation_runs(tmp_path):
    def interrupting(model):
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate(model, *TEST_SET)

    with pytest.raises(Interrupted, match="after step 5 of 5"):
        Trial(tmp_path / "run", evaluation=interrupting).run(5)
    assert Trial(tmp_path / "run").run(5)["steps"] == 5


def test_pressed_twice_does_not_wait_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "AGAIN", 0)
    with pytest.raises(KeyboardInterrupt) as caught:
        Trial(tmp_path / "run", batches=interrupting(2, times=2)).run(15)
    assert not isinstance(caught.value, Interrupted)
    assert RunDirectory.open(tmp_path / "run").load_state()["progress"]["steps"] == 5


def test_what_is_sent_twice_at_once_counts_once(tmp_path):
    """As `timeout` does: to the process, and to its group."""
    with pytest.raises(Interrupted, match="after step 8 of 15"):
        Trial(tmp_path / "run", batches=interrupting(2, times=2, number=signal.SIGTERM)).run(15)


def test_the_second_sigterm_is_the_system_s(tmp_path, monkeypatch):
    """It does what the process had in mind before: nothing of ours holds it up."""
    monkeypatch.setattr(training, "AGAIN", 0)
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with pytest.raises(Interrupted):
            Trial(tmp_path / "run", batches=interrupting(2, times=2, number=signal.SIGTERM)).run(15)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


def test_what_is_ignored_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a job that a shell runs in the background
    try:
        assert Trial(tmp_path / "run", batches=interrupting(2)).run(15)["steps"] == 15
    finally:
        signal.signal(signal.SIGINT, before)


def test_words_that_nobody_can_hear_do_not_keep_the_state_from_being_saved(tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("sys.stderr", Gone())
    with pytest.raises(Interrupted, match="after step 8 of 15"):
        Trial(tmp_path / "run", batches=interrupting(2)).run(15)
    assert RunDirectory.open(tmp_path / "run").load_state()["progress"]["steps"] == 8
