"""The four transforms `g_a`, `g_s`, `h_a`, `h_s` of both published systems.

```
x -> g_a -> y -> h_a -> z          y_hat -> g_s -> x_hat          z_hat -> h_s -> phi
```

The trunk is that of Cheng et al. (CVPR 2020, arXiv 2001.01568); Fu et al. (arXiv 2107.06463) replace
its residual blocks by concatenated residual modules, here the parameter `stages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from gllmm_tf.layers import (
    AttentionBlock,
    Conv2D,
    FirstChannels,
    ResidualDownsampling,
    ResidualUpsampling,
    SubPixelConv2D,
    TransposedConv2D,
    residual_module,
)


class Transform(tf.keras.layers.Layer):
    """Runs `self.path`, the layers in order of evaluation."""

    def __init__(self, num_filters: int, **kwargs):
        super().__init__(**kwargs)
        self.num_filters = num_filters

    def call(self, x: tf.Tensor) -> tf.Tensor:
        for layer in self.path:
            x = layer(x)
        return x

    def get_config(self):
        return {**super().get_config(), "num_filters": self.num_filters}


class _TrunkTransform(Transform):
    """The arguments are the fields of `ModelConfig`; None and 0 for N."""

    def __init__(
        self,
        num_filters: int,
        stages: int = 2,
        trunk_widths: Sequence[int] | None = None,
        deep_filters: int = 0,
        **kwargs,
    ):
        super().__init__(num_filters, **kwargs)
        self.stages = stages
        self.trunk_widths = tuple(trunk_widths or 3 * (num_filters,))
        self.deep_filters = deep_filters or num_filters
        # A concatenated module doubles its input: see layers/residual.py.
        self.after_module = 0.25 if stages > 1 else 1.0
        self._make_layers()

    def _make_layers(self):
        """Sets `path` and the lists of layers in it, in the order of model files."""
        raise NotImplementedError

    def get_config(self):
        own = {"stages": self.stages, "trunk_widths": list(self.trunk_widths)}
        return {**super().get_config(), **own, "deep_filters": self.deep_filters}

    def _deep(self, layer):
        """The layer on the first `deep_filters` channels; the others pass it by."""
        if self.deep_filters == self.num_filters:
            return layer
        return FirstChannels(layer, self.deep_filters)


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class AnalysisTransform(_TrunkTransform):
    """g_a. Input: x, float [B, H, W, 3] in 0..1, H and W multiples of 16. Output: y [B, H/16, W/16, N]."""

    def _make_layers(self):
        widths, stages, gain = self.trunk_widths, self.stages, self.after_module
        self.downs = [
            ResidualDownsampling(width, gain=1.0 if i == 0 else gain, name=f"down{i}")
            for i, width in enumerate(widths)
        ]
        self.modules = [
            residual_module(width, stages, name=f"module{i}") for i, width in enumerate(widths, 1)
        ]
        self.last = Conv2D(self.num_filters, strides=2, use_bias=False, gain=gain, name="last")
        self.attentions = [
            AttentionBlock(width, name=f"attention{i}")
            for i, width in enumerate((widths[1], self.deep_filters))
        ]
        downs, modules = self.downs, self.modules
        self.path = [
            downs[0],
            modules[0],
            downs[1],
            self.attentions[0],
            modules[1],
            downs[2],
            modules[2],
            self.last,
            self._deep(self.attentions[1]),
        ]


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class SynthesisTransform(_TrunkTransform):
    """g_s. Input: y_hat, float [B, h, w, N]. Output: x_hat, float [B, 16 h, 16 w, 3], not clipped."""

    def _make_layers(self):
        widths, stages, gain = self.trunk_widths[::-1], self.stages, self.after_module
        deep = self.deep_filters
        self.attentions = [
            AttentionBlock(width, name=f"attention{i}") for i, width in enumerate((deep, widths[1]))
        ]
        self.modules = [
            residual_module(width, stages, name=f"module{i}")
            for i, width in enumerate((deep, *widths))
        ]
        self.ups = [
            ResidualUpsampling(width, gain=gain, name=f"up{i}") for i, width in enumerate(widths)
        ]
        self.last = SubPixelConv2D(3, gain=gain * 0.002, name="last")
        modules, ups = self.modules, self.ups
        self.path = [
            self._deep(self.attentions[0]),
            self._deep(modules[0]),
            ups[0],
            modules[1],
            ups[1],
            self.attentions[1],
            modules[2],
            ups[2],
            modules[3],
            self.last,
        ]


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class HyperAnalysisTransform(Transform):
    """h_a. Input: y, float [B, h, w, N], h and w multiples of 4. Output: z, float [B, h/4, w/4, Z].

    `num_filters` is Z, the channels of z; N where nothing else is said.
    """

    def __init__(self, num_filters: int, **kwargs):
        super().__init__(num_filters, **kwargs)
        strides = (1, 1, 2, 1, 2)
        self.path = [
            Conv2D(
                num_filters,
                strides=stride,
                activation="leaky_relu" if i < 4 else None,
                name=f"layer{i}",
            )
            for i, stride in enumerate(strides)
        ]


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class HyperSynthesisTransform(Transform):
    """h_s. Input: z_hat, float [B, h/4, w/4, Z]. Output: phi, float [B, h, w, 2 N].

    Args:
        num_filters: Z, the channels of z.
        outputs: 2 N; 0 for 2 Z.
    """

    def __init__(self, num_filters: int, outputs: int = 0, **kwargs):
        super().__init__(num_filters, **kwargs)
        self.outputs = outputs or 2 * num_filters
        n = num_filters
        act: dict[str, Any] = {"activation": "leaky_relu"}
        self.path = [
            Conv2D(n, name="layer0", **act),
            TransposedConv2D(n, name="layer1", **act),
            Conv2D(n * 3 // 2, name="layer2", **act),
            TransposedConv2D(n * 3 // 2, name="layer3", **act),
            Conv2D(self.outputs, name="layer4"),
        ]

    def get_config(self):
        return {**super().get_config(), "outputs": self.outputs}
