"""Against a collapse of theta: what is called one, the warning, the penalty, and a localisation network that waits."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nanostn import Tensor, datasets, nn, thetas, transformations
from nanostn.checkpoints import load
from nanostn.cli import main
from nanostn.experiments import distorted_mnist, experiment, options
from nanostn.gradcheck import gradcheck
from nanostn.optim import GroupWarmUp
from nanostn.runs import RunDirectory
from nanostn.thetas import collapse, watch_theta
from nanostn.training import train

from .test_experiments import digits, flat, same_checkpoints

PLANE = {
    "Affine": transformations.Affine, "Attention": transformations.Attention,
    "Similarity": transformations.Similarity, "Projective": transformations.Projective,
    "Translation": lambda: transformations.Translation(scale=0.5),
    "ThinPlateSpline": lambda: transformations.ThinPlateSpline(3),
    "PiecewiseAffine": lambda: transformations.PiecewiseAffine(3),
    "LearnedBasis": lambda: transformations.LearnedBasis((4, 5), 5, generator=np.random.default_rng(0)),
    "Displacement": lambda: transformations.Displacement((4, 5)),
}
VOLUME = {
    "Affine3d": transformations.Affine3d, "Attention3d": transformations.Attention3d,
    "Displacement of a volume": lambda: transformations.Displacement((3, 4, 5)),
    "LearnedBasis of a volume": lambda: transformations.LearnedBasis((3, 4, 5), 6, generator=np.random.default_rng(0)),
}
FAMILIES = {**PLANE, **VOLUME}


def transformer(family, rng=None, **given):
    """Over images (N, 1, 3, 2) or volumes (N, 1, 3, 2, 2), away from the identity where `rng` is given."""
    size = (3, 4, 5)[-family.dims:]
    inputs = (3, 2, 2)[:family.dims]
    regression = nn.Dense(3, family.parameters, generator=np.random.default_rng(1))
    localisation = nn.Sequential(nn.Flatten(), nn.Dense(int(np.prod(inputs)), 3, generator=np.random.default_rng(2)),
                                 regression)
    made = nn.SpatialTransformer(localisation, family, size, **given)
    if rng is not None:
        regression.weight.data[...] = 0.2 * rng.standard_normal(regression.weight.shape)
        regression.bias.data += (0.3 * rng.standard_normal(regression.bias.shape)).astype(np.float32)
    return made, (2, 1, *inputs)


def theta_of(family, scale, shift=0.0):
    """The theta whose grid is the identity's times `scale`, moved by `shift` along every axis; for two images."""
    dims, identity = family.dims, family.identity()
    if isinstance(family, transformations.Displacement):
        still = family.grid(Tensor(identity[None]), family.size).data[0]
        theta = np.moveaxis((scale - 1) * still + shift, -1, 0).ravel()
    elif isinstance(family, transformations.Attention | transformations.Attention3d):
        theta = np.array([scale, *[shift] * dims])
    elif isinstance(family, transformations.Similarity):
        theta = np.array([scale, 0, shift, shift])
    elif isinstance(family, transformations.Projective):
        theta = np.array([scale, 0, shift, 0, scale, shift, 0, 0])
    elif isinstance(family, transformations.ThinPlateSpline | transformations.PiecewiseAffine):
        theta = scale * identity + shift
    else:  # M itself, row by row; the last of the first rows of B is 1
        M = scale * identity.reshape(dims, -1)
        M[:, dims] += shift
        theta = M.ravel()
    return np.stack([theta, theta]).astype(np.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_known_answers_of_each_family(name):
    family = FAMILIES[name]()
    made, _ = transformer(family)
    assert collapse(made, np.stack([family.identity()] * 2).astype(np.float32)) is None
    far = "100 % of the points that it samples lie outside the image"
    if name == "Translation":  # its scale is given: it cannot become a spot
        assert collapse(made, np.array([[3, 0]], np.float32)) == far
        return
    assert np.allclose(family.grid(Tensor(theta_of(family, 0.5, 0.1)), made.size).data, 0.1 + 0.5 * family.grid(
        Tensor(family.identity()[None]), made.size).data, atol=1e-6)  # what the test itself makes
    area = 100 * 0.01 ** family.dims
    for scale, shift, words in [(0.01, 0.0, f"it covers {area:.2g} % of the image"), (1.0, 3.0, far), (1.0, -3.0, far),
                                (1.3, 0.0, None), (0.2, 0.3, None), (1.0, 0.9, None), (0.06, 0.0, None)]:
        assert collapse(made, theta_of(family, scale, shift)) == words, (scale, shift)


@pytest.mark.parametrize("padding", ["zeros", 0.5, "border", "wrap", "reflection"])
def test_what_is_wrapped_or_mirrored_has_no_outside(padding):
    family = transformations.Affine()
    made, _ = transformer(family, padding_mode=padding)
    endless = padding in ("wrap", "reflection")
    assert (collapse(made, theta_of(family, 1, 3)) is None) == endless
    assert "covers 0.01 %" in collapse(made, theta_of(family, 0.01, 3 if endless else 0))


def test_a_line_is_seen_along_whatever_direction():
    made, _ = transformer(transformations.Affine())
    for angle in (0, 0.4, np.pi / 4, np.pi / 2):
        c, s = np.cos(angle), np.sin(angle)
        line = np.array([[c], [s]]) @ np.array([[s, c]])
        theta = np.concatenate([line, [[0], [0]]], axis=1).reshape(1, 6).astype(np.float32)
        assert "it covers" in collapse(made, theta)
        theta[0, [0, 4]] += 0.2  # a thin ellipse is no line
        assert collapse(made, theta) is None or angle == np.pi / 2


@pytest.mark.parametrize("corners", [True, False])
def test_a_basis_for_its_own_corners(corners):
    """A family that was made for its points is asked for these; a part of an image outside is none of the whole."""
    family = transformations.LearnedBasis((4, 5), 5, align_corners=corners, generator=np.random.default_rng(0))
    made, _ = transformer(family, align_corners=corners)
    assert collapse(made, theta_of(family, 1.0)) is None
    assert "outside" in collapse(made, theta_of(family, 1.0, 3.0))


def test_theta_that_is_not_finite_is_no_collapse_of_its_own():
    """`check` says what it is, in the same step."""
    made, _ = transformer(transformations.Affine())
    with np.errstate(invalid="ignore"):
        assert collapse(made, np.full((2, 6), np.nan, np.float32)) is None


def network(*families, rng=None):
    """Parallel transformers, whose outputs are joined."""
    class Parallel(nn.Module):
        def __init__(self):
            made = [transformer(family, rng) for family in families]
            self.transformers = nn.Sequential(*[each for each, _ in made])
            self.shape = made[0][1]

        def forward(self, U):
            V = [each(U).reshape(len(U), -1) for each in self.transformers.modules]
            return sum((each.sum() for each in V[1:]), V[0].sum())

    return Parallel()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("count", [1, 2])
def test_the_gradient_of_the_penalty(name, count, rng):
    """By finite differences, to the weights of all localisation networks and to the input, in float64."""
    model = network(*[FAMILIES[name]() for _ in range(count)], rng=rng).astype(np.float64)
    U = Tensor(rng.standard_normal(model.shape), requires_grad=True)
    parameters = [p for path, p in model.named_parameters() if "localisation" in path]

    def penalty(U):
        with watch_theta(model) as seen:
            model(U)
            return seen.from_identity()

    assert gradcheck(lambda U, *weights: penalty(U), [U, *parameters]).error < 1e-6
    model.zero_grad()
    penalty(U).backward()
    found = 0.0
    for each in model.transformers.modules:  # by hand: the mean over two images, 2 (theta - identity) for the bias
        theta = each.localisation(U).data.reshape(2, -1) - np.ravel(each.transformation.identity())
        found += (theta ** 2).sum() / 2
        np.testing.assert_allclose(each.localisation[2].bias.grad, theta.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(penalty(U).item(), found, rtol=1e-12)


def test_the_penalty_of_a_field_from_a_convolution(rng):
    """theta (N, 2, H', W') is compared with zeros."""
    localisation = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, generator=np.random.default_rng(0)))
    model = nn.Sequential(nn.SpatialTransformer(localisation, transformations.Displacement((3, 4)), (3, 4)))
    localisation[0].weight.data[...] = 0.1 * rng.standard_normal((2, 1, 3, 3))
    model.astype(np.float64)
    U = Tensor(rng.standard_normal((2, 1, 3, 4)), requires_grad=True)

    def penalty(U):
        with watch_theta(model) as seen:
            model(U)
            return seen.from_identity()

    np.testing.assert_allclose(penalty(U).item(), (localisation(U).data ** 2).sum() / 2, rtol=1e-12)
    assert gradcheck(lambda U, *weights: penalty(U), [U, *model.parameters()]).error < 1e-6


