"""The simplified attention block of Cheng et al. (CVPR 2020, arXiv 2001.01568, figure 4).

Both published systems have it twice in g_a and twice in g_s.
"""

from __future__ import annotations

import tensorflow as tf

from gllmm_tf.layers.conv import Conv2D
from gllmm_tf.layers.residual import RESIDUAL_GAIN, Residual


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class BottleneckResidualUnit(Residual):
    """`x + conv1x1(relu(conv3x3(relu(conv1x1(x)))))` with half the channels inside.

    No activation behind the sum, as in the released code (the paper draws one).
    Input and output: float [B, H, W, filters], filters even.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(filters, **kwargs)
        self.convs = [
            Conv2D(filters // 2, 1, activation="relu", name="conv0"),
            Conv2D(filters // 2, 3, activation="relu", name="conv1"),
            Conv2D(filters, 1, gain=RESIDUAL_GAIN, name="conv2"),
        ]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        t = x
        for conv in self.convs:
            t = conv(t)
        return x + t


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class AttentionBlock(Residual):
    """`x + sigmoid(conv1x1(attention(x))) * trunk(x)`, each branch three bottleneck residual units.

    Input and output: float [B, H, W, filters].
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(filters, **kwargs)
        self.trunk = [BottleneckResidualUnit(filters, name=f"trunk{i}") for i in range(3)]
        self.attention = [BottleneckResidualUnit(filters, name=f"attention{i}") for i in range(3)]
        self.conv = Conv2D(filters, 1, gain=0.25, name="conv")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        trunk = attention = x
        for unit in self.trunk:
            trunk = unit(trunk)
        for unit in self.attention:
            attention = unit(attention)
        return x + tf.sigmoid(self.conv(attention)) * trunk
