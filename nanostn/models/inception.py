"""Inception with batch normalisation (Ioffe and Szegedy 2015, figure 5), the network of the paper's birds (A.6).

    Inception()(x)        (N, 3, 224, 224) -> descriptors (N, 1024); trained weights come from a file: `weights.load`

A block has side by side, over the same input: a convolution 1x1; 1x1 and 3x3; 1x1 and twice 3x3; pooling 3x3 and 1x1.
Their channels are joined. Every convolution is followed by batch normalisation and ReLU. A block that halves the side
has no 1x1, and its pooling hands all channels on.

    224    conv 7x7 / 2    112    pool / 2    56    conv 1x1, 3x3    pool / 2    28    3a 3b 3c / 2    14
                                                                                  4a 4b 4c 4d 4e / 2     7    5a 5b

10,260,224 parameters at width 1. The table's column of depths says 576 for 4c and 4d; its rows, and the weights that
Caffe's users trained and handed round, give 608, and behind 4e 1056 for 1024. Here the rows count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nanostn.checks import argument_error, checked_flag, checked_number, describe
from nanostn.functional import concatenate, max_pool2d
from nanostn.nn import AvgPool2d, BatchNorm2d, Conv2d, MaxPool2d, Module, ReLU
from nanostn.tensor import Tensor

SMALLEST = 64  # side of an image: 2 is left of it


class Row(NamedTuple):
    """A block's line of the table: filters of each convolution, 0 where it is not there, and what its pooling is."""

    one: int
    three_reduce: int
    three: int
    double_reduce: int
    double: int
    pool: str
    projection: int


STEM = 64, 64, 192  # filters of conv 7x7, 1x1 and 3x3
TABLE = {
    "3a": Row(64, 64, 64, 64, 96, "average", 32),
    "3b": Row(64, 64, 96, 64, 96, "average", 64),
    "3c": Row(0, 128, 160, 64, 96, "halve", 0),
    "4a": Row(224, 64, 96, 96, 128, "average", 128),
    "4b": Row(192, 96, 128, 96, 128, "average", 128),
    "4c": Row(160, 128, 160, 128, 160, "average", 128),
    "4d": Row(96, 128, 192, 160, 192, "average", 128),
    "4e": Row(0, 128, 192, 192, 256, "halve", 0),
    "5a": Row(352, 192, 320, 160, 224, "average", 128),
    "5b": Row(352, 192, 320, 192, 224, "largest", 128),
}


