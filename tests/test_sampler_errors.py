"""What the sampler refuses, and how it says so: every message once."""

import copy

import numpy as np
import pytest

from nanostn.grid_generator import affine_grid
from nanostn.sampler import SamplingKernel, grid_sample, spatial_transform
from nanostn.transformations import Affine, Affine3d, Transformation

MODES = "'nearest', 'bilinear', 'bicubic', 'catmull-rom', 'bspline' or a SamplingKernel"
PADDINGS = "'zeros', 'border', 'wrap', 'reflection' or a number"


@pytest.mark.parametrize("change, message", [
    ({"mode": "cubic"}, f"mode should be {MODES}, received 'cubic'"),
    ({"mode": 1}, f"mode should be {MODES}, received 1"),
    ({"padding_mode": "mirror"}, f"padding_mode should be {PADDINGS}, received 'mirror'"),
    ({"padding_mode": True}, f"padding_mode should be {PADDINGS}, received True"),
    ({"padding_mode": np.nan}, f"padding_mode should be {PADDINGS}, received nan"),
    ({"padding_mode": np.inf}, f"padding_mode should be {PADDINGS}, received inf"),
    ({"padding_mode": None}, f"padding_mode should be {PADDINGS}, received None"),
    ({"U": np.zeros((2, 3, 4))}, r"U should be \(N, C, H, W\), received \(2, 3, 4\) float64; Affine"),
    ({"U": np.zeros((2, 3, 2, 4, 5))}, r"U should be \(N, C, H, W\), received .* works in 2 dimensions"),
    ({"transformation": Affine3d(), "theta": np.zeros((2, 12)), "size": (2, 3, 4)},
     r"U should be \(N, C, D, H, W\), received \(2, 3, 4, 5\) float64; Affine3d\(\) works in 3 dimensions"),
    ({"U": np.zeros((2, 3, 0, 4))}, "U should be images of at least one pixel, received"),
    ({"U": np.zeros((2, 3, 4, 5), int)}, "U should be a float32 or float64 array"),
    ({"U": np.zeros((2, 3, 4, 5), np.float32)}, "theta should be float32 like U, received .* float64"),
    ({"theta": np.zeros((2, 5))}, r"theta should be \(N, 6\) or \(N, 2, 3\), received \(2, 5\)"),
    ({"theta": np.zeros((3, 6))}, "theta should be of as many transformations as U has images, 2, or one, received 3"),
    ({"theta": np.zeros((3, 6)), "antialias": True}, "of as many transformations as U has images, 2, or one, received"),
    ({"transformation": "affine"}, r"transformation should be a family such as Affine\(\), received 'affine'"),
    ({"size": (3, 0)}, "size should be .* two positive integers, received"),
    ({"size": (3, 4, 5)}, "size should be .* two positive integers, received"),
    ({"size": 5}, "size should be"), ({"size": (3.0, 4)}, "size should be"), ({"size": (True, 4)}, "size should be"),
    ({"flatten_depth": True}, "flatten_depth should be False for images, received True; only a volume has a depth"),
])
def test_spatial_transform(change, message):
    arguments = {"U": np.zeros((2, 3, 4, 5)), "theta": np.zeros((2, 6)), "transformation": Affine(), "size": (3, 7)}
    with pytest.raises(ValueError, match=message):
        spatial_transform(**{**arguments, **change})


@pytest.mark.parametrize("change, message", [
    ({"grid": np.zeros((3, 4, 5, 2))}, r"with N = 2 from U, received \(3, 4, 5, 2\)"),
    ({"grid": np.zeros((2, 4, 5, 3))}, r"grid should be .*, 2\).*, received \(2, 4, 5, 3\)"),
    ({"grid": np.zeros((2, 4, 5, 4))}, r"grid should be .*, 2\).*, received \(2, 4, 5, 4\)"),
    ({"grid": np.zeros((2, 20, 2))}, r"grid should be .*, received \(2, 20, 2\)"),
    ({"grid": np.zeros((2, 4, 5, 2), np.float32)}, "grid should be float64 like U"),
    ({"U": np.zeros((4, 5))}, r"U should be \(N, C, H, W\), received \(4, 5\)"),
    ({"U": np.zeros((2, 1, 3, 4, 5))}, r"grid should be .*, 3\).*, received \(2, 4, 5, 2\)"),
    ({"U": np.zeros((2, 1, 4, 0))}, "U should be images of at least one pixel"),
    ({"mode": "trilinear"}, "mode should be"), ({"padding_mode": "constant"}, "padding_mode should be"),
    ({"flatten_depth": True}, "flatten_depth should be False for images"),
    ({"grid": np.zeros((2, 4, 5, 3)), "antialias": True},
     r"grid should be .*, 2\).*, received \(2, 4, 5, 3\)"),
    ({"grid": np.zeros((2, 20, 2)), "antialias": True}, r"grid should be .*, received \(2, 20, 2\)"),
])
def test_grid_sample(change, message):
    with pytest.raises(ValueError, match=f"grid_sample: .*{message}"):
        grid_sample(**{"U": np.zeros((2, 3, 4, 5)), "grid": np.zeros((2, 4, 5, 2)), **change})


