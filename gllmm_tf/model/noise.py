"""Uniform noise that stands for rounding in training (Ballé et al., 2017, arXiv 1611.01704).

A pure function of shape, seed and salt, the same in TensorFlow, under XLA and under JAX, and the same
for a batch as for its parts: a run can be repeated, continued, and shared between devices.
"""

from __future__ import annotations

import tensorflow as tf


def random_seed() -> tf.Tensor:
    """A seed from TensorFlow's global generator (`tf.random.set_seed`), int32 [2]."""
    return tf.random.uniform([2], tf.int32.min, tf.int32.max, tf.int32)


def uniform_noise(shape: tf.Tensor, seed: tf.Tensor, salt: int) -> tf.Tensor:
    """Noise in [-1/2, 1/2) that is the same with and without XLA, and under JAX.

    TensorFlow's own conversion of random bits to floats differs between its kernels and XLA, so 24 of
    the raw Philox bits are converted here.

    Args:
        shape: int32 [rank].
        seed: int32 [2].
        salt: 0 to 7; separates draws that share a seed.

    Returns:
        float32 of that shape.
    """
    seed = tf.stack([seed[0], tf.bitwise.bitwise_xor(seed[1], tf.constant(salt << 28, tf.int32))])
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, alg="philox")
    return (
        tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2**-24 - 0.5
    )


def part_of_noise(
    shape: tf.Tensor, seed: tf.Tensor, salt: int, part: tuple[int | tf.Tensor, int]
) -> tf.Tensor:
    """The noise that a part of a batch would see in the whole batch.

    Args:
        shape: int32 [4], of the part.
        seed, salt: As in `uniform_noise`.
        part: (index, count): this one of so many equal parts along the first axis.

    Returns:
        float32 of that shape.
    """
    index, count = part
    if count == 1:
        return uniform_noise(shape, seed, salt)
    whole = uniform_noise(shape * [count, 1, 1, 1], seed, salt)
    return whole[index * shape[0] : (index + 1) * shape[0]]
