"""One picture on its way into a file, at one quality or, to find a target, at several.

```
image --g_a--> features --gain, h_a--> y, z --round or search--> y_hat, z_hat --coder--> data
      once                 for each quality that is tried
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gllmm_tf import metrics
from gllmm_tf.codec import stages
from gllmm_tf.codec.regions import Progress
from gllmm_tf.coding.streams import Latents
from gllmm_tf.files import container, grey
from gllmm_tf.files.metadata import size_notes

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec


class Encoded(NamedTuple):
    """One coded picture.

    Attributes:
        data: Bytes of the file.
        seconds: {stage: seconds}, of all qualities that were tried.
        latents: (y_hat, z_hat), float32 integers.
        notes: For the user, one line each, where the metadata are larger than the picture.
        quality: That it was coded at, or None for a fixed rate.
        identity: Of the model that coded it, 8 bytes.
    """

    data: bytes
    seconds: dict[str, float]
    latents: Latents
    notes: tuple[str, ...] = ()
    quality: float | None = None
    identity: bytes = b""


Search = Callable[["Codec", np.ndarray, np.ndarray, np.ndarray, int], Latents]
"""(codec of the quality, image, y and z not rounded, quality index) -> the latents."""


class Encoding:
    """A picture and what was computed of it so far.

    A step counts sixteenths of a quality from the lowest one of the codec's scale on, over all the models
    that the scale has.

    Args:
        codec: Whose networks and coder are used.
        image: uint8 [H, W, 3].
        metadata: {tag: bytes} for the container.
        search: Finds better latents; None for plain rounding.
        progress: Makes progress bars.
    """

    def __init__(
        self,
        codec: Codec,
        image: np.ndarray,
        metadata: Mapping[int, bytes],
        search: Search | None = None,
        progress: Progress | None = None,
    ):
        self._codec, self._image, self._progress = codec, image, progress
        self._search = search
        self._features: dict[bytes, Any] | None = None
        self.metadata = dict(metadata)
        self.size = image.shape[0], image.shape[1]
        self._clock = stages.Clock()

    @property
    def refined(self) -> bool:
        """Whether the latents are searched for, and so do not follow from y alone."""
        return self._search is not None

    def keep_features(self) -> None:
        """Has g_a of a model run once for all the qualities that will be tried."""
        self._features = {}

    def _analyse(self, codec, index):
        """(y, z), not rounded."""
        if self._features is None:
            return codec.networks.analyse(self._image, index, self._progress)
        if codec.identity not in self._features:
            features = codec.networks.features(self._image, self._progress)
            self._features[codec.identity] = features
        return codec.networks.latents(self._features[codec.identity], index)

    def latents(self, step: int, trim: float = 0.0) -> Latents:
        """The symbols at a quality.

        Args:
            step: Of the scale.
            trim: 0..0.5; every y is moved by so much towards zero ahead of its rounding. That saves
                bytes and costs quality along the curve of the model's own qualities, in steps as
                small as one likes.
        """
        codec, index = self._codec.at_step(step)
        y, z = self._analyse(codec, index)
        self._clock.lap("analysis")
        if self._search:
            found = self._search(codec, self._image, y, z, index)
            self._clock.lap("refinement")
            return found
        return Latents(codec.networks.quantise(y, trim), np.round(z))

    def psnr(self, latents: Latents, step: int) -> float:
        """PSNR in dB of what a decoder shows for the symbols."""
        codec, index = self._codec.at_step(step)
        x_hat = codec.networks.synthesise(latents.y_hat, index, self.size)
        if container.TAG_GREY in self.metadata:
            x_hat = grey.make_grey(x_hat)
        psnr = metrics.psnr(self._image, x_hat)
        self._clock.lap("synthesis")
        return psnr

    def file_of(self, latents: Latents, step: int) -> Encoded:
        """The file that holds the symbols."""
        codec, index = self._codec.at_step(step)
        steps = codec.coder.num_steps(*latents.y_hat.shape[:2])
        shape = latents.y_hat.shape
        with stages.coding_bar("entropy coding", shape, steps, self._progress) as tell:
            streams = codec.coder.encode(*latents, index, tell=tell)
        self._clock.lap("entropy coding")
        height, width = self.size
        parts = container.Container(
            model_id=codec.identity,
            width=width,
            height=height,
            quality_index=index,
            z_stream=streams.z,
            y_stream=streams.y,
            metadata=self.metadata,
        )
        data = container.pack(parts)
        self._clock.lap("container")
        notes = size_notes(self.metadata, len(streams.z) + len(streams.y))
        seconds, quality = dict(self._clock.seconds), codec.config.quality_of(index)
        return Encoded(data, seconds, latents, notes, quality, codec.identity)

    def at(self, step: int) -> Encoded:
        """The file at a quality."""
        return self.file_of(self.latents(step), step)