@pytest.mark.parametrize("antialias", [False, True])
def test_a_grid_is_refused_in_the_users_words(antialias):
    """With widths behind the coordinates, or without."""
    U = np.zeros((2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"grid should be .*2\) with N = 2 from U, received \(3, 4, 5, 2\)"):
        grid_sample(U, np.zeros((3, 4, 5, 2)), antialias=antialias)
    with pytest.raises(ValueError, match="grid should be a float32 or float64 array"):
        grid_sample(U, np.zeros((2, 4, 5, 2), int), antialias=antialias)


def hat(x):
    return max(0.0, 1 - abs(x))


def slope(x):
    return 1.0 if x < 0 else -1.0


@pytest.mark.parametrize("k", [None, 3, "hat"])
def test_a_kernel_is_two_functions(k):
    with pytest.raises(ValueError, match="SamplingKernel: k should be a Python function of one number, received"):
        SamplingKernel(k, slope, 1)
    with pytest.raises(ValueError, match="slope should be a Python function of one number, received"):
        SamplingKernel(hat, k, 1)


def test_a_slope_is_asked_for():
    with pytest.raises(ValueError, match="slope should be .*, received None; a slope is not guessed"):
        SamplingKernel(hat, radius=1)


@pytest.mark.parametrize("radius", [0, -1, 64.5, np.nan, np.inf, True, "1", None])
def test_a_kernel_has_a_radius(radius):
    with pytest.raises(ValueError, match="SamplingKernel: radius should be a number above 0, up to 64, received"):
        SamplingKernel(hat, slope, radius)


def test_a_kernel_shows_its_functions():
    assert repr(SamplingKernel(hat, slope, 1)) == "SamplingKernel(hat, slope, 1)"


@pytest.mark.parametrize("plane, K", [(True, 2), (False, 3)])
def test_a_family_whose_parts_do_not_fit(plane, K):
    class Odd(Transformation):
        entries, constants = np.arange(2 * K).reshape(2, K), np.zeros((2, K))

        def basis(self, size, align_corners=True):
            return np.ones((K, 1))

    Odd.plane = plane
    with pytest.raises(ValueError, match=r"transformation should be one with M .* another basis than \(x, y, 1\) sets"):
        spatial_transform(np.ones((1, 1, 4, 5)), np.ones((1, 2 * K)), Odd(), (2, 3))


def test_integers_are_no_theta():
    with pytest.raises(ValueError, match="theta should be a float32 or float64 array"):
        affine_grid(np.array([[[1, 0, 0], [0, 1, 0]]]), (1, 1, 3, 5))


def _raises(x):
    if x > 0.5:
        raise ValueError(x)
    return x


@pytest.mark.parametrize("function, message", [
    (_raises, "plain arithmetic, received one with raise"), (lambda x: print(x), "plain arithmetic"),
    (lambda x, y: x, "a Python function of one number"),
])
def test_functions_that_are_no_kernel(function, message):
    with pytest.raises(ValueError, match=f"SamplingKernel: k should be {message}"):
        SamplingKernel(function, lambda x: 0.0, 1)


def test_a_kernel_that_numba_cannot_compile():
    kernel = SamplingKernel(lambda x: "text", lambda x: 0.0, 1)
    with pytest.raises(ValueError, match="functions from float64 to float64"):
        grid_sample(np.ones((1, 1, 3, 4)), np.zeros((1, 2, 2, 2)), mode=kernel)


@pytest.mark.parametrize("number", [1e39, 10**400, np.nan, True, 1j])
def test_numbers_that_cannot_lie_outside(number):
    with pytest.raises(ValueError, match="padding_mode should be"):
        grid_sample(np.ones((1, 1, 3, 4)), np.zeros((1, 2, 2, 2)), padding_mode=number)


@pytest.mark.parametrize("grid, words", [(None, "Tensor: data should be numbers, .* received None"),
                                         (3.0, r"grid_sample: grid should be \(N, H', W', 2\)"),
                                         (np.zeros((1, 2)), r"grid_sample: grid should be \(N, H', W', 2\)")])
def test_what_is_no_grid(grid, words):
    with pytest.raises(ValueError, match=words):
        grid_sample(np.ones((1, 1, 3, 4)), grid)


def test_a_used_kernel_can_be_copied():
    kernel = SamplingKernel(lambda x: max(0.0, 1 - abs(x)), lambda x: 1.0 if x < 0 else -1.0, 1)
    U, grid = np.arange(12.0).reshape(1, 1, 3, 4), np.full((1, 1, 2, 2), 0.2)
    V = grid_sample(U, grid, mode=kernel).data
    assert np.array_equal(grid_sample(U, grid, mode=copy.deepcopy(kernel)).data, V)
