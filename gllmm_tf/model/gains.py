"""Gains of a variable-rate model: per-quality vectors on the latents and an offset of phi.

Cui et al., "Asymmetric Gained Deep Image Compression with Continuous Rate Adaptation", 2021, arXiv
2003.02012. The offset of phi, which tells the entropy parameters the quality, is an addition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class Gains(tf.keras.layers.Layer):
    """Vectors for each integer quality as functions of a real quality.

        log g(q) = (1 - t) log g_i + t log g_(i+1),   i + t = q,  0 <= t <= 1

    so gains are interpolated geometrically, the offset of phi linearly. Qualities outside 1..Q count
    as the nearest one inside.

    Args:
        lambdas: One Lagrange multiplier per integer quality, ascending.
        num_filters: N.
        hyper_filters: Z, the channels of z; 0 for N.

    Attributes:
        log_y, log_y_inverse: float32 [Q, N], logarithms of the gains.
        log_z, log_z_inverse: float32 [Q, Z], the same of z.
        phi_offset: float32 [Q, 2 N].
    """

    def __init__(
        self, lambdas: Sequence[float], num_filters: int, hyper_filters: int = 0, **kwargs
    ):
        super().__init__(dtype="float32", **kwargs)
        self.lambdas = tuple(lambdas)
        self.num_filters = num_filters
        self.hyper_filters = hyper_filters or num_filters

    def build(self, input_shape):
        n, q = self.num_filters, len(self.lambdas)
        # The best quantisation step of a smooth rate-distortion trade-off goes like lambda^(-1/2).
        start = 0.5 * np.log(np.array(self.lambdas) / np.exp(np.mean(np.log(self.lambdas))))
        start = np.repeat(start[:, None], n, 1).astype(np.float32)

        def table(name, value, columns=n):
            return self.add_weight(
                name, (q, columns), initializer=tf.keras.initializers.Constant(value)
            )

        self.log_y = table("log_y", start)
        self.log_y_inverse = table("log_y_inverse", -start)
        self.log_z = table("log_z", 0.0, self.hyper_filters)
        self.log_z_inverse = table("log_z_inverse", 0.0, self.hyper_filters)
        self.phi_offset = table("phi_offset", 0.0, 2 * n)
        super().build(input_shape)

    def call(self, quality: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns (gain of y, its inverse, gain of z, its inverse, offset of phi).

        Args:
            quality: float32 [B] in 1..Q.

        Returns:
            float32 [B, 1, 1, N] twice, [B, 1, 1, Z] twice, and [B, 1, 1, 2 N]. The inverses are learned
            as well.
        """
        position = tf.clip_by_value(quality, 1.0, len(self.lambdas))[:, None] - 1.0
        anchors = tf.range(len(self.lambdas), dtype=tf.float32)[None]
        weights = tf.nn.relu(1.0 - tf.abs(position - anchors))  # [B, Q], linear interpolation

        def at(table):
            return tf.matmul(weights, table)[:, None, None, :]

        logs = (self.log_y, self.log_y_inverse, self.log_z, self.log_z_inverse)
        return tuple(tf.exp(at(t)) for t in logs) + (at(self.phi_offset),)

    def get_config(self):
        return {
            "name": self.name,
            "lambdas": list(self.lambdas),
            "num_filters": self.num_filters,
            "hyper_filters": self.hyper_filters,
        }
