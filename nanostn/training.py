"""The one training loop of every experiment: batches, steps, evaluation, one line per epoch, and a run that can go on.

What a step needs and what it leaves behind is in the checkpoint, and the batches of an epoch follow from its number
alone; so a run that was interrupted, in the middle of an epoch too, ends with the same bits as one that was not.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanostn import no_grad
from nanostn._version import version
from nanostn.compilation import announced_compilation
from nanostn.finite import NotFinite, check_gradients, name_first_layer
from nanostn.functional import cross_entropy
from nanostn.kernels.gpu.arrays.numpy_functions import move
from nanostn.nn import Module
from nanostn.optim import Optimiser, Schedule, clip_gradients
from nanostn.runs import RunDirectory
from nanostn.tensor import Tensor
from nanostn.thetas import Thetas, watch_theta


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the state was saved."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.signal = number


@dataclass
class Progress:
    """Where a run stands; the sums belong to the epoch under way."""

    epoch: int = 0  # finished epochs
    step: int = 0  # steps into the epoch under way, in which a run may end too
    steps: int = 0  # steps in all
    seconds: float = 0.0
    loss_sum: float = 0.0
    wrong: int = 0
    seen: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def classification(model: Module, x: Any, y: Any) -> tuple[Tensor, Any]:
    """Cross-entropy of a batch, and how many of it the model gets wrong, as a number or still on the GPU."""
    scores = model(Tensor(x))
    return cross_entropy(scores, y), np.count_nonzero(scores.data.argmax(axis=1) != y)


def evaluate(model: Module, images: np.ndarray, labels: np.ndarray, batch_size: int = 500) -> dict[str, float]:
    """Loss and error in percent over a whole set, in evaluation mode and without a graph, on the model's device."""
    model.eval()
    loss_sum, wrong = 0.0, 0
    with no_grad():
        for start in range(0, len(images), batch_size):
            x, y = (move(a[start:start + batch_size], model.device) for a in (images, labels))
            loss, errors = classification(model, x, y)
            loss_sum += loss.item() * len(x)
            wrong += int(errors)
    model.train()
    return {"test_loss": loss_sum / len(images), "test_error": 100.0 * wrong / len(images)}


def say(line: str) -> None:
    print(line, flush=True)


