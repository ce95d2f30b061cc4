"""Pixels to latents and back, tile by tile, whatever computes the transforms.

```
image --continued to multiples of 64--> x --g_a--> * gain --> y --h_a--> * gain --> z
image <--8 bits, cropped-- x_hat <--g_s-- * inverse gain <-- y_hat
```

`networks.py` computes them with TensorFlow, `gllmm_tf/portable/networks.py` with onnxruntime. Float32
results, which may differ in the last bits between machines and backends.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gllmm_tf import memory
from gllmm_tf.codec import padding
from gllmm_tf.codec.regions import MAX_LATENT, Progress, Region, Span
from gllmm_tf.config import HYPER_STRIDE, IMAGE_MULTIPLE, LATENT_STRIDE
from gllmm_tf.errors import ModelError, running_out_of_memory

if TYPE_CHECKING:
    from gllmm_tf.zoo.model_file import ModelFile

_BYTE = np.float32(1 / 255)
_SMALLER_TILES = "take smaller tiles (`tile`, `memory`)"


class PixelNetworks(abc.ABC):
    """The float networks of a codec, for any number of threads: one picture at a time each way.

    A backend builds its transforms on first use, so that decoding does not wait for the encoder's.

    Args:
        model_file: `ModelFile`.
        tile: Pixels of a tile along the longer side of a picture (rounded up to a multiple of 64); 0
            chooses the length by the memory that there is (`memory.of_tile`). A tile is as wide as the
            picture's shorter side.

    Attributes:
        analysis_transforms: g_a and h_a, two of the backend's `TiledTransform`.
        synthesis_transform: g_s.
    """

    analysis_transforms: Any
    synthesis_transform: Any

    def __init__(self, model_file: ModelFile, tile: int = 0):
        self.file = model_file
        self.config = model_file.config
        self._tile = tile
        # Threads that share a graph, with pictures of different shapes, can crash TensorFlow 2.14.
        self.turns = {name: threading.RLock() for name in ("analysis", "synthesis")}

    @abc.abstractmethod
    def gains(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The gain of y, its inverse and the gain of z at a quality index: float32 [N], [N], [Z]."""

    def no_gains(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The gains of a fixed-rate model, as `gains` returns them: ones."""
        n, z = self.config.num_filters, self.config.z_filters
        return np.ones(n, np.float32), np.ones(n, np.float32), np.ones(z, np.float32)

    @abc.abstractmethod
    def to_input(self, part: np.ndarray) -> Any:
        """float32 [rows, columns, C] as the backend's transforms take it."""

    @abc.abstractmethod
    def to_array(self, part: Any) -> np.ndarray:
        """What a transform returned as float32 [rows, columns, C]."""

    def inverse_gain(self, index: int) -> np.ndarray:
        """float32 [1, 1, 1, N], by which y_hat is multiplied ahead of g_s."""
        return self.gains(index)[1].reshape(1, 1, 1, -1)

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
        with self.turns["analysis"], running_out_of_memory("the analysis", _SMALLER_TILES):
            return self._latents(self._features(image, progress), index)

    def features(self, image: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """y ahead of its gain, float32 [h, w, N]: what all qualities of a picture have in common."""
        with self.turns["analysis"], running_out_of_memory("the analysis", _SMALLER_TILES):
            return self._features(image, progress)

    def latents(self, features: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """What `analyse` returns, of the picture's `features`, which stay as they are."""
        with self.turns["analysis"], running_out_of_memory("the analysis", _SMALLER_TILES):
            return self._latents(np.array(features), index)

    def _features(self, image, progress):
        g_a, _ = self.analysis_transforms
        size, read_x = reader(image)

        def read(r, c):
            return self.to_input(read_x(r, c))

        shape = *(length // LATENT_STRIDE for length in size), self.config.num_filters
        y = np.empty(shape, np.float32)
        for r, c, part in self._tiles(g_a, read, size, 1, None, "analysis", progress):
            y[r.start : r.stop, c.start : c.stop] = self.to_array(part)
        return y

    def _latents(self, y, index):
        """(y times its gain, in place; z)."""
        _, h_a = self.analysis_transforms
        gain_y, _, gain_z = self.gains(index)

        def read(r, c):
            return self.to_input(y[r.start : r.stop, c.start : c.stop])

        y *= gain_y
        size = y.shape[0], y.shape[1]
        z = np.empty([*(length // HYPER_STRIDE for length in size), len(gain_z)], np.float32)
        for r, c, part in self._tiles(h_a, read, size, LATENT_STRIDE):
            z[r.start : r.stop, c.start : c.stop] = self.to_array(part) * gain_z
        for latent in (y, z):
            check_latent(latent)
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
        with self.turns["synthesis"], running_out_of_memory("the synthesis", _SMALLER_TILES):
            return self._synthesise(y_hat, index, shape, region, progress)

    def quantise(self, y: np.ndarray, trim: float = 0.0) -> np.ndarray:
        """y rounded to integers, float32 like y.

        Args:
            y: Of `analyse`.
            trim: 0..0.5, by which every y is moved towards zero ahead of its rounding.
        """
        if not trim:
            return np.round(y)
        return np.copysign(np.floor(np.maximum(np.abs(y) + np.float32(0.5 - trim), 0)), y)

    def parts(
        self,
        y_hat: np.ndarray,
        index: int,
        region: Region | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Span, Span, np.ndarray]]:
        """Yields (rows, columns, x_hat there, float32 [rows, columns, 3]), within the padded picture.

        The arguments are those of `synthesise`; the caller has its turn.
        """
        _, inverse_y, _ = self.gains(index)

        def read(r, c):
            return self.to_input(y_hat[r.start : r.stop, c.start : c.stop] * inverse_y)

        g_s, size = self.synthesis_transform, y_hat.shape[:2]
        for r, c, part in self._tiles(
            g_s, read, size, LATENT_STRIDE, region, "synthesis", progress
        ):
            yield r, c, self.to_array(part)

    def _synthesise(self, y_hat, index, shape, region, progress):
        top, left = (span.start for span in region) if region else (0, 0)
        height, width = (span.stop - span.start for span in region) if region else shape
        image = np.empty([height, width, 3], np.uint8)
        for r, c, part in self.parts(y_hat, index, region, progress):
            place = image[r.start - top : r.stop - top, c.start - left : c.stop - left]
            rows, columns = place.shape[:2]  # padding reaches beyond `image`
            place[:] = _to_uint8(part[:rows, :columns])
        return image

    def tile_length(self, transform: Any, size: tuple[int, int], stride: int) -> int:
        """Length of the tiles of an input [*size, C]; `stride`: pixels per input sample."""
        multiple = IMAGE_MULTIPLE // stride
        if self._tile:
            return -(-self._tile // IMAGE_MULTIPLE) * multiple
        return transform.tile_length(size, memory.of_tile(), multiple)

    def _tiles(
        self, transform, read, size, stride, region=None, name="", progress=None
    ) -> Iterator:
        """`TiledTransform.tiles` with the tile that was chosen."""
        length = self.tile_length(transform, size, stride)
        count = transform.num_tiles(size, length, region)
        if progress is None or count == 1:
            yield from transform.tiles(read, size, length, region)
            return
        with progress(total=count, desc=name) as bar:

            def read_and_tell(*spans):
                bar.update()
                return read(*spans)

            yield from transform.tiles(read_and_tell, size, length, region)


def check_latent(latent: np.ndarray) -> None:
    """Raises ModelError where a latent, not rounded, is beyond what a coder takes."""
    if not (latent.min() > -MAX_LATENT and latent.max() < MAX_LATENT):
        raise ModelError("the model's latents are not finite for this picture; use another model")


def reader(image: np.ndarray) -> tuple[tuple[int, int], Callable]:
    """How a picture is read with its padding, without a copy of all of it.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        (size, read): height and width with the padding, and a function of two spans or slices of
        them to float32 [rows, columns, 3] in 0..1.
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
        return part.astype(np.float32) * _BYTE

    return (height + len(bottom), width + right.shape[1]), read


def _to_uint8(x_hat):
    """float32 [rows, columns, 3] to uint8."""
    scaled = 255 * np.clip(x_hat, 0, 1)
    with np.errstate(invalid="ignore"):  # forged latents overflow: no colour is right then
        return np.rint(scaled, out=scaled).astype(np.uint8)
