"""Generalized divisive normalization as both papers use it.

Ballé, Laparra, Simoncelli, "Density Modeling of Images using a Generalized Normalization
Transformation", 2015, arXiv 1511.06281. Parameters, bounds and their gradient are those of
tensorflow-compression's GDN, so that what was trained with it goes on. Its formula differs: `GDN()` of
version 2.14 has exponents 1 and 1 by default, the papers 2 and 1/2.
"""

from __future__ import annotations

import tensorflow as tf

OFFSET = 2.0**-18  # keeps the gradient of a parameter that is 0
BETA_MINIMUM = 1e-6


@tf.custom_gradient
def lower_bound(x: tf.Tensor, bound: tf.Tensor) -> tf.Tensor:
    """`max(x, bound)`; below the bound a gradient that descends towards it still passes to `x`.

    x: float of any shape. bound: a scalar of that dtype, which gets no gradient.
    """

    def gradient(upstream):
        passes = (x >= bound) | (upstream < 0)
        return tf.where(passes, upstream, tf.zeros_like(upstream)), None

    return tf.maximum(x, bound), gradient


class NonNegative(tf.Module):
    """A parameter not below a minimum, trained as its square root: small values change slowly.

    `value = max(variable, sqrt(minimum + 2^-36))^2 - 2^-36`, with the gradient of `lower_bound`.

    Attributes:
        variable: `tf.Variable`, what is trained and stored.
        minimum: The least value.
    """

    def __init__(self, value: tf.Tensor, name: str, minimum: float = 0.0):
        super().__init__(name=name)
        self.minimum = minimum
        pedestal = tf.constant(OFFSET**2, value.dtype)
        stored = tf.sqrt(tf.maximum(value + pedestal, pedestal))
        self.variable = tf.Variable(stored, name=f"reparam_{name}")

    def __call__(self, dtype: tf.DType) -> tf.Tensor:
        """The value in a dtype, in which it is also computed."""
        variable = tf.cast(self.variable, dtype)
        bound = tf.constant((self.minimum + OFFSET**2) ** 0.5, dtype)
        return tf.square(lower_bound(variable, bound)) - tf.constant(OFFSET**2, dtype)


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class GDN(tf.keras.layers.Layer):
    """`y_i = x_i / sqrt(beta_i + sum_j gamma_ji x_j^2)`; the inverse multiplies instead of dividing.

    `i` and `j` run over the channels (last axis). beta starts at 1 and is at least 1e-6, gamma starts at
    a tenth of the identity and is at least 0; both are `NonNegative`.

    Input and output: float [B, ..., C] with one to three axes between.
    """

    def __init__(self, inverse: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.inverse = inverse

    def build(self, input_shape: tf.TensorShape) -> None:
        channels = input_shape[-1]
        dtype = self.variable_dtype
        # The names of these two attributes are part of every checkpoint.
        self._beta_parameter = NonNegative(tf.ones([channels], dtype), "beta", BETA_MINIMUM)
        self._gamma_parameter = NonNegative(0.1 * tf.eye(channels, dtype=dtype), "gamma")
        super().build(input_shape)

    @property
    def beta_parameter(self) -> NonNegative:
        return self._beta_parameter

    @property
    def gamma_parameter(self) -> NonNegative:
        return self._gamma_parameter

    @property
    def beta(self) -> tf.Tensor:
        """[C], of the dtype in which the layer computes."""
        return self._beta_parameter(self.compute_dtype)

    @property
    def gamma(self) -> tf.Tensor:
        """[C, C], from j to i."""
        return self._gamma_parameter(self.compute_dtype)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        gamma = tf.reshape(self.gamma, (1,) * (x.shape.rank - 2) + tuple(self.gamma.shape))
        norm = tf.nn.bias_add(tf.nn.convolution(tf.square(x), gamma, padding="VALID"), self.beta)
        return x * (tf.sqrt(norm) if self.inverse else tf.math.rsqrt(norm))

    # Keras' saving does not look into `NonNegative`.
    def save_own_variables(self, store):
        for i, variable in enumerate(self.weights):
            store[str(i)] = variable

    def load_own_variables(self, store):
        for i, variable in enumerate(self.weights):
            variable.assign(store[str(i)])

    def get_config(self):
        return {"name": self.name, "dtype": self._dtype_policy.name, "inverse": self.inverse}