def test_the_penalty_is_none_without_a_transformer_and_at_the_start():
    plain = nn.Sequential(nn.Dense(3, 2))
    with watch_theta(plain) as seen:
        plain(Tensor(np.ones((2, 3), np.float32)))
        assert seen.from_identity() == 0.0
    made, shape = transformer(transformations.ThinPlateSpline(3))
    with watch_theta(made) as seen:
        made(Tensor(np.ones(shape, np.float32)))
        penalty = seen.from_identity()
        assert penalty.item() == 0 and penalty.dtype == np.float32


class Counted:
    """An evaluation that costs nothing."""

    def __call__(self, model):
        return {"test_loss": 0.0}


def trained(path, steps=4, bias=None, **given):
    """A transformer and a scale of what it makes, trained to darken white images."""
    model = nn.Sequential(*[transformer(transformations.Affine())[0]])
    if bias is not None:
        model[0].localisation[2].bias.data[...] = bias
    optimiser = experiment.SGD(model.parameters(), learning_rate=1e-9)
    batch = np.ones((2, 1, 3, 2), np.float32), np.zeros(2, np.int64)
    train(model, optimiser, lambda epoch, start: [batch] * (60 - start), Counted(), run=RunDirectory.create(path, {}),
          steps_per_epoch=60, steps=steps, loss=lambda model, x, y: ((model(Tensor(x)) ** 2).mean(), None),
          report=lambda line: None, **given)
    return model


