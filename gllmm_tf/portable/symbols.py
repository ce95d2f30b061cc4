"""Integers as short sequences of yes/no decisions, in NumPy: docs/format.md, "Decisions".

One function, `code_integers`, makes the decisions in either direction; the coder is its argument. A
decoder takes one step of the picture at a time. An encoder makes the decisions of many steps at once, and
`DecisionLog` sorts them by step and kind before they are written: the same stream.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gllmm_tf import work
from gllmm_tf.coding import tables
from gllmm_tf.errors import FormatError
from gllmm_tf.portable import constants, range_coder

if TYPE_CHECKING:
    from gllmm_tf.portable.integer_mixture import IntegerMixture

MAX_BLOCK = 28  # |y - centre| is below 2^29

# Kinds of decisions, phases, in the order of the stream.
CENTRE, SIDE, BLOCK = 0, 1, 2  # BLOCK + k
HALVING = BLOCK + MAX_BLOCK + 1  # HALVING + MAX_BLOCK - level
PHASES = HALVING + MAX_BLOCK + 1


class Coder(Protocol):
    """What codes decisions: `DecisionLog` or `DecisionReader`."""

    def code(
        self, phase: int, frequency: np.ndarray, bit: np.ndarray, element: np.ndarray
    ) -> np.ndarray:
        """Codes one decision of each of some elements and returns the bits, bool [n].

        Args:
            phase: int.
            frequency: int [n], 2^16 times the probabilities of 0.
            bit: bool [n], to write.
            element: int [n].
        """
        ...


class DecisionLog:
    """The coder that takes down what is to be written."""

    def __init__(self):
        self._entries: list[tuple] = []

    def code(self, phase, frequency, bit, element):
        """See `Coder`."""
        self._entries.append((phase, frequency, bit, element))
        return bit

    def events(self, step: np.ndarray) -> tuple[list[int], list[int]]:
        """What `RangeEncoder.encode` takes, in the order of the stream; step: int [E], of the elements."""
        frequency, bit = (np.concatenate([entry[i] for entry in self._entries]) for i in (1, 2))
        slot = [step[element] * PHASES + phase for phase, _, _, element in self._entries]
        order = np.argsort(np.concatenate(slot), kind="stable")
        return events(frequency[order], bit[order])


class DecisionReader:
    """The coder that reads: it ignores the bits it is handed.

    Args:
        decoder: `RangeDecoder`.

    Raises:
        FormatError: by `code`, where the stream has ended long ago.
    """

    def __init__(self, decoder: range_coder.RangeDecoder):
        self._decoder = decoder

    def code(self, phase, frequency, bit, element):
        """See `Coder`."""
        del phase, bit, element
        bits = self._decoder.decisions(frequency.tolist())
        if self._decoder.bytes_behind() > work.END_BYTES:
            raise FormatError(
                "the streams are damaged although the checksum fits, they end too early; make the "
                "file again"
            )
        return np.array(bits, bool)


def events(frequency: np.ndarray, bit: np.ndarray) -> tuple[list[int], list[int]]:
    """(lower, upper), lists of int, for `RangeEncoder.encode`: bit 0 has [0, frequency)."""
    lower, upper = np.where(bit, frequency, 0), np.where(bit, range_coder.UNIT, frequency)
    return lower.tolist(), upper.tolist()


def decision_frequency(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """2^16 times the probability of 0 nearest to part / whole that the decision table has, int [n].

    One correctly rounded division and comparisons. Where `whole` is 0 the probability is 1/2.
    """
    ratio = part / np.maximum(whole, 1.0)
    ratio[whole == 0] = 0.5
    edges, frequency = _decision_table()
    return frequency[np.searchsorted(edges, ratio)]


def row_of(probability: float) -> int:
    """Row of the decision table with the probability of 0 nearest to this one."""
    return int(np.searchsorted(_decision_table()[0], probability))


@functools.cache
def _decision_table():
    return tables.decision_edges(), tables.load()["frequency"].astype(np.int64)


def code_integers(coder: Coder, mixture: IntegerMixture, y: np.ndarray) -> np.ndarray:
    """Codes one integer per element of `mixture`.

    Args:
        mixture: `IntegerMixture` of E elements.
        y: float64 integers [E] to write; any [E] when reading.

    Returns:
        float64 [E], the integers written or read.
    """
    centre, total = mixture.centre(), mixture.total
    low, to_high = mixture.below(centre - 0.5), mixture.below(centre + 0.5)
    frequency = decision_frequency(to_high - low, total)
    other = coder.code(CENTRE, frequency, y != centre, np.arange(len(centre)))
    rest = np.nonzero(other)[0]
    if not len(rest):
        return centre
    offset = (y - centre)[rest]
    low, high = low[rest], total[rest] - to_high[rest]
    frequency = decision_frequency(low, low + high)
    above = coder.code(SIDE, frequency, offset > 0, rest)
    side = _Side(mixture.take(rest), centre[rest], above)
    distance = _code_distance(coder, side, np.where(above, high, low), np.abs(offset), rest)
    centre[rest] += np.where(above, distance, -distance)
    return centre


def code_flags(coder: Coder, flags: np.ndarray, rows: np.ndarray, move: bool) -> None:
    """Codes flags of channels, one after the other, in place.

    Args:
        flags: bool [n] to write, or to be read.
        rows: int [n], rows of the decision table where each is expected.
        move: Whether what was coded moves the rows of what follows.
    """
    frequencies = _decision_table()[1]
    least, most = constants.EMPTY_ROWS
    shift = 0
    for i, row in enumerate(rows.tolist()):
        if move:
            row = min(max(row + shift, least), most)
        frequency = frequencies[row : row + 1]
        flags[i : i + 1] = coder.code(0, frequency, flags[i : i + 1], np.array([i]))
        surprise = (0 if flags[i] else range_coder.UNIT) - int(frequency[0])
        shift += surprise >> constants.EMPTY_MOVE_BITS


class _Side:
    """The part of each element's distribution on the side of its centre that y is on."""

    def __init__(self, mixture, centre, above):
        self._mixture, self._centre, self._above = mixture, centre, above
        self._sign = np.where(above, 1.0, -1.0)

    def beyond(self, distance):
        """G, [R]: the mass at `distance` (a number or [R]) from the centre and farther."""
        below = self._mixture.below(self._centre + self._sign * (distance - 0.5))
        return np.where(self._above, self._mixture.total - below, below)

    def take(self, index):
        return _Side(self._mixture.take(index), self._centre[index], self._above[index])


