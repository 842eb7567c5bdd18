"""Every public class: layers beside PyTorch's, families beside M B, optimisers beside PyTorch's, and nonsense refused.

A table says for each public name with which arguments it is made and what kinds they are of; a name without an entry
fails.
"""

import numpy as np
import pytest

from nanostn import Tensor, nn, optim, transformations
from nanostn.gradcheck import gradcheck
from nanostn.grid_generator import sampling_grid
from nanostn.kernels.sampling.conventions import target_points

from .arguments import LARGE, NONSENSE, inf, laid_out, nan, nonsense_arrays, refused, shown
from .operations import FUNCTIONS

DTYPES = [np.float16, "float16", int, "text", object, nan, 32, None]
INITIALISERS = [None, 3, "he_uniform", np.ones((2, 2)), object(), lambda: 1, lambda shape, generator: "text"]
COUNT = NONSENSE["count"]
STEPS = [bad for bad in COUNT if bad is not LARGE]
CONVOLVED = {"channels": COUNT, "filters": COUNT, "kernel_size": NONSENSE["window"], "stride": NONSENSE["stride"],
             "padding": NONSENSE["padding"], "bias": NONSENSE["flag"], "initialise": INITIALISERS, "dtype": DTYPES,
             "generator": NONSENSE["generator"][1:]}
POOLED = {"kernel_size": NONSENSE["window"], "stride": NONSENSE["stride"], "padding": NONSENSE["padding"]}

# name: arguments of a legal one, an input's shape (None: no input), kinds of nonsense, PyTorch's twin.
LAYERS = {
    "Dense": ({"inputs": 4, "outputs": 3}, (5, 4), {"inputs": COUNT, "outputs": COUNT, "bias": NONSENSE["flag"],
              "initialise": INITIALISERS, "dtype": DTYPES, "generator": NONSENSE["generator"][1:]},
              lambda T: T.nn.Linear(4, 3)),
    "Conv2d": ({"channels": 2, "filters": 3, "kernel_size": (3, 2), "stride": 2, "padding": (1, 0)}, (2, 2, 5, 4),
               CONVOLVED, lambda T: T.nn.Conv2d(2, 3, (3, 2), 2, (1, 0))),
    "Conv3d": ({"channels": 2, "filters": 3, "kernel_size": 2, "stride": (1, 2, 1), "padding": 1}, (2, 2, 3, 4, 3),
               CONVOLVED, lambda T: T.nn.Conv3d(2, 3, 2, (1, 2, 1), 1)),
    "MaxPool2d": ({"kernel_size": (2, 3), "stride": 1}, (2, 3, 4, 5), POOLED, lambda T: T.nn.MaxPool2d((2, 3), 1)),
    "MaxPool3d": ({"kernel_size": 2}, (2, 2, 4, 5, 3), POOLED, lambda T: T.nn.MaxPool3d(2)),
    "AvgPool2d": ({"kernel_size": 3, "padding": 1}, (2, 3, 4, 5), POOLED, lambda T: T.nn.AvgPool2d(3, padding=1)),
    "AvgPool3d": ({"kernel_size": 2}, (2, 2, 4, 5, 3), POOLED, lambda T: T.nn.AvgPool3d(2)),
    **{f"BatchNorm{d}d": ({"channels": 3}, (4, 3, *shape), {
        "channels": COUNT, "eps": NONSENSE["0 or more"], "dtype": DTYPES, "momentum": NONSENSE["number"][1:]},
        lambda T, d=d: getattr(T.nn, f"BatchNorm{d}d")(3)) for d, shape in ((1, (5,)), (2, (2, 5)), (3, (2, 3, 2)))},
    "Dropout": ({"rate": 0.0}, (3, 4), {"rate": NONSENSE["rate"], "generator": NONSENSE["generator"][1:]},
                lambda T: T.nn.Dropout(0.0)),
    "Dropout2d": ({"rate": 0.0}, (3, 2, 4, 5), {"rate": NONSENSE["rate"], "generator": NONSENSE["generator"][1:]},
                  lambda T: T.nn.Dropout2d(0.0)),
    "ReLU": ({}, (3, 4), {}, lambda T: T.nn.ReLU()),
    "Flatten": ({}, (3, 2, 4), {}, lambda T: T.nn.Flatten()),
}
FAMILIES = {
    "Affine": ({}, {}), "Attention": ({}, {}), "Similarity": ({}, {}), "Projective": ({}, {}), "Affine3d": ({}, {}),
    "Attention3d": ({}, {}), "Translation": ({"scale": 0.5}, {"scale": NONSENSE["above 0"]}),
    "ThinPlateSpline": ({"points": (2, 3)}, {
        "points": [None, "4", b"4", 1, -1, 2.5, nan, inf, True, 1j, LARGE, (), (2,), (2, 3, 4), ("2", "3"), object(),
                   {}, {2}, [[0, 0], [1, 1]], [["a", 0]] * 4, np.zeros((4, 2)), np.full((4, 2), nan),
                   np.ones((4, 2), complex)],
        "regularisation": NONSENSE["0 or more"]}),
    "PiecewiseAffine": ({"mesh": 3}, {
        "mesh": [None, "4", b"4", 1, -1, 2.5, nan, inf, True, 1j, LARGE, (), (2,), (2, 3, 4), object(), {},
                 [[0, 0], [1, 1]], np.zeros((4, 2)), np.full((4, 2), nan), np.ones((4, 2), complex)],
        "triangles": ["text", 3, 1.5, nan, [], [[0, 1]], [[0, 1, 99]], [[0, 1, -1]], [[0, 1, LARGE]], [[0.0, 1, 2]],
                      [[0, 1, 2], [3]], [[0, 0, 1]], object(), {}, [["a", "b", "c"]], [[True, False, True]]]}),
    "LearnedBasis": ({"size": (3, 4), "K": 5}, {
        "size": NONSENSE["size"], "K": [*COUNT, 2], "align_corners": NONSENSE["flag"], "dtype": DTYPES,
        "initial": ["text", 3, nan, np.ones((5, 3)), np.full((5, 12), nan), np.ones((5, 12), complex), [[1], [1, 2]],
                    object(), {}, np.full((5, 12), None)], "generator": NONSENSE["generator"][1:]}),
    "Displacement": ({"size": (3, 4)}, {"size": NONSENSE["size"], "unit": NONSENSE["choice"]}),
}
RATES = {"learning_rate": NONSENSE["0 or more"], "weight_decay": NONSENSE["0 or more"]}
PARAMETERS = [None, 3, "text", [], [None], [3], [np.ones(3)], object(), {}, nn.ReLU(), [{}], [{"parameters": None}],
              [{"parameters": [None]}], [{"parameters": [], "rate": 3}], [nn.Parameter(np.ones(2)), {}]]
