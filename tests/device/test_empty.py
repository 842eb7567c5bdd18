"""Batches, channels and outputs of nothing on the device: results and gradients of nothing, of the right shapes."""

import numpy as np
import pytest

from nanostn import functional as F
from nanostn import transformations
from nanostn.kernels.gpu.arrays.device_array import to_device
from nanostn.tensor import Tensor

FAMILIES = [transformations.Affine(), transformations.Attention(), transformations.Projective(),
            transformations.ThinPlateSpline(4), transformations.Displacement((3, 2)), transformations.Affine3d(),
            transformations.Attention3d()]
CASES = {
    "conv2d": lambda N, C: (F.conv2d, [(N, C, 5, 4), (2, C, 3, 2), (2,)], (N, 2, 3, 3)),
    "conv3d": lambda N, C: (F.conv3d, [(N, C, 5, 4, 3), (2, C, 3, 2, 2), (2,)], (N, 2, 3, 3, 2)),
    "dense": lambda N, C: (F.dense, [(N, C), (3, C), (3,)], (N, 3)),
    "max_pool2d": lambda N, C: (lambda x: F.max_pool2d(x, 2), [(N, C, 4, 5)], (N, C, 2, 2)),
    "avg_pool3d": lambda N, C: (lambda x: F.avg_pool3d(x, 2), [(N, C, 4, 5, 2)], (N, C, 2, 2, 1)),
    "softmax": lambda N, C: (F.softmax, [(N, C)], (N, C)),
    "log_softmax": lambda N, C: (lambda x: F.log_softmax(x, axis=0), [(N, C)], (N, C)),
    "grid_sample": lambda N, C: (F.grid_sample, [(N, C, 4, 5), (N, 3, 2, 2)], (N, C, 3, 2)),
    "bicubic": lambda N, C: (lambda U, g: F.grid_sample(U, g, "bicubic", antialias=True),
                             [(N, C, 4, 5), (N, 3, 2, 2)], (N, C, 3, 2)),
    **{repr(family): lambda N, C, family=family: (
        lambda U, theta: F.spatial_transform(U, theta, family, (3, 2, 2)[:family.dims]),
        [(N, C, 4, 5, 3)[:2 + family.dims], (N, family.parameters)], (N, C, *(3, 2, 2)[:family.dims]))
       for family in FAMILIES},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("N, C", [(0, 3), (2, 0), (0, 0)])
def test_nothing(case, N, C):
    f, shapes, shape = CASES[case](N, C)
    inputs = [Tensor(to_device(np.ones(s, np.float32)), requires_grad=True) for s in shapes]
    y = f(*inputs)
    assert y.shape == shape and y.device == "cuda"
    if C == 0 and case in ("conv2d", "conv3d", "dense"):
        assert (y.numpy() == 1).all()  # the bias
    y.backward(to_device(np.ones(shape, np.float32)))
    for x in inputs:
        assert x.grad.shape == x.shape
        if N == 0:
            assert not x.grad.numpy().any()  # a sum of nothing
        elif x is inputs[-1] and case in ("conv2d", "conv3d", "dense"):  # the bias has its sum without channels, too
            assert (x.grad.numpy() == y.size // y.shape[1]).all()
