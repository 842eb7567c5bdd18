"""Every operation and layer of the verification table on the device, value and gradients against the CPU's."""

import pytest

from nanostn import verify
from nanostn.verify_sampler import sampler_cases

TABLE = [case for rows in (verify._arithmetic, verify._choices, verify._operations, verify._layers) for case in rows()]
SAMPLER = list(sampler_cases())


@pytest.mark.parametrize("case", TABLE, ids=[case.name for case in TABLE])
def test_as_on_the_cpu(case):
    case.compare("cuda")


SOME = [case for case in SAMPLER if "bands" not in case.name][::127]  # the others are of many points


@pytest.mark.parametrize("case", SOME, ids=[case.name for case in SOME])
def test_some_of_the_sampler(case):
    """Its kernels have tests of their own; here are the families, whose grids and matrices are operations."""
    case.compare("cuda")


@pytest.mark.gpu
def test_all_of_the_sampler():
    for case in SAMPLER:
        case.compare("cuda")
