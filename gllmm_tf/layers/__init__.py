"""Keras layers of both published systems, each usable on its own."""

from gllmm_tf import legacy_keras
from gllmm_tf.layers.attention import AttentionBlock, BottleneckResidualUnit
from gllmm_tf.layers.conv import CausalConv2D, Conv2D, SubPixelConv2D, TransposedConv2D
from gllmm_tf.layers.gdn import GDN
from gllmm_tf.layers.residual import (
    ConcatenatedResidualModule,
    FirstChannels,
    ResidualBlock,
    ResidualDownsampling,
    ResidualUpsampling,
    residual_module,
)

__all__ = [
    "AttentionBlock",
    "BottleneckResidualUnit",
    "CausalConv2D",
    "ConcatenatedResidualModule",
    "Conv2D",
    "FirstChannels",
    "GDN",
    "ResidualBlock",
    "ResidualDownsampling",
    "ResidualUpsampling",
    "SubPixelConv2D",
    "TransposedConv2D",
    "residual_module",
]

legacy_keras.check()