def train(model: Module, optimiser: Optimiser, batches: Callable[[int, int], Iterable[tuple[np.ndarray, ...]]],
          evaluation: Callable[[Module], Mapping[str, float]], *, run: RunDirectory, steps_per_epoch: int, steps: int,
          schedule: Schedule | None = None, loss: Callable[..., tuple[Tensor, Any]] = classification,
          identity_penalty: float = 0.0, max_norm: float | None = None,
          report: Callable[[str], None] = say) -> dict[str, Any]:
    """Train `model` for `steps` steps, from the checkpoint in `run` if there is one; return what result.json will hold.

    `batches(epoch, start)` yields the batches of an epoch from its step `start` on; `loss(model, *batch)` gives a loss
    and a number of wrong answers (None: they are not counted); `evaluation(model)` the numbers to note after each
    epoch, under names that begin with test_; `report(line)` tells of them. `identity_penalty` times
    |theta - identity|^2, in the mean over a batch and summed over the transformers, joins the loss; the norm of all
    gradients together is at most `max_norm`, where one is given. A run that ends within an epoch has a row for what
    there is of it, and goes on within it where more steps are asked for. Raises NotFinite where the run diverges (the
    last checkpoint stays as it was), and Interrupted on Ctrl-C or SIGTERM, after saving; a second one does not wait.
    """
    keep = _Keeper(run, model, optimiser, schedule)
    at = keep.restore()
    model.train()
    began = time.perf_counter() - at.seconds
    # What overflows is named by NotFinite, not by warnings of NumPy.
    with (deferred_interrupt() as interrupted, watch_theta(model) as thetas,
          np.errstate(over="ignore", invalid="ignore")):
        while at.steps < steps:
            del at.history[at.epoch:]  # of the epoch under way, where a shorter run ended
            last = min(steps_per_epoch, steps - at.steps + at.step)  # the step that ends this epoch
            with ExitStack() as compiling, _bar(at, last) as advance:
                compiling.enter_context(announced_compilation())
                for batch in batches(at.epoch, at.step):
                    learning_rate = optimiser.groups[0]["learning_rate"]  # the others follow
                    counted = _step(model, optimiser, schedule, loss, batch, at, thetas, identity_penalty, max_norm)
                    at.seconds = time.perf_counter() - began
                    compiling.close()  # the first step has compiled whatever the others need
                    advance(at)
                    if interrupted and at.step < last:
                        keep.save(at)
                        raise Interrupted(f"interrupted after step {at.steps} of {steps}", interrupted[0])
                    if at.step == last:
                        break
            with announced_compilation():
                outcome = _evaluated(model, evaluation, at, thetas)
            at.seconds = time.perf_counter() - began
            at.history.append({"epoch": at.epoch + 1, "steps": at.steps, "learning_rate": learning_rate,
                               "train_loss": at.loss_sum / at.seen,
                               **({"train_error": 100 * at.wrong / at.seen} if counted else {}),
                               **outcome, "seconds": round(at.seconds, 1)})
            if at.step == steps_per_epoch:
                at.epoch, at.step, at.loss_sum, at.wrong, at.seen = at.epoch + 1, 0, 0.0, 0, 0
            keep.save(at)
            report(_line(at, steps, steps_per_epoch))
            if interrupted:
                raise Interrupted(f"interrupted after step {at.steps} of {steps}", interrupted[0])
    return {"epochs": len(at.history), "steps": at.steps, "parameters": model.count_parameters(), **outcome_of(at),
            "seconds": round(at.seconds, 1), "device": model.device, "version": version}


def _step(model: Module, optimiser: Optimiser, schedule: Schedule | None,
          loss: Callable[..., tuple[Tensor, Any]], batch: tuple[Any, ...], at: Progress, thetas: Thetas,
          identity_penalty: float = 0.0, max_norm: float | None = None) -> bool:
    """Forward, backward, update; refuse to go on where a loss, theta or gradient is not finite.

    Returns whether the loss counts wrong answers.
    """
    try:
        optimiser.zero_grad()  # first: the memory of the last gradients serves the new ones
        value, wrong = loss(model, *batch)
        if identity_penalty:
            value = value + identity_penalty * thetas.from_identity()
        value.backward()
        thetas.warn(at.steps)
        thetas.check()  # a GPU has been given all of the step by now, and is waited for here
        lost = value.item()
        if not np.isfinite(lost):
            layer = name_first_layer(model, lambda: loss(model, *batch))
            raise NotFinite(f"the loss is no longer finite ({lost}), first seen in {layer}")
        check_gradients(model)
    except NotFinite as error:
        raise NotFinite(f"training stopped at step {at.steps + 1} (epoch {at.epoch + 1}): {error}; "
                        "a smaller learning rate may help") from None
    errors = 0 if wrong is None else int(wrong)
    if max_norm is not None:
        clip_gradients(model.parameters(), max_norm)
    optimiser.step()  # nothing waits for it: a GPU is given the next step while it computes this
    if schedule is not None:
        schedule.step()
    at.step, at.steps = at.step + 1, at.steps + 1
    at.loss_sum += lost * len(batch[0])
    at.wrong += errors
    at.seen += len(batch[0])
    return wrong is not None


def _evaluated(model: Module, evaluation: Callable[[Module], Mapping[str, float]], at: Progress,
               thetas: Thetas) -> Mapping[str, float]:
    """The evaluation after an epoch; it is the first to see the parameters after the last update."""
    try:
        outcome = evaluation(model)
        thetas.check()
        if not all(np.isfinite(value) for value in outcome.values()):
            layer = name_first_layer(model, lambda: evaluation(model))
            raise NotFinite(f"the evaluation is no longer finite, first seen in {layer}")
    except NotFinite as error:
        raise NotFinite(f"training stopped after step {at.steps} (epoch {at.epoch + 1}): {error}; "
                        "a smaller learning rate may help") from None
    return outcome


