"""Convolutions on the device: against the CPU's, over strides, paddings, edges of tiles and cuts of the inner axis."""

import numpy as np
import pytest

from nanostn.kernels.convolution import convolve
from nanostn.kernels.convolution.windows import output_size
from nanostn.kernels.gpu.arrays.device_array import to_device
from nanostn.kernels.products import gpu_tiles

# N, C, image, F, window, stride, padding
IMAGES = [
    (2, 3, (5, 4), 2, (3, 2), (1, 1), (1, 0)),
    (1, 1, (6, 7), 9, (3, 3), (2, 3), (2, 1)),   # more filters than a tile has rows
    (2, 5, (3, 3), 2, (2, 2), (1, 1), (0, 1)),   # an inner axis of more than one chunk
    (1, 2, (7, 5), 3, (1, 1), (2, 2), (0, 0)),   # strides beyond the window: pixels that nothing sees
    (3, 1, (4, 4), 1, (4, 4), (1, 1), (0, 0)),   # a window as large as the image
    (1, 2, (1, 9), 2, (1, 5), (1, 4), (0, 3)),
]
VOLUMES = [
    (1, 2, (3, 4, 3), 2, (2, 3, 2), (1, 1, 1), (1, 0, 1)),
    (2, 1, (4, 3, 5), 3, (3, 1, 2), (2, 1, 3), (1, 0, 2)),
]


def arrays(rng, case, T):
    N, C, size, F, window, stride, padding = case
    x, weight = rng.standard_normal((N, C, *size)).astype(T), rng.standard_normal((F, C, *window)).astype(T)
    bias = rng.standard_normal(F).astype(T)
    outputs = map(output_size, size, window, stride, padding)
    return x, weight, bias, rng.standard_normal((N, F, *outputs)).astype(T)


def close(found, expected, inner):
    found = found.numpy()
    assert found.shape == expected.shape
    rtol = 1e-12 if found.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * max(1, inner) ** 0.5)


def forward(case, given):
    x, weight, bias, _ = given
    return convolve(x, weight, bias, *case[5:])[:1]


def dweight(case, given):
    x, weight, _, dy = given
    return convolve(x, weight, None, *case[5:])[1](dy, False, True)[1:]


def dx(case, given):
    x, weight, _, dy = given
    return convolve(x, weight, None, *case[5:])[1](dy, True, False)[:1]


def check(function, rng, case, T, runs=1):
    given = arrays(rng, case, T)
    there = [to_device(array) for array in given]
    found = function(case, there)
    N, C, _, F, window = case[:5]
    inner = given[3].size // F if function is dweight else np.prod(window) * (C if function is forward else F)
    for one, expected in zip(found, function(case, given), strict=True):
        close(one, expected, inner)
    for _ in range(runs - 1):
        for one, again in zip(found, function(case, there), strict=True):
            assert one.numpy().tobytes() == again.numpy().tobytes()


@pytest.mark.parametrize("case", IMAGES + VOLUMES, ids=str)
@pytest.mark.parametrize("function", [forward, dweight, dx])
def test_as_on_the_cpu(rng, T, function, case):
    check(function, rng, case, T)


@pytest.mark.parametrize("function", [forward, dweight, dx])
def test_the_same_bits_again(rng, function):
    check(function, rng, IMAGES[0], np.float32, runs=3)


def test_forward_without_bias(rng, T):
    x, weight, _, _ = map(to_device, arrays(rng, IMAGES[0], T))
    expected, _ = convolve(x.numpy(), weight.numpy(), None, *IMAGES[0][5:])
    close(convolve(x, weight, None, *IMAGES[0][5:])[0], expected, 18)


@pytest.mark.parametrize("function", [forward, dweight, dx])
def test_an_empty_batch(rng, T, function):
    check(function, rng, (0, 2, (4, 4), 3, (2, 2), (1, 1), (0, 0)), T)


def test_the_inner_axes_are_cut(rng):
    """Cases above reach the second kernel, which adds parts; with phases too."""
    assert gpu_tiles.plan(2, 30, 18, np.float32).parts == 1
    assert gpu_tiles.plan(2, 4, 30, np.float32).parts == 2
    for function in (forward, dweight, dx):
        check(function, rng, (1, 6, (3, 2), 6, (3, 2), (1, 1), (0, 0)), np.float32)
    check(dx, rng, (1, 1, (3, 2), 17, (2, 2), (2, 1), (1, 0)), np.float32)


REAL = [
    (256, 1, (28, 28), 20, (5, 5), (1, 1), (2, 2)),
    (64, 48, (32, 32), 64, (3, 3), (1, 1), (1, 1)),
    (1, 3, (520, 333), 33, (7, 7), (2, 2), (3, 3)),
    (4096, 2, (9, 8), 5, (3, 3), (1, 1), (0, 0)),
    (2, 130, (40, 40), 150, (3, 3), (1, 1), (1, 1)),
    (70_000, 1, (4, 4), 3, (3, 3), (1, 1), (1, 1)),
    (2, 5, (20, 24, 28), 40, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    (3, 4, (17, 18, 19), 6, (3, 4, 5), (2, 3, 1), (1, 2, 0)),
]


@pytest.mark.gpu
@pytest.mark.parametrize("case", REAL, ids=str)
@pytest.mark.parametrize("function", [forward, dweight, dx])
def test_real_sizes(rng, T, function, case):
    check(function, rng, case, T, runs=50)


@pytest.mark.gpu
@pytest.mark.parametrize("tile", gpu_tiles.SPEED, ids=str)
@pytest.mark.parametrize("function", [forward, dweight, dx])
@pytest.mark.parametrize("case", [(5, 33, (21, 19), 140, (3, 3), (1, 2), (1, 0)),
                                  (2, 9, (8, 9, 10), 40, (3, 2, 3), (1, 1, 2), (1, 0, 1))], ids=str)
def test_every_tile(rng, monkeypatch, tile, function, case):
    monkeypatch.setattr("nanostn.kernels.convolution.gpu.plan", lambda *_: gpu_tiles.Plan(tile, 3, 592))
    check(function, rng, case, np.float32, runs=3)
