"""The operations, by the names under which they are public; each lives in the file named after its topic."""

from nanostn.activations import dropout, log_softmax, relu, sigmoid, softmax, tanh
from nanostn.convolution import conv2d, conv3d
from nanostn.dense import dense
from nanostn.grid_generator import affine_grid
from nanostn.losses import cross_entropy, mse_loss, triplet_hinge
from nanostn.normalisation import batch_norm
from nanostn.pooling import avg_pool2d, avg_pool3d, max_pool2d, max_pool3d
from nanostn.sampler import grid_sample, spatial_transform
from nanostn.spline import spline_prefilter
from nanostn.tensor import broadcast_to, concatenate, exp, log, matmul, sqrt, stack

__all__ = [
    "affine_grid", "avg_pool2d", "avg_pool3d", "batch_norm", "broadcast_to", "concatenate", "conv2d", "conv3d",
    "cross_entropy", "dense", "dropout", "exp", "grid_sample", "log", "log_softmax", "matmul", "max_pool2d",
    "max_pool3d", "mse_loss", "relu", "sigmoid", "softmax", "spatial_transform", "spline_prefilter", "sqrt", "stack",
    "tanh", "triplet_hinge",
]
