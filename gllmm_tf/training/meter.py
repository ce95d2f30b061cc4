"""Means of the metrics between two log lines, and the clock of a run. Needs no TensorFlow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from gllmm_tf.training.settings import Settings

SKIPS_UNTIL_STOP = 20
"""Steps in a row with a non-finite loss or gradient after which a run stops."""

METRICS = ("loss", "bpp", "y_bpp", "z_bpp", "mse", "ms_ssim", "gradient_norm", "good")
"""What a step returns, in this order; `good` is 1, or 0 if the update was skipped."""


def psnr(mse):
    """PSNR in dB of a mean squared error of values in 0..255, or of an array of them."""
    return 10.0 * np.log10(255.0**2 / np.maximum(mse, 1e-9))


class Meter:
    """Collects the metrics of steps and the seconds of training.

    Args:
        settings: `Settings`.
        seconds: Of training before this call.

    Attributes:
        settings: As given; may be replaced on the way.
        seconds: Of training so far, pauses not counted.
        bad: How many of the latest steps, in a row, were skipped.
    """

    def __init__(self, settings: Settings, seconds: float = 0.0):
        self.settings = settings
        self.seconds = seconds
        self.bad = 0
        self._steps: list[dict[str, float]] = []
        self._clock = time.monotonic()
        self._since = seconds

    def add(self, values: dict[str, float]) -> None:
        """Takes in the metrics of one step."""
        self._steps.append(values)
        self.bad = 0 if values["good"] else self.bad + 1

    def tick(self) -> float:
        """Brings `seconds` up to now and returns it."""
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now
        return self.seconds

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time inside does not count as training."""
        self.tick()
        try:
            yield
        finally:
            self._clock = time.monotonic()

    def row(self, step: int, skipped: int, pixels: int) -> dict[str, Any]:
        """The line of metrics since the last call.

        Args:
            step: Steps done.
            skipped: Of these, how many were not finite, in all.
            pixels: Seen in all.
        """
        seconds = self.tick() - self._since
        good = [values for values in self._steps if values["good"]]
        row: dict[str, Any] = {"step": step}
        for name in METRICS[:-1]:
            row[name] = float(np.mean([values[name] for values in good])) if good else None
        if self.settings.model.metric != "ms-ssim":
            del row["ms_ssim"]
        row["psnr"] = float(psnr(row["mse"])) if good else None
        row["learning_rate"] = self.settings.learning_rate_at(step - 1)
        row["skipped"] = skipped
        row["seconds"] = round(self.seconds, 2)
        row["seconds_per_step"] = seconds / max(1, len(self._steps))
        row["pixels"] = pixels
        self._steps, self._since = [], self.seconds
        return row

    def text(self, row: dict[str, Any]) -> str:
        """A row as a line of text."""
        if row["loss"] is None:
            return f"step {row['step']}: no finite step, {row['skipped']} skipped"
        left = (self.settings.schedule.steps - row["step"]) * row["seconds_per_step"]
        text = (
            "step {step}: loss {loss:.4f}, bpp {bpp:.4f} (y {y_bpp:.4f}, z {z_bpp:.4f}), "
            "PSNR {psnr:.2f} dB, {seconds_per_step:.3f} s/step"
        ).format(**row)
        text += f", {left / 60:.0f} min left"
        return text + (f", {row['skipped']} skipped" if row["skipped"] else "")
