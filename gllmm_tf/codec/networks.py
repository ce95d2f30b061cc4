"""Pixels to latents and back: g_a, h_a, g_s and the gains, tile by tile.

```
image --continued to multiples of 64--> x --g_a--> * gain --> y --h_a--> * gain --> z
image <--8 bits, cropped-- x_hat <--g_s-- * inverse gain <-- y_hat
```

Float32 results, which may differ in the last bits between machines.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from gllmm_tf import memory
from gllmm_tf.codec import padding
from gllmm_tf.codec.regions import MAX_LATENT, Progress, Region
from gllmm_tf.codec.tiling import TiledTransform
from gllmm_tf.config import HYPER_STRIDE, IMAGE_MULTIPLE, LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.errors import ModelError, running_out_of_memory
from gllmm_tf.layers.precision import in_float32
from gllmm_tf.model.gains import Gains
from gllmm_tf.model.transforms import (
    AnalysisTransform,
    HyperAnalysisTransform,
    SynthesisTransform,
)

if TYPE_CHECKING:
    from gllmm_tf.zoo.model_file import ModelFile


_BYTE = np.float32(1 / 255)
_SMALLER_TILES = "take smaller tiles (`tile`, `memory`)"


class PixelNetworks:
    """The float networks of a codec, for any number of threads: one picture at a time each way.

    They are built on first use, so that decoding does not wait for the encoder's.

    Args:
        model_file: `ModelFile`.
        tile: Pixels of a tile along the longer side of a picture (rounded up to a multiple of 64); 0
            chooses the length by the memory that there is (`memory.of_tile`). A tile is as wide as the
            picture's shorter side.
    """

    def __init__(self, model_file: ModelFile, tile: int = 0):
        self._file = model_file
        self._config = model_file.config
        self._tile = tile
        # Threads that share a graph, with pictures of different shapes, can crash TensorFlow 2.14.
        self._turns = {name: threading.RLock() for name in ("analysis", "synthesis")}

    # Built before their graphs are traced: weights assigned inside a trace are not there outside.

    @functools.cached_property
    @in_float32()
    def analysis_transforms(self) -> tuple[TiledTransform, TiledTransform]:
        """g_a and h_a."""
        n, stages, widths = (
            self._config.num_filters,
            self._config.stages,
            self._config.trunk_widths,
        )
        g_a, h_a = AnalysisTransform(n, stages, widths), HyperAnalysisTransform(n)
        tiled = (
            TiledTransform(g_a.path, tf.zeros([1, LATENT_STRIDE, LATENT_STRIDE, 3])),
            TiledTransform(h_a.path, tf.zeros([1, HYPER_STRIDE, HYPER_STRIDE, n])),
        )
        self._file.assign("g_a", g_a)
        self._file.assign("h_a", h_a)
        return tiled

    @functools.cached_property
    @in_float32()
    def synthesis_transform(self) -> TiledTransform:
        """g_s."""
        n = self._config.num_filters
        g_s = SynthesisTransform(n, self._config.stages, self._config.trunk_widths)
        tiled = TiledTransform(g_s.path, tf.zeros([1, 1, 1, n]))
        self._file.assign("g_s", g_s)
        return tiled

    @functools.cached_property
    @in_float32()
    def gains(self) -> Callable:
        """A function from a quality index to (y, y inverse, z), [1, 1, 1, N] each, or 1."""
        if not self._config.lambdas:
            return lambda index: (1.0, 1.0, 1.0)
        gains = Gains(self._config.lambdas, self._config.num_filters)
        gains(tf.ones([1]))
        self._file.assign("gains", gains)
        return lambda index: gains(tf.constant([1.0 + index / QUALITY_STEPS]))[:3]

    def inverse_gain(self, index: int) -> np.ndarray:
        """float32 [1, 1, 1, N], by which y_hat is multiplied ahead of g_s."""
        gain = np.ones(self._config.num_filters, np.float32) * self.gains(index)[1]
        return np.reshape(gain, [1, 1, 1, -1])

    def analyse(
        self, image: np.ndarray, index: int, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Picture to latents.

        Args:
            image: uint8 [H, W, 3].
            index: Quality index.
            progress: For a picture of several tiles.

        Returns:
            y [h, w, N] and z [h / 4, w / 4, N], float32, not rounded.

        Raises:
            ModelError: a latent is not finite. OutOfMemoryError: a tile does not fit.
        """
        with self._turns["analysis"], running_out_of_memory("the analysis", _SMALLER_TILES):
            return self._latents(self._features(image, progress), index)

    def features(self, image: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """y ahead of its gain, float32 [h, w, N]: what all qualities of a picture have in common."""
        with self._turns["analysis"], running_out_of_memory("the analysis", _SMALLER_TILES):
            return self._features(image, progress)

    def latents(self, features: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """What `analyse` returns, of the picture's `features`, which stay as they are."""
        with self._turns["analysis"], running_out_of_memory("the analysis", _SMALLER_TILES):
            return self._latents(np.array(features), index)

    def _features(self, image, progress):
        g_a, _ = self.analysis_transforms
        size, read_x = reader(image)
        n = self._config.num_filters
        y = np.empty([*(length // LATENT_STRIDE for length in size), n], np.float32)
        for r, c, part in self._tiles(g_a, read_x, size, 1, None, "analysis", progress):
            y[r.start : r.stop, c.start : c.stop] = part[0]
        return y

    def _latents(self, y, index):
        """(y times its gain, in place; z)."""
        _, h_a = self.analysis_transforms
        gain_y, _, gain_z = self.gains(index)

        def read_y(r, c):
            return tf.constant(y[None, r.start : r.stop, c.start : c.stop])

        y *= np.reshape(gain_y, [-1])
        size = y.shape[0], y.shape[1]
        z = np.empty([*(length // HYPER_STRIDE for length in size), y.shape[2]], np.float32)
        for r, c, part in self._tiles(h_a, read_y, size, LATENT_STRIDE):
            z[r.start : r.stop, c.start : c.stop] = (part * gain_z)[0]
        for latent in (y, z):
            if not (latent.min() > -MAX_LATENT and latent.max() < MAX_LATENT):
                raise ModelError(
                    "the model's latents are not finite for this picture; use another model"
                )
        return y, z

    def synthesise(
        self,
        y_hat: np.ndarray,
        index: int,
        shape: tuple[int, int],
        region: Region | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Latents to a picture, uint8 [H, W, 3], or to the part `region` of it.

        Args:
            y_hat: float32 [h, w, N].
            index: Quality index.
            shape: (H, W) of the picture.
            region: (rows, columns), two `Span`s; None for all of it.
            progress: For a picture of several tiles.

        Raises:
            OutOfMemoryError: a tile or the picture does not fit.
        """
        with self._turns["synthesis"], running_out_of_memory("the synthesis", _SMALLER_TILES):
            return self._synthesise(y_hat, index, shape, region, progress)

    def _synthesise(self, y_hat, index, shape, region, progress):
        _, inverse_y, _ = self.gains(index)

        def read(r, c):
            return tf.constant(y_hat[None, r.start : r.stop, c.start : c.stop]) * inverse_y

        top, left = (span.start for span in region) if region else (0, 0)
        height, width = (span.stop - span.start for span in region) if region else shape
        image = np.empty([height, width, 3], np.uint8)
        size = y_hat.shape[:2]
        transform = self.synthesis_transform
        parts = self._tiles(transform, read, size, LATENT_STRIDE, region, "synthesis", progress)
        for r, c, part in parts:  # Padding reaches beyond `image`.
            place = image[r.start - top : r.stop - top, c.start - left : c.stop - left]
            place[:] = _to_uint8(part[0, : place.shape[0], : place.shape[1]])
        return image

    def _tiles(
        self, transform, read, size, stride, region=None, name="", progress=None
    ) -> Iterator:
        """`TiledTransform.tiles` with the tile that was chosen; `stride`: pixels per input sample."""
        multiple = IMAGE_MULTIPLE // stride
        if self._tile:
            length = -(-self._tile // IMAGE_MULTIPLE) * multiple
        else:
            length = transform.tile_length(size, memory.of_tile(), multiple)
        count = transform.num_tiles(size, length, region)
        if progress is None or count == 1:
            yield from transform.tiles(read, size, length, region)
            return
        with progress(total=count, desc=name) as bar:

            def read_and_tell(*spans):
                bar.update()
                return read(*spans)

            yield from transform.tiles(read_and_tell, size, length, region)


def reader(image: np.ndarray) -> tuple[tuple[int, int], Callable]:
    """How a picture is read with its padding, without a copy of all of it.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        (size, read): height and width with the padding, and a function of two spans or slices of
        them to float32 [1, rows, columns, 3] in 0..1.
    """
    height, width = image.shape[:2]
    right, bottom = (strip.numpy() for strip in padding.strips(image))

    def read(r, c):
        rows = slice(r.start, min(r.stop, height))
        beyond_rows, beyond_columns = (
            slice(max(span.start - length, 0), max(span.stop - length, 0))
            for span, length in ((r, height), (c, width))
        )
        part = np.concatenate([image[rows, c.start : c.stop], right[rows, beyond_columns]], 1)
        part = np.concatenate([part, bottom[beyond_rows, c.start : c.stop]], 0)
        return tf.cast(part[None], tf.float32) * _BYTE

    return (height + len(bottom), width + right.shape[1]), read


def _to_uint8(x_hat):
    return tf.cast(tf.round(255.0 * tf.clip_by_value(x_hat, 0.0, 1.0)), tf.uint8)
