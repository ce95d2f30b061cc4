"""What is coded, and in how many steps: what every backend's coder has in common. No TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

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
