"""No access outside an array, by Numba's own check of every index; in programs of their own, since a crash ends them.

(Vectors are moved unchecked: where the sampler reads two pixels at once is looked at in `test_in_place.py`.)

An exception in a kernel is printed and lost (`kernels/compiling/parallel.py`), so the programs' error output is looked
at. That it would be there is shown by a fault that is planted.
"""

import os
import subprocess
import sys

PROGRAM = '''
import itertools
import sys
import numpy as np
from nanostn.kernels import sampling
from nanostn.sampler import MODES, grid_sample
from nanostn.tensor import Tensor

hostile = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, 2.0 ** 31, -2.0 ** 31, 1e-45, -1.0, 1.0, 1.0000001,
           0.3, 1.3, -1.7, 1.7, 2.5]
from nanostn.functional import conv2d

count = 0

def convolve(size, window, padding):
    """Through spectra: with tiles that lie outside the image as a whole."""
    global count
    rng = np.random.default_rng(0)
    x, weight = (Tensor(rng.normal(size=(3, 2, *shape)).astype(np.float32), requires_grad=True)
                 for shape in (size, window))
    results = []
    for method in ("spectra", "direct"):
        x.grad = weight.grad = None
        y = conv2d(x, weight, padding=padding, method=method)
        y.backward(np.ones_like(y.data))
        results.append((y.data, x.grad, weight.grad))
    for one, other in zip(*results):
        assert np.abs(one - other).max() < 1e-4 * max(1, np.abs(other).max())
    count += 1

def sample(size, channels, mode, padding_mode, align_corners):
    global count
    rng = np.random.default_rng(0)
    U = Tensor(rng.normal(size=(1, channels, *size)).astype(np.float32), requires_grad=True)
    points = np.array(list(itertools.product(hostile, repeat=len(size))), np.float32)
    grid = Tensor(points.reshape(1, *[1] * (len(size) - 1), *points.shape), requires_grad=True)
    V = grid_sample(U, grid, mode, padding_mode, align_corners)
    V.backward(np.ones_like(V.data))
    count += 1
'''
CASES = '''
for mode, padding_mode, align_corners in itertools.product(
        ("nearest", "bilinear", "bicubic"), ("zeros", "border", "wrap", "reflection"), (True, False)):
    for size, channels in (((4, 5), 1), ((33, 2), 9), ((1, 3), 3), ((4, 1), 1), ((3, 4, 2), 1), ((17, 1, 2), 8)):
        sample(size, channels, mode, padding_mode, align_corners)
for size, window, padding in (((8, 8), (5, 5), 48), ((28, 9), (1, 3), 33), ((33, 20), (3, 2), 1), ((7, 41), (7, 4), 0)):
    convolve(size, window, padding)
print(count)
'''
FAULTS = '''
whole = sampling.schedule._margins  # of an image that several workers share
sampling.schedule._margins = lambda *arguments: np.ascontiguousarray(whole(*arguments)[:, :-160])
nothing, one = np.empty((0, 0), np.float32), np.ones(2, np.float32)
for mode in ("bilinear", "bicubic"):
    print("planted", flush=True, file=sys.stderr)
    sampling.sample(np.ones((1, 8, 4, 5), np.float32), np.empty((0, 2, 0), np.float32), nothing,
                    np.ones((1, 1200, 2), np.float32), one, (30, 40), MODES[mode], 1)
'''


def run(program, **environment):
    return subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True,
                          text=True, timeout=600)


def test_the_program_survives():
    """Among these are the cases in which PyTorch 2.13 ends the process (test_hostile_coordinates.py)."""
    done = run(PROGRAM + CASES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "148\n", "")


def test_no_index_is_outside(tmp_path):
    """Compiled anew, with checks, in a folder of its own: files from elsewhere have none."""
    done = run(PROGRAM + CASES + FAULTS, NUMBA_BOUNDSCHECK="1", NUMBA_OPT="1", NUMBA_CACHE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "148\n")
    cases, *planted = done.stderr.split("planted")
    assert "Exception" not in cases and "Error" not in cases
    assert len(planted) == 2 and all("IndexError: index is out of bounds" in errors for errors in planted)
