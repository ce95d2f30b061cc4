"""A model and its enhancement layer as one: networks and coder with the interface of a single model's.

```
x --model's g_a, h_a--> y, z --round--> y_hat --model's g_s, cut to 0..1--> x_0
x - x_0 --layer's g_a--> r --round--> r_hat
x_hat = x_0 + step * layer's g_s(r_hat)
```

Both latents go as one array [h, w, N + 16 M], y_hat beside blocks of 4 x 4 positions of r_hat, which has M
channels. The symbols are exact as ever; so is the layer's entropy model, which knows y_hat. x_0 is a float
result that may differ in the last bits between an encoder's machine and a decoder's, and so may x_hat.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gllmm_tf.codec import pixels
from gllmm_tf.codec.regions import Progress, Region, Span
from gllmm_tf.codec.tiling import spans_of_path
from gllmm_tf.coding.streams import Coder, Latents, Listener, ModelCoder, Streams
from gllmm_tf.config import HYPER_STRIDE, LAYER_STRIDE
from gllmm_tf.errors import running_out_of_memory
from gllmm_tf.files.container import Fields, varint

if TYPE_CHECKING:
    from gllmm_tf.zoo.model_file import ModelFile

DEAD_ZONE = 0.15
"""By how much r is moved towards zero ahead of its rounding: the transform leaves no room for that."""


def beside(y_hat: np.ndarray, r_hat: np.ndarray) -> np.ndarray:
    """[h, w, N] and [4 h, 4 w, M] as one array [h, w, N + 16 M]."""
    height, width, _ = y_hat.shape
    blocks = r_hat.reshape(height, HYPER_STRIDE, width, HYPER_STRIDE, -1).transpose(0, 2, 1, 3, 4)
    return np.concatenate([y_hat, blocks.reshape(height, width, -1)], 2, dtype=np.float32)


def apart(both: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `beside` for N = channels."""
    height, width, _ = both.shape
    blocks = both[..., channels:].reshape(height, width, HYPER_STRIDE, HYPER_STRIDE, -1)
    r_hat = blocks.transpose(0, 2, 1, 3, 4).reshape(HYPER_STRIDE * height, HYPER_STRIDE * width, -1)
    return both[..., :channels], r_hat


