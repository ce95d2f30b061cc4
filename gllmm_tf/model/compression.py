"""The trainable model: transforms, entropy models and, for variable rate, gains.

```
x --g_a--> y --* gain--> round --> y_hat ---* inverse gain--> g_s --> x_hat
                        |            | 5x5 causal context
                       h_a           v
                        |    entropy parameters --> mixture --> bits of y
                        v            ^ phi
                        z           h_s
                        |            ^
                        `--* gain--> round --> z_hat --> factorised model --> bits of z
```

A fixed-rate model has no gains and is the published system. A variable-rate model has one vector of
gains per integer quality on y and z (Cui et al., "Asymmetric Gained Deep Image Compression with
Continuous Rate Adaptation", 2021, arXiv 2003.02012), geometrically interpolated in between, and an
offset of phi per quality, which tells the entropy parameters the quality.
"""

import collections

import numpy as np
import tensorflow as tf

from gllmm_tf.config import IMAGE_MULTIPLE, ModelConfig
from gllmm_tf.model.context import EntropyParameters
from gllmm_tf.model.mixture import Mixture
from gllmm_tf.model.prior import FactorizedBottleneck
from gllmm_tf.model.transforms import (
    AnalysisTransform,
    HyperAnalysisTransform,
    HyperSynthesisTransform,
    SynthesisTransform,
)

# Scales below this are not told apart by unit bins; the fixed-point path has the same floor.
SCALE_MIN = 2.0**-6

