"""The layers: modules that hold the parameters of the operations in `nanostn.functional`.

Weights are drawn from a NumPy Generator that is handed in; without one a layer starts from fresh entropy. Weights of
Dense are (out, in), of a convolution (filters, channels, [depth,] height, width), as in PyTorch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nanostn import functional as F
from nanostn.checks import LARGE, LARGEST, argument_error, checked_dtype, checked_flag, checked_number, describe
from nanostn.convolution import PerAxis, checked_method, per_axis
from nanostn.initialisers import he_uniform
from nanostn.module import Module, Parameter
from nanostn.tensor import Tensor

Initialiser = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


def _weight(name: str, shape: tuple[int, ...], initialise: Initialiser, generator: np.random.Generator | None,
            dtype: Any) -> Parameter:
    for n in shape:
        _size(name, n)
    if not callable(initialise):
        raise argument_error(name, "initialise", "a function of a shape and a generator", describe(initialise))
    generator, dtype = _generator(name, generator), checked_dtype(name, dtype)
    try:
        drawn: Any = initialise(shape, generator)
    except TypeError as error:
        raise argument_error(name, "initialise", "a function of a shape and a generator", describe(initialise),
                             str(error)) from error
    if not isinstance(drawn, np.ndarray) or drawn.shape != shape:
        raise argument_error(name, "initialise", f"a function that gives an array {shape}", describe(drawn))
    return Parameter(drawn.astype(dtype))


def _size(name: str, n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n < LARGE:
        raise argument_error(name, "every size", "a positive integer", describe(n))
    return int(n)


def _generator(name: str, generator: Any) -> np.random.Generator:
    """The generator that is given, or a fresh one."""
    if generator is None:
        return np.random.default_rng()
    if not isinstance(generator, np.random.Generator):
        raise argument_error(name, "generator", "a NumPy Generator or None", describe(generator),
                             "np.random.default_rng(seed) makes one")
    return generator


class Sequential(Module):
    """Modules one after the other.   torch: nn.Sequential"""

    def __init__(self, *modules: Module):
        for module in modules:
            if not isinstance(module, Module):
                hint = "Sequential(*layers) takes the layers of a list" if isinstance(module, list) else ""
                raise argument_error("Sequential", "every argument", "a module", describe(module), hint)
        self.modules = list(modules)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules by their numbers, then whatever else a subclass holds."""
        yield from ((str(i), module) for i, module in enumerate(self.modules))
        yield from ((name, child) for name, child in super().named_children() if not name.startswith("modules."))

    def __getitem__(self, i: int) -> Module:
        return self.modules[i]

    def __len__(self) -> int:
        return len(self.modules)

    def forward(self, x: Any) -> Any:
        for module in _pools_first(self.modules):
            x = module(x)
        return x


def _pools_first(modules: list[Module]) -> list[Module]:
    """A ReLU stands behind the max-pools that follow it: the same values and gradients, of fewer entries."""
    order = list(modules)
    for i, after in enumerate(modules[1:]):
        if type(order[i]) is ReLU and type(after) in (MaxPool2d, MaxPool3d):
            order[i], order[i + 1] = after, order[i]
    return order


class Dense(Module):
    """y = x W^T + b; x (N, inputs) -> y (N, outputs).   torch: nn.Linear(inputs, outputs)"""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, generator: np.random.Generator | None = None,
                 initialise: Initialiser = he_uniform, dtype: Any = np.float32):
        self.weight = _weight("Dense", (outputs, inputs), initialise, generator, dtype)
        self.bias = Parameter(np.zeros(outputs, dtype)) if checked_flag("Dense", "bias", bias) else None

    def forward(self, x: Tensor) -> Tensor:
        return F.dense(x, self.weight, self.bias)

    def __repr__(self) -> str:
        outputs, inputs = self.weight.shape
        return f"Dense({inputs}, {outputs})"


class _Conv(Module):
    axes: int
    convolve: Callable[..., Tensor]

    def __init__(self, channels: int, filters: int, kernel_size: PerAxis, stride: PerAxis = 1, padding: PerAxis = 0,
                 bias: bool = True, generator: np.random.Generator | None = None,
                 initialise: Initialiser = he_uniform, dtype: Any = np.float32, method: str = "auto"):
        name = type(self).__name__
        window = per_axis(name, "kernel_size", kernel_size, 1, self.axes)
        self.weight = _weight(name, (filters, channels, *window), initialise, generator, dtype)
        self.bias = Parameter(np.zeros(filters, dtype)) if checked_flag(name, "bias", bias) else None
        per_axis(name, "stride", stride, 1, self.axes), per_axis(name, "padding", padding, 0, self.axes)
        self.stride, self.padding, self.method = stride, padding, checked_method(name, method)

    def forward(self, x: Tensor) -> Tensor:
        return type(self).convolve(x, self.weight, self.bias, self.stride, self.padding, self.method)

    def __repr__(self) -> str:
        filters, channels, *window = self.weight.shape
        return (f"{type(self).__name__}({channels}, {filters}, {tuple(window)}, stride={self.stride}, "
                f"padding={self.padding})")


class Conv2d(_Conv):
    """Cross-correlation: (N, C, H, W) -> (N, filters, H', W') with H' = (H + 2 padding - kernel) // stride + 1.

    `method` is as for `F.conv2d`.

    torch: nn.Conv2d(channels, filters, kernel_size, stride, padding)
    """

    axes, convolve = 2, staticmethod(F.conv2d)


