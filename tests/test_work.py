"""What a picture's size says about its work."""

import numpy as np
import pytest

from gllmm_tf import work


@pytest.mark.parametrize(
    "size, counted, padded",
    [
        ((1, 1), 4096, 4096),
        ((2, 8388608), 64 * 8388608, 64 * 8388608),
        ((8388608, 2), 64 * 8388608, 64 * 8388608),
        ((63, 65), 64 * 65, 64 * 128),
        ((768, 512), 768 * 512, 768 * 512),
        ((1000, 1000), 1000000, 1024 * 1024),
    ],
)
def test_pixels(size, counted, padded):
    assert work.counted_pixels(*size) == counted
    assert work.padded_pixels(*size) == padded
    assert work.excess(*size, counted) == ""
    assert f"limit of {counted - 1}" in work.excess(*size, counted - 1)


def test_the_work_is_little_more_than_what_is_counted():
    """Whatever the shape, the networks see at most twice the limit, beyond a handful of blocks."""
    for side in (1, 63, 64, 65, 127, 129, 700):
        for limit in (1 << 20, 1 << 24):
            longest = limit // max(side, 64)
            assert work.excess(side, longest, limit) == ""
            assert work.padded_pixels(side, longest) <= 2 * limit + 128 * 64


def test_what_is_said():
    assert work.excess(5, 10, 100) == (
        "5 x 10 = 50 pixels (counted as 4096: a side has at least 64), more than the limit of 100"
    )
    assert work.excess(100, 100, 9999) == "100 x 100 = 10000 pixels, more than the limit of 9999"


def test_blocks():
    assert work.blocks(width=1, height=64) == (1, 1)
    assert work.blocks(width=65, height=200) == (4, 2)


def test_least_bytes():
    assert work.least_bytes(1, 100.0) == 0
    assert work.least_bytes(1000, 8.0) == 1000 - work.END_BYTES
    assert np.all(np.diff([work.least_bytes(n, 7.56) for n in range(5000)]) >= 0)
