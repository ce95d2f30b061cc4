"""Symbols and streams, and what every backend's coder of them has in common. No TensorFlow."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gllmm_tf.config import QUALITY_STEPS, ModelConfig

Listener = Callable[[int], object]
"""Called with the number of steps done since the last call."""


class Streams(NamedTuple):
    """The two streams of a picture."""

    z: bytes
    y: bytes


class Latents(NamedTuple):
    """The symbols of a picture: float32 integers.

    Attributes:
        y_hat: [h, w, N].
        z_hat: [h / 4, w / 4, N].
    """

    y_hat: np.ndarray
    z_hat: np.ndarray


def num_steps(height: int, width: int) -> int:
    """Steps in which y [height, width, N] is coded: a step has the positions of one `column + 3 row`."""
    return width + 3 * (height - 1)


class Coder(abc.ABC):
    """Turns symbols into streams and back, exactly, for any number of threads.

    A quality index counts sixteenths of a quality step above quality 1; it is 0 for a fixed rate.

    Args:
        config: `ModelConfig`.
    """

    def __init__(self, config: ModelConfig):
        self.config = config

    @property
    def highest_index(self) -> int:
        """The quality index of the model's highest quality."""
        return QUALITY_STEPS * ((self.config.num_qualities or 1) - 1)

    @abc.abstractmethod
    def encode(
        self, y_hat: np.ndarray, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> Streams:
        """Symbols to streams.

        Args:
            y_hat: Integers [h, w, N] of any real dtype, h and w multiples of 4.
            z_hat: Integers [h / 4, w / 4, N].
            index: Quality index.
            tell: Called with the number of steps done, `num_steps` in all.

        Raises:
            OutOfMemoryError: there is too little memory for a latent of this size.
        """

    @abc.abstractmethod
    def decode(
        self,
        streams: Streams,
        shape: tuple[int, int],
        index: int,
        *,
        tell: Listener | None = None,
    ) -> Latents:
        """Streams to symbols.

        Args:
            streams: What `encode` returned.
            shape: (rows, columns) of z.
            index: Quality index.
            tell: As in `encode`.

        Raises:
            FormatError: the streams are damaged, or of another model.
            OutOfMemoryError: there is too little memory for a latent of this size.
        """

    def num_steps(self, height: int, width: int) -> int:
        """Of which a listener hears in all for y [height, width, N]."""
        return num_steps(height, width)

    @abc.abstractmethod
    def information_bits(self, y_hat: np.ndarray, z_hat: np.ndarray, index: int) -> float:
        """-log2 of the exact model's probability of y_hat given z_hat, in bits, without any coder."""


class ModelCoder(Coder):
    """The coder of one model, or of an enhancement layer alone, which has no z of its own.

    ```
    z_hat --> z tables -----------------------------------> z stream
      `--> h_s --> phi --> mixtures --> decisions of y_hat --> y stream
    ```
    """

    @abc.abstractmethod
    def encode_y(
        self, y_hat: np.ndarray, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> bytes:
        """The stream of y_hat alone; the arguments are those of `encode`, and so is what it raises."""

    @abc.abstractmethod
    def decode_y(
        self, stream: bytes, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> np.ndarray:
        """y_hat of its stream and of z_hat, float32 [h, w, N]; raises as `decode` does."""

    @abc.abstractmethod
    def phi(self, z_hat: np.ndarray, index: int) -> np.ndarray:
        """float32 integers [h, w, 2 N] of the exact h_s, in units of 2^-`ACTIVATION_BITS`."""
