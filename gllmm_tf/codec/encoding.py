"""One picture on its way into a file, at one quality or, to find a target, at several.

```
image --g_a--> features --gain, h_a--> y, z --round or search--> y_hat, z_hat --coder--> data
      once                 for each quality that is tried
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gllmm_tf import metrics
from gllmm_tf.codec import stages
from gllmm_tf.codec.regions import Progress
from gllmm_tf.coding.streams import Latents
from gllmm_tf.config import QUALITY_STEPS
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
        quality: 1..Q, or None for a fixed rate.
    """

    data: bytes
    seconds: dict[str, float]
    latents: Latents
    notes: tuple[str, ...] = ()
    quality: float | None = None


Search = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""(image, y not rounded, z_hat, quality index) -> y_hat, float32 [h, w, N]."""


class Encoding:
    """A picture and what was computed of it so far.

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
        self._features: np.ndarray | None = None
        self.metadata = dict(metadata)
        self.size = image.shape[0], image.shape[1]
        self._clock = stages.Clock()

    @property
    def refined(self) -> bool:
        """Whether the latents are searched for, and so do not follow from y alone."""
        return self._search is not None

    def keep_features(self) -> None:
        """Runs g_a now, once for all qualities that will be tried."""
        self._features = self._codec.networks.features(self._image, self._progress)
        self._clock.lap("analysis")

    def latents(self, index: int, trim: float = 0.0) -> Latents:
        """The symbols at a quality.

        Args:
            index: Quality index.
            trim: 0..0.5; every y is moved by so much towards zero ahead of its rounding. That saves
                bytes and costs quality along the curve of the model's own qualities, in steps as
                small as one likes.
        """
        networks = self._codec.networks
        if self._features is None:
            y, z = networks.analyse(self._image, index, self._progress)
        else:
            y, z = networks.latents(self._features, index)
        z_hat = np.round(z)
        self._clock.lap("analysis")
        if self._search:
            y_hat = self._search(self._image, y, z_hat, index)
            self._clock.lap("refinement")
        elif trim:
            y_hat = np.copysign(np.floor(np.maximum(np.abs(y) + np.float32(0.5 - trim), 0)), y)
        else:
            y_hat = np.round(y)
        return Latents(y_hat, z_hat)

    def psnr(self, latents: Latents, index: int) -> float:
        """PSNR in dB of what a decoder shows for the symbols."""
        x_hat = self._codec.networks.synthesise(latents.y_hat, index, self.size)
        if container.TAG_GREY in self.metadata:
            x_hat = grey.make_grey(x_hat)
        psnr = metrics.psnr(self._image, x_hat)
        self._clock.lap("synthesis")
        return psnr

    def file_of(self, latents: Latents, index: int) -> Encoded:
        """The file that holds the symbols."""
        codec = self._codec
        with stages.coding_bar("entropy coding", latents.y_hat.shape, self._progress) as tell:
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
        quality = 1 + index / QUALITY_STEPS if codec.num_qualities else None
        notes = size_notes(self.metadata, len(streams.z) + len(streams.y))
        return Encoded(data, dict(self._clock.seconds), latents, notes, quality)

    def at(self, index: int) -> Encoded:
        """The file at a quality index."""
        return self.file_of(self.latents(index), index)