class Halve(Module):
    """The largest of windows of 3 x 3 at every second pixel: (N, C, H, W) -> (N, C, H', W'), H' = H / 2 rounded up.

    Of an even side windows begin at the first pixel, as Caffe has it, and the last reaches beyond the image; of an odd
    one they lie around pixels 0, 2, 4 ..., as those of a convolution with a padding of 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        return max_pool2d(x, 3, stride=2, padding=(x.shape[2] % 2, x.shape[3] % 2), ceil_mode=True)


POOLS = {"average": lambda: AvgPool2d(3, stride=1, padding=1), "largest": lambda: MaxPool2d(3, stride=1, padding=1),
         "halve": Halve}


class Convolution(Module):
    """conv, batch norm, ReLU; a stride of 1 keeps the side, 2 halves it, rounded up."""

    def __init__(self, channels: int, filters: int, window: int, stride: int = 1, **options: Any):
        self.convolution = Conv2d(channels, filters, window, stride, padding=window // 2, **options)
        self.normalisation = BatchNorm2d(filters, dtype=options["dtype"])
        self.relu = ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.normalisation(self.convolution(x)))


class Block(Module):
    """A block of the table: (N, channels, H, W) -> (N, filters, H, W), or half of H and W."""

    def __init__(self, channels: int, row: Row, **options: Any):
        stride = 2 if row.pool == "halve" else 1
        self.one = Convolution(channels, row.one, 1, **options) if row.one else None
        self.three_reduce = Convolution(channels, row.three_reduce, 1, **options)
        self.three = Convolution(row.three_reduce, row.three, 3, stride, **options)
        self.double_reduce = Convolution(channels, row.double_reduce, 1, **options)
        self.double_1 = Convolution(row.double_reduce, row.double, 3, **options)
        self.double_2 = Convolution(row.double, row.double, 3, stride, **options)
        self.pool = POOLS[row.pool]()
        self.projection = Convolution(channels, row.projection, 1, **options) if row.projection else None
        self.filters = row.one + row.three + row.double + (row.projection or channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x)
        return concatenate([*([self.one(x)] if self.one else []), self.three(self.three_reduce(x)),
                            self.double_2(self.double_1(self.double_reduce(x))),
                            self.projection(pooled) if self.projection else pooled], axis=1)


class Inception(Module):
    """The network up to its descriptor: images (N, 3, S, S), S of 64 or more -> (N, filters), 1024 of them at width 1.

    Every number of filters is multiplied by `width` and rounded to a multiple of 8, 8 at least. Without `pooled` it
    ends before the last pooling, at feature maps (N, filters, S / 32, S / 32). With `bias` convolutions have one, for
    weights that come with it; in training batch normalisation takes it out again.
    Raises ValueError for images of another shape.
    """

    def __init__(self, width: float = 1.0, pooled: bool = True, bias: bool = False,
                 generator: np.random.Generator | None = None, dtype: Any = np.float32):
        checked_number("Inception", "width", width, 1 / 64, 64)
        self.pooled = checked_flag("Inception", "pooled", pooled)
        options: dict[str, Any] = {"bias": bias, "dtype": dtype,
                                   "generator": np.random.default_rng() if generator is None else generator}
        first, reduced, channels = (_scaled(filters, width) for filters in STEM)
        self.conv1 = Convolution(3, first, 7, 2, **options)
        self.conv2_reduce = Convolution(first, reduced, 1, **options)
        self.conv2 = Convolution(reduced, channels, 3, **options)
        self.halve = Halve()
        self.blocks: dict[str, Block] = {}
        for name, row in TABLE.items():
            scaled: dict[str, Any] = {part: _scaled(n, width) for part, n in row._asdict().items() if part != "pool"}
            self.blocks[name] = Block(channels, row._replace(**scaled), **options)
            channels = self.blocks[name].filters
        self.filters = channels

    def forward(self, x: Tensor) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.ndim != 4 or x.shape[1] != 3 or not SMALLEST <= min(x.shape[2:]):
            raise argument_error("Inception", "x", f"(N, 3, H, W) with H and W of {SMALLEST} or more", describe(x))
        x = self.halve(self.conv1(x))
        x = self.halve(self.conv2(self.conv2_reduce(x)))
        for block in self.blocks.values():
            x = block(x)
        return x.mean(axis=(2, 3)) if self.pooled else x


_CAFFE = {"conv1": "conv1_7x7_s2", "conv2_reduce": "conv2_3x3_reduce", "conv2": "conv2_3x3",
          "one": "1x1", "three_reduce": "3x3_reduce", "three": "3x3", "double_reduce": "double_3x3_reduce",
          "double_1": "double_3x3_1", "double_2": "double_3x3_2", "projection": "pool_proj",
          "convolution": "", "normalisation": "_bn", "gamma": "weight", "beta": "bias"}


def caffe_name(name: str) -> str:
    """What Caffe's BN-Inception, and PyTorch's after it, calls a parameter or buffer of an `Inception(bias=True)`.

        weights.load(Inception(bias=True), path, names=caffe_name, leave_out=["last_linear"])

    Its images are in the order blue, green, red, from 0 to 255, less the means 104, 117, 128. The experiments have red,
    green, blue, from 0 to 1: for these such weights would have to be converted first.
    """
    *block, layer, part, array = name.split(".")
    of_block = [f"inception_{block[1]}_"] if block else []
    return "".join([*of_block, _CAFFE[layer], _CAFFE[part], ".", _CAFFE.get(array, array)])


def _scaled(filters: int, width: float) -> int:
    """A multiple of 8 near filters x width, 0 for 0."""
    return max(8, 8 * round(filters * width / 8)) if filters else 0
