"""Principal components of blocks: what N numbers can say, they say."""

import numpy as np
import pytest

from experiments.inside import linear_bound


def test_flat_pictures_need_three_channels():
    """A block of one colour has three numbers; two keep all but the least of their variances."""
    rng = np.random.default_rng(1)
    colours = rng.normal(128, [40, 20, 5], (2000, 3))
    blocks = np.tile(colours, (1, 256)).astype(np.float32)
    two, three = linear_bound.bounds(blocks, [2, 3])
    error = colours[:, 2].var() / 3
    assert two["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.05)
    assert three["psnr"] > 100


def test_blocks_are_parts_of_the_pictures():
    picture = np.arange(20 * 30 * 3, dtype=np.uint16).reshape(20, 30, 3) % 251
    small = np.zeros((15, 40, 3), np.uint8)
    blocks = linear_bound.blocks_of([picture.astype(np.uint8), small], 5, 0)
    assert blocks.shape == (5, 768)
    steps = np.diff(blocks.reshape(5, 16, 16, 3).astype(int), axis=2) % 251
    assert set(np.unique(steps)) == {3}
