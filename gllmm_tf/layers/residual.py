"""Residual blocks: plain, concatenated, and the ones that halve or double the resolution.

The plain one and those that change the resolution are of Cheng et al. (CVPR 2020, arXiv 2001.01568), the
concatenated one is of Fu et al. (2021, arXiv 2107.06463).

Initialisation. A concatenated residual module returns about twice its input, and inverse GDN grows
with its input; left alone the two explode. So the last kernel of every residual pair starts small,
and the kernels that read a module's output start with a quarter of the variance (`after_module`).
"""

from __future__ import annotations

import tensorflow as tf

from gllmm_tf.layers.conv import Conv2D, SubPixelConv2D
from gllmm_tf.layers.gdn import GDN

RESIDUAL_GAIN = 0.02
"""Variance gain of the last kernel of a residual pair at initialisation."""


class Residual(tf.keras.layers.Layer):
    """Base of the residual blocks, all of which are known by their output channels.

    Args:
        filters: Channels of the output.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class ResidualBlock(Residual):
    """`x + f(f(x))` with f = leaky ReLU of a 3x3 convolution (Cheng et al.).

    Input and output: float [B, H, W, filters].
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(filters, **kwargs)
        self.convs = [
            Conv2D(filters, activation="leaky_relu", name="conv0"),
            Conv2D(filters, activation="leaky_relu", gain=RESIDUAL_GAIN, name="conv1"),
        ]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + self.convs[1](self.convs[0](x))


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class ConcatenatedResidualModule(Residual):
    """`x + block_S(... block_1(x))`: S residual blocks in series and an outer shortcut (Fu et al.).

    For two stages this is `2 x + t2 + t5`, t2 and t5 being the two blocks' residuals.
    Input and output: float [B, H, W, filters].
    """

    def __init__(self, filters: int, stages: int = 2, **kwargs):
        super().__init__(filters, **kwargs)
        if stages < 2:
            raise ValueError(f"stages is {stages}, it must be at least 2 (1 is a ResidualBlock)")
        self.stages = stages
        self.blocks = [ResidualBlock(filters, name=f"block{i}") for i in range(stages)]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        t = x
        for block in self.blocks:
            t = block(t)
        return x + t

    def get_config(self):
        return {**super().get_config(), "stages": self.stages}


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class FirstChannels(Residual):
    """Runs a layer that keeps its shape on the first `filters` channels; the others stay as they are.

    Input and output: float [B, H, W, C], C larger than `filters`.
    """

    def __init__(self, layer: tf.keras.layers.Layer, filters: int, **kwargs):
        super().__init__(filters, **kwargs)
        self.layer = layer

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.concat([self.layer(x[..., : self.filters]), x[..., self.filters :]], -1)

    def get_config(self):
        layer = tf.keras.layers.serialize(self.layer)
        return {**super().get_config(), "layer": layer}

    @classmethod
    def from_config(cls, config):
        layer = tf.keras.layers.deserialize(config["layer"])
        return cls(**{**config, "layer": layer})


def residual_module(filters: int, stages: int, **kwargs) -> Residual:
    """The trunk's residual module: `stages` = 1 plain, 2 or more concatenated."""
    if stages == 1:
        return ResidualBlock(filters, **kwargs)
    return ConcatenatedResidualModule(filters, stages, **kwargs)


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class ResidualDownsampling(Residual):
    """`GDN(conv(f(conv_stride2(x)))) + conv1x1_stride2(x)`: halves the resolution.

    Input: float [B, H, W, C], H and W even. Output: float [B, H / 2, W / 2, filters].
    """

    def __init__(self, filters: int, gain: float = 1.0, **kwargs):
        super().__init__(filters, **kwargs)
        self.gain = gain
        self.down = Conv2D(filters, strides=2, activation="leaky_relu", gain=gain, name="down")
        self.conv = Conv2D(filters, name="conv")
        self.gdn = GDN(name="gdn")
        self.shortcut = Conv2D(filters, 1, strides=2, gain=gain / 2, name="shortcut")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.gdn(self.conv(self.down(x))) + self.shortcut(x)

    def get_config(self):
        return {**super().get_config(), "gain": self.gain}


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class ResidualUpsampling(Residual):
    """`IGDN(conv(subpixel(x))) + subpixel1x1(x)`: doubles the resolution.

    Input: float [B, H, W, C]. Output: float [B, 2 H, 2 W, filters].
    """

    def __init__(self, filters: int, gain: float = 1.0, **kwargs):
        super().__init__(filters, **kwargs)
        self.gain = gain
        self.up = SubPixelConv2D(filters, activation="leaky_relu", gain=gain, name="up")
        self.conv = Conv2D(filters, gain=RESIDUAL_GAIN, name="conv")
        self.igdn = GDN(inverse=True, name="igdn")
        self.shortcut = SubPixelConv2D(filters, 1, gain=gain / 2, name="shortcut")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.igdn(self.conv(self.up(x))) + self.shortcut(x)

    def get_config(self):
        return {**super().get_config(), "gain": self.gain}
