"""The stages of coding a picture: how long each took, and how far it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

SHOWN_POSITIONS = 4096  # of y, from which on coding it has a progress bar


class Clock:
    """Seconds per named stage."""

    def __init__(self):
        self.seconds = {}
        self._last = time.perf_counter()

    def lap(self, stage):
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


@contextlib.contextmanager
def coding_bar(name, shape, steps, progress) -> Iterator:
    """Yields what hears of the steps of coding y, [h, w, ..] = shape; None for a small picture."""
    height, width = shape[:2]
    if progress is None or height * width < SHOWN_POSITIONS:
        yield None
        return
    with progress(total=steps, desc=name) as bar:
        yield bar.update
