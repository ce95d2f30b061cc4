"""The noise of training: uniform, reproducible, shared between parts of a batch."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf.model.noise import part_of_noise, random_seed, uniform_noise


def test_noise_depends_on_seed_and_salt_and_is_uniform():
    noise = uniform_noise([100000], tf.constant([3, 4]), 0).numpy()
    assert noise.min() >= -0.5 and noise.max() < 0.5
    assert abs(noise.mean()) < 0.005 and abs(noise.var() - 1 / 12) < 0.001
    np.testing.assert_array_equal(noise, uniform_noise([100000], tf.constant([3, 4]), 0))
    for seed, salt in (([3, 5], 0), ([2, 4], 0), ([3, 4], 1)):
        assert np.any(noise != uniform_noise([100000], tf.constant(seed), salt).numpy())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_of_a_batch_see_the_noise_of_the_whole(count):
    seed, shape = tf.constant([3, 4]), tf.constant([6 // count, 2, 3, 4])
    whole = uniform_noise(tf.constant([6, 2, 3, 4]), seed, 1)
    parts = [part_of_noise(shape, seed, 1, (i, count)) for i in range(count)]
    np.testing.assert_array_equal(tf.concat(parts, 0), whole)


def test_drawn_seeds_follow_the_global_one():
    tf.random.set_seed(1)
    first, second = random_seed(), random_seed()
    tf.random.set_seed(1)
    np.testing.assert_array_equal(random_seed(), first)
    assert first.dtype == tf.int32 and first.shape == [2] and np.any(first != second)