def test_the_warning_comes_once_on_stderr(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(thetas, "EVERY", 3)
    trained(tmp_path / "run", 9, bias=[1, 0, 5, 0, 1, 0])
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert err.startswith("warning: after 0 steps the spatial transformer 0 has collapsed: 100 % of the points that it "
                          "samples lie outside the image; what may help: a smaller --learning-rate")
    for option in ("--identity-penalty", "--freeze-localisation", "--warm-up-localisation", "--localisation-rate"):
        assert option in err
        assert option in options.argument_parser(distorted_mnist.EXPERIMENT, None).format_help()
    trained(tmp_path / "other", 9)
    assert capfd.readouterr().err == ""


def test_the_warning_names_the_step_at_which_it_is_seen(tmp_path, capfd, monkeypatch):
    """Every 50 steps, and the one of several that has collapsed."""
    given, seen = thetas.collapse, []

    def spoiled(transformer, theta):
        seen.append(theta.shape)
        return given(transformer, theta + 4 * (len(seen) > 1))

    monkeypatch.setattr(thetas, "collapse", spoiled)
    trained(tmp_path / "run", 55)
    assert capfd.readouterr().err.startswith("warning: after 50 steps the spatial transformer 0 has collapsed")
    assert seen == [(2, 6)] * 2


def test_the_penalty_joins_the_loss_that_is_trained(tmp_path):
    """One step of SGD from a theta of one's own: the bias moves by the rate times both gradients."""
    start = np.array([1, 0, 0.25, 0, 1, 0], np.float32)
    plain, kept = (trained(tmp_path / str(weight), 1, bias=start, identity_penalty=weight)[0].localisation[2].bias
                   for weight in (0.0, 3.0))
    np.testing.assert_allclose(kept.grad - plain.grad, [0, 0, 3 * 2 * 0.25, 0, 0, 0], atol=1e-6)


# The options.

SMALL = ["train", "distorted-mnist", "--data", "digits", "--limit", "24", "--test-limit", "10", "--batch-size", "8",
         "--epochs", "2", "--filters", "2", "--distortion", "R"]


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "digits", digits)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


def rates(*arguments, steps=6):
    """The learning rates of both groups at each step of a run, by the schedule that the options make."""
    given = options.argument_parser(distorted_mnist.EXPERIMENT, None).parse_args(["--data", "digits", *arguments])
    settings = options.settings(distorted_mnist.EXPERIMENT, given)
    model = distorted_mnist.EXPERIMENT.build_model(replace(settings, filters=2))
    optimiser = experiment.make_optimiser(settings, model)
    schedule = experiment.make_schedule(settings, optimiser, steps)
    found = []
    for _ in range(steps):
        found.append([group["learning_rate"] for group in optimiser.groups])
        schedule.step()
    return schedule, np.array(found).T