Outputs = collections.namedtuple("Outputs", "x_hat y_bits z_bits y y_hat z z_hat")
Outputs.__doc__ = """What a forward pass computes.

x_hat: float32 [B, H, W, 3], not clipped. y_bits, z_bits: float32 [B], bits per image.
y, z: float32 latents (after the gain). y_hat, z_hat: what the synthesis and the context saw.
"""


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class Gains(tf.keras.layers.Layer):
    """Per-quality vectors of a variable-rate model, as functions of a real quality.

    Attributes:
        lambdas: One Lagrange multiplier per integer quality, ascending.
        num_filters: N.
    """

    def __init__(self, lambdas, num_filters, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.lambdas = tuple(lambdas)
        self.num_filters = num_filters

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
        self.log_z = table("log_z", 0.0)
        self.log_z_inverse = table("log_z_inverse", 0.0)
        self.phi_offset = table("phi_offset", 0.0, 2 * n)
        super().build(input_shape)

    def call(self, quality):
        """quality: float32 [B] in 1..Q. Returns (y, y inverse, z, z inverse, phi) as [B, 1, 1, .]."""
        position = tf.clip_by_value(quality, 1.0, len(self.lambdas))[:, None] - 1.0
        anchors = tf.range(len(self.lambdas), dtype=tf.float32)[None]
        weights = tf.nn.relu(1.0 - tf.abs(position - anchors))  # [B, Q], linear interpolation

        def at(table):
            return tf.matmul(weights, table)[:, None, None, :]

        logs = (self.log_y, self.log_y_inverse, self.log_z, self.log_z_inverse)
        return tuple(tf.exp(at(t)) for t in logs) + (at(self.phi_offset),)

    def get_config(self):
        return {"name": self.name, "lambdas": list(self.lambdas), "num_filters": self.num_filters}


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class CompressionModel(tf.keras.Model):
    """A learned image codec with hyperprior, autoregressive context and mixture likelihood.

    Attributes:
        config: The `ModelConfig`.
        rounding: What synthesis and context see in training: "ste" (rounded values, gradient of the
            identity) or "noise" (uniform noise, as in the published training). The likelihoods are
            always those of values with noise.
    """

    def __init__(self, config=None, rounding="ste", **kwargs):
        # The layers cast for themselves; x and quality stay float32 under mixed precision.
        super().__init__(**{"autocast": False, **kwargs})
        if rounding not in ("ste", "noise"):
            raise ValueError(f"rounding is {rounding!r}, it must be 'ste' or 'noise'")
        if isinstance(config, str):
            config = ModelConfig.from_json(config)
        self.config = config or ModelConfig()
        self.rounding = rounding
        n, stages, widths = self.config.num_filters, self.config.stages, self.config.trunk_widths
        self.g_a = AnalysisTransform(n, stages, widths, name="g_a")
        self.g_s = SynthesisTransform(n, stages, widths, name="g_s")
        self.h_a = HyperAnalysisTransform(n, name="h_a")
        self.h_s = HyperSynthesisTransform(n, name="h_s")
        self.entropy_parameters = EntropyParameters(
            n, self.config.num_groups, self.config.entropy_widths, name="entropy_parameters"
        )
        self.z_bottleneck = FactorizedBottleneck(n, name="z_bottleneck")
        self.gains = None
        if self.config.lambdas:
            self.gains = Gains(self.config.lambdas, n, name="gains")

    def mixture(self, y_hat, phi):
        """The `Mixture` of every element of y given the context y_hat and phi."""
        params = self.entropy_parameters(y_hat, phi)
        families, components = self.config.families, self.config.components
        return Mixture.from_parameters(params, families, components, scale_min=SCALE_MIN)

    def call(self, x, quality=None, seed=None, training=True, part=(0, 1), rate_gradient=None):
        """Analyses, quantises, estimates bits and synthesises.

        Args:
            x: float32 [B, H, W, 3] in 0..1, H and W multiples of 64.
            quality: float32 [B] in 1..Q for a variable-rate model, else None.
            seed: int32 [2], decides the noise; needed when training.
            training: False rounds everywhere.
            part: (index, count): x is this one of so many equal parts of a batch, and sees the noise
                that it would see in the whole.
            rate_gradient: float32 scalar or [N], the part of the rate's gradient that reaches g_a and
                the gains of y; None for all of it.

        Returns:
            `Outputs`.
        """
        if (quality is None) != (self.gains is None):
            raise ValueError("quality is given if and only if the model has a variable rate")
        gain_y = inverse_y = gain_z = inverse_z = 1.0
        phi_offset = 0.0
        if self.gains is not None:
            gain_y, inverse_y, gain_z, inverse_z, phi_offset = self.gains(quality)

        y = tf.cast(self.g_a(x), tf.float32) * gain_y

        def rated(value):
            if rate_gradient is None:
                return value
            fixed = tf.stop_gradient(value)
            return fixed + rate_gradient * (value - fixed)

        z = tf.cast(self.h_a(rated(y)), tf.float32) * gain_z
        y_sample, y_hat = self._quantise(y, seed, 0, training, part)
        z_sample, z_hat = self._quantise(z, seed, 1, training, part)

        phi = tf.cast(self.h_s(z_hat * inverse_z), tf.float32) + phi_offset
        y_bits = self.mixture(rated(y_hat), phi).bits(rated(y_sample))
        z_bits = self.z_bottleneck(z_sample)
        x_hat = tf.cast(self.g_s(y_hat * inverse_y), tf.float32)
        return Outputs(
            x_hat=x_hat,
            y_bits=tf.reduce_sum(y_bits, (1, 2, 3)),  # bits per image
            z_bits=tf.reduce_sum(z_bits, (1, 2, 3)),  # bits per image
            y=y,
            y_hat=y_hat,
            z=z,
            z_hat=z_hat,
        )

    def information_bits(self, y_hat, z_hat, quality=None):
        """Bits of given integer latents under the float model: (y bits [B], z bits [B]).

        y_hat: float32 [B, h, w, N], z_hat: float32 [B, h/4, w/4, N], quality as in `call`.
        """
        inverse_z, phi_offset = 1.0, 0.0
        if self.gains is not None:
            _, _, _, inverse_z, phi_offset = self.gains(quality)
        phi = tf.cast(self.h_s(z_hat * inverse_z), tf.float32) + phi_offset
        y_bits = self.mixture(y_hat, phi).bits(y_hat)
        z_bits = self.z_bottleneck(z_hat)
        return tf.reduce_sum(y_bits, (1, 2, 3)), tf.reduce_sum(z_bits, (1, 2, 3))

    def _quantise(self, value, seed, salt, training, part):
        """Returns (the sample whose likelihood is taken, what the networks behind see)."""
        if not training:
            rounded = tf.round(value)
            return rounded, rounded
        noisy = value + _part_of_noise(tf.shape(value), seed, salt, part)
        if self.rounding == "noise":
            return noisy, noisy
        return noisy, value + tf.stop_gradient(tf.round(value) - value)

    def build_from_config(self, config):
        """Creates the variables. Keras calls it before it loads saved ones; `config` is its own."""
        del config
        size = IMAGE_MULTIPLE
        quality = None if self.gains is None else tf.ones([1])
        self(tf.zeros([1, size, size, 3]), quality, tf.zeros([2], tf.int32))

    def get_config(self):
        return {
            **super().get_config(),
            "config": self.config.to_json(),
            "rounding": self.rounding,
        }


def uniform_noise(shape, seed, salt):
    """float32 noise in [-1/2, 1/2) that is the same with and without XLA, and under JAX.

    TensorFlow's own conversion of random bits to floats differs between its kernels and XLA, so 24 of
    the raw Philox bits are converted here. `salt` separates draws that share a seed.
    """
    seed = tf.stack([seed[0], tf.bitwise.bitwise_xor(seed[1], tf.constant(salt << 28, tf.int32))])
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, alg="philox")
    return (
        tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2**-24 - 0.5
    )


def _part_of_noise(shape, seed, salt, part):
    index, count = part
    if count == 1:
        return uniform_noise(shape, seed, salt)
    whole = uniform_noise(shape * [count, 1, 1, 1], seed, salt)
    return whole[index * shape[0] : (index + 1) * shape[0]]


def build(config, rounding="ste"):
    """A `CompressionModel` whose variables exist."""
    model = CompressionModel(config, rounding)
    model.build_from_config({})
    return model
