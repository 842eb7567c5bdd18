"""Dropout: Philox against its known answers; which entries go, how many, and for any number of threads."""

import numba
import numpy as np
import pytest

from nanostn.kernels.compiling.threads import set_threads
from nanostn.kernels.networks import dropout


@pytest.mark.parametrize("words, expected", [  # philox4x32 10 of Random123, examples/kat_vectors
    ((0,) * 6, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 6, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
])
def test_known_answers(words, expected):
    assert dropout.philox(*map(np.uint32, words)) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 4 * dropout.PART + 1, 9001])
def test_entries_follow_from_key_and_number(rng, dtype, n):
    """Word w of counter i decides on entry w Q + i, Q = ceil(n / 4)."""
    x, key, rate = rng.standard_normal(n).astype(dtype), 0x299F31D0A4093822, 0.37
    quarter = -(-n // 4)
    words = np.array([dropout.philox(np.uint32(i), *map(np.uint32, (0, 0, 0, key & 0xFFFFFFFF, key >> 32)))
                      for i in range(quarter)], np.int64).reshape(quarter, 4)
    kept = ((words >> 8) / 2.0**24 >= rate).T.reshape(-1)[:n]
    np.testing.assert_array_equal(dropout.dropout(x, rate, key), np.where(kept, x * dtype(1 / (1 - rate)), 0))


def test_an_entry_at_the_threshold_stays():
    counter, key = (3 << 32) + 5, 0x299F31D0A4093822
    words = dropout.philox(*map(np.uint32, (5, 3, 0, 0, 0xA4093822, 0x299F31D0)))
    for w, word in enumerate(words):
        least = int(word) >> 8
        assert [dropout._kept(counter, key, threshold)[w] for threshold in (least, least + 1)] == [True, False]


def test_as_many_go_as_the_rate_says_and_keys_differ():
    x = np.ones((1000, 1003), np.float32)
    draws = (0.1, 1), (0.9, 1), (0.5, 1), (0.5, 2), (0.5, 1 << 40)
    masks = [dropout.dropout(x, rate, key) != 0 for rate, key in draws]
    np.testing.assert_allclose([mask.mean() for mask in masks], [0.9, 0.1, 0.5, 0.5, 0.5], atol=2e-3)
    for a, b in ((2, 3), (2, 4), (3, 4)):
        assert abs((masks[a] == masks[b]).mean() - 0.5) < 2e-3
    assert abs((masks[2][:, 1:] == masks[2][:, :-1]).mean() - 0.5) < 2e-3  # neighbours


def test_same_bits_for_any_number_of_threads(rng):
    x = rng.standard_normal((33, 501)).astype(np.float32)
    before, runs = numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            set_threads(threads)
            runs.append(dropout.dropout(x, 0.5, 3).tobytes())
    finally:
        set_threads(before)
    assert runs[0] == runs[1]