def test_what_the_options_make_of_the_schedule():
    for schedule in ("cosine", "steps", "constant"):
        given = ["--schedule", schedule, "--optimiser", "sgd", "--learning-rate", "0.1", "--localisation-rate", "0.5"]
        made, (all_others, localisation) = rates(*given)
        assert not isinstance(made, GroupWarmUp) and np.array_equal(localisation, all_others / 2)
        for late, parts in [(["--freeze-localisation", "2"], [0, 0, 1, 1, 1, 1]),
                            (["--warm-up-localisation", "4"], [0.25, 0.5, 0.75, 1, 1, 1]),
                            (["--freeze-localisation", "1", "--warm-up-localisation", "2"], [0, 0.5, 1, 1, 1, 1])]:
            made, (others, localisation) = rates(*given, *late)
            assert np.array_equal(others, all_others)
            np.testing.assert_allclose(localisation, all_others / 2 * parts, rtol=1e-12)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_frozen_localisation_network_stays_the_same_bits_and_then_moves(optimiser, places, tmp_path):
    def localisation(run):
        return {name: array.tobytes() for name, array in flat(load(tmp_path / run / "checkpoint.h5")).items()
                if name.startswith("model/") and "localisation" in name}

    frozen = [*SMALL, "--optimiser", optimiser, "--freeze-localisation", "4", "--run-dir"]
    settings = replace(distorted_mnist.EXPERIMENT.defaults, distortion="R", filters=2)
    start = distorted_mnist.EXPERIMENT.build_model(settings).state()
    start = {"model/" + name: array.tobytes() for name, array in start.items() if "localisation" in name}
    assert main([*frozen, "four", "--steps", "4"]) == 0
    assert localisation("four") == start
    others = flat(load(tmp_path / "four" / "checkpoint.h5"))["model/classifier.0.weight"]
    assert main([*frozen, "five", "--steps", "5"]) == 0
    moved = localisation("five")
    assert moved["model/transformer.localisation.9.bias"] != start["model/transformer.localisation.9.bias"]
    assert main([*SMALL, "--optimiser", optimiser, "--run-dir", "free", "--steps", "1"]) == 0
    assert localisation("free") != start
    assert np.any(others != flat(load(tmp_path / "five" / "checkpoint.h5"))["model/classifier.0.weight"])


def test_a_run_with_all_options_goes_on_to_the_same_bits(places, tmp_path, monkeypatch):
    given = [*SMALL, "--freeze-localisation", "2", "--warm-up-localisation", "3", "--identity-penalty", "0.1"]
    assert main([*given, "--run-dir", "whole"]) == 0
    assert main([*SMALL, "--run-dir", "without"]) == 0
    assert not same_checkpoints(tmp_path / "whole", tmp_path / "without")
    calls = datasets.epoch_batches

    def interrupting(*arguments):
        for number, batch in enumerate(calls(*arguments)):
            if arguments[5] == 1 and number == 1:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(datasets, "epoch_batches", interrupting)
    assert main([*given, "--run-dir", "parts"]) == 130
    monkeypatch.setattr(datasets, "epoch_batches", calls)
    assert main(["train", "distorted-mnist", "--run-dir", "parts", "--resume"]) == 0
    assert same_checkpoints(tmp_path / "whole", tmp_path / "parts")


def test_options_that_are_off_change_nothing(places, tmp_path):
    """A run of before there were any goes on to the same bits."""
    names = ("identity_penalty", "freeze_localisation", "warm_up_localisation")
    assert main([*SMALL, "--schedule", "constant", "--run-dir", "whole"]) == 0
    assert main([*SMALL, "--schedule", "constant", "--run-dir", "old", "--epochs", "1"]) == 0
    (tmp_path / "old" / "result.json").unlink()
    path = tmp_path / "old" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**{name: config[name] for name in config if name not in names}, "epochs": 2}))
    assert main(["train", "distorted-mnist", "--run-dir", "old", "--resume"]) == 0
    assert same_checkpoints(tmp_path / "whole", tmp_path / "old")


@pytest.mark.parametrize("distortion", ["RTS", "TC"])
def test_no_false_alarm_in_a_run_as_usual(distortion, places, capfd, monkeypatch):
    monkeypatch.setattr(thetas, "EVERY", 1)
    usual = ["train", "distorted-mnist", "--data", "digits", "--limit", "640", "--test-limit", "10", "--batch-size",
             "64", "--epochs", "2", "--filters", "4", "--distortion", distortion, "--run-dir", "run"]
    assert main(usual) == 0
    assert "collapsed" not in capfd.readouterr().err
