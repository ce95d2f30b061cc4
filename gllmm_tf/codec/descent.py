"""Integers of a low cost near a guess: the descent of `refinement.py`.

The cost is a function of integers y_hat: what each of them costs by itself (its bits, were all the others
held), and the rest (the distortion, and what it tells about the others), of which only the gradient g is
known. The bits of one integer are no smooth function: where the neighbour is dearer by u bits above and by
d below, no slope of a curve through them tells so much as u and d. So y moves up by |g + u| where that is
below zero, down by |g - d| where that is above zero, and otherwise back towards its integer, by PULL of
the way: no step between the two would pay.

Round t of T takes

    y <- start - step (1 + cos(pi t / T)) / 2  move_c / h_c

with a curvature h_c per channel, the root mean square of the first g over that of the rounding error: near
g_a's guess, which is about the best y that need not be integer, the gradient is the curvature times that
error. Early steps are long enough to try other integers in many places at once, late ones settle. A round
that lowers the cost is the next start, and the step grows; one that does not is taken back, and the step
shrinks. So by the given cost the result is never worse than plain rounding. All four constants were chosen
on crops of photographs for training, not of Kodak; experiments/rate_distortion/descents.py has others to
compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

FIRST_STEP = 0.25  # in quantisation steps where gradient and curvature are of their usual ratio
GROW, SHRINK = 1.3, 0.5  # of the step after a success and after a failure
PULL = 0.3  # of the way back to the integer where no neighbour pays
_SMALLEST_ERROR = 1e-3  # mean square of the rounding error of a channel that is always zero


class Slopes(NamedTuple):
    """How a cost changes around integers, float32 [h, w, N] but for the first.

    Attributes:
        cost: There.
        others: The gradient of all but what each integer costs by itself.
        above: What the next larger integer costs by itself beyond this one.
        below: What this integer costs by itself beyond the next smaller one.
    """

    cost: float
    others: np.ndarray
    above: np.ndarray
    below: np.ndarray

    @property
    def moves(self) -> np.ndarray:
        """The slope towards the neighbour that pays; 0 where none does."""
        up, down = self.others + self.above, self.others + self.below
        return np.where(up < 0, up, np.where(down > 0, down, np.float32(0)))


class Cost(Protocol):
    """A function of integers, float32 [h, w, N]."""

    def at(self, y_hat: np.ndarray) -> float:
        """The cost."""

    def slopes(self, y_hat: np.ndarray) -> Slopes:
        """The cost and how it changes."""


Tell = Callable[[], object]
"""Called after every round."""

Descent = Callable[[np.ndarray, Cost, int, "Tell | None"], np.ndarray]
"""(y not rounded, cost, rounds, tell) -> integers of the shape of y."""


def curvature(y: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """h_c, [N], of a guess and the gradient where it is rounded."""
    error = np.mean((np.round(y) - y) ** 2, (0, 1)) + _SMALLEST_ERROR
    return np.sqrt(np.mean(gradient**2, (0, 1)) / error) + 1e-30


def schedule(t: int, rounds: int) -> float:
    """The part of the step that round t = 0, 1, .. takes."""
    return (1 + math.cos(math.pi * t / rounds)) / 2


def descend(y: np.ndarray, cost: Cost, rounds: int, tell: Tell | None = None) -> np.ndarray:
    """Integers of the lowest cost that was met, float32 [h, w, N].

    Args:
        y: float32 [h, w, N], not rounded.
        cost: Of integers.
        rounds: Gradients that are taken, 1 or more.
        tell: Called after every round.
    """
    start, moves, lowest = y, np.zeros_like(y), math.inf
    step, curvatures = FIRST_STEP, None
    for t in range(rounds):
        slopes = cost.slopes(np.round(y))
        if curvatures is None:
            curvatures = curvature(y, slopes.others)
        elif slopes.cost < lowest:
            step *= GROW
        else:
            step *= SHRINK
        if slopes.cost < lowest:
            start, moves, lowest = y, slopes.moves, slopes.cost
        y = start - np.float32(step * schedule(t, rounds)) * moves / curvatures
        y = np.where(moves == 0, y - np.float32(PULL) * (y - np.round(y)), y)
        if tell is not None:
            tell()
    last, best = np.round(y), np.round(start)
    return last if cost.at(last) < lowest else best
