"""The table of the operations: every name of `nanostn.functional`, with its references and its options."""

import numpy as np
from scipy.special import log_softmax, softmax

from nanostn import functional as F
from nanostn import transformations as tr

from .arguments import Operation


def unary(call, torch, numpy, low=-2.0):
    return Operation(call, lambda d: ([d.array(*d.sizes(0, 3), low=low)], {}), torch, numpy, any_axes=True)


def axis_of(call, torch, numpy):
    def draw(d):
        shape = d.sizes(1, 3)
        return [d.array(*shape)], {"axis": d.axis(len(shape), tuples=False, none=False)}

    return Operation(call, draw, torch, numpy, {"axis": "axis"}, any_axes=True)


def _per_axis(d, axes, least, most):
    """One number, a tuple, a list, or NumPy's numbers."""
    numbers = [int(d.rng.integers(least, most + 1)) for _ in range(axes)]
    form = d.pick("number", "tuple", "list", "NumPy's")
    if form == "number":
        return numbers[0], (numbers[0],) * axes
    return {"tuple": tuple(numbers), "list": numbers, "NumPy's": tuple(np.array(numbers, np.int32))}[form], numbers


def convolution(axes, call, torch):
    def draw(d):
        window = [int(d.rng.integers(1, 4)) for _ in range(axes)]
        stride, _ = _per_axis(d, axes, 1, 2)
        padding, each = _per_axis(d, axes, 0, 1)
        image = [max(k - 2 * p, 1) + int(d.rng.integers(4)) for k, p in zip(window, each, strict=True)]
        C, filters = d.size(), d.size()
        arrays = [d.array(d.size(), C, *image), d.array(filters, C, *window)]
        return arrays + [d.array(filters)] * d.pick(True, False), {"stride": stride, "padding": padding}

    return Operation(call, draw, torch, options={"stride": "stride", "padding": "padding"}, optional=2,
                     also={"a window above the image": lambda: call(np.ones((1, 1) + (2,) * axes),
                                                                     np.ones((1, 1) + (3,) * axes))})


