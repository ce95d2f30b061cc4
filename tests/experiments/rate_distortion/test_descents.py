"""Descents on a quadratic cost whose neighbours are coupled, so that plain rounding is not the best."""

import csv

import numpy as np
import pytest

from experiments.common import doc_tables, places
from experiments.common.program import ExperimentError
from experiments.rate_distortion.descents import DESCENTS
from experiments.rate_distortion.refinement_rounds import effort_table
from gllmm_tf.cli.parser import EFFORTS
from gllmm_tf.codec.descent import Slopes


class Quadratic:
    """The sum of a small blur of (y_hat - y), squared, and PRICE |y_hat|; counts its slopes."""

    PRICE = 3.0

    def __init__(self, y):
        self._y, self.count = y, 0

    def _blur(self, values):
        return sum(np.roll(values, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1))

    def at(self, y_hat):
        rest = float(np.sum(self._blur(y_hat - self._y) ** 2))
        return rest + self.PRICE * float(np.sum(np.abs(y_hat)))

    def slopes(self, y_hat):
        self.count += 1
        price = self.PRICE * np.abs(y_hat)
        others = 2 * self._blur(self._blur(y_hat - self._y))
        above, below = (s * (self.PRICE * np.abs(y_hat + s) - price) for s in (1, -1))
        return Slopes(self.at(y_hat), others, above, below)


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
    assert y_hat.shape == y.shape and cost.count == len(told) == (1 if name == "priced" else 8)
    assert cost.at(y_hat) < (0.99 if name == "priced" else 0.97) * cost.at(np.round(y))


@pytest.mark.parametrize("name", DESCENTS)
def test_nothing_is_better_than_what_has_no_error(y, name, monkeypatch):
    monkeypatch.setattr(Quadratic, "PRICE", 0.0)
    y = np.round(y)
    np.testing.assert_array_equal(DESCENTS[name](y, Quadratic(y), 3), y)


@pytest.mark.parametrize("name", ["backtracking", "flips"])
def test_more_rounds_are_no_worse(y, name):
    costs = [Quadratic(y).at(DESCENTS[name](y, Quadratic(y), rounds)) for rounds in (2, 8, 32)]
    assert costs[2] <= costs[1] <= costs[0]


@pytest.mark.parametrize("name", ["straight", "backtracking", "softened", "flips"])
def test_the_product_finds_more_than_a_smooth_cost_tells(y, name):
    product, smooth = (Quadratic(y).at(DESCENTS[n](y, Quadratic(y), 12)) for n in ("product", name))
    assert product < smooth


def test_published_table_is_that_of_the_measurements():
    with open(f"{places.RESULTS}/refinement_rounds.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    published = doc_tables.extract(f"{places.DOCS}/usage.md", "effort")
    assert published == "\n".join(effort_table(rows)) + "\n"
    assert len(published.splitlines()) == 2 + len(EFFORTS)
    with pytest.raises(ExperimentError, match="were not measured"):
        effort_table([row for row in rows if row["rounds"] != str(EFFORTS[-1])])
