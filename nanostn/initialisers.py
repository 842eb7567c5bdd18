"""Initial weights. `fan_in` and `fan_out` count the connections of one output and of one input.

Each takes the shape (out, in) of a dense layer or (filters, channels, *window) of a convolution, and a NumPy Generator.
"""

import numpy as np


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape."""
    window = int(np.prod(shape[2:]))
    return shape[1] * window, shape[0] * window


def he_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform in +-sqrt(6 / fan_in): variance 2 / fan_in, for ReLU (He et al. 2015, eq. 10).

    torch: nn.init.kaiming_uniform_(w, nonlinearity="relu")
    """
    bound = np.sqrt(6 / fans(shape)[0])
    return generator.uniform(-bound, bound, shape)


def he_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Normal with variance 2 / fan_in, for ReLU (He et al. 2015, eq. 10).

    torch: nn.init.kaiming_normal_(w, nonlinearity="relu")
    """
    return generator.normal(0, np.sqrt(2 / fans(shape)[0]), shape)


def glorot_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16).   torch: nn.init.xavier_uniform_"""
    bound = np.sqrt(6 / sum(fans(shape)))
    return generator.uniform(-bound, bound, shape)


def glorot_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 12).   torch: nn.init.xavier_normal_"""
    return generator.normal(0, np.sqrt(2 / sum(fans(shape))), shape)
