"""The encoding function e() of co-localisation (paper, A.2): the CNN of table 1, trained to tell digits apart, frozen.

It is a run of distorted-mnist, trained once, when it is first wanted, for all runs of the same data. The paper does not
tell on which column of table 1: with that of E, the elastic one, the loss is least where a crop has the digit's size.
After fewer epochs than eight it is least in boxes that are too small, after twenty in ones that are too large.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanostn import datasets
from nanostn.checks import argument_error
from nanostn.compilation import announced_compilation
from nanostn.console import positive
from nanostn.experiments import options
from nanostn.experiments.distorted_mnist import EXPERIMENT as DISTORTED_MNIST
from nanostn.experiments.experiment import train_run
from nanostn.functional import concatenate
from nanostn.models import build
from nanostn.nn import AvgPool2d, Dense, MaxPool2d, Module, Parameter, SpatialTransformer
from nanostn.runs import RunDirectory
from nanostn.tensor import Tensor
from nanostn.training import say

SIDE, CROP = 28, 84              # of the image that the CNN sees, and of the crop that it is the average pooling of
WEIGHTS = 0.0025, 0.025, 0.025   # of the features of the two hidden layers and of the class scores


@dataclass(frozen=True)
class EncoderSettings(options.Settings):
    encoder: str | None = options.option("what", f"a run of distorted-mnist, cnn on {SIDE} x {SIDE} pixels (default: "
                                         "one in runs/, trained when it is first wanted)", metavar="RUN_DIR")
    filters: int = options.option("what", "of each convolution of the encoder", 32, positive, "N")


class Encoder(Module):
    """(N, 1, 84, 84) -> (N, features): both hidden layers after pooling, and the class scores without softmax.

    Of a crop that is the whole image of 84 x 84 pixels, 28 x 28 samples would see a ninth, and their gradient by theta
    would tell where the nearest of the others lies, and not where the digit is. So crops are sampled three times finer,
    and pooled, which is the paper's own remedy (A.4).

    Each layer has a weight, of which the paper tells nothing. Without, squared distances are in the thousands: beside
    them the margin is nothing, and a box of twice the digit's size satisfies the loss as well as the digit's. And they
    are mostly the first layer's, in which one digit at two places has nothing in common: crops of nothing at all are
    then nearer to each other, and the transformer learns to look away from the digits.

    The CNN's parameters are buffers here: a checkpoint holds them, and no optimiser moves them.
    """

    def __init__(self, filters: int):
        self.pool = AvgPool2d(CROP // SIDE)
        self.cnn: Any = build("cnn", SIDE, filters=filters)
        for _, layer in self.cnn.named_modules():
            layer.buffers = tuple(name for name, value in vars(layer).items() if isinstance(value, Parameter))
            for name in layer.buffers:
                setattr(layer, name, getattr(layer, name).data)

    def forward(self, x: Tensor) -> Tensor:
        features: list[Tensor] = []
        x = self.pool(x)
        for layer in self.cnn.modules:
            x = layer(x)
            if isinstance(layer, MaxPool2d | Dense):
                features.append(x.reshape(len(x), -1) * WEIGHTS[len(features)])
        return concatenate(features, axis=1)


class Encoded(Module):
    """A transformer, and the encoder that its crops are compared by: images (N, 1, H, W) -> (N, features)."""

    def __init__(self, transformer: SpatialTransformer, encode: Encoder):
        self.transformer, self.encode = transformer, encode

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(self.transformer(x))


def run_of(settings: EncoderSettings, data_dir: str | None, device: str) -> RunDirectory:
    """The finished run whose CNN encodes: the one that --encoder names, or the one of these settings in runs/, which is
    trained first where it is not; another process that is doing so is waited for."""
    if settings.encoder is not None:
        return checked(RunDirectory.open(settings.encoder), settings)
    given = {"model": "cnn", "distortion": "E", "epochs": 8, "data": settings.data, "filters": settings.filters,
             "limit": settings.limit, "test_limit": settings.test_limit}
    own = options.settings(DISTORTED_MNIST, options.argument_parser(DISTORTED_MNIST, None).parse_args(
        options.as_options(DISTORTED_MNIST, given)))
    path = Path("runs", "-".join(["encoder", *map(str, given.values())]))
    try:
        run = RunDirectory.create(path, asdict(own))
    except ValueError:
        if not (path / "config.json").exists():
            raise
        run = RunDirectory.open(path)
        run.check_same(asdict(own))
    with run.locked(wait=True):
        if run.result() is None:
            with announced_compilation():
                data = DISTORTED_MNIST.load_data(own, data_dir)
            train_run(DISTORTED_MNIST, own, DISTORTED_MNIST.build_model(own).to(device), run, data,
                      "the same command", lambda line: say(f"encoder: {line}"))
    return checked(run, settings)


def checked(run: RunDirectory, settings: EncoderSettings) -> RunDirectory:
    """An error unless it is a finished run of the CNN, on images of 28 x 28 pixels, of these data and filters."""
    result = run.result() or {}
    told = {name: run.config.get(name) for name in ("experiment", "model", "distortion", "data", "filters")}
    wanted = {"experiment": DISTORTED_MNIST.name, "model": "cnn", "data": settings.data, "filters": settings.filters}
    size = datasets.size_of(str(told["distortion"]))
    if size != SIDE or "test_error" not in result or any(told[name] != value for name, value in wanted.items()):
        state = "finished" if "test_error" in result else "not finished"
        raise argument_error("train", "--encoder", f"a finished run of {DISTORTED_MNIST.name} with the model cnn, "
                             f"{SIDE} x {SIDE} pixels (R, P, P5, E) of {settings.data}, --filters {settings.filters}",
                             f"{str(run.path)!r}, {', '.join(f'{k} {v}' for k, v in told.items())}, {state}")
    return run
