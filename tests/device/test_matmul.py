"""Products of matrices on the device: against the CPU's, for every orientation, edge and cut of the inner axis."""

import numpy as np
import pytest

from nanostn.kernels.gpu.arrays.device_array import to_device
from nanostn.kernels.products import gpu_tiles
from nanostn.kernels.products.matmul import batched_matmul, matmul

ORIENTATIONS = [(False, False), (False, True), (True, False), (True, True)]


def close(found, expected, T, inner):
    rtol = 1e-12 if T == np.float64 else 1e-5
    np.testing.assert_allclose(found.numpy(), expected, rtol=rtol, atol=rtol * max(1, inner) ** 0.5)


def operands(rng, T, rows, columns, inner, transpose_a=False, transpose_b=False):
    a = rng.standard_normal((inner, rows) if transpose_a else (rows, inner)).astype(T)
    b = rng.standard_normal((columns, inner) if transpose_b else (inner, columns)).astype(T)
    return a, b, rng.standard_normal(columns).astype(T)


def check(rng, T, rows, columns, inner, transpose_a=False, transpose_b=False, biased=True, exact_runs=2):
    a, b, bias = operands(rng, T, rows, columns, inner, transpose_a, transpose_b)
    expected = matmul(a, b, transpose_a, transpose_b, bias if biased else None)
    device = to_device(a), to_device(b), transpose_a, transpose_b, to_device(bias) if biased else None
    found = [matmul(*device) for _ in range(exact_runs)]
    close(found[0], expected, T, inner)
    for again in found[1:]:
        assert again.numpy().tobytes() == found[0].numpy().tobytes()


@pytest.mark.parametrize("transpose_a, transpose_b", ORIENTATIONS)
def test_every_orientation_adds_the_bias(rng, T, transpose_a, transpose_b):
    check(rng, T, 9, 11, 5, transpose_a, transpose_b, exact_runs=1)


@pytest.mark.parametrize("rows, columns, inner", [(1, 1, 1), (8, 8, 4), (3, 17, 4), (16, 8, 8), (5, 1, 3)])
def test_edges_and_whole_tiles(rng, T, rows, columns, inner):
    check(rng, T, rows, columns, inner, biased=False, exact_runs=1)


@pytest.mark.parametrize("inner", [16, 23])
def test_a_long_inner_axis_in_parts(rng, T, inner):
    assert gpu_tiles.plan(5, 6, inner, T).parts == 2
    check(rng, T, 5, 6, inner, transpose_a=True)


def test_an_empty_inner_axis_leaves_the_bias(rng, T):
    check(rng, T, 3, 4, 0, exact_runs=1)
    check(rng, T, 3, 4, 0, biased=False, exact_runs=1)


@pytest.mark.parametrize("rows, columns", [(0, 4), (4, 0)])
def test_nothing_is_the_product_of_nothing(rng, T, rows, columns):
    a, b, _ = operands(rng, T, rows, columns, 3)
    assert matmul(to_device(a), to_device(b)).shape == (rows, columns)


@pytest.mark.parametrize("lead", [(3,), (2, 2), (1, 2)])
@pytest.mark.parametrize("rows, columns, inner", [(2, 5, 3), (9, 9, 3)])
def test_stacks(rng, T, lead, rows, columns, inner):
    x, y = (rng.standard_normal((*lead, *shape)).astype(T) for shape in ((rows, inner), (inner, columns)))
    close(batched_matmul(to_device(x), to_device(y)), x @ y, T, inner)


def test_a_stack_with_a_long_inner_axis(rng, T):
    x, y = rng.standard_normal((2, 3, 70)).astype(T), rng.standard_normal((2, 70, 2)).astype(T)
    close(batched_matmul(to_device(x), to_device(y)), x @ y, T, 70)


@pytest.mark.parametrize("rows", [3, 9])
def test_strides_are_followed(rng, T, rows):
    """A transposed stack, and one matrix repeated over a stack, as views."""
    x, y = rng.standard_normal((2, 3, rows)).astype(T), rng.standard_normal((3, 10)).astype(T)
    xs, ys = to_device(x), to_device(y)
    found = batched_matmul(xs.view((2, rows, 3), (3 * rows, 1, rows)), ys.view((2, 3, 10), (0, 10, 1)))
    close(found, x.transpose(0, 2, 1) @ y, T, 3)


def test_nothing_leaks_from_rows_that_do_not_exist(rng):
    """NaN beside a view of an operand is not read into its product."""
    a, b = np.full((12, 8), np.nan, np.float32), np.full((8, 12), np.nan, np.float32)
    a[:5, :6], b[:6, :5] = rng.standard_normal((5, 6)), rng.standard_normal((6, 5))
    found = batched_matmul(to_device(a).view((5, 6), (8, 1)), to_device(b).view((6, 5), (12, 1)))
    close(found, a[:5, :6] @ b[:6, :5], np.float32, 6)


SHAPES = [(4096, 4096, 512), (256, 20, 2048), (1, 10, 4096), (2048, 128, 256), (1000, 33, 100_003), (129, 4097, 63),
          (70_000, 6, 50), (6, 70_000, 50), (4096, 1, 17)]


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("transpose_a, transpose_b", ORIENTATIONS)
def test_real_sizes(rng, T, shape, transpose_a, transpose_b):
    check(rng, T, *shape, transpose_a, transpose_b, exact_runs=50)


@pytest.mark.gpu
@pytest.mark.parametrize("tile", gpu_tiles.SPEED, ids=str)
@pytest.mark.parametrize("transpose_a, transpose_b", ORIENTATIONS)
def test_every_tile(rng, monkeypatch, tile, transpose_a, transpose_b):
    monkeypatch.setattr("nanostn.kernels.products.matmul.plan", lambda *_: gpu_tiles.Plan(tile, 3, 336))
    check(rng, np.float32, 333, 257, 1001, transpose_a, transpose_b, exact_runs=3)


@pytest.mark.gpu
@pytest.mark.parametrize("lead, rows, columns, inner",
                         [((70_000,), 2, 3, 3), ((70_000,), 33, 9, 3), ((256,), 2, 16, 4096)])
def test_real_stacks(rng, T, lead, rows, columns, inner):
    x, y = (rng.standard_normal((*lead, *shape)).astype(T) for shape in ((rows, inner), (inner, columns)))
    close(batched_matmul(to_device(x), to_device(y)), x @ y, T, inner)
