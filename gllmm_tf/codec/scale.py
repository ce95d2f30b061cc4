"""The qualities of a codec: those of its model and, above, of another one that goes on there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gllmm_tf.codec import checks
from gllmm_tf.config import QUALITY_STEPS, ModelConfig
from gllmm_tf.errors import ModelError
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.registry import Continuation

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec


class Scale:
    """Qualities in steps, which count sixteenths from the lowest one on, over all models.

    Args:
        config: Of the model with the lower qualities.
        continuation: Who has the higher ones; None for a scale that is all one model's.
        load: Returns the codec of another model by its name, when it is needed for the first time; None
            where none is needed.
    """

    def __init__(
        self,
        config: ModelConfig,
        continuation: Continuation | None,
        load: Callable[[str], Codec] | None = None,
    ):
        self._config, self._load = config, load
        self.continuation = continuation
        self._codecs: dict[str, Codec] = {}
        self._turn = threading.Lock()

    @property
    def qualities(self) -> range:
        """The integer qualities, empty for a fixed rate."""
        own = self._config.qualities
        return range(own.start, self.continuation.highest + 1) if self.continuation else own

    @property
    def highest_step(self) -> int | None:
        """The step of the highest quality, or None for a fixed rate."""
        return QUALITY_STEPS * (len(self.qualities) - 1) if self.qualities else None

    def step_of(self, quality: float | None) -> int:
        """The step of a quality, None for the default; ModelError if there is no such quality."""
        if not self.qualities:
            if quality is not None:
                raise ModelError("this model has one fixed rate; omit the quality", "quality")
            return 0
        quality = self._config.default_quality if quality is None else quality
        quality = checks.check_number("quality", quality)
        lowest, highest = self.qualities[0], self.qualities[-1]
        if not lowest <= quality <= highest:
            raise ModelError(
                f"quality is {quality:g}, it must be from {lowest} to {highest}", "quality"
            )
        return self._config.index_of(quality)

    def place_of(self, step: int) -> tuple[Codec | None, int]:
        """(the codec of a step, None for that of the lower qualities; its model's quality index)."""
        if not self.is_above(step):
            return None, step
        codec = self.higher()
        return codec, codec.config.index_of(self._quality_of(step))

    def is_above(self, step: int) -> bool:
        """Whether a step belongs to the model of the higher qualities; loads nothing."""
        return self.continuation is not None and self._quality_of(step) > self.continuation.above

    def _quality_of(self, step):
        return self._config.first_quality + step / QUALITY_STEPS

    def higher(self) -> Codec:
        """The codec of the higher qualities, loaded once."""
        assert self.continuation
        return self._codec(self.continuation.name)

    def other_codec(self, identity: bytes) -> Codec | None:
        """The codec of another model that has or had the higher qualities, None if that is none of them."""
        higher = self.continuation
        for name in (higher.name, *higher.former) if higher else ():
            if registry.RELEASED[name] == identity.hex():
                return self._codec(name)
        return None

    def _codec(self, name):
        assert self._load
        with self._turn:
            if name not in self._codecs:
                self._codecs[name] = self._load(name)
            return self._codecs[name]
