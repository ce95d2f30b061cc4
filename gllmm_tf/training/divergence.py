"""Where a run was still sound that has diverged since. No TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

FACTOR = 10.0
"""A loss this many times the least one before it is that of a run that diverges."""


def sound_until(rows: Iterable[dict[str, Any]], step: int) -> int:
    """The last step of which nothing says that it had diverged.

    Args:
        rows: Of metrics.jsonl, by ascending step.
        step: From which on steps were not finite, or the number of steps done.

    Returns:
        At most `step`.
    """
    least, sound = math.inf, 0
    last = 0
    for row in rows:
        if "loss" not in row or row["step"] > step:
            continue
        loss, last = row["loss"], row["step"]
        if loss is not None and loss <= FACTOR * least:
            sound = last
        least = min(least, math.inf if loss is None else loss)
    return step if sound == last else sound
