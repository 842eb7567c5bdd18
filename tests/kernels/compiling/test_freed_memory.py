"""Freed memory stays with the process, unless the environment says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import numpy as np
import nanostn.kernels

def faults(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        first, second = np.ones(size), np.ones(size)
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults({0})
print(faults({0}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize("size", [1_000_000, 10_000_000])
def test_arrays_of_the_same_size_need_no_new_pages(size):
    def faults(**environment):
        shown = subprocess.run([sys.executable, "-c", CODE.format(size)], capture_output=True, text=True, check=True,
                               env={**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0", **environment})
        return int(shown.stdout)

    kept = faults()
    given_back = faults(NANOSTN_KEEP_MEMORY="0")
    assert kept < 1000 < given_back
