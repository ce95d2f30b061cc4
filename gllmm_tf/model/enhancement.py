"""An enhancement layer: what a model leaves of a picture, coded once more, for high rates.

```
x -----------------------------> - --analysis--> * gain --> round --> r_hat
  --model, at one quality--> x_0 '                                      | 5x5 causal context
                         y_hat of the model --h_s--> phi --> entropy parameters --> bits of r_hat
x_hat = x_0 + inverse gain * synthesis(r_hat);     x_0 is cut to 0..1
```

A model's y has a certain number of channels, and at high rates these do not hold what is worth coding any
more. The layer codes the rest of the picture at a quarter of its resolution, in as many numbers as a
block of 4 x 4 pixels has samples, so no PSNR is out of reach. Its analysis is linear and orthonormal, the
principal components of such blocks, so that one gain for all channels is one step of quantisation. What
its entropy model knows is y_hat, which a decoder has by then, in the place of z: h_s doubles twice, so phi
comes out at the resolution of r. Layers of scalable video codecs are of this kind (base and enhancement
layer, H.264 Annex G, 2007); the networks are those of the rest of this package.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from gllmm_tf.config import LAYER_BLOCKS, LAYER_STRIDE, ModelConfig
from gllmm_tf.layers import Conv2D, ResidualBlock, SubPixelConv2D
from gllmm_tf.layers.precision import in_float32
from gllmm_tf.model import block_transform
from gllmm_tf.model.compression import SCALE_MIN
from gllmm_tf.model.context import EntropyParameters
from gllmm_tf.model.gains import Gains
from gllmm_tf.model.mixture import Mixture
from gllmm_tf.model.transforms import HyperSynthesisTransform, Transform

CHANNELS = 3 * LAYER_STRIDE**2
"""N of a layer: the samples of a block."""

HYPER_WIDTH = 64  # channels inside h_s


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class LayerAnalysis(Transform):
    """Input: x - x_0, float [B, H, W, 3], H and W multiples of 4. Output: [B, H/4, W/4, N].

    Two linear convolutions: blocks of 2 x 2 pixels as channels, then blocks of 2 x 2 of those.
    """

    def __init__(self, num_filters: int, **kwargs):
        super().__init__(num_filters, **kwargs)
        self.path = [
            Conv2D(12, strides=2, use_bias=False, name="pixels"),
            Conv2D(num_filters, strides=2, use_bias=False, name="components"),
        ]


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class LayerSynthesis(Transform):
    """Input: r_hat, float [B, h, w, N]. Output: float [B, 4 h, 4 w, 3], in steps of quantisation."""

    def __init__(self, num_filters: int, **kwargs):
        super().__init__(num_filters, **kwargs)
        self.path = [ResidualBlock(num_filters, name=f"block{i}") for i in range(LAYER_BLOCKS)]
        self.path += [SubPixelConv2D(12, name="components"), SubPixelConv2D(3, name="pixels")]


class EnhancementLayer(tf.Module):
    """The trainable layer.

    Attributes:
        config: `ModelConfig` with a `base`.
        g_a, g_s: Analysis and synthesis. h_s, entropy_parameters, gains: As in `CompressionModel`.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        with in_float32():  # quantisation steps are small beside the values
            self.g_a = LayerAnalysis(config.num_filters, name="g_a")
            self.g_s = LayerSynthesis(config.num_filters, name="g_s")
        self.h_s = HyperSynthesisTransform(HYPER_WIDTH, 2 * config.num_filters, name="h_s")
        self.entropy_parameters = EntropyParameters(
            config.num_filters, config.num_groups, config.entropy_widths, name="entropy_parameters"
        )
        self.gains = Gains(config.lambdas, config.num_filters, config.hyper_filters, name="gains")
        self.z_bottleneck = None

    def bits(self, r_hat: tf.Tensor, y_hat: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Bits of each element of r_hat.

        Args:
            r_hat: float32 integers [B, h, w, N].
            y_hat: float32 integers [B, h/4, w/4, Z] of the other model.
            quality: float32 [B], from 1 on.
        """
        _, _, _, inverse_z, phi_offset = self.gains(quality)
        phi = tf.cast(self.h_s(y_hat * inverse_z), tf.float32) + phi_offset
        params = self.entropy_parameters(r_hat, phi)
        families, components = self.config.families, self.config.components
        return Mixture.from_parameters(params, families, components, scale_min=SCALE_MIN).bits(
            r_hat
        )

    def step(self, quality: tf.Tensor) -> tf.Tensor:
        """The step of quantisation, float32 [B, 1, 1, 1], of qualities float32 [B]."""
        return self.gains(quality)[1][..., :1]

    def build_layers(self) -> None:
        """Creates the variables."""
        y_hat = tf.zeros([1, 2, 2, self.config.hyper_filters])
        r_hat = tf.zeros([1, 8, 8, self.config.num_filters])
        self.bits(r_hat, y_hat, tf.ones([1]))
        self.g_a(self.g_s(r_hat))


def quantise(r: tf.Tensor, dead_zone: float) -> tf.Tensor:
    """Rounds to integers, each first moved by `dead_zone`, 0..0.5, towards zero."""
    return tf.sign(r) * tf.floor(tf.abs(r) + (0.5 - dead_zone))


def set_transforms(layer: EnhancementLayer, components: np.ndarray) -> None:
    """Starts analysis and synthesis with an orthonormal transform of blocks, exactly inverse.

    Args:
        layer: With variables.
        components: float [48, N], of a block [4, 4, 3] in raster order to its coefficients.
    """
    analysis = block_transform.analysis_kernels(components)
    synthesis = block_transform.synthesis_kernels(components)
    for block in layer.g_s.path[:-2]:  # which add nothing at first
        block.convs[-1].kernel.assign(tf.zeros_like(block.convs[-1].kernel))
    convolutions: list = [*layer.g_a.path, *layer.g_s.path[-2:]]
    for convolution, kernel in zip(convolutions, analysis + synthesis):
        convolution.kernel.assign(kernel)
