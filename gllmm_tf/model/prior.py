"""The factorised entropy model of z.

Ballé et al., "Variational Image Compression with a Scale Hyperprior", 2018, arXiv 1802.01436.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from gllmm_tf.coding import range_ops
from gllmm_tf.model.density import NoisyDensity

TAIL_MASS = 2.0**-8  # what the escape of a frequency table stands for, about
PRECISION = 16  # bits of a frequency


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class FactorizedBottleneck(tf.keras.layers.Layer):
    """One learned density per channel of z, shared by all positions.

    Attributes:
        channels: Channels of z.
        init_scale: Width of the densities at initialisation, in units of z.
        num_filters: Widths of the hidden layers of each channel's cumulative; the originals' (tfc 1.2)
            have three, tfc 2.14 starts from two.
        prior: `NoisyDensity`.
    """

    def __init__(
        self, channels: int, init_scale: float = 10, num_filters: Sequence[int] = (3, 3), **kwargs
    ):
        super().__init__(dtype="float32", **kwargs)
        self.channels = channels
        self.init_scale = init_scale
        self.num_filters = tuple(num_filters)
        self.prior = NoisyDensity(channels, init_scale, self.num_filters)

    def call(self, z: tf.Tensor) -> tf.Tensor:
        """Information content of z, float32 [B, h, w, channels]; returns bits of the same shape.

        `z` is either z plus uniform noise (training) or rounded z: the density is that of the sum with
        noise, whose value at an integer is the probability of its unit bin.
        """
        return self.prior.log_prob(tf.cast(z, tf.float32)) / -math.log(2)

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Integer frequency tables for range coding, as docs/format.md lays them out.

        Returns:
            cdf int32, the rows of all channels one behind the other: the negated precision, then the
            cumulative frequencies, of which the last interval is the escape's; and int32 [channels],
            the integer of each row's first interval.
        """
        prob, first, rows = self.prior.table(TAIL_MASS)
        cdf = []
        for channel, length in enumerate(rows):
            row = tf.constant(prob[:length, channel])
            escape = tf.maximum(1.0 - tf.reduce_sum(row, keepdims=True), 0.0)
            frequencies = tf.concat([row, escape], 0)
            cdf += [[-PRECISION], range_ops.pmf_to_quantized_cdf(frequencies, precision=PRECISION)]
        return np.concatenate(cdf).astype(np.int32), first

    # Keras' saving does not look into the prior, a tf.Module.
    def save_own_variables(self, store):
        for i, variable in enumerate(self.weights):
            store[str(i)] = variable

    def load_own_variables(self, store):
        for i, variable in enumerate(self.weights):
            variable.assign(store[str(i)])

    def get_config(self):
        return {
            "name": self.name,
            "channels": self.channels,
            "init_scale": self.init_scale,
            "num_filters": list(self.num_filters),
        }
