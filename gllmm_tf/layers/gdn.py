"""Generalized divisive normalization as both papers use it.

Ballé, Laparra, Simoncelli, "Density Modeling of Images using a Generalized Normalization
Transformation", 2015, arXiv 1511.06281.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_compression as tfc


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class GDN(tfc.GDN):
    """`y_i = x_i / sqrt(beta_i + sum_j gamma_ji x_j^2)`; the inverse multiplies instead of dividing.

    `i` and `j` run over the channels (last axis). The parameters, their lower bounds and their
    reparametrisation are those of `tfc.GDN`. The formula is the original one (`alpha` = 2,
    `epsilon` = 1/2), whereas `tfc.GDN()` of version 2.14 defaults to `alpha = epsilon = 1`. It is
    evaluated here rather than in the parent, whose exponents become data-dependent branches in a graph.

    Input and output: float [..., C].
    """

    def __init__(self, inverse: bool = False, **kwargs):
        super().__init__(inverse=inverse, alpha_parameter=2, epsilon_parameter=0.5, **kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        rank = x.shape.rank
        gamma = tf.reshape(self.gamma, (1,) * (rank - 2) + tuple(self.gamma.shape))
        norm = tf.nn.bias_add(tf.nn.convolution(tf.square(x), gamma, padding="VALID"), self.beta)
        return x * (tf.sqrt(norm) if self.inverse else tf.math.rsqrt(norm))

    # Keras' saving does not look into tfc's parameter objects.
    def save_own_variables(self, store):
        for i, variable in enumerate(self.weights):
            store[str(i)] = variable

    def load_own_variables(self, store):
        for i, variable in enumerate(self.weights):
            variable.assign(store[str(i)])

    def get_config(self):
        return {"name": self.name, "dtype": self._dtype_policy.name, "inverse": self.inverse}
