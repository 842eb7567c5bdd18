"""The rows of `nanostn verify`, one test each; the tables cover what is public; a failing row fails the command."""

import re
from functools import partial
from itertools import product

import numpy as np
import pytest

from nanostn import functional as F
from nanostn import nn, verify, verify_sampler
from nanostn.gradcheck import GradientError
from nanostn.kernels import sampling
from nanostn.sampler import SamplingKernel
from nanostn.tensor import op

CASES = {case.name: case for case in verify.cases()}


@pytest.mark.parametrize("name", CASES)
def test_row(name):
    report = CASES[name].run()
    assert report.entries > 0
    # A row about kinks should meet one; the widened nearest kernel has none, and a few widened pixels may have none.
    assert report.kinks or CASES[name].kinks == "refuse" or "antialias" in name


def test_names_of_rows_are_their_own():
    names = [case.name for case in verify.cases()]
    assert len(names) == len(set(names))


def test_every_combination_of_the_samplers_options_has_rows():
    options = [verify_sampler.KERNELS, map(str, verify_sampler.PADDINGS), verify_sampler.CORNERS.values()]
    combinations = [", ".join(words) for words in product(*options)]
    for dims, size in verify_sampler.OUTPUT.items():
        for align in (True, False):
            for family in verify_sampler.families(dims, size, align):
                for words in combinations:
                    if ("edges" in words) != align:
                        for more in ("", ", antialias", *([", flatten_depth"] if dims == 3 else [])):
                            assert f"spatial_transform, {family!r}, {words}{more}" in CASES
        for words, more in product(combinations, ("", ", antialias")):
            assert CASES[f"grid_sample, {dims}D, {words}{more}"].full


def test_every_family_and_every_option_is_checked_entry_by_entry():
    full = [name for name, case in CASES.items() if case.full and case.group.startswith("spatial_transform, ")]
    text = "; ".join(full)
    for word in (*verify_sampler.KERNELS, *map(str, verify_sampler.PADDINGS), "corners", "edges", "antialias",
                 "flatten_depth"):
        assert f", {word}" in text
    for dims, size in verify_sampler.OUTPUT.items():
        for family in verify_sampler.families(dims, size):
            assert f"spatial_transform, {family!r}, " in text


def test_every_public_operation_and_layer_has_a_row():
    text = set(re.findall(r"[\w.]+", " ".join(CASES)))
    for name in F.__all__:
        assert name in text, f"nanostn.functional.{name} has no row in nanostn/verify.py"
    for name in {name for name in nn.__all__ if name[0].isupper()} - {"Module", "Parameter", "Sequential"}:
        assert f"nn.{name}" in text, f"nanostn.nn.{name} has no row in nanostn/verify.py"


@pytest.mark.parametrize("name", [
    "grid_sample, 2D, bilinear, zeros, corners", "grid_sample, 3D, bicubic, wrap, edges, antialias",
    "spatial_transform, Projective(), bilinear, border, edges", "spatial_transform, 3D, one theta, Affine3d(), skew, "
    "reflection, edges, flatten_depth", "grid_sample at pixels and seams, 2D, tent, reflection, edges"])
def test_a_gradient_with_its_axes_swapped_fails(name, monkeypatch):
    right = sampling.sample_gradients

    def wrong(*arguments):
        dU, dpoints = right(*arguments)
        return dU, dpoints[..., [1, 0, *range(2, dpoints.shape[-1])]]

    monkeypatch.setattr(sampling, "sample_gradients", wrong)
    with pytest.raises(GradientError, match=re.escape(name)):
        CASES[name].run()


def test_a_derivative_from_the_other_side_fails():
    """The hat with its slope from the left is right at generic points and wrong at pixels."""
    left = SamplingKernel(verify_sampler.tent, lambda x: 1.0 if x <= 0 else -1.0, 1)
    case = CASES["grid_sample at pixels and seams, 3D, tent, wrap, corners"]
    case = verify.Case("left", partial(case.fn, mode=left), case.inputs, kinks="right")
    with pytest.raises(GradientError, match="right derivative"):
        case.run()


def test_a_wrong_derivative_fails_the_command(monkeypatch, capsys):
    @op
    def wrong(x):
        return x * x, (lambda dy: dy * 2.01 * x,)

    monkeypatch.setattr(verify, "cases", lambda: iter([verify.Case("wrong square", wrong, [(2, 3)]),
                                                       verify.Case("add", lambda x, y: x + y, [(2,), (2,)])]))
    assert verify.main() == 1
    shown = capsys.readouterr().out
    assert "wrong square" in shown and "FAILED" in shown and "1 of 2 rows agree" in shown


@pytest.mark.parametrize("every, lines", [(False, ["pair  ", "other  "]), (True, ["add  ", "subtract  ", "other  "])])
def test_rows_of_a_group_are_one_line(monkeypatch, capsys, every, lines):
    shapes = [(2,), (2,)]
    monkeypatch.setattr(verify, "cases", lambda: iter([
        verify.Case("add", lambda x, y: x + y, shapes, group="pair"),
        verify.Case("subtract", lambda x, y: x - y, shapes, group="pair"), verify.Case("other", F.tanh, shapes[:1])]))
    assert verify.main(every=every) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(lines) + 2 and "3 of 3 rows agree" in shown[-1]
    for line, start in zip(shown[1:], lines, strict=False):
        assert line.startswith(start)


def test_random_inputs_stay_away_from_zero():
    seen = []
    verify.Case("identity", lambda x: (seen.append(x.data.copy()), x * 1.0)[1], [(50,)]).run()
    assert np.abs(seen[0]).min() >= 0.3