class _Keeper:
    """What a checkpoint holds, and how it is put back."""

    def __init__(self, run: RunDirectory, model: Module, optimiser: Optimiser, schedule: Schedule | None):
        self.run, self.model, self.optimiser, self.schedule = run, model, optimiser, schedule
        self.generators = {f"{name}.generator": module.generator for name, module in model.named_modules()
                           if hasattr(module, "generator")}  # dropout's

    def save(self, at: Progress) -> None:
        progress = {name: value for name, value in vars(at).items() if name != "history"}
        self.run.save_state({
            "model": self.model.state(), "optimiser": self.optimiser.state(), "progress": progress,
            "schedule": {} if self.schedule is None else self.schedule.state(),
            "random": {name: json.dumps(g.bit_generator.state) for name, g in self.generators.items()}}, at.history)

    def restore(self) -> Progress:
        saved = self.run.load_state()
        if saved is None:
            return Progress()
        self.model.load_state(saved["model"])
        self.optimiser.load_state(saved["optimiser"])
        if self.schedule is not None:
            self.schedule.load_state(saved["schedule"])
        for name, generator in self.generators.items():
            generator.bit_generator.state = json.loads(saved["random"][name])
        history = json.loads(saved["history"])
        self.run.save_metrics(history)  # of a process that ended after the checkpoint and before this
        return Progress(**saved["progress"], history=history)


def outcome_of(at: Progress) -> dict[str, float]:
    """The loss and error of the last epoch, as far as the evaluation reports them."""
    last = at.history[-1] if at.history else {}
    return {name: value for name, value in last.items() if name.startswith("test_")}


def _line(at: Progress, steps: int, steps_per_epoch: int) -> str:
    row = at.history[-1]
    parts = [f"epoch {row['epoch']:>3}/{-(-steps // steps_per_epoch)}", f"loss {row['train_loss']:.4f}"]
    for name, value in row.items():
        if name == "train_error" or (name.startswith("test_") and name != "test_loss"):
            number = f"{value:5.2f} %" if name.endswith("_error") else f"{value:.4f}"
            parts.append(f"{name.replace('_', ' ')} {number}")
    left = at.seconds / at.steps * (steps - at.steps)
    return "  ".join([*parts, f"{at.seconds:.0f} s"] + ([f"{duration(left)} left"] if left else []))


def duration(seconds: float) -> str:
    """38 s, 12 min, 2 h 05 min"""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def _bar(at: Progress, last: int) -> Iterator[Callable[[Progress], None]]:
    """A bar over the steps of an epoch, with tqdm where that is installed and someone is looking."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if tqdm is None or not sys.stderr.isatty():
        yield lambda at: None
        return
    with tqdm(total=last, initial=at.step, desc=f"epoch {at.epoch + 1}", leave=False, unit="step") as bar:
        def advance(at: Progress) -> None:
            bar.set_postfix_str(f"loss {at.loss_sum / at.seen:.4f}", refresh=False)
            bar.update()
        yield advance


AGAIN = 0.2  # seconds: a signal that comes sooner is the first once more, as `timeout` and some shells send it twice


@contextmanager
def deferred_interrupt() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM wait for the end of a step, so that what is saved is whole: the list is empty until one comes.

    A second one does what it would do without this. A signal that is ignored, as under `nohup`, stays ignored.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield came
        return
    since = 0.0

    def on_signal(number: int, frame: Any) -> None:
        nonlocal since
        if not came:
            came.append(number)
            since = time.monotonic()
            # whatever becomes of the words, the state is saved: the terminal may be gone, or be in use by a bar
            with suppress(OSError, RuntimeError, ValueError):
                print("\ninterrupted: saving after this step (once more to stop at once)", file=sys.stderr, flush=True)
        elif time.monotonic() - since >= AGAIN:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, on_signal)
    try:
        yield came
    finally:
        for number in taken:
            signal.signal(number, before[number])
