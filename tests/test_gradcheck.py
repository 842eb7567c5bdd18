"""The checker is checked: it must fail a wrong derivative by name, and know kinks."""

import itertools

import numpy as np
import pytest

from nanostn import Tensor, gradcheck
from nanostn import functional as F
from nanostn.gradcheck import Case, GradientError
from nanostn.tensor import op


def wants(*values):
    return Tensor(np.array(values), requires_grad=True)


@op
def rectifier(x):
    return np.maximum(x, 0), (lambda dy: dy * (x > 0),)


def test_a_right_derivative_passes_and_is_reported():
    report = gradcheck(lambda x, y: x * y * y, [wants(1.0, 2.0), wants(3.0, -4.0)], name="cubic")
    assert report.error < 1e-8
    assert report.entries == 2 + 4
    assert str(report).startswith("cubic: 6 derivatives, largest relative error")


@pytest.mark.parametrize("full, directions", [(True, 0), (False, 2)])
def test_a_derivative_wrong_by_a_thousandth_fails_by_name(full, directions):
    @op
    def square(x):
        return x * x, (lambda dy: dy * 2.002 * x,)

    with pytest.raises(GradientError, match="square: .*should be"):
        gradcheck(square, [wants(0.5, 2.0)], full=full, directions=directions)


def test_one_wrong_entry_among_many_is_found():
    @op
    def mostly(x):
        def dx(dy):
            out = 2 * x * dy
            out[17] *= 1.001
            return out
        return x * x, (dx,)

    with pytest.raises(GradientError, match=r"input 0, entry \(17,\)"):
        gradcheck(mostly, [wants(*np.linspace(1, 2, 40))], directions=0)


def test_a_lost_output_is_found():
    @op
    def lossy(x):
        return x * x, (lambda dy: 2 * x * dy * (np.arange(4) != 2),)

    with pytest.raises(GradientError, match="random direction 0"):
        gradcheck(lossy, [wants(1.0, 2.0, 3.0, 4.0)], full=False)


def test_a_nan_gradient_fails():
    @op
    def broken(x):
        return x * x, (lambda dy: dy * np.nan,)

    with pytest.raises(GradientError):
        gradcheck(broken, [wants(1.0)])


def test_a_gradient_that_is_never_given_counts_as_zero():
    @op
    def silent(x):
        return x * x, (None,)

    with pytest.raises(GradientError, match="received 0"):
        gradcheck(silent, [wants(1.0)])


def test_a_kink_is_refused_unless_a_promise_is_named():
    with pytest.raises(GradientError, match="rectifier: a kink at"):
        gradcheck(rectifier, [wants(-1.0, 0.0, 2.0)])


def test_at_a_kink_exactly_the_promise_is_accepted():
    report = gradcheck(rectifier, [wants(-1.0, 0.0, 2.0)], kinks="left")
    assert len(report.kinks) == 1 and "entry (1,)" in report.kinks[0]
    with pytest.raises(GradientError, match=r"entry \(1,\).*right derivative"):
        gradcheck(rectifier, [wants(-1.0, 0.0, 2.0)], kinks="right")


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_kink_between_strong_curvatures_is_no_excuse(side):
    """|x| + 300 x^2 at 0: a plain one-sided quotient is off by 300 steps, more than the tolerance allows."""
    @op
    def bowl(x):
        slope = np.where(x >= 0 if side == "right" else x > 0, 1, -1) + 600 * x
        return np.abs(x) + 300 * x * x, (lambda dy: dy * slope,)

    report = gradcheck(bowl, [wants(0.0, 0.01)], kinks=side)
    assert len(report.kinks) == 1 and report.error < 1e-7


def test_strong_curvature_is_no_kink():
    report = gradcheck(lambda x: (x * 3000.0) ** 2, [wants(1e-4, 2e-4)], kinks="left", tolerance=1e-4)
    assert not report.kinks


