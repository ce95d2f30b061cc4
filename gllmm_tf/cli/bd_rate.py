"""BD-rate: the average difference in rate between two codecs at equal quality.

Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001, with piecewise
cubic Hermite interpolation (Fritsch and Carlson, 1980) in place of one cubic polynomial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_SAMPLES = 2000  # of the range of quality, over which the mean is taken


def bd_rate(anchor: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]]) -> float:
    """Percent of the rate that `test` needs beyond `anchor`, on average over the qualities of both.

    Args:
        anchor: Pairs (bits per pixel, quality in dB) of one codec, two or more.
        test: Those of the other.

    Returns:
        100 (exp(mean of ln rate_test(q) - ln rate_anchor(q)) - 1); nan where the curves have no quality
        in common.
    """
    curves = [_curve(points) for points in (anchor, test)]
    low = max(quality[0] for quality, _ in curves)
    high = min(quality[-1] for quality, _ in curves)
    if not low < high or min(len(quality) for quality, _ in curves) < 2:
        return math.nan
    at = np.linspace(low, high, _SAMPLES + 1)
    middle = (at[1:] + at[:-1]) / 2
    reference, other = (_pchip(quality, rate, middle) for quality, rate in curves)
    return 100 * math.expm1(float(np.mean(other - reference)))


def _curve(points: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """(qualities, logarithms of rates) by ascending quality, each once at its lowest rate."""
    best: dict[float, float] = {}
    for rate, quality in points:
        if math.isfinite(quality):
            best[quality] = min(rate, best.get(quality, math.inf))
    pairs = np.array(sorted(best.items())).reshape(-1, 2)
    return pairs[:, 0], np.log(pairs[:, 1])


def _pchip(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The monotone cubic through (x, y), x ascending, at the places `at`."""
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    slopes = np.full(len(x), d[0])
    if len(x) > 2:
        w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            inner = (w1 + w2) / (w1 / d[:-1] + w2 / d[1:])
        slopes[1:-1] = np.where(d[:-1] * d[1:] > 0, inner, 0.0)
        slopes[0] = _end(h[0], h[1], d[0], d[1])
        slopes[-1] = _end(h[-1], h[-2], d[-1], d[-2])
    i = np.clip(np.searchsorted(x, at, "right") - 1, 0, len(h) - 1)
    t = (at - x[i]) / h[i]
    return (
        (1 + 2 * t) * (1 - t) ** 2 * y[i]
        + t * (1 - t) ** 2 * h[i] * slopes[i]
        + t**2 * (3 - 2 * t) * y[i + 1]
        + t**2 * (t - 1) * h[i] * slopes[i + 1]
    )


def _end(h0: float, h1: float, d0: float, d1: float) -> float:
    """The slope at an end, from the three points there."""
    slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
    if slope * d0 <= 0:
        return 0.0
    return 3 * d0 if d0 * d1 <= 0 and abs(slope) > 3 * abs(d0) else slope
