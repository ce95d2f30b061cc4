"""Descents that `refinement_rounds.py` compares with the product's (`gllmm_tf/codec/descent.py`).

product       what each integer costs by itself is compared with its neighbours; steps that raise the
              cost are taken back
straight      the gradient of a smooth cost, steps whose lengths are fixed in advance; much as the
              product's before
backtracking  the same gradient; a step that raises the cost is taken back, and the steps after it are
              shorter; one that lowers it makes them longer
softened      the gradient is taken part of the way back from round(y) to y, ever less so
signs         no steps back; each latent has a step of its own, longer while its slope keeps its sign and
              shorter where it changes (Rprop)
priced        no search: integers by what they cost themselves and, by the curvature, for their distance
              from y, whatever the number of rounds
flips         no y at all: the integers that promise most move by one, fewer after a failure
"""

from __future__ import annotations

import math

import numpy as np

from gllmm_tf.codec.descent import Cost, Descent, Slopes, Tell, curvature, descend, schedule

SHRINK, GROW = 0.5, 1.3  # of step or share after a failure and after a success
STEP = 0.06  # of `straight` and `softened`, see the product's
FIRST_STEP = 0.04  # of `backtracking`
OWN_STEP = 0.2  # of `signs`
WEIGHT = (
    2.0  # of the distance in `priced`: bits count half as much as they should, or it loses more
)
SOFT = 0.5  # of the way from round(y) to y, in the first round
SHARE = 0.2  # of the integers that promise anything, in the first round


def _cheaper(best: np.ndarray, lowest: float, other: np.ndarray, cost: Cost) -> np.ndarray:
    return other if cost.at(other) < lowest else best


def smooth(slopes: Slopes) -> np.ndarray:
    """The gradient as if costs were smooth, by central differences, [h, w, N]."""
    return slopes.others + (slopes.above + slopes.below) / 2


def straight(y: np.ndarray, cost: Cost, rounds: int, tell: Tell | None = None) -> np.ndarray:
    """See the module; a `Descent`."""
    y, best, lowest, scale = y.copy(), np.round(y), math.inf, None
    for t in range(rounds):
        rounded = np.round(y)
        slopes = cost.slopes(rounded)
        if slopes.cost < lowest:
            best, lowest = rounded, slopes.cost
        if scale is None:
            scale = curvature(y, smooth(slopes))
        y -= STEP * schedule(t, rounds) * smooth(slopes) / scale
        if tell is not None:
            tell()
    return _cheaper(best, lowest, np.round(y), cost)


def backtracking(y: np.ndarray, cost: Cost, rounds: int, tell: Tell | None = None) -> np.ndarray:
    """See the module; a `Descent`."""
    y, best, lowest, scale = y.copy(), np.round(y), math.inf, None
    step, start, slope = FIRST_STEP, y.copy(), None
    for t in range(rounds):
        rounded = np.round(y)
        slopes = cost.slopes(rounded)
        if scale is None:
            scale = curvature(y, smooth(slopes))
        if slopes.cost < lowest:
            step *= GROW if slope is not None else 1.0
            best, lowest, start, slope = rounded, slopes.cost, y, smooth(slopes)
        else:
            step *= SHRINK
        y = start - step * schedule(t, rounds) * slope / scale
        if tell is not None:
            tell()
    return _cheaper(best, lowest, np.round(y), cost)


def softened(y: np.ndarray, cost: Cost, rounds: int, tell: Tell | None = None) -> np.ndarray:
    """See the module; a `Descent`."""
    guess, scale, y = np.round(y), None, y.copy()
    for t in range(rounds):
        rounded = np.round(y)
        part = SOFT * (1 - t / rounds) if t else 0.0
        gradient = smooth(cost.slopes(rounded + np.float32(part) * (y - rounded)))
        if scale is None:
            scale = curvature(y, gradient)
        y -= STEP * schedule(t, rounds) * gradient / scale
        if tell is not None:
            tell()
    return _cheaper(guess, cost.at(guess), np.round(y), cost)


def signs(y: np.ndarray, cost: Cost, rounds: int, tell: Tell | None = None) -> np.ndarray:
    """See the module; a `Descent`."""
    y, best, lowest, scale = y.copy(), np.round(y), math.inf, None
    steps, before = np.full(y.shape, OWN_STEP, np.float32), np.zeros_like(y)
    for t in range(rounds):
        slopes = cost.slopes(np.round(y))
        if slopes.cost < lowest:
            best, lowest = np.round(y), slopes.cost
        if scale is None:
            scale = curvature(y, slopes.others)
        same = np.sign(slopes.moves) * np.sign(before)
        steps *= np.where(same < 0, np.float32(SHRINK), 1) * np.where(same > 0, np.float32(1.2), 1)
        before = np.where(slopes.moves != 0, slopes.moves, before)
        y -= np.float32(schedule(t, rounds)) * steps * slopes.moves / scale
        if tell is not None:
            tell()
    return _cheaper(best, lowest, np.round(y), cost)


def priced(y: np.ndarray, cost: Cost, rounds: int, tell: Tell | None = None) -> np.ndarray:
    """See the module; a `Descent`. From r = round(y), h ((y - r -+ 1)^2 - (y - r)^2) / 2 and the bits."""
    del rounds
    rounded = np.round(y)
    slopes = cost.slopes(rounded)
    half, error = WEIGHT * curvature(y, slopes.others) / 2, y - rounded
    up = half * (1 - 2 * error) + slopes.above
    down = half * (1 + 2 * error) - slopes.below
    if tell is not None:
        tell()
    return rounded + ((up < 0) & (up <= down)) - np.float32((down < 0) & (down < up))


def flips(y: np.ndarray, cost: Cost, rounds: int, tell: Tell | None = None) -> np.ndarray:
    """See the module; a `Descent`. A move by one lowers the cost by |g| - h / 2, to second order."""
    best, lowest, scale, slope = np.round(y), math.inf, None, None
    share, tried = SHARE, best
    for _ in range(rounds):
        slopes = cost.slopes(tried)
        if scale is None:
            scale = curvature(y, smooth(slopes))
        if slopes.cost < lowest:
            share = min(1.0, share * (GROW if slope is not None else 1.0))
            best, lowest, slope = tried, slopes.cost, smooth(slopes)
        else:
            share *= SHRINK
        promise = np.abs(slope) - scale / 2
        count = int(share * np.count_nonzero(promise > 0))
        if count:
            bound = np.partition(promise, -count, axis=None)[-count]
            tried = best - np.sign(slope) * (promise >= bound)
        if tell is not None:
            tell()
    return _cheaper(best, lowest, tried, cost)


DESCENTS: dict[str, Descent] = {
    "product": descend,
    "straight": straight,
    "backtracking": backtracking,
    "softened": softened,
    "signs": signs,
    "priced": priced,
    "flips": flips,
}
