"""The building blocks of networks, and initial weights for them, by the names under which they are public."""

from nanostn.initialisers import glorot_normal, glorot_uniform, he_normal, he_uniform
from nanostn.layers import (
    AvgPool2d,
    AvgPool3d,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Conv2d,
    Conv3d,
    Dense,
    Dropout,
    Dropout2d,
    Flatten,
    MaxPool2d,
    MaxPool3d,
    ReLU,
    Sequential,
)
from nanostn.module import Module, Parameter
from nanostn.spatial_transformer import SpatialTransformer

__all__ = [
    "AvgPool2d", "AvgPool3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Conv2d", "Conv3d", "Dense", "Dropout",
    "Dropout2d", "Flatten", "MaxPool2d", "MaxPool3d", "Module", "Parameter", "ReLU", "Sequential", "SpatialTransformer",
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform",
]