OPTIMISERS = {
    "SGD": ([{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}], {
        **RATES, "momentum": NONSENSE["rate"], "nesterov": NONSENSE["flag"], "parameters": PARAMETERS}),
    "Adam": ([{}, {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}], {
        **RATES, "eps": NONSENSE["0 or more"], "parameters": PARAMETERS,
        "betas": [None, 0.9, "ab", (), (0.9,), (0.9, 0.99, 0.999), (0.9, 1), (-0.1, 0.9), (nan, 0.9), ("0.9", 0.9),
                  (None, 0.9), (True, 0.9), (1j, 0.9), object(), {}]}),
}
OPTIMISERS["AdamW"] = OPTIMISERS["Adam"]
FROM_ZERO = [bad for bad in STEPS if bad != 0]
THEN = [3, "text", object(), {}, nn.ReLU()]
SCHEDULES = {"StepDecay": ({"every": 2}, {"every": STEPS, "factor": NONSENSE["0 or more"]}),
             "CosineDecay": ({"total": 9}, {"total": STEPS}),
             "LinearWarmUp": ({"steps": 3}, {"steps": STEPS, "then": THEN}),
             "GroupWarmUp": ({"group": 0}, {"group": [*FROM_ZERO, 1], "frozen": FROM_ZERO, "steps": STEPS,
                                            "then": THEN})}
TESTED_ELSEWHERE = {"Module", "Parameter", "Sequential", "SpatialTransformer", "Transformation", "Optimiser",
                    "Schedule", "theta_from_points", "theta_from_pixels", "pixels_from_theta", "clip_gradients",
                    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform"}


def test_every_public_class_has_an_entry():
    public = {*nn.__all__, *transformations.__all__, *optim.__all__}
    missing = public - LAYERS.keys() - FAMILIES.keys() - OPTIMISERS.keys() - SCHEDULES.keys() - TESTED_ELSEWHERE
    assert not missing, f"say in the tables what is right for {sorted(missing)}"


def refuses(make, legal, kinds):
    """Nothing, or what happens to each wrong argument instead of the one error."""
    make(**legal)
    found = []
    for argument, nonsense in kinds.items():
        for bad in nonsense:
            if outcome := refused(lambda argument=argument, bad=bad: make(**{**legal, argument: bad})):
                found.append(f"{argument}={shown(bad)}: {outcome}")
    assert not found, f"{len(found)} wrong:\n" + "\n".join(found)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_refuse_nonsense_when_they_are_made(name):
    legal, _, kinds, _ = LAYERS[name]
    refuses(getattr(nn, name), legal, kinds)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_refuse_what_is_no_input(name):
    legal, shape, _, _ = LAYERS[name]
    layer = getattr(nn, name)(**legal)
    entry = FUNCTIONS["relu" if name in ("ReLU", "Dropout", "Flatten") else "dense"]
    found = {label: refused(lambda bad=bad: layer(bad)) for label, bad in
             nonsense_arrays(np.ones(shape), entry).items() if not (name == "Flatten" and label in (
                 "integers", "booleans", "float16"))}
    assert not any(found.values()), {label: outcome for label, outcome in found.items() if outcome}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_are_those_of_torch(rng, name, dtype):
    """Values, gradients of the input and of every parameter, and buffers after two steps of training and one look."""
    torch = pytest.importorskip("torch")
    legal, shape, _, make = LAYERS[name]
    ours, theirs = getattr(nn, name)(**legal).astype(dtype), make(torch).to(torch.from_numpy(np.zeros(1, dtype)).dtype)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        p.data[...] = rng.standard_normal(p.shape)
        q.data[...] = torch.from_numpy(p.data.copy())
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for training, layout in ((True, "transposed"), (True, "stepped"), (False, "read-only")):
        ours.train(training), theirs.train(training)
        x = Tensor(laid_out(rng.standard_normal(shape).astype(dtype), layout), requires_grad=True)
        u = torch.tensor(x.data.copy(), requires_grad=True)
        y, v = ours(x), theirs(u)
        np.testing.assert_allclose(y.data, v.detach().numpy(), **tolerance)
        dy = rng.standard_normal(y.shape).astype(dtype)
        y.backward(dy)
        v.backward(torch.from_numpy(dy))
        np.testing.assert_allclose(x.grad, u.grad.numpy(), **tolerance)
        assert y.dtype == x.grad.dtype == dtype
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), **tolerance)
    for buffer, (_, other) in zip(ours.buffers, theirs.named_buffers(), strict=False):
        np.testing.assert_allclose(getattr(ours, buffer), other.numpy(), **tolerance)