class Conv3d(_Conv):
    """Cross-correlation of volumes: (N, C, D, H, W) -> (N, filters, D', H', W'), sizes and `method` as for Conv2d.

    torch: nn.Conv3d(channels, filters, kernel_size, stride, padding)
    """

    axes, convolve = 3, staticmethod(F.conv3d)


class _Pool(Module):
    axes: int
    pool: Callable[..., Tensor]

    def __init__(self, kernel_size: PerAxis, stride: PerAxis | None = None, padding: PerAxis = 0):
        name = type(self).__name__
        window = per_axis(name, "kernel_size", kernel_size, 1, self.axes)
        if stride is not None:
            per_axis(name, "stride", stride, 1, self.axes)
        if any(2 * p > k for p, k in zip(per_axis(name, "padding", padding, 0, self.axes), window, strict=True)):
            raise argument_error(name, "padding", f"at most half of kernel_size {kernel_size}", padding)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return type(self).pool(x, self.kernel_size, stride=self.stride, padding=self.padding)

    def __repr__(self) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        return f"{type(self).__name__}({self.kernel_size}, stride={stride}, padding={self.padding})"


class MaxPool2d(_Pool):
    """The largest entry of each window; the first of equal ones takes the gradient.

    (N, C, H, W) -> (N, C, H', W') with H' = (H + 2 padding - kernel) // stride + 1; the stride is the kernel's size
    unless it is given.   torch: nn.MaxPool2d(kernel_size, stride, padding)
    """

    axes, pool = 2, staticmethod(F.max_pool2d)


class MaxPool3d(_Pool):
    """The largest entry of each window of a volume; the first of equal ones takes the gradient.

    (N, C, D, H, W) -> (N, C, D', H', W'), sizes as for MaxPool2d.   torch: nn.MaxPool3d(kernel_size, stride, padding)
    """

    axes, pool = 3, staticmethod(F.max_pool3d)


class AvgPool2d(_Pool):
    """The mean of each window, padding counted as zeros; sizes as for MaxPool2d.

    torch: nn.AvgPool2d(kernel_size, stride, padding)
    """

    axes, pool = 2, staticmethod(F.avg_pool2d)


class AvgPool3d(_Pool):
    """The mean of each window of a volume, padding counted as zeros; sizes as for MaxPool2d.

    torch: nn.AvgPool3d(kernel_size, stride, padding)
    """

    axes, pool = 3, staticmethod(F.avg_pool3d)


class BatchNorm2d(Module):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, per channel of (N, C, H, W).

    In training with the batch's statistics, which also move the running ones; in evaluation with the running ones.
    torch: nn.BatchNorm2d(channels, eps, momentum)
    """

    buffers = ("running_mean", "running_var")

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1, dtype: Any = np.float32):
        name = type(self).__name__
        channels, dtype = _size(name, channels), checked_dtype(name, dtype)
        checked_number(name, "eps", eps, 0, LARGEST), checked_number(name, "momentum", momentum, 0, 1)
        self.gamma, self.beta = Parameter(np.ones(channels, dtype)), Parameter(np.zeros(channels, dtype))
        self.running_mean, self.running_var = np.zeros(channels, dtype), np.ones(channels, dtype)
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.gamma, self.beta, self.running_mean, self.running_var, training=self.training,
                            momentum=self.momentum, eps=self.eps)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.gamma.size}, eps={self.eps}, momentum={self.momentum})"


class BatchNorm1d(BatchNorm2d):
    """As BatchNorm2d, of (N, C) or (N, C, L).   torch: nn.BatchNorm1d(channels, eps, momentum)"""


class BatchNorm3d(BatchNorm2d):
    """As BatchNorm2d, of volumes (N, C, D, H, W).   torch: nn.BatchNorm3d(channels, eps, momentum)"""


class Dropout(Module):
    """In training, zero each entry with probability `rate` and divide the others by 1 - rate.   torch: nn.Dropout"""

    def __init__(self, rate: float = 0.5, generator: np.random.Generator | None = None):
        self.rate = checked_number("Dropout", "rate", rate, 0, 1, below=True)
        self.generator = _generator("Dropout", generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, rate=self.rate, generator=self.generator, training=self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rate})"


class Dropout2d(Dropout):
    """Dropout of whole channels: (N, C, H, W) -> the same, each of the N C channels zeroed or divided by 1 - rate.

    Neighbours in a feature map are so alike that what is dropped of one is known from the other.
    Tompson et al. 2015, section 3.2.   torch: nn.Dropout2d
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.ndim != 4:
            raise argument_error("Dropout2d", "x", "(N, C, H, W)", describe(x))
        return x * super().forward(Tensor(np.ones((*x.shape[:2], 1, 1), x.dtype, like=x.data)))


class ReLU(Module):
    """max(x, 0); the derivative at 0 is 0.   torch: nn.ReLU"""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Flatten(Module):
    """(N, ...) -> (N, product of the rest).   torch: nn.Flatten"""

    def forward(self, x: Tensor) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        if not x.ndim:
            raise argument_error("Flatten", "x", "(N, ...)", describe(x))
        return x.reshape(x.shape[0], int(np.prod(x.shape[1:])))
