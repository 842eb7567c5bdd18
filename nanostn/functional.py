"""The operations, by the names under which they are public; each lives in the file named after its topic."""

from nanostn.activations import dropout, log_softmax, relu, sigmoid, softmax, tanh
from nanostn.arranging import concatenate, flip, pad, stack
from nanostn.convolution import conv2d, conv3d
from nanostn.dense import dense
from nanostn.elementwise import abs, clip, cos, exp, log, maximum, minimum, sin, sqrt, where
from nanostn.grid_generator import affine_grid
from nanostn.losses import cross_entropy, mse_loss, triplet_hinge
from nanostn.normalisation import batch_norm
from nanostn.pooling import avg_pool2d, avg_pool3d, max_pool2d, max_pool3d
from nanostn.reductions import argmax, max, min, norm, std, var
from nanostn.sampler import grid_sample, spatial_transform
from nanostn.spline import spline_prefilter
from nanostn.tensor import broadcast_to, matmul

__all__ = [
    "abs", "affine_grid", "argmax", "avg_pool2d", "avg_pool3d", "batch_norm", "broadcast_to", "clip", "concatenate",
    "conv2d", "conv3d", "cos", "cross_entropy", "dense", "dropout", "exp", "flip", "grid_sample", "log",
    "log_softmax", "matmul", "max", "max_pool2d", "max_pool3d", "maximum", "min", "minimum", "mse_loss", "norm",
    "pad", "relu", "sigmoid", "sin", "softmax", "spatial_transform", "spline_prefilter", "sqrt", "stack", "std",
    "tanh", "triplet_hinge", "var", "where",
]
