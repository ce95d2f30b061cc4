"""`codec/padding.py` as a graph of TensorFlow: the same pixels, for a picture of any shape."""

import numpy as np
import tensorflow as tf

from gllmm_tf.codec.padding import REACH, weights
from gllmm_tf.config import IMAGE_MULTIPLE


def strips(image):
    """What is missing of a picture.

    Args:
        image: uint8 [H, W, C], at least one pixel.

    Returns:
        (right, bottom): uint8 tensors [H, w, C] and [h, W + w, C] with W + w and H + h the next
        multiples of 64.
    """
    right = _continue(image[:, -1], -tf.shape(image)[1] % IMAGE_MULTIPLE)
    last = tf.concat([image[-1], right[-1]], 0)
    bottom = _continue(last, -tf.shape(image)[0] % IMAGE_MULTIPLE)
    return right, tf.transpose(bottom, [1, 0, 2])


def pad(image):
    """uint8 [H, W, C], at least one pixel, to multiples of 64; a tensor."""
    right, bottom = strips(image)
    return tf.concat([tf.concat([image, right], 1), bottom], 0)


def _continue(line, count):
    """A border's pixels uint8 [n, C] to the `count` lines beyond it, uint8 [n, count, C]."""
    size = tf.shape(line)[0]
    place = (tf.range(size)[:, None] + np.arange(-REACH, REACH + 1)) % (2 * size)
    place = tf.minimum(place, 2 * size - 1 - place)
    around = tf.gather(tf.cast(line, tf.float64), place)
    means = tf.tensordot(around, tf.constant(weights())[:count], [[1], [1]])  # [n, C, count]
    return tf.cast(tf.round(tf.transpose(means, [0, 2, 1])), tf.uint8)
