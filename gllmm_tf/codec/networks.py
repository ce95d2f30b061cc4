"""g_a, h_a, g_s and the gains of a codec, computed by TensorFlow."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from gllmm_tf.codec import layered, pixels
from gllmm_tf.codec.tensorflow_tiling import TensorFlowTransform
from gllmm_tf.config import HYPER_STRIDE, LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.layers.precision import in_float32
from gllmm_tf.model.enhancement import LayerAnalysis, LayerSynthesis
from gllmm_tf.model.gains import Gains
from gllmm_tf.model.transforms import (
    AnalysisTransform,
    HyperAnalysisTransform,
    SynthesisTransform,
)


class PixelNetworks(pixels.PixelNetworks):
    """See `pixels.PixelNetworks`; transforms are tensors' functions, NHWC."""

    @property
    def _trunk(self):
        return self.config.stages, self.config.trunk_widths, self.config.deep_filters

    # Built before their graphs are traced: weights assigned inside a trace are not there outside.

    @functools.cached_property
    @in_float32()
    def analysis_transforms(self) -> tuple[TensorFlowTransform, TensorFlowTransform]:
        """g_a and h_a."""
        n = self.config.num_filters
        g_a, h_a = AnalysisTransform(n, *self._trunk), HyperAnalysisTransform(self.config.z_filters)
        tiled = (
            TensorFlowTransform(g_a.path, tf.zeros([1, LATENT_STRIDE, LATENT_STRIDE, 3])),
            TensorFlowTransform(h_a.path, tf.zeros([1, HYPER_STRIDE, HYPER_STRIDE, n])),
        )
        self.file.assign("g_a", g_a)
        self.file.assign("h_a", h_a)
        return tiled

    @functools.cached_property
    @in_float32()
    def synthesis_transform(self) -> TensorFlowTransform:
        """g_s."""
        n = self.config.num_filters
        g_s = SynthesisTransform(n, *self._trunk)
        tiled = TensorFlowTransform(g_s.path, tf.zeros([1, 1, 1, n]))
        self.file.assign("g_s", g_s)
        return tiled

    @functools.cached_property
    @in_float32()
    def _gains(self) -> Gains | None:
        if not self.config.lambdas:
            return None
        gains = Gains(self.config.lambdas, self.config.num_filters, self.config.z_filters)
        gains(tf.ones([1]))
        self.file.assign("gains", gains)
        return gains

    def gains(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `pixels.PixelNetworks`."""
        if self._gains is None:
            return self.no_gains()
        y, y_inverse, z, *_ = self._gains(tf.constant([1.0 + index / QUALITY_STEPS]))
        return np.reshape(y, [-1]), np.reshape(y_inverse, [-1]), np.reshape(z, [-1])

    def to_input(self, part: np.ndarray) -> tf.Tensor:
        """[rows, columns, C] to [1, rows, columns, C]."""
        return tf.constant(part[None])

    def to_array(self, part: tf.Tensor) -> np.ndarray:
        """[1, rows, columns, C] to [rows, columns, C]."""
        return part[0].numpy()


class LayeredNetworks(layered.LayeredNetworks, PixelNetworks):
    """See `layered.LayeredNetworks`."""

    @functools.cached_property
    @in_float32()
    def layer_analysis(self) -> TensorFlowTransform:
        """The layer's g_a."""
        g_a = LayerAnalysis(self.config.num_filters)
        transform = TensorFlowTransform(g_a.path, tf.zeros([1, 4, 4, 3]))
        self.file.assign("g_a", g_a)
        return transform

    @functools.cached_property
    @in_float32()
    def synthesis_transform(self) -> TensorFlowTransform:
        """The layer's g_s."""
        g_s = LayerSynthesis(self.config.num_filters)
        transform = TensorFlowTransform(g_s.path, tf.zeros([1, 1, 1, self.config.num_filters]))
        self.file.assign("g_s", g_s)
        return transform
