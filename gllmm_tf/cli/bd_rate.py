"""BD-rate: the average difference in rate between two codecs at equal quality.

Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001, with piecewise
cubic Hermite interpolation (SciPy's PCHIP) in place of one cubic polynomial.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

import numpy as np

from gllmm_tf.errors import GllmmError


def check() -> None:
    """Raises GllmmError where SciPy is not installed; does not load it."""
    if importlib.util.find_spec("scipy") is None:
        raise GllmmError("a BD-rate needs SciPy: pip install 'gllmm_tf[experiments]'", "against")


def bd_rate(
    anchor: Sequence[tuple[float, float]],
    test: Sequence[tuple[float, float]],
    span: tuple[float, float] = (-math.inf, math.inf),
) -> float:
    """Percent of the rate that `test` needs beyond `anchor`, on average over the qualities of both.

    Args:
        anchor: Pairs (bits per pixel, quality in dB) of one codec, two or more.
        test: Those of the other.
        span: Qualities in dB beyond which nothing counts.

    Returns:
        100 (exp(mean of ln rate_test(q) - ln rate_anchor(q)) - 1); nan where the curves have no quality
        in common.
    """
    curves = [_curve(points) for points in (anchor, test)]
    if min(len(quality) for quality, _ in curves) < 2:
        return math.nan
    low = max(span[0], *(quality[0] for quality, _ in curves))
    high = min(span[1], *(quality[-1] for quality, _ in curves))
    if not low < high:
        return math.nan
    from scipy.interpolate import PchipInterpolator

    reference, other = (PchipInterpolator(*curve).integrate(low, high) for curve in curves)
    return 100 * math.expm1(float(other - reference) / (high - low))


def _curve(points: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """(qualities, logarithms of rates) by ascending quality, each once at its lowest rate."""
    best: dict[float, float] = {}
    for rate, quality in points:
        if math.isfinite(quality):
            best[quality] = min(rate, best.get(quality, math.inf))
    pairs = np.array(sorted(best.items())).reshape(-1, 2)
    return pairs[:, 0], np.log(pairs[:, 1])
