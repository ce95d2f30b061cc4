"""Context model and entropy parameters: from (y_hat, phi) to the mixture of every latent element.

Cheng et al. (CVPR 2020) and Fu et al. (arXiv 2107.06463), after Minnen et al. (2018, arXiv
1809.02736). This is the float network that is trained. Coding uses the same network in fixed point,
`gllmm_tf.coding.fixed_point`.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from gllmm_tf.layers import CausalConv2D, Conv2D


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class EntropyParameters(tf.keras.layers.Layer):
    """5x5 causal context of y_hat beside phi, then three 1x1 convolutions.

    Inputs: y_hat, float [B, h, w, N]; phi, float [B, h, w, 2 N].
    Output: float32 [B, h, w, groups * N], the raw parameters in the layout of
    `gllmm_tf.model.mixture.Mixture.from_parameters`.

    Attributes:
        num_filters: N.
        num_groups: Parameters per latent element.
        widths: Channels of the two hidden layers.
    """

    def __init__(
        self,
        num_filters: int,
        num_groups: int = 30,
        widths: Sequence[int] = (640, 1280),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_filters = num_filters
        self.num_groups = num_groups
        self.widths = tuple(widths)
        self.context = CausalConv2D(2 * num_filters, name="context")
        self.hidden = [
            Conv2D(width, 1, activation="leaky_relu", name=f"hidden{i}")
            for i, width in enumerate(self.widths)
        ]
        # float32 under mixed precision: a mean of 50 in bfloat16 would be wrong by a quarter of a bin.
        self.last = Conv2D(
            num_groups * num_filters, 1, use_bias=False, dtype="float32", name="last"
        )

    def call(self, y_hat: tf.Tensor, phi: tf.Tensor) -> tf.Tensor:
        t = tf.concat([self.context(y_hat), tf.cast(phi, self.compute_dtype)], -1)
        for layer in self.hidden:
            t = layer(t)
        return self.last(t)

    def get_config(self):
        return {
            **super().get_config(),
            "num_filters": self.num_filters,
            "num_groups": self.num_groups,
            "widths": list(self.widths),
        }
