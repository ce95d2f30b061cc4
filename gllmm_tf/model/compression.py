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

A fixed-rate model has no gains and is the published system (`gllmm_tf/config.py` names the two). A
variable-rate model is that with `gllmm_tf/model/gains.py`.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import tensorflow as tf

from gllmm_tf.coding import fixed_point
from gllmm_tf.config import IMAGE_MULTIPLE, ModelConfig
from gllmm_tf.errors import ModelError
from gllmm_tf.model import noise
from gllmm_tf.model.context import EntropyParameters
from gllmm_tf.model.fitting import Fitting
from gllmm_tf.model.gains import Gains
from gllmm_tf.model.mixture import Mixture
from gllmm_tf.model.prior import FactorizedBottleneck
from gllmm_tf.model.transforms import (
    AnalysisTransform,
    HyperAnalysisTransform,
    HyperSynthesisTransform,
    SynthesisTransform,
)
from gllmm_tf.zoo.model_file import TRANSFORMS, ModelFile
from gllmm_tf.zoo.registry import read_model

# Scales below this are not told apart by unit bins; the fixed-point path has the same floor.
SCALE_MIN = 2.0**-6


class Outputs(NamedTuple):
    """What a forward pass computes.

    Attributes:
        x_hat: float32 [B, H, W, 3], not clipped.
        y_bits, z_bits: float32 [B], bits per image.
        y, z: float32 latents, after the gain: [B, H/16, W/16, N] and [B, H/64, W/64, N].
        y_hat, z_hat: What the synthesis and the context saw, of the same shapes.
    """

    x_hat: tf.Tensor
    y_bits: tf.Tensor
    z_bits: tf.Tensor
    y: tf.Tensor
    y_hat: tf.Tensor
    z: tf.Tensor
    z_hat: tf.Tensor

    @property
    def bpp(self) -> tf.Tensor:
        """Bits per pixel of each image, float32 [B]."""
        shape = tf.shape(self.x_hat)
        return (self.y_bits + self.z_bits) / tf.cast(shape[1] * shape[2], tf.float32)


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class CompressionModel(Fitting, tf.keras.Model):
    """A learned image codec with hyperprior, autoregressive context and mixture likelihood.

        model = CompressionModel.load("gllmm-n48")     # or CompressionModel(ModelConfig(..))
        out = model(x, quality=4)                      # out.x_hat, out.bpp, out.y_hat, ..
        model.compile("adam"); model.fit(crops)        # gllmm_tf/model/fitting.py

    Attributes:
        config: The `ModelConfig`.
        rounding: What synthesis and context see in training: "ste" (rounded values, gradient of the
            identity) or "noise" (uniform noise, as in the published training). The likelihoods are
            always those of values with noise.
    """

    def __init__(
        self, config: ModelConfig | str | None = None, rounding: str = "ste", **kwargs
    ):  # a str is JSON, as `get_config` has it
        # The layers cast for themselves; x and quality stay float32 under mixed precision.
        super().__init__(**{"autocast": False, **kwargs})
        if rounding not in ("ste", "noise"):
            raise ValueError(f"rounding is {rounding!r}, it must be 'ste' or 'noise'")
        if isinstance(config, str):
            config = ModelConfig.from_json(config)
        self.config = config or ModelConfig()
        self.rounding = rounding
        n = self.config.num_filters
        trunk = self.config.stages, self.config.trunk_widths, self.config.deep_filters
        self.g_a = AnalysisTransform(n, *trunk, name="g_a")
        self.g_s = SynthesisTransform(n, *trunk, name="g_s")
        hyper = self.config.z_filters
        self.h_a = HyperAnalysisTransform(hyper, name="h_a")
        self.h_s = HyperSynthesisTransform(hyper, 2 * n, name="h_s")
        self.entropy_parameters = EntropyParameters(
            n, self.config.num_groups, self.config.entropy_widths, name="entropy_parameters"
        )
        self.z_bottleneck = FactorizedBottleneck(hyper, name="z_bottleneck")
        self.gains = None
        if self.config.lambdas:
            self.gains = Gains(self.config.lambdas, n, hyper, name="gains")

    @classmethod
    def load(
        cls, name_or_path: str | os.PathLike | ModelFile | None = None, rounding: str = "ste"
    ) -> CompressionModel:
        """A model with the weights of a model file, for evaluation and further training.

        Kernels on the exact path come back from their 16-bit integers, the others from float16.

        Args:
            name_or_path: Name of a model, path of a model file or of the folder of a training run, or
                a `ModelFile`; None for the default model.
            rounding: As in the attributes.

        Raises:
            ModelError: there is no such model, or it cannot be read.
        """
        stored = name_or_path
        if not isinstance(stored, ModelFile):
            stored = read_model(stored)
        stored.check_of_pictures()
        model = build(stored.config, rounding)
        for part in TRANSFORMS:
            stored.assign(part, getattr(model, part))
        if model.gains is not None:
            stored.assign("gains", model.gains)
        # A hidden layer of the density has a matrix, a bias and a factor, the last one no factor.
        hidden = (len(stored.weights["prior"]) - 2) // 3
        if hidden != len(model.z_bottleneck.num_filters):
            model.z_bottleneck = FactorizedBottleneck(
                stored.config.z_filters, num_filters=[3] * hidden
            )
        stored.assign("prior", model.z_bottleneck)
        fixed_point.restore_networks(model, stored.exact)
        return model

    def mixture(self, y_hat: tf.Tensor, phi: tf.Tensor) -> Mixture:
        """The `Mixture` of every element of y given the context y_hat and phi."""
        params = self.entropy_parameters(y_hat, phi)
        families, components = self.config.families, self.config.components
        return Mixture.from_parameters(params, families, components, scale_min=SCALE_MIN)

    def call(
        self,
        x: tf.Tensor,
        quality: tf.Tensor | float | None = None,
        seed: tf.Tensor | None = None,
        training: bool = False,
        part: tuple[int | tf.Tensor, int] = (0, 1),
        rate_gradient: tf.Tensor | None = None,
    ) -> Outputs:
        """Analyses, quantises, estimates bits and synthesises.

        Args:
            x: float32 [B, H, W, 3] in 0..1, H and W multiples of 64.
            quality: For a variable-rate model float32 [B] in 1..Q, or one number for all images, counted
                from 1 whatever `ModelConfig.first_quality` is; None for `ModelConfig.default_quality`.
                None for a fixed-rate model.
            seed: int32 [2], decides the noise of training; None draws one (`tf.random.set_seed`).
            training: True for noise, with gradients; False rounds everywhere.
            part: (index, count): x is this one of so many equal parts of a batch, and sees the noise
                that it would see in the whole.
            rate_gradient: float32 scalar or [N], the part of the rate's gradient that reaches g_a and
                the gains of y; None for all of it.

        Returns:
            `Outputs`.

        Raises:
            ModelError: x or the quality is not such.
        """
        _check_pictures(x)
        gain_y, inverse_y, gain_z, inverse_z, phi_offset = self._gains(quality, tf.shape(x)[0])
        if training and seed is None:
            seed = noise.random_seed()

        def rated(value):
            if rate_gradient is None:
                return value
            fixed = tf.stop_gradient(value)
            return fixed + rate_gradient * (value - fixed)

        y = tf.cast(self.g_a(x), tf.float32) * gain_y
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

    def information_bits(
        self, y_hat: tf.Tensor, z_hat: tf.Tensor, quality: tf.Tensor | float | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Bits of given integer latents under the float model.

        Args:
            y_hat: float32 [B, h, w, N].
            z_hat: float32 [B, h/4, w/4, N].
            quality: As in `call`.

        Returns:
            (bits of y, bits of z), float32 [B] each.
        """
        _, _, _, inverse_z, phi_offset = self._gains(quality, tf.shape(y_hat)[0])
        phi = tf.cast(self.h_s(z_hat * inverse_z), tf.float32) + phi_offset
        y_bits = self.mixture(y_hat, phi).bits(y_hat)
        z_bits = self.z_bottleneck(z_hat)
        return tf.reduce_sum(y_bits, (1, 2, 3)), tf.reduce_sum(z_bits, (1, 2, 3))

    def _gains(self, quality, batch):
        """What `Gains.call` returns; ones, and zero for phi, for a fixed rate."""
        if self.gains is None:
            if quality is not None:
                raise ModelError("this model has one fixed rate; omit the quality", "quality")
            return 1.0, 1.0, 1.0, 1.0, 0.0
        if quality is None:
            assert (
                self.config.default_quality is not None
            )  # there are gains, so there are qualities
            quality = self.config.default_quality - self.config.first_quality + 1
        quality = tf.cast(quality, tf.float32)
        if quality.shape.rank == 0:
            quality = tf.fill([batch], quality)
        return self.gains(quality)

    def _quantise(self, value, seed, salt, training, part):
        """Returns (the sample whose likelihood is taken, what the networks behind see)."""
        if not training:
            rounded = tf.round(value)
            return rounded, rounded
        noisy = value + noise.part_of_noise(tf.shape(value), seed, salt, part)
        if self.rounding == "noise":
            return noisy, noisy
        return noisy, value + tf.stop_gradient(tf.round(value) - value)

    def build_from_config(self, config):
        """Creates the variables. Keras calls it before it loads saved ones; `config` is its own."""
        del config
        self(tf.zeros([1, IMAGE_MULTIPLE, IMAGE_MULTIPLE, 3]))

    def get_config(self):
        return {
            **super().get_config(),
            "config": self.config.to_json(),
            "rounding": self.rounding,
        }


def build(config: ModelConfig, rounding: str = "ste") -> CompressionModel:
    """A `CompressionModel` whose variables exist."""
    model = CompressionModel(config, rounding)
    model.build_from_config({})
    return model


def _check_pictures(x):
    """Raises ModelError unless x is float [B, H, W, 3], H and W multiples of 64, as far as known."""
    shape = x.shape.as_list() if x.shape.rank is not None else [None] * 4
    if len(shape) != 4 or shape[3] not in (3, None) or not x.dtype.is_floating:
        raise ModelError(
            f"x is {x.dtype.name} {shape}, it must be float [batch, height, width, 3] with values "
            "in 0..1; divide pixels by 255",
            "x",
        )
    if any(side is not None and side % IMAGE_MULTIPLE for side in shape[1:3]):
        raise ModelError(
            f"x is of {shape[1]} x {shape[2]} pixels, both must be multiples of {IMAGE_MULTIPLE}; crop "
            "or pad it, or let Codec do that",
            "x",
        )
