"""Pixels to latents and back: g_a, h_a, g_s and the gains, tile by tile, without TensorFlow.

```
image --continued to multiples of 64--> x --g_a--> * gain --> y --h_a--> * gain --> z
image <--8 bits, cropped-- x_hat <--g_s-- * inverse gain <-- y_hat
```

Float32 results, which may differ in the last bits between machines and backends.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from gllmm_tf import memory
from gllmm_tf.codec.regions import MAX_LATENT, Progress, Region
from gllmm_tf.config import HYPER_STRIDE, IMAGE_MULTIPLE, LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.errors import ModelError, running_out_of_memory
from gllmm_tf.portable import padding, transforms
from gllmm_tf.portable.tiling import TiledTransform

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
        self._turns = {name: threading.RLock() for name in ("analysis", "synthesis")}

    @functools.cached_property
    def analysis_transforms(self) -> tuple[TiledTransform, TiledTransform]:
        """g_a and h_a."""
        weights = self._file.weights
        g_a = transforms.analysis(self._config, weights["g_a"])
        h_a = transforms.hyper_analysis(self._config, weights["h_a"])
        return TiledTransform(g_a, 3), TiledTransform(h_a, self._config.num_filters)

    @functools.cached_property
    def synthesis_transform(self) -> TiledTransform:
        """g_s."""
        g_s = transforms.synthesis(self._config, self._file.weights["g_s"])
        return TiledTransform(g_s, self._config.num_filters)

    def gains(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The gain of y, its inverse and the gain of z, float32 [N] each."""
        if not self._config.lambdas:
            return (np.ones(self._config.num_filters, np.float32),) * 3
        anchors = np.arange(len(self._config.lambdas))
        weights = np.maximum(1 - np.abs(index / QUALITY_STEPS - anchors), 0)
        tables = self._file.weights["gains"][:3]  # logarithms [Q, N]
        return tuple(
            np.exp(weights @ table.astype(np.float64)).astype(np.float32) for table in tables
        )

    def inverse_gain(self, index: int) -> np.ndarray:
        """float32 [1, 1, 1, N], by which y_hat is multiplied ahead of g_s."""
        return self.gains(index)[1].reshape(1, 1, 1, -1)

    def prepare_synthesis(self, size: tuple[int, int], region: Region | None = None) -> None:
        """Builds what `synthesise` needs for y_hat [*size, N], so that it need not wait for it."""
        with self._turns["synthesis"]:
            transform = self.synthesis_transform
            length = self._tile_length(transform, size, LATENT_STRIDE)
            if region is None and length >= max(size):
                transform.whole()
            else:
                transform.layers()

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
            y[r.start : r.stop, c.start : c.stop] = part[0].transpose(1, 2, 0)
        return y

    def _latents(self, y, index):
        """(y times its gain, in place; z)."""
        _, h_a = self.analysis_transforms
        gain_y, _, gain_z = self.gains(index)

        def read_y(r, c):
            return _channels_first(y[r.start : r.stop, c.start : c.stop])

        y *= gain_y
        size = y.shape[0], y.shape[1]
        z = np.empty([*(length // HYPER_STRIDE for length in size), y.shape[2]], np.float32)
        for r, c, part in self._tiles(h_a, read_y, size, LATENT_STRIDE):
            z[r.start : r.stop, c.start : c.stop] = part[0].transpose(1, 2, 0) * gain_z
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
            return _channels_first(y_hat[r.start : r.stop, c.start : c.stop] * inverse_y)

        top, left = (span.start for span in region) if region else (0, 0)
        height, width = (span.stop - span.start for span in region) if region else shape
        image = np.empty([height, width, 3], np.uint8)
        size = y_hat.shape[:2]
        transform = self.synthesis_transform
        parts = self._tiles(transform, read, size, LATENT_STRIDE, region, "synthesis", progress)
        for r, c, part in parts:  # Padding reaches beyond `image`.
            place = image[r.start - top : r.stop - top, c.start - left : c.stop - left]
            place[:] = _to_uint8(part[0, :, : place.shape[0], : place.shape[1]])
        return image

    def _tile_length(self, transform, size, stride):
        multiple = IMAGE_MULTIPLE // stride
        if self._tile:
            return -(-self._tile // IMAGE_MULTIPLE) * multiple
        return transform.tile_length(size, memory.of_tile(), multiple)

    def _tiles(
        self, transform, read, size, stride, region=None, name="", progress=None
    ) -> Iterator:
        """`TiledTransform.tiles` with the tile that was chosen; `stride`: pixels per input sample."""
        length = self._tile_length(transform, size, stride)
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
        them to float32 [1, 3, rows, columns] in 0..1.
    """
    height, width = image.shape[:2]
    right, bottom = padding.strips(image)

    def read(r, c):
        rows = slice(r.start, min(r.stop, height))
        beyond_rows, beyond_columns = (
            slice(max(span.start - length, 0), max(span.stop - length, 0))
            for span, length in ((r, height), (c, width))
        )
        part = np.concatenate([image[rows, c.start : c.stop], right[rows, beyond_columns]], 1)
        part = np.concatenate([part, bottom[beyond_rows, c.start : c.stop]], 0)
        return _channels_first(part) * _BYTE

    return (height + len(bottom), width + right.shape[1]), read


def _channels_first(x):
    """[rows, columns, C] to float32 [1, C, rows, columns]."""
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)


def _to_uint8(x_hat):
    """float32 [3, rows, columns] to uint8 [rows, columns, 3]."""
    scaled = 255 * np.clip(x_hat, 0, 1)
    with np.errstate(invalid="ignore"):  # forged latents overflow: no colour is right then
        return np.rint(scaled, out=scaled).astype(np.uint8).transpose(1, 2, 0)
