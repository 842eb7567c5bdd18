"""Initial weights. `fan_in` and `fan_out` count the connections of one output and of one input.

Each takes the shape (out, in) of a dense layer or (filters, channels, *window) of a convolution, and a NumPy Generator,
as a layer hands them to its `initialise`. Raises ValueError for anything else.
"""

from typing import Any

import numpy as np

from nanostn.checks import are_whole, argument_error, describe


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape."""
    window = int(np.prod(shape[2:]))
    return shape[1] * window, shape[0] * window


def _checked_fans(name: str, shape: Any, generator: Any) -> tuple[int, int]:
    if not isinstance(shape, tuple | list) or len(shape) < 2 or not are_whole(shape) or min(shape) < 1:
        raise argument_error(name, "shape", "(out, in) or (filters, channels, *window)", describe(shape))
    if not isinstance(generator, np.random.Generator):
        raise argument_error(name, "generator", "a NumPy Generator", describe(generator),
                             "np.random.default_rng(seed) makes one")
    return fans(tuple(shape))


def he_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform in +-sqrt(6 / fan_in): variance 2 / fan_in, for ReLU (He et al. 2015, eq. 10).

    torch: nn.init.kaiming_uniform_(w, nonlinearity="relu")
    """
    bound = np.sqrt(6 / _checked_fans("he_uniform", shape, generator)[0])
    return generator.uniform(-bound, bound, shape)


def he_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Normal with variance 2 / fan_in, for ReLU (He et al. 2015, eq. 10).

    torch: nn.init.kaiming_normal_(w, nonlinearity="relu")
    """
    deviation = np.sqrt(2 / _checked_fans("he_normal", shape, generator)[0])
    return generator.normal(0, deviation, shape)


def glorot_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16).   torch: nn.init.xavier_uniform_"""
    bound = np.sqrt(6 / sum(_checked_fans("glorot_uniform", shape, generator)))
    return generator.uniform(-bound, bound, shape)


def glorot_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 12).   torch: nn.init.xavier_normal_"""
    deviation = np.sqrt(2 / sum(_checked_fans("glorot_normal", shape, generator)))
    return generator.normal(0, deviation, shape)
