"""Integers of a low cost near a guess: the descent of `refinement.py`.

The cost is a function of integers y_hat whose gradient is known, as if they were real numbers. Round t
of T takes

    y <- y - step_t g_c / h_c        step_t = STEP (1 + cos(pi t / T)) / 2

with the gradient g at round(y), passed straight through the rounding, and a curvature h_c per channel,
the root mean square of the first gradient over that of the rounding error: near g_a's guess, which is
about the best y that need not be integer, the gradient is the curvature times that error. Early steps
are long enough to try other integers in many places at once, late ones settle. The best round counts,
plain rounding included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

STEP = 0.06  # in quantisation steps where gradient and curvature are of their usual ratio
_SMALLEST_ERROR = 1e-3  # mean square of the rounding error of a channel that is always zero


class Cost(Protocol):
    """A function of integers, float32 [h, w, N]."""

    def at(self, y_hat: np.ndarray) -> float:
        """The cost."""

    def slope(self, y_hat: np.ndarray) -> tuple[float, np.ndarray]:
        """The cost and its gradient, [h, w, N]."""


Tell = Callable[[], object]
"""Called after every round."""

Descent = Callable[[np.ndarray, Cost, int, "Tell | None"], np.ndarray]
"""(y not rounded, cost, rounds, tell) -> integers of the shape of y."""


def curvature(y: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """h_c, [N], of a guess and the gradient where it is rounded."""
    error = np.mean((np.round(y) - y) ** 2, (0, 1)) + _SMALLEST_ERROR
    return np.sqrt(np.mean(gradient**2, (0, 1)) / error) + 1e-30


def descend(y: np.ndarray, cost: Cost, rounds: int, tell: Tell | None = None) -> np.ndarray:
    """Integers of the lowest cost that was met, float32 [h, w, N].

    Args:
        y: float32 [h, w, N], not rounded.
        cost: Of integers.
        rounds: Gradients that are taken.
        tell: Called after every round.
    """
    y, best, lowest, scale = y.copy(), np.round(y), math.inf, None
    for t in range(rounds):
        rounded = np.round(y)
        value, gradient = cost.slope(rounded)
        if value < lowest:
            best, lowest = rounded, value
        if scale is None:
            scale = curvature(y, gradient)
        step = STEP * (1 + math.cos(math.pi * t / rounds)) / 2
        y -= step * gradient / scale
        if tell is not None:
            tell()
    last = np.round(y)
    return last if cost.at(last) < lowest else best
