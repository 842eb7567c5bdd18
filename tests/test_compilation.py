"""What is compiled is said once, by topic, and only while it is asked for; what has been can be listed."""

import io
import os
import re
import subprocess
import sys

import numba
import numpy as np
import pytest
from numba import cfunc, njit, types
from numba.core import caching, registry

from nanostn import functional
from nanostn.compilation import _words, announced_compilation, compiled_kernels
from nanostn.kernels.compiling import caching as ours
from nanostn.kernels.convolution import direct
from nanostn.kernels.networks import updates
from nanostn.tensor import Tensor


def kernel(topic, compiler=njit):
    """A new function, as if from the file kernels/`topic`.py."""
    def double(x):
        return x + x
    double.__module__ = f"nanostn.kernels.{topic}"
    return compiler(double)


def test_names_topics_once_and_the_seconds():
    out = io.StringIO()
    with announced_compilation(out) as names:
        for topic in ("networks.pooling", "sampling", "networks.pooling"):
            kernel(topic)(1.0)
        njit(lambda x: x - 1)(1.0)  # somebody else's
        kernel("networks.updates", cfunc("float64(float64)"))
    kernel("networks.losses")(1.0)
    assert names == ["networks.pooling", "sampling", "networks.updates"]
    assert out.getvalue().startswith("compiling kernels (first run on this machine, cached afterwards): networks.poo")
    assert out.getvalue().endswith(" s)\n")


def test_silent_where_nothing_is_compiled():
    compiled = kernel("networks.pooling")
    compiled(1.0)
    out = io.StringIO()
    with announced_compilation(out):
        compiled(2.0)
    assert out.getvalue() == ""


@pytest.fixture(scope="module")
def compiled():
    """A function and a kernel, compiled and so on disk."""
    p = np.ones(5, np.float32)
    updates.sgd([(p, p.copy(), p.copy())], 0.1, 0.9, 0.0, False)
    x, weight = np.ones((1, 1, 4, 5), np.float32), np.ones((1, 1, 2, 3), np.float32)
    functional.conv2d(Tensor(x), Tensor(weight), Tensor(np.zeros(1, np.float32)))


def test_lists_functions_and_kernels_with_types_and_sizes(compiled):
    found, folders = compiled_kernels()
    rows = {(row.topic, row.function): row for row in found}
    assert rows["networks.updates", "_sgd_items"].arguments == "float32 1-D x3, float64 x3, bool"
    kernel = direct._forward.function.__name__
    arguments = [row.arguments for row in found if (row.topic, row.function) == ("convolution.direct", kernel)]
    assert arguments and all(" 5-D" in each for each in arguments)  # first and last go without saying
    assert all(row.size > 1000 for row in found) and found == sorted(found)
    assert sum(row.size for row in found) <= sum(folders.values()) and all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize(("owner", "name", "other"), [
    (ours, "source_stamp", lambda folder: "of other sources"),
    (numba, "__version__", "0.1"),
    (type(registry.cpu_target.target_context.codegen()), "magic_tuple", lambda self: ("another processor",)),
])
def test_what_serves_others_is_not_listed(compiled, owner, name, other, monkeypatch):
    monkeypatch.setattr(owner, name, other)
    found, folders = compiled_kernels()
    assert found == [] and sum(folders.values()) > 0


def test_another_way_of_numba_is_one_sentence(monkeypatch):
    monkeypatch.delattr(caching.IndexDataCacheFile, "_load_index")
    with pytest.raises(RuntimeError, match=r"Numba 0\..* keeps its cache in a way .*_load_index"):
        compiled_kernels()


def test_without_the_extra_for_gpus_kernels_are_listed(compiled):
    code = "import sys; sys.modules['cuda'] = None; from nanostn import cli; sys.exit(cli.main(['info', '--kernels']))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.search(r"^convolution\.direct +_forward_items +[0-9]+ +float32", shown.stdout, re.MULTILINE)
    assert "for these sources" in shown.stdout and not shown.stderr


def test_where_nothing_is_kept_that_is_said(monkeypatch):
    def refused(self, function):
        raise RuntimeError("no folder")

    monkeypatch.setattr(ours.Cache, "kept", lambda self: 1 / 0)
    monkeypatch.setattr(ours.FunctionCache, "__init__", refused)
    with pytest.raises(RuntimeError, match="compiled kernels are not kept .no folder.*NUMBA_CACHE_DIR"):
        compiled_kernels()


@pytest.mark.parametrize(("kinds", "words"), [
    ([], ""),
    ([types.float32[:, :, :, ::1]] * 2 + [types.int64], "float32 4-D x2, int64"),
    ([types.float64[:], types.Array(types.int32, 2, "C", readonly=True)], "float64 1-D strided, int32 2-D read-only"),
    ([types.none, types.boolean], f"None, {types.boolean}"),
    ([types.FunctionType(types.float32(types.float32)), types.UniTuple(types.int64, 2)], "function, (int64 x2)"),
])
def test_types_in_words(kinds, words):
    assert _words(kinds) == words


def test_a_second_process_compiles_nothing(tmp_path):
    """Nor do other sizes, families, paddings or layouts of the input, forward or back."""
    code = """
import numpy as np
from nanostn import Tensor, functional as F, transformations as T
from nanostn.compilation import announced_compilation

def run(shape, family, size, **options):
    U = Tensor(np.ones(shape, np.float32), requires_grad=True)
    theta = Tensor(np.tile(family.identity(), (shape[0], 1)).astype(np.float32), requires_grad=True)
    F.spatial_transform(U, theta, family, size, **options).sum().backward()

with announced_compilation() as names:
    run((1, 1, 40, 6), T.Affine(), (40, 30))  # in bands
    run((1, 9, 40, 6), T.Affine(), (40, 30))  # and of many channels
    run((1, 1, 16, 3, 6), T.Affine3d(), (9, 8, 10))
    base = len(names)
    run((2, 9, 5, 6), T.ThinPlateSpline(3), (3, 4), padding_mode="reflection")
    run((2, 3, 5, 6), T.Projective(), (3, 4), padding_mode="border")
    run((1, 9, 5, 6, 7), T.Affine3d(), (3, 4, 5), padding_mode=0.5)
    run((1, 2, 5, 6, 7), T.Affine3d(), (3, 4, 5), mode="nearest", flatten_depth=True)
    F.spatial_transform(np.ones((6, 5, 1, 2), np.float32).T, np.asfortranarray(np.ones((2, 6), np.float32)), T.Affine(),
                        (3, 4))
    print(base, len(names))
"""
    def compiled():
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                               env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)})
        return [int(n) for n in shown.stdout.split()]

    base, more = compiled()
    assert base == more > 0
    assert compiled() == [0, 0]