def test_a_gradient_that_changes_between_runs_fails():
    calls = []

    @op
    def moody(x):
        calls.append(1)
        factor = 2 + 1e-12 * len(calls)
        return x * x, (lambda dy: factor * x * dy,)

    with pytest.raises(GradientError, match="not the same on a second run"):
        gradcheck(moody, [wants(1.0)])


def test_inputs_are_left_as_they_were():
    x = wants(1.0, 2.0)
    gradcheck(lambda x: x * x, [x])
    np.testing.assert_array_equal(x.data, [1, 2])
    assert x.grad is None


@pytest.mark.parametrize("inputs, message", [
    ([Tensor([1.0], requires_grad=True)], "should be a float64 tensor"),
    ([np.ones(2)], "should be a float64 tensor"),
    ([Tensor(np.ones(2))], "at least one tensor with requires_grad=True"),
])
def test_errors(inputs, message):
    with pytest.raises(ValueError, match=message):
        gradcheck(lambda x: x * 1.0, inputs)
    with pytest.raises(ValueError, match="'refuse', 'left' or 'right'"):
        gradcheck(lambda x: x, [wants(1.0)], kinks="both")


def test_a_derivative_that_is_truly_zero_is_no_kink():
    report = gradcheck(lambda x: F.softmax(x, axis=1).sum(), [wants([1.0, 2.0, 0.5])], name="softmax sum")
    assert not report.kinks


def test_inputs_are_put_back_when_the_function_fails():
    calls = []

    def fails_later(x):
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("later")
        return x * 1.0

    x = wants(1.0, 2.0)
    with pytest.raises(RuntimeError):
        gradcheck(fails_later, [x], directions=0)
    np.testing.assert_array_equal(x.data, [1, 2])


@pytest.mark.parametrize("options", [{"kinks": "right"}, {"directions": 0}])
def test_a_check_of_nothing_is_refused(options):
    with pytest.raises(ValueError, match="nothing would be compared"):
        gradcheck(lambda x: x * 2.0, [Tensor(np.ones(2), requires_grad=True)], full=False, **options)


def test_a_case_draws_shapes_and_keeps_arrays():
    given = np.array([5.0, -6.0])
    drawn, kept = Case("case", rectifier, [(3, 50), given]).tensors()
    assert drawn.shape == (3, 50) and drawn.requires_grad and kept.requires_grad
    sizes = np.abs(drawn.data)
    assert sizes.min() >= 0.3 and sizes.max() <= 1.7 and (drawn.data < 0).any() and (drawn.data > 0).any()
    np.testing.assert_array_equal(kept.data, given)


def test_a_comparison_takes_the_value_and_every_gradient():
    w = Tensor(np.array([1.0, -2.0, 3.0]), requires_grad=True)
    before = w.data
    report = Case("product", lambda x: x * w, [(2, 3)], parameters=[w]).compare("cpu")
    assert report.entries == 6 + 6 + 3 and report.error == 0
    assert w.data is before and w.grad is None


@pytest.mark.parametrize("value, gradient, words", [
    (1e-3, 0, "the value differs from the CPU's by"), (0, 1e-3, "the gradient of input 0 differs"),
    (np.inf, 0, r"the value should be \(2,\) float64 as on the CPU"), (1e-10, 1e-10, "")])
def test_what_differs_between_devices_is_named(value, gradient, words):
    times = itertools.count()

    @op
    def unsteady(x):
        k = next(times)
        return 2 * x + k * value, (lambda dy: 2 * dy * (1 + k * gradient),)

    case = Case("unsteady", unsteady, [np.array([1.0, 2.0])])
    if words:
        with pytest.raises(GradientError, match=f"unsteady: {words}"):
            case.compare("cpu")
    else:
        assert 0 < case.compare("cpu").error < 1e-9


def test_a_small_entry_is_not_lost_beside_a_large_one():
    @op
    def nearly(x):
        return x * np.array([1.0, 1000.0]), (lambda dy: dy * np.array([1.002, 1000.0]),)

    with pytest.raises(GradientError, match=r"nearly: input 0, entry \(0,\): the gradient should be"):
        gradcheck(nearly, [wants(1.0, 1.0)], name="nearly", directions=0)
