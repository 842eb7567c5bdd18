"""The rows of `nanostn verify`, one test each; the table covers what is public; a failing row fails the command."""

import re

import numpy as np
import pytest

from nanostn import functional as F
from nanostn import nn, verify
from nanostn.tensor import op

CASES = {case.name: case for case in verify.cases()}


@pytest.mark.parametrize("name", CASES)
def test_row(name):
    assert CASES[name].run().entries > 0


def test_every_public_operation_and_layer_has_a_row():
    text = set(re.findall(r"[\w.]+", " ".join(CASES)))
    for name in F.__all__:
        assert name in text, f"nanostn.functional.{name} has no row in nanostn/verify.py"
    for name in set(nn.__all__) - {"Module", "Parameter", "Sequential"}:
        assert f"nn.{name}" in text, f"nanostn.nn.{name} has no row in nanostn/verify.py"


def test_a_wrong_derivative_fails_the_command(monkeypatch, capsys):
    @op
    def wrong(x):
        return x * x, (lambda dy: dy * 2.01 * x,)

    monkeypatch.setattr(verify, "cases", lambda: iter([verify.Case("wrong square", wrong, [(2, 3)]),
                                                       verify.Case("add", lambda x, y: x + y, [(2,), (2,)])]))
    assert verify.main() == 1
    shown = capsys.readouterr().out
    assert "wrong square" in shown and "FAILED" in shown and "1 of 2 rows agree" in shown


def test_random_inputs_stay_away_from_zero():
    seen = []
    verify.Case("identity", lambda x: (seen.append(x.data.copy()), x * 1.0)[1], [(50,)]).run()
    assert np.abs(seen[0]).min() >= 0.3
