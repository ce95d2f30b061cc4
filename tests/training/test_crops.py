"""Which crops a step sees."""

import hashlib

import numpy as np

from gllmm_tf.training import crops


def test_crops_are_pinned():
    """The rule must never change: runs that were interrupted would go on with other crops."""
    pixels = np.random.default_rng(1).integers(0, 256, 40 * 50 * 3 + 30 * 20 * 3, np.uint8)
    rule = crops.Crops(crops.Pictures([(40, 50), (30, 20)], pixels), 24, 7, 4)
    assert (len(rule), rule.num_small) == (1, 1)
    digest = hashlib.sha256()
    for step in (0, 1, 1000):
        for array in rule.batch(step, 3):
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == "5fd0b4e73ca3ad00"
