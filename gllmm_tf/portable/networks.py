"""g_a, h_a, g_s and the gains of a codec, computed by onnxruntime and NumPy."""

from __future__ import annotations

import functools

import numpy as np

from gllmm_tf.codec import layered, pixels
from gllmm_tf.codec.regions import Region
from gllmm_tf.config import LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.portable import transforms
from gllmm_tf.portable.tiling import PortableTransform


class PixelNetworks(pixels.PixelNetworks):
    """See `pixels.PixelNetworks`; transforms are functions of arrays, NCHW."""

    @functools.cached_property
    def analysis_transforms(self) -> tuple[PortableTransform, PortableTransform]:
        """g_a and h_a."""
        weights = self.file.weights
        g_a = transforms.analysis(self.config, weights["g_a"])
        h_a = transforms.hyper_analysis(self.config, weights["h_a"])
        return PortableTransform(g_a, 3), PortableTransform(h_a, self.config.num_filters)

    @functools.cached_property
    def synthesis_transform(self) -> PortableTransform:
        """g_s."""
        g_s = transforms.synthesis(self.config, self.file.weights["g_s"])
        return PortableTransform(g_s, self.config.num_filters)

    def gains(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `pixels.PixelNetworks`."""
        if not self.config.lambdas:
            return self.no_gains()
        anchors = np.arange(len(self.config.lambdas))
        weights = np.maximum(1 - np.abs(index / QUALITY_STEPS - anchors), 0)
        tables = self.file.weights["gains"][:3]  # logarithms [Q, N]
        return tuple(
            np.exp(weights @ table.astype(np.float64)).astype(np.float32) for table in tables
        )

    def to_input(self, part: np.ndarray) -> np.ndarray:
        """[rows, columns, C] to [1, C, rows, columns]."""
        return np.ascontiguousarray(part.transpose(2, 0, 1)[None], np.float32)

    def to_array(self, part: np.ndarray) -> np.ndarray:
        """[1, C, rows, columns] to [rows, columns, C]."""
        return part[0].transpose(1, 2, 0)

    def prepare_synthesis(self, size: tuple[int, int], region: Region | None = None) -> None:
        """Builds what `synthesise` needs for y_hat [*size, N], so that it need not wait for it."""
        with self.turns["synthesis"]:
            transform = self.synthesis_transform
            length = self.tile_length(transform, size, LATENT_STRIDE)
            if region is None and length >= max(size):
                transform.whole()
            else:
                transform.layers()


class LayeredNetworks(layered.LayeredNetworks, PixelNetworks):
    """See `layered.LayeredNetworks`."""

    _base: PixelNetworks

    @functools.cached_property
    def layer_analysis(self) -> PortableTransform:
        """The layer's g_a."""
        g_a = transforms.layer_analysis(self.config, self.file.weights["g_a"])
        return PortableTransform(g_a, 3)

    @functools.cached_property
    def synthesis_transform(self) -> PortableTransform:
        """The layer's g_s."""
        g_s = transforms.layer_synthesis(self.config, self.file.weights["g_s"])
        return PortableTransform(g_s, self.config.num_filters)

    def prepare_synthesis(self, size: tuple[int, int], region: Region | None = None) -> None:
        """See `PixelNetworks.prepare_synthesis`."""
        self._base.prepare_synthesis(size, region)
        with self.turns["synthesis"]:
            self.synthesis_transform.whole()
