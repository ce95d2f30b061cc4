"""Descents on a quadratic cost whose neighbours are coupled, so that plain rounding is not the best."""

import numpy as np
import pytest

from experiments.rate_distortion.descents import DESCENTS


class Quadratic:
    """The mean of a small blur of (y_hat - y), squared; counts its slopes."""

    def __init__(self, y):
        self._y, self.slopes = y, 0

    def _blur(self, values):
        return sum(np.roll(values, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1))

    def at(self, y_hat):
        return float(np.sum(self._blur(y_hat - self._y) ** 2))

    def slope(self, y_hat):
        self.slopes += 1
        return self.at(y_hat), 2 * self._blur(self._blur(y_hat - self._y))


@pytest.fixture
def y():
    return np.random.default_rng(4).normal(size=(8, 12, 5), scale=2).astype(np.float32)


@pytest.mark.parametrize("name", DESCENTS)
def test_integers_that_cost_less(y, name):
    cost, told = Quadratic(y), []
    kept = y.copy()
    y_hat = DESCENTS[name](y, cost, 8, lambda: told.append(1))
    np.testing.assert_array_equal(y, kept)
    np.testing.assert_array_equal(y_hat, np.round(y_hat))
    assert y_hat.shape == y.shape and cost.slopes == len(told) == 8
    assert cost.at(y_hat) < 0.95 * cost.at(np.round(y))


@pytest.mark.parametrize("name", DESCENTS)
def test_nothing_is_better_than_what_has_no_error(y, name):
    y = np.round(y)
    np.testing.assert_array_equal(DESCENTS[name](y, Quadratic(y), 3), y)


@pytest.mark.parametrize("name", ["backtracking", "flips"])
def test_more_rounds_are_no_worse(y, name):
    costs = [Quadratic(y).at(DESCENTS[name](y, Quadratic(y), rounds)) for rounds in (2, 8, 32)]
    assert costs[2] <= costs[1] <= costs[0]
