"""Parts of a picture and limits of the work, as every backend's networks have them. No TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

# The coder takes |y - centre| below 2^29; trained latents stay below a few hundred.
MAX_LATENT = 2.0**24


class Span(NamedTuple):
    """Samples start .. stop - 1 along one axis."""

    start: int
    stop: int


Region = tuple[Span, Span]
"""(rows, columns) of a picture."""

Crop = tuple[int, int, int, int]
"""(x, y, width, height) of a region in pixels."""

Progress = Callable[..., contextlib.AbstractContextManager]
"""Makes a progress bar, as `tqdm(total=, desc=)` does."""
