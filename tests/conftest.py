"""What all tests share: a seeded generator, and interrupts that arrive."""

import signal

import numpy as np
import pytest

# A shell's background job ignores SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng():
    return np.random.default_rng(20150605)