def family(name):
    return getattr(transformations, name)(**FAMILIES[name][0])


@pytest.mark.parametrize("name", FAMILIES)
def test_families_refuse_nonsense(name):
    legal, kinds = FAMILIES[name]
    refuses(getattr(transformations, name), legal, kinds)
    f = family(name)
    theta, size = np.ravel(f.identity())[None], (3, 4, 2)[:f.dims]
    wrong = {f"theta is {label}": refused(lambda bad=bad: f.grid(bad, size)) for label, bad in
             nonsense_arrays(theta, FUNCTIONS["dense"]).items()}
    wrong |= {f"size={shown(bad)}": refused(lambda bad=bad: f.grid(theta, bad)) for bad in NONSENSE["size"]}
    wrong |= {f"align_corners={shown(bad)}": refused(lambda bad=bad: f.grid(theta, size, bad))
              for bad in NONSENSE["flag"]}
    assert not any(wrong.values()), {label: outcome for label, outcome in wrong.items() if outcome}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("N", [0, 1, 3])
def test_families_give_grids_of_any_batch_from_any_layout(rng, name, N):
    f, size = family(name), (3, 4, 2)
    size = size[:f.dims]
    theta = np.ravel(f.identity()) + 0.1 * rng.standard_normal((N, f.parameters))
    right = np.zeros((N, *size, f.dims))
    if f.plane:
        rows = f.matrix(theta).data @ target_points(size, True)
        points = rows[:, :f.dims] / (rows[:, f.dims:] if rows.shape[1] > f.dims else 1)
        right = points.transpose(0, 2, 1).reshape(right.shape)
    else:
        right = sampling_grid(theta, f, size).data
    for dtype, layout in ((np.float64, "transposed"), (np.float32, "stepped"), (np.float64, "reversed")):
        t = Tensor(laid_out(theta.astype(dtype), layout), requires_grad=True)
        grid = f.grid(t, size)
        assert grid.dtype == dtype and grid.shape == right.shape
        np.testing.assert_allclose(grid.data, right, atol=1e-12 if dtype == np.float64 else 1e-5)
        grid.backward(np.ones(grid.shape, dtype))
        assert t.grad.shape == theta.shape and t.grad.dtype == dtype
    if N:
        gradcheck(lambda t: f.grid(t, size), [Tensor(theta, requires_grad=True)], full=False)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_refuse_nonsense(name):
    parameters = [nn.Parameter(np.ones(3))]
    refuses(getattr(optim, name), {"parameters": parameters}, OPTIMISERS[name][1])
    grouped = {k: v for k, v in OPTIMISERS[name][1].items() if k not in ("parameters", "betas", "eps")}
    refuses(lambda **options: getattr(optim, name)([{"parameters": parameters, **options}]), {}, grouped)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_are_those_of_torch(rng, name):
    torch = pytest.importorskip("torch")
    for options in OPTIMISERS[name][0]:
        start, gradients = rng.standard_normal((3, 2)), rng.standard_normal((5, 3, 2))
        p = nn.Parameter(start.copy())
        q = torch.tensor(start.copy(), requires_grad=True)
        ours = getattr(optim, name)([p], learning_rate=0.1, **options)
        theirs = getattr(torch.optim, name)([q], lr=0.1, **options)
        for gradient in gradients:
            p.grad, q.grad = gradient.copy(), torch.from_numpy(gradient.copy())
            ours.step(), theirs.step()
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_refuse_nonsense(name):
    optimiser = optim.SGD([nn.Parameter(np.ones(3))])
    legal, kinds = SCHEDULES[name]
    refuses(getattr(optim, name), {"optimiser": optimiser, **legal},
            {"optimiser": [None, 3, "text", object(), {}, nn.ReLU()], **kinds})