def pooling(axes, call, torch, kinks):
    def draw(d):
        window, each = _per_axis(d, axes, 1, 3)
        stride = d.pick(None, 1, 2, (2, 1, 3)[:axes])
        padding = min(min(each) // 2, d.pick(0, 1))
        image = [k + int(d.rng.integers(4)) for k in each]  # PyTorch wants that in volumes
        return [d.array(d.size(), d.size(), *image)], {"kernel_size": window, "stride": stride, "padding": padding}

    return Operation(call, draw, torch, kinks=kinks,
                     options={"kernel_size": "window", "stride": "stride", "padding": "padding"})


def _sampling_options(d):
    return {"mode": d.pick("bilinear", "nearest", "bicubic"), "align_corners": d.pick(True, False, np.bool_(True)),
            "padding_mode": d.pick("zeros", "border", "reflection")}


SAMPLING = {"mode": "choice", "padding_mode": "padding_mode", "align_corners": "flag", "antialias": "flag",
            "flatten_depth": "flag"}


def _grid_sample(d):
    dims = d.pick(2, 3)
    options, N = _sampling_options(d), d.size()
    if dims == 3 and options["mode"] == "bicubic":
        options["mode"] = "bilinear"
    image, points = [3, 5, 4][:dims], [d.size() for _ in range(dims)]
    return [d.array(N, d.size(), *image), d.array(N, *points, dims, low=-1.3, high=1.3)], options


def _torch_sample(T, U, grid, mode, padding_mode, align_corners):
    return T.nn.functional.grid_sample(U, grid, mode, padding_mode, bool(align_corners))


def _spatial_transform(d):
    dims = d.pick(2, 3)
    family = {2: tr.Affine(), 3: tr.Affine3d()}[dims]
    options, N = _sampling_options(d), d.size()
    if dims == 3 and options["mode"] == "bicubic":
        options["mode"] = "bilinear"
    theta = family.identity() + d.array(N, family.parameters, low=-0.3, high=0.3)
    size = tuple(d.pick(1, 2, 4, np.int64(3)) for _ in range(dims))
    return [d.array(N, d.size(), *[3, 5, 4][:dims]), theta], {"transformation": family, "size": size, **options}


def _torch_transform(T, U, theta, transformation, size, **options):
    grid = T.nn.functional.affine_grid(theta.reshape(-1, *transformation.natural),
                                       [len(theta), 1, *map(int, size)], bool(options["align_corners"]))
    return _torch_sample(T, U, grid, **options)


def _affine_grid(d):
    dims, N = d.pick(2, 3), d.size()
    size = (N, d.size(), *(int(d.rng.integers(2, 5)) for _ in range(dims)))  # PyTorch has no centre for one pixel
    return [d.array(N, dims, dims + 1)], {"size": size, "align_corners": d.pick(True, False)}


def _cross_entropy(d):
    N, classes = d.size(), max(d.size(), 1)
    labels = d.rng.integers(0, classes, N).astype(d.pick(np.int64, np.int32, np.uint8))
    return [d.array(N, classes)], {"labels": d.pick(labels, labels.tolist()) if N else labels}


def _numpy_cross_entropy(x, labels):
    return -log_softmax(x, axis=1)[np.arange(len(x)), labels].mean()


def _batch_norm(d):
    C, training = d.size(), d.pick(True, False)
    shape = d.pick((4, C), (4, C, 3), (3, C, 2, 3), (2, C, 3, 1, 2))
    per_channel = [d.array(C, low=0.5) for _ in range(3)]
    return [d.array(*shape), *per_channel[:2]], {
        "running_mean": d.array(C), "running_var": per_channel[2], "training": training,
        "momentum": d.pick(0.1, 0.5), "eps": d.pick(1e-5, 1e-3)}


def _own_batch_norm(x, gamma, beta, running_mean, running_var, **options):
    dtype = getattr(x, "dtype", None)
    running = (np.array(a, dtype) if getattr(a, "dtype", 0) == np.float64 else a for a in (running_mean, running_var))
    return F.batch_norm(x, gamma, beta, *running, **options)


def _torch_batch_norm(T, x, gamma, beta, running_mean, running_var, training, momentum, eps):
    running = (T.tensor(a) for a in (running_mean, running_var))
    return T.nn.functional.batch_norm(x, *running, gamma, beta, training, momentum, eps)


def _spline_prefilter(d):
    shape = [d.size(), d.size(), *(int(d.rng.integers(1, 5)) for _ in range(d.pick(2, 3)))]
    return [d.array(*shape)], {"padding_mode": d.pick("zeros", "border", "reflection", "wrap", 0.5, 2),
                               "align_corners": d.pick(True, False)}


def _repeated(d):
    shape = d.sizes(0, 3)
    lead = int(d.rng.integers(len(shape) + 1))
    return [d.array(*[d.pick(1, n) for n in shape[lead:]])], {"shape": d.pick(tuple(shape), list(shape))}


def _joined(d):
    shape = d.sizes(1, 3)
    axis = d.axis(len(shape), tuples=False, none=False)
    shapes = [shape.copy() for _ in range(d.pick(1, 2, 3))]
    for each in shapes:
        each[axis] = d.size()
    return [d.array(*each) for each in shapes], {"axis": axis}


def _stacked(d):
    shape = d.sizes(0, 2)
    return [d.array(*shape) for _ in range(d.pick(1, 2, 3))], {"axis": d.axis(len(shape) + 1, False, False)}


def _products(d):
    M, K, N = d.size(), d.size(), d.size()
    lead = d.sizes(0, 2)
    both = [d.array(*[d.pick(1, n) for n in lead[skip:]], *m) for skip, m in ((0, (M, K)), (len(lead) // 2, (K, N)))]
    return both, {}


def _dense(d):
    inputs, outputs = d.size(), d.size()
    return [d.array(d.size(), inputs), d.array(outputs, inputs)] + [d.array(outputs)] * d.pick(True, False), {}


def _triplets(d):
    shape = d.size(), d.size()
    return [d.array(*shape) for _ in range(3)], {"alpha": d.pick(1.0, 0, 5, np.float32(0.5))}


def _triplet_hinge(a, p, n, alpha):
    return np.maximum(((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + alpha, 0).sum()


def plain(value):
    """Options as PyTorch takes them."""
    if isinstance(value, tuple | list):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value


def torch_op(name, **renamed):
    """The function of torch.nn.functional, options by their names there."""
    def apply(T, *inputs, **options):
        return getattr(T.nn.functional, name)(*inputs, **{renamed.get(k, k): plain(v) for k, v in options.items()})
    return apply


def conv_op(name):
    return lambda T, x, w, b=None, **options: getattr(T.nn.functional, name)(
        x, w, b, **{k: plain(v) for k, v in options.items()})


def _dropout(d):
    return [d.array(*d.sizes(0, 3))], {"rate": d.pick(0.0, 0, 0.4, np.float32(0.5)), "training": d.pick(True, False),
                                       "generator": 3}


NO_LISTS = [None, 3, [], "ab", np.float32(1), {"a": 1}]
FUNCTIONS = {
    "relu": unary(F.relu, lambda T, x: T.relu(x), lambda x: np.maximum(x, 0)),
    "tanh": unary(F.tanh, lambda T, x: T.tanh(x), np.tanh),
    "sigmoid": unary(F.sigmoid, lambda T, x: T.sigmoid(x), lambda x: 1 / (1 + np.exp(-x))),
    "exp": unary(F.exp, lambda T, x: T.exp(x), np.exp),
    "log": unary(F.log, lambda T, x: T.log(x), np.log, low=0.1),
    "sqrt": unary(F.sqrt, lambda T, x: T.sqrt(x), np.sqrt, low=0.1),
    "softmax": axis_of(F.softmax, lambda T, x, axis: T.softmax(x, int(axis)), softmax),
    "log_softmax": axis_of(F.log_softmax, lambda T, x, axis: T.log_softmax(x, int(axis)), log_softmax),
    "dropout": Operation(lambda x, generator, **options: F.dropout(
        x, generator=np.random.default_rng(generator) if generator == 3 else generator, **options), _dropout,
        options={"rate": "rate", "training": "flag", "generator": "generator"}, view=True, any_axes=True),
    "dense": Operation(F.dense, _dense, lambda T, *xs: T.nn.functional.linear(*xs),
                       lambda x, w, b=0.0: x @ w.T + b, optional=2),
    "matmul": Operation(F.matmul, _products, lambda T, x, y: x @ y, np.matmul, any_axes=True, also={
        "vectors": lambda: F.matmul(np.ones(3), np.ones(3)),
        "sizes": lambda: F.matmul(np.ones((2, 3)), np.ones((2, 3))),
        "batches": lambda: F.matmul(np.ones((2, 3, 3)), np.ones((4, 3, 3)))}),
    "conv2d": convolution(2, F.conv2d, conv_op("conv2d")),
    "conv3d": convolution(3, F.conv3d, conv_op("conv3d")),
    "max_pool2d": pooling(2, F.max_pool2d, torch_op("max_pool2d"), kinks=True),
    "max_pool3d": pooling(3, F.max_pool3d, torch_op("max_pool3d"), kinks=True),
    "avg_pool2d": pooling(2, F.avg_pool2d, torch_op("avg_pool2d"), kinks=False),
    "avg_pool3d": pooling(3, F.avg_pool3d, torch_op("avg_pool3d"), kinks=False),
    "batch_norm": Operation(_own_batch_norm, _batch_norm, _torch_batch_norm,
                            options={"training": "flag", "momentum": "number", "eps": "0 or more",
                                     "running_mean": "array", "running_var": "array"},
                            any_axes=True, also={  # of x
                                "axes of x": lambda: F.batch_norm(np.ones((2,) * 6), *np.ones((4, 2)), True),
                                "axes of gamma": lambda: F.batch_norm(np.ones((2, 3)), np.ones((1, 3)),
                                                                      *np.ones((3, 3)), True)}),
    "cross_entropy": Operation(F.cross_entropy, _cross_entropy, lambda T, x, labels: T.nn.functional.cross_entropy(
        x, T.tensor(np.asarray(labels, np.int64))), _numpy_cross_entropy, {"labels": "labels"}),
    "mse_loss": Operation(F.mse_loss, lambda d: (lambda s: ([d.array(*s), d.array(*s)], {}))(d.sizes(0, 3)),
                          lambda T, x, y: T.nn.functional.mse_loss(x, y), lambda x, y: ((x - y) ** 2).mean(),
                          any_axes=True, also={"shapes": lambda: F.mse_loss(np.ones(3), np.ones((3, 1)))}),
    "triplet_hinge": Operation(F.triplet_hinge, _triplets, None, _triplet_hinge, {"alpha": "number"}),
    "affine_grid": Operation(F.affine_grid, _affine_grid, torch_op("affine_grid"),
                             options={"size": "size", "align_corners": "flag"}),
    "grid_sample": Operation(F.grid_sample, _grid_sample, _torch_sample, options=SAMPLING),
    "spatial_transform": Operation(F.spatial_transform, _spatial_transform, _torch_transform,
                                   options={"transformation": "family", "size": "size", **SAMPLING}),
    "spline_prefilter": Operation(F.spline_prefilter, _spline_prefilter,
                                  options={"padding_mode": "padding_mode", "align_corners": "flag"}, any_axes=True,
                                  also={"3 axes": lambda: F.spline_prefilter(np.ones((2, 2, 2))),
                                        "6 axes": lambda: F.spline_prefilter(np.ones((1,) * 6))}),
    "broadcast_to": Operation(F.broadcast_to, _repeated, lambda T, x, shape: x.expand(*shape) if shape else x,
                              np.broadcast_to, {"shape": "shape"}, view=True, any_dtype=True, any_axes=True),
    "concatenate": Operation(lambda *xs, axis=0: F.concatenate(xs, axis), _joined,
                             lambda T, *xs, axis: T.cat(xs, int(axis)), lambda *xs, axis: np.concatenate(xs, axis),
                             {"axis": "axis"}, view=True, any_dtype=True, any_axes=True,
                             also={repr(xs): lambda xs=xs: F.concatenate(xs) for xs in (*NO_LISTS, [1.0, 2.0])}),
    "stack": Operation(lambda *xs, axis=0: F.stack(xs, axis), _stacked,
                       lambda T, *xs, axis: T.stack(xs, int(axis)), lambda *xs, axis: np.stack(xs, axis),
                       {"axis": "axis"}, view=True, any_dtype=True, any_axes=True,
                       also={repr(xs): lambda xs=xs: F.stack(xs) for xs in NO_LISTS}),
}