class LayeredCoder(Coder):
    """See `Coder`; y_hat are both latents. The z stream holds both streams of the model below.

    Args:
        layer: The layer's own coder.
        base: The coder of the model below.
    """

    def __init__(self, layer: ModelCoder, base: Coder):
        super().__init__(layer.config)
        self._layer, self._base = layer, base

    def encode(
        self, y_hat: np.ndarray, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> Streams:
        y_hat, r_hat = apart(np.asarray(y_hat), self._base.config.num_filters)
        below = self._base.encode(y_hat, z_hat, self.config.base_index, tell=tell)
        stream = self._layer.encode_y(r_hat, y_hat, index, tell=tell)
        return Streams(varint(len(below.z)) + below.z + below.y, stream)

    def decode(
        self,
        streams: Streams,
        shape: tuple[int, int],
        index: int,
        *,
        tell: Listener | None = None,
    ) -> Latents:
        fields = Fields(streams.z, 0, len(streams.z))
        z_stream = fields.take(fields.varint("length of the first stream"), "first stream")
        below = Streams(z_stream, fields.rest())
        y_hat, z_hat = self._base.decode(below, shape, self.config.base_index, tell=tell)
        r_hat = self._layer.decode_y(streams.y, y_hat, index, tell=tell)
        return Latents(beside(y_hat, r_hat), z_hat)

    def num_steps(self, height: int, width: int) -> int:
        layer = self._layer.num_steps(HYPER_STRIDE * height, HYPER_STRIDE * width)
        return self._base.num_steps(height, width) + layer

    def information_bits(self, y_hat: np.ndarray, z_hat: np.ndarray, index: int) -> float:
        y_hat, r_hat = apart(np.asarray(y_hat), self._base.config.num_filters)
        below = self._base.information_bits(y_hat, z_hat, self.config.base_index)
        return below + self._layer.information_bits(r_hat, y_hat, index)


class LayeredNetworks(pixels.PixelNetworks):
    """See `PixelNetworks`; y are both latents. A backend adds the layer's transforms.

    Args:
        model_file: `ModelFile` of the layer.
        tile: As in `PixelNetworks`.
        base: The networks of the model below, which take turns with these.

    Attributes:
        layer_analysis: The layer's g_a, in the place of g_a and h_a.
    """

    layer_analysis: Any

    def __init__(self, model_file: ModelFile, tile: int, base: pixels.PixelNetworks):
        super().__init__(model_file, tile)
        self._base = base
        self.turns = base.turns

    def analyse(
        self, image: np.ndarray, index: int, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.latents(self.features(image, progress), index)

    def features(self, image: np.ndarray, progress: Progress | None = None) -> Any:
        """(y and z of the model below, r ahead of its gain)."""
        y, z = self._base.analyse(image, self.config.base_index, progress)
        return y, z, self._left(image, np.round(y))

    def latents(self, features: Any, index: int) -> tuple[np.ndarray, np.ndarray]:
        y, z, left = features
        r = left * self.gains(index)[0]
        pixels.check_latent(r)
        return beside(y, r), z

    def quantise(self, y: np.ndarray, trim: float = 0.0) -> np.ndarray:
        """See `PixelNetworks.quantise`; the model below is not trimmed, since r follows from it."""
        y, r = apart(y, self._base.config.num_filters)
        trim = DEAD_ZONE + trim * (1 - 2 * DEAD_ZONE)
        return beside(self._base.quantise(y), super().quantise(r, trim))

    def with_layer(self, image: np.ndarray, y_hat: np.ndarray, index: int) -> np.ndarray:
        """Both latents, integers, for a y_hat of the model below."""
        r = self._left(image, y_hat) * self.gains(index)[0]
        return self.quantise(beside(y_hat, r))

    def parts(
        self,
        y_hat: np.ndarray,
        index: int,
        region: Region | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Span, Span, np.ndarray]]:
        y_hat, r_hat = apart(y_hat, self._base.config.num_filters)
        step = self.gains(index)[1][0]
        for r, c, part in self._base.parts(y_hat, self.config.base_index, region, progress):
            yield r, c, np.clip(part, 0, 1) + step * self._layer_part(r_hat, r, c)

    def _left(self, image, y_hat):
        """r ahead of its gain, float32 [4 h, 4 w, M]."""
        transform = self.layer_analysis
        (height, width), read = pixels.reader(image)
        left = np.empty(
            [height // LAYER_STRIDE, width // LAYER_STRIDE, self.config.num_filters], np.float32
        )
        with self.turns["analysis"], self.turns["synthesis"], running_out_of_memory("the layer"):
            for r, c, part in self._base.parts(y_hat, self.config.base_index):
                found = self.to_array(
                    transform.whole()(self.to_input(read(r, c) - np.clip(part, 0, 1)))
                )
                rows, columns = (
                    slice(s.start // LAYER_STRIDE, s.stop // LAYER_STRIDE) for s in (r, c)
                )
                left[rows, columns] = found
        # Beyond the picture nothing is shown, so that nothing needs to be coded.
        left[-(-image.shape[0] // LAYER_STRIDE) :] = 0
        left[:, -(-image.shape[1] // LAYER_STRIDE) :] = 0
        return left

    def _layer_part(self, r_hat, r, c):
        """Pixels (r, c) of the layer's synthesis, in its steps: float32 [rows, columns, 3]."""
        transform, inside, cut = self.synthesis_transform, [], []
        for span, length in zip((r, c), r_hat.shape):
            seen = spans_of_path(transform.path, length, span)[0]
            inside.append(slice(seen.start, seen.stop))
            cut.append(slice(*(at - LAYER_STRIDE * seen.start for at in span)))
        window = self.to_input(r_hat[inside[0], inside[1]])
        return self.to_array(transform.whole()(window))[cut[0], cut[1]]
