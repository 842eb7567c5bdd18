"""Volumes are made where the digits are."""

from dataclasses import replace

import numpy as np

from nanostn.datasets import volumes
from nanostn.kernels.gpu.arrays.device_array import is_device
from nanostn.kernels.gpu.arrays.numpy_functions import move


def test_volumes_are_those_of_the_cpu(monkeypatch):
    for name, value in {"SIDE": 9, "SLICES": 3, "ROOM": 2}.items():  # the simulator is slow
        monkeypatch.setattr(volumes, name, value)
    images = np.random.default_rng(0).integers(256, size=(2, 28, 28), dtype=np.uint8)
    made, _ = volumes.draw(images, np.arange(2), np.array([1, 0]), np.random.default_rng(1))
    sent = replace(made, arrays=tuple(move(array, "cuda") for array in made.arrays))
    V = sent.canvas()
    assert is_device(V) and V.shape == (2, 1, 9, 9, 9)
    np.testing.assert_allclose(move(V, "cpu"), made.canvas(), atol=2e-6)
    np.testing.assert_allclose(move(sent[1:], "cpu"), made[1:], atol=2e-6)
