"""Flags for the channels of y that are zero in a whole picture, and how likely each of them is.

A channel that is told to be empty once costs nothing any more, neither bits nor time. How likely that
is depends on the channel, the quality and the size of the picture; from a handful of channels in a
large picture at a high quality to nearly all of them in a small one. A table in the model file has a
row of the decision table for each. It also depends on the picture: a smooth one leaves more of them
empty than most. So each flag that says more, or less, than was expected moves the rows of those that
follow. Where a model has no table, one channel in eight is expected empty, whatever the picture.
"""

import numpy as np
import tensorflow as tf

from gllmm_tf.coding import tables
from gllmm_tf.config import IMAGE_MULTIPLE

NAME = "y/empty"  # among the exact arrays of a model file
DEFAULT = 0.125  # probability of an empty channel without a table

# Class k of sizes: 2^(k + 4) positions of y or more, but fewer than of class k + 1. The last is open.
SMALLEST = 16
SIZES = 12

# Rows used with a table, first and last: from 1 in 62 to 61 in 62. No picture must cost much.
ROWS = 512, 2041
# A flag moves later rows by its surprise, in units of 2^-16 of probability, over 2^9: 128 rows, a factor
# of 2 in the odds, for the largest.
MOVE_BITS = 9

_LONGEST = 768  # pixels of a side that are looked at
ENOUGH = 16  # windows that a class needs for counts of its own


def row_of(probability):
    """Rows of the decision table with the probabilities of 0 nearest to these, int64."""
    return np.searchsorted(tables.decision_edges(), probability)


def size_class(positions):
    """Class of a picture with so many positions of y, int32 scalars."""
    starts = tf.constant([SMALLEST << k for k in range(1, SIZES)])
    return tf.reduce_sum(tf.cast(positions >= starts, tf.int32))


def fit(model, pictures):
    """Counts empty channels in pictures and in parts of them.

    Args:
        model: A built `CompressionModel`.
        pictures: Iterable of uint8 [H, W, 3]; of each the part from the top left that has whole blocks
            of 64 x 64 pixels is used, of a large one its middle.

    Returns:
        uint16 [Q, SIZES, N], rows of the decision table; Q is 1 for a fixed rate. Classes with too few
        examples are as the last one with enough; None if there is no such class.
    """
    qualities = model.config.num_qualities
    gains = [1.0]
    if qualities:
        gains = model.gains(tf.range(1.0, qualities + 1))[0].numpy()[:, 0, 0]
    analyse = tf.function(model.g_a, reduce_retracing=True, autograph=False)
    empty = np.zeros((len(gains), SIZES, model.config.num_filters))
    windows = np.zeros((1, SIZES, 1))
    for picture in pictures:
        x = _part(picture)
        if not x.size:
            continue
        y = tf.cast(analyse(x[None] / np.float32(255)), tf.float32).numpy()[0]
        for i, gain in enumerate(gains):
            used = np.abs(y * gain) > 0.5
            for k in range(SIZES):
                parts = _windows(used, 4 << (k + 1) // 2, 4 << k // 2)
                empty[i, k] += np.sum(~parts.any((1, 3)), (0, 1))
                windows[0, k] += parts.shape[0] * parts.shape[2] * (i == 0)
    seen = int(np.sum(windows >= ENOUGH))
    if not seen:
        return None
    probability = (empty + 0.5) / (windows + 1.0)
    probability[:, seen:] = probability[:, seen - 1 : seen]  # larger than all that was seen
    return row_of(probability).astype(np.uint16)


def _part(picture):
    """The middle of a picture, in whole multiples of 64 pixels."""
    sides = [min(side, _LONGEST) // IMAGE_MULTIPLE * IMAGE_MULTIPLE for side in picture.shape[:2]]
    top, left = ((side - used) // 2 for side, used in zip(picture.shape, sides))
    return picture[top : top + sides[0], left : left + sides[1]]


def _windows(used, height, width):
    """bool [h, w, N] cut into [rows, height, columns, width, N]."""
    rows, columns = used.shape[0] // height, used.shape[1] // width
    cut = used[: rows * height, : columns * width]
    return cut.reshape(rows, height, columns, width, used.shape[2])
