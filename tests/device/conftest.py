"""Tests of the device: run on a GPU, or in a process of its own in Numba's simulator, else skipped.

    NUMBA_ENABLE_CUDASIM=1 pytest tests/device
"""

import numpy as np
import pytest

from nanostn.kernels.gpu.device import state


def pytest_collection_modifyitems(items):
    kind, words = state()
    here = [item for item in items if "device" in item.path.parts[-2:-1]]
    for item in here:
        if kind == "none":
            item.add_marker(pytest.mark.skip(reason=words))
        elif kind == "simulator" and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a real GPU"))


@pytest.fixture
def on_gpu():
    """Whether sizes may be real: the simulator takes 0.1 ms for an entry."""
    return state()[0] == "gpu"


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def T(request):
    return request.param