def _code_distance(coder, side, inner, target, element):
    """Codes distances from the centre, at least 1: first the blocks [2^k, 2^(k+1)), then places in them.

    Args:
        side: `_Side` of R elements.
        inner: G(1).
        target: Distances to write.
        element: int [R], which elements they are.

    Returns:
        Distances, float64 [R].
    """
    outer = side.beyond(2.0)
    goes_on = coder.code(BLOCK, decision_frequency(inner - outer, inner), target >= 2, element)
    distance = np.ones(len(element))
    tail = np.nonzero(goes_on)[0]
    if len(tail):
        arguments = side.take(tail), outer[tail], target[tail], element[tail]
        block, near, far = _code_blocks(coder, *arguments)
        distance[tail] = _code_places(coder, *arguments, block, near, far)
    return distance


def _code_blocks(coder, side, inner, target, element):
    """Codes k with target in [2^k, 2^(k+1)) from k = 1 on; returns (k, G(2^k), G(2^(k+1)))."""
    block = np.ones(len(element), np.int64)
    near, far = inner.copy(), np.empty_like(inner)
    active, now = np.arange(len(element)), side
    for k in range(1, MAX_BLOCK + 1):  # the bound ends damaged streams; no encoder reaches it
        inner = near[active]
        outer = now.beyond(2.0 ** (k + 1))
        frequency = decision_frequency(inner - outer, inner)
        goes_on = coder.code(
            BLOCK + k, frequency, target[active] >= 2.0 ** (k + 1), element[active]
        )
        block[active], near[active], far[active] = k, inner, outer
        on = np.nonzero(goes_on)[0]
        if not len(on):
            break
        active, now = active[on], now.take(on)
        near[active] = outer[on]
    return block, near, far


def _code_places(coder, side, inner, target, element, block, near, far):
    """Halves the blocks down to single values; returns these, float64 [R]. near, far: G at their ends."""
    del inner
    start = 2.0**block
    for level in range(int(block.max()) - 1, -1, -1):
        active = np.nonzero(block > level)[0]
        now = side if len(active) == len(block) else side.take(active)
        middle_at = start[active] + 2.0**level
        inner, middle, outer = near[active], now.beyond(middle_at), far[active]
        frequency = decision_frequency(inner - middle, inner - outer)
        phase = HALVING + MAX_BLOCK - level
        farther = coder.code(phase, frequency, target[active] >= middle_at, element[active])
        start[active] = np.where(farther, middle_at, start[active])
        near[active], far[active] = (
            np.where(farther, middle, inner),
            np.where(farther, outer, middle),
        )
    return start
