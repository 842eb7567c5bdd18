"""The building blocks of networks, by the names under which they are public."""

from nanostn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxPool2d,
    ReLU,
    Sequential,
)
from nanostn.module import Module, Parameter
from nanostn.spatial_transformer import SpatialTransformer

__all__ = [
    "AvgPool2d", "BatchNorm2d", "Conv2d", "Dense", "Dropout", "Flatten", "MaxPool2d", "Module", "Parameter", "ReLU",
    "Sequential", "SpatialTransformer",
]
