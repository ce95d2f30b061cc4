"""Gains of a variable-rate model between its integer qualities."""

import numpy as np
import tensorflow as tf

from gllmm_tf.model.gains import Gains

LAMBDAS = (0.002, 0.01, 0.05)


def test_gains_interpolate_geometrically():
    gains = Gains(LAMBDAS, 8)
    y = [gains(tf.constant([q]))[0].numpy() for q in (1.0, 1.5, 2.0, 3.0)]
    np.testing.assert_allclose(y[1], np.sqrt(y[0] * y[2]), rtol=1e-5)
    # A larger lambda starts with finer steps: the gain grows like its square root.
    np.testing.assert_allclose(y[3] / y[0], np.sqrt(LAMBDAS[2] / LAMBDAS[0]), rtol=1e-5)


def test_offsets_interpolate_linearly_and_qualities_stay_in_range():
    gains = Gains(LAMBDAS, 4)
    gains(tf.ones([1]))
    offsets = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    gains.phi_offset.assign(offsets)
    found = gains(tf.constant([0.5, 1.25, 3.0, 9.0]))[4].numpy()[:, 0, 0]
    wanted = [offsets[0], 0.75 * offsets[0] + 0.25 * offsets[1], offsets[2], offsets[2]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
