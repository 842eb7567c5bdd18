"""A file is read in one sitting, a function's parameters at one glance, and the paper's equations in one evening.

What is wider is named here, so that the list can only shrink. Needs the checkout.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.exists(), reason="reads the files of a checkout")

LINES = 350  # of a file
EVENING = 1500  # lines up to the sampler, in the order that the README gives
PARAMETERS = 12  # of a function
TOLD = 5  # parameters of a kernel, beyond which shapes or units are told

# Kernels, whose signatures must hold arrays and numbers only (`kernels/compiling/parallel.py`), and what BLAS is asked
# for.
WIDER_FUNCTIONS = {
    "kernels/compiling/blas.py:gemm", "kernels/networks/updates.py:_adam_items",
    "kernels/sampling/forward.py:_forward_items", "kernels/sampling/gradients.py:_backward_items",
    "kernels/sampling/gradients.py:_reach_items", "kernels/sampling/in_place_schedule.py:_backward_items",
    "kernels/sampling/in_place_schedule.py:_forward_items",
}

FIRST = ["nanostn/autograd.py", "nanostn/arithmetic.py", "nanostn/variable.py", "nanostn/tensor.py",
         "nanostn/transformations/base.py", "nanostn/transformations/plane.py", "nanostn/grid_generator.py",
         "kernels/sampling/reference.py", "nanostn/sampler.py"]


def sources(*folders):
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
            for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))}


def lines(text):
    return len(text.splitlines())


def parameters(function):
    given = function.args
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]


def test_no_file_has_more_than_350_lines():
    assert [file for file, text in sources("nanostn", "kernels", "datasets").items() if lines(text) > LINES] == []


def test_an_experiment_is_a_page():
    """Its file reads like the paper's paragraph; what experiments share has files of its own."""
    shared = {"nanostn/experiments/experiment.py", "nanostn/experiments/options.py"}
    found = sources("nanostn/experiments")
    assert shared < found.keys() and {file for file, text in found.items() if lines(text) >= 120} <= shared


def test_no_function_has_more_than_12_parameters():
    found = {f"{file}:{node.name}" for file, text in sources("nanostn", "kernels").items()
             for node in ast.walk(ast.parse(text))
             if isinstance(node, ast.FunctionDef) and len(parameters(node)) > PARAMETERS}
    assert found - WIDER_FUNCTIONS == set(), f"these have more than {PARAMETERS} parameters"
    assert WIDER_FUNCTIONS - found == set(), "these need not be named any more"


SHAPE = re.compile(r"\(\w[\w +.*/\[\]]*,( ?[\w +.*/\[\]]+,?)*\)")  # (N, C, H, W), (rows, columns), (C,)
UNIT = re.compile(r"\b(pixels?|entry|entries|normalised|bytes?|bits?|samples?)\b", re.IGNORECASE)


def functions(tree, around=""):
    """Each function with what is said of it: by its docstring, and by those of the functions and classes around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            said = f"{ast.get_docstring(node) or ''}\n{around}"
            if isinstance(node, ast.FunctionDef):
                yield node, said
            yield from functions(node, said)
        else:
            yield from functions(node, around)


def test_kernels_of_many_parameters_tell_shapes_or_units():
    silent = [f"{file}:{node.name}" for file, text in sources("kernels").items()
              for node, said in functions(ast.parse(text))
              if len(parameters(node)) > TOLD and not SHAPE.search(said) and not UNIT.search(said)]
    assert silent == [], f"these have more than {TOLD} parameters: what are the shapes or units of their arrays?"


def test_the_way_to_the_sampler_is_an_evening():
    """In the README's order; a name without a folder is in that of the one before it."""
    table = README.read_text(encoding="utf-8").split("Read the files in this order:")[1].split("\n\n")[1]
    order = []
    for row in table.splitlines():
        for name in re.findall(r"`([\w/]+\.py|[\w/]+/)`", row.split("|")[1]):
            order.append(name if "/" in name else f"{Path(order[-1]).parent.as_posix()}/{name}")
    read = order[:order.index("nanostn/sampler.py") + 1]
    assert [file for file in read if file in FIRST] == FIRST
    texts = sources("nanostn", "kernels")
    every = {file for name in read for file in texts if file.startswith(name)}  # a folder stands for all in it
    assert sum(lines(texts[file]) for file in every if not file.endswith("_gpu.py")) < EVENING
