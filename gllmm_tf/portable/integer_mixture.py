"""The mixture of every latent element as exact integer masses, in NumPy: see docs/format.md.

All values are integers in float64. One division per component is rounded correctly, which float64 does
everywhere; exp and the CDFs are looked up in the stored tables.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from gllmm_tf.coding import tables
from gllmm_tf.config import FAMILIES
from gllmm_tf.portable import constants

_LIMIT = tables.CDF_RANGE << constants.POSITION_BITS


class IntegerMixture:
    """One discretised mixture per element, for E elements of C = families x components components.

    Attributes:
        weights: float64 integers [C, E], about 2^16 in sum.
        means: float64 integers [C, E] in units of 2^-12.
        scales: float64 integers [C, E] in units of 2^-12, at least 2^6.
        total: float64 integers [E], the mass of the whole distribution.
    """

    def __init__(
        self, weights: np.ndarray, means: np.ndarray, scales: np.ndarray, cells: np.ndarray
    ):
        """cells: int32 [C, 1], where the cell of 0 lies in the pieces of a component's CDF."""
        self.weights, self.means, self.scales = weights, means, scales
        self._cells = cells

    @classmethod
    def from_parameters(
        cls, parameters: np.ndarray, families: Sequence[str], components: int
    ) -> IntegerMixture:
        """parameters: float64 integers [groups, E] in units of 2^-12; docs/format.md has the groups."""
        count = len(families)
        inner = parameters[: 3 * count * components].reshape(count, components, 3, -1)
        weights = softmax(inner[:, :, 0])
        if count > 1:
            outer = softmax(parameters[None, 3 * count * components :])[0]
            weights *= outer[:, None] * 2.0**-constants.WEIGHT_BITS
            np.rint(weights, out=weights)
        scales = np.maximum(np.abs(inner[:, :, 2]), constants.SCALE_MIN)
        length = tables.load()["cdf"].shape[1] - 1
        start = [FAMILIES.index(f) * length + length // 2 for f in families]
        cells = np.repeat(np.array(start, np.int32), components)[:, None]
        shape = count * components, -1
        means = np.ascontiguousarray(inner[:, :, 1]).reshape(shape)
        return cls(weights.reshape(shape), means, scales.reshape(shape), cells)

    @property
    def total(self) -> np.ndarray:
        return self.weights.sum(0) * 2.0 ** (tables.CDF_BITS + constants.FRACTION_BITS)

    def take(self, index: np.ndarray) -> IntegerMixture:
        """The mixtures of the elements `index`, int [n]."""
        weights, means, scales = (
            np.take(part, index, 1) for part in (self.weights, self.means, self.scales)
        )
        return IntegerMixture(weights, means, scales, self._cells)

    def centre(self) -> np.ndarray:
        """The integer nearest to the mean, float64 [E]: the first guess that the coder tests."""
        mean = (self.weights * self.means).sum(0)
        mean /= self.weights.sum(0)
        mean *= 2.0**-constants.PARAMETER_BITS
        return np.rint(mean, out=mean)

    def below(self, x: np.ndarray) -> np.ndarray:
        """Mass below x, float64 integers [E]; x: half-integers [E], |x| <= 2^31."""
        distance = x * 2.0**constants.PARAMETER_BITS - self.means
        distance *= 2.0**constants.POSITION_BITS
        distance /= self.scales
        np.rint(distance, out=distance)
        np.minimum(distance, _LIMIT - 1.0, out=distance)
        np.maximum(distance, -_LIMIT, out=distance)
        position = distance.astype(np.int32)
        cell = position >> constants.FRACTION_BITS
        cell += self._cells
        position &= (1 << constants.FRACTION_BITS) - 1
        left, rise = _pieces()
        mass = np.take(rise, cell)
        mass *= position
        mass += np.take(left, cell)
        mass *= self.weights
        return mass.sum(0)


@functools.cache
def _pieces():
    """The CDFs piece by piece, float64 [families x cells]: 2^8 times the left end, and the rise."""
    table = tables.load()["cdf"].astype(np.float64)
    left = table[:, :-1] * 2.0**constants.FRACTION_BITS
    return left.reshape(-1), np.diff(table).reshape(-1)


@functools.cache
def _exponentials():
    return tables.load()["exp"].astype(np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Integer softmax over axis 1, about 2^16 in sum. logits: integers in units of 2^-12."""
    table = _exponentials()
    distance = logits.max(1, keepdims=True) - logits
    distance *= 2.0 ** (tables.EXP_RESOLUTION_BITS - constants.PARAMETER_BITS)
    np.rint(distance, out=distance)
    np.minimum(distance, len(table) - 1, out=distance)
    e = np.take(table, distance.astype(np.int32))
    weights = e * 2.0**constants.WEIGHT_BITS
    weights /= e.sum(1, keepdims=True)
    return np.rint(weights, out=weights)
