"""Integers as short sequences of yes/no decisions on tensorflow-compression's range coder.

tfc's streaming coder takes its probabilities from a table that is fixed when the coder is made, while
every latent element has a distribution of its own. So the table holds binary distributions on a grid
of log-odds, and each integer y of a batch is told by decisions whose probabilities are ratios of its
mixture's exact masses:

    is y the centre m?          else: is y below m?         then with d = |y - m|, for k = 0, 1, 2, ...
    is d < 2^(k+1)?             and, in that block of 2^k values, k halvings.

The masses ahead of a decision are integers, so encoder and decoder find the same table row. Any
integer can be told; where the masses have run out a decision costs one bit.
"""

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from gllmm_tf.coding import tables

MAX_BLOCK = 28  # an encoder's |y - m| is below 2^29

_F64 = tf.float64


class Encoder:
    """The coder argument of `code_integers` that writes."""

    def start(self, string=None):
        del string
        return tfc.create_range_encoder([], tf.constant(tables.decision_lookup()))

    def code(self, handle, row, bit):
        return tfc.entropy_encode_index(handle, row, bit), bit


class Decoder:
    """The coder argument of `code_integers` that reads: it ignores the bits it is handed."""

    def start(self, string):
        return tfc.create_range_decoder(string, tf.constant(tables.decision_lookup()))

    def code(self, handle, row, bit):
        del bit
        return tfc.entropy_decode_index(handle, row, tf.shape(row), tf.int32)


def decision_row(part, whole):
    """Row of the decision table whose probability of 0 is nearest to part / whole, int32 like `part`.

    One correctly rounded division and comparisons. Where `whole` is 0 the probability is 1/2.
    """
    half = tf.fill(tf.shape(part), tf.constant(0.5, _F64))
    ratio = tf.where(whole > 0, part / tf.maximum(whole, 1.0), half)
    return tf.searchsorted(tf.constant(tables.decision_edges()), ratio, out_type=tf.int32)


def code_integers(coder, handle, mixture, y):
    """Codes one integer per element of `mixture`.

    Args:
        coder: `Encoder` or `Decoder`.
        handle: The coder's state, a variant scalar.
        mixture: `IntegerMixture` of E elements.
        y: float64 integers [E] to write; any [E] when reading.

    Returns:
        (handle, y), the integers written or read.
    """
    centre = mixture.centre()
    low = mixture.below(centre - 0.5)
    high = mixture.below(centre + 0.5)
    other = tf.cast(tf.not_equal(y, centre), tf.int32)
    handle, other = coder.code(handle, decision_row(high - low, mixture.total), other)

    rest = tf.cast(tf.where(other > 0)[:, 0], tf.int32)
    handle, offset = _code_offset(
        coder,
        handle,
        mixture.gather(rest),
        tf.gather(centre, rest),
        tf.gather(low, rest),
        tf.gather(mixture.total - high, rest),
        tf.gather(y - centre, rest),
    )
    return handle, tf.tensor_scatter_nd_add(centre, rest[:, None], offset)


def _code_offset(coder, handle, mixture, centre, low, high, offset):
    """Codes y - centre, not 0, float64 [E]; low and high are the masses below and above the centre."""
    above = tf.cast(offset > 0, tf.int32)
    handle, above = coder.code(handle, decision_row(low, low + high), above)
    side = _Side(mixture, centre, above > 0)
    target = tf.abs(offset)
    handle, block, inner, outer = _code_block(
        coder, handle, side, tf.where(side.is_above, high, low), target
    )
    handle, distance = _code_place(coder, handle, side, block, inner, outer, target)
    return handle, side.sign * distance


class _Side:
    """The part of each element's distribution on the side of its centre that y is on."""

    def __init__(self, mixture, centre, is_above):
        self.is_above = is_above
        self.sign = tf.where(is_above, tf.ones_like(centre), -tf.ones_like(centre))
        self._mixture = mixture
        self._centre = centre

    def beyond(self, subset, distance):
        """Mass at `distance` from the centre and farther, for the elements `subset`."""
        mixture = self._mixture.gather(subset)
        x = tf.gather(self._centre, subset) + tf.gather(self.sign, subset) * (distance - 0.5)
        below = mixture.below(x)
        return tf.where(tf.gather(self.is_above, subset), mixture.total - below, below)


def _code_block(coder, handle, side, edge, target):
    """Codes k with target in [2^k, 2^(k+1)): one decision per k, for the elements not placed yet.

    `edge` is the mass at distance 1 and farther. Returns (handle, k int32 [E], mass from 2^k on, mass
    from 2^(k+1) on).
    """

    def body(handle, k, active, edge, block, inner, outer):
        end = tf.bitwise.left_shift(2, k)
        distance = tf.fill([tf.size(active)], tf.cast(end, _F64))
        far = side.beyond(active, distance)
        goes_on = tf.cast(tf.gather(target, active) >= distance, tf.int32)
        handle, goes_on = coder.code(handle, decision_row(edge - far, edge), goes_on)
        index = active[:, None]
        block = tf.tensor_scatter_nd_update(block, index, tf.fill([tf.size(active)], k))
        inner = tf.tensor_scatter_nd_update(inner, index, edge)
        outer = tf.tensor_scatter_nd_update(outer, index, far)
        # The bound ends the loop on damaged streams; no encoder reaches it.
        chosen = tf.where(tf.logical_and(goes_on > 0, k < MAX_BLOCK))[:, 0]
        return (
            handle,
            k + 1,
            tf.gather(active, chosen),
            tf.gather(far, chosen),
            block,
            inner,
            outer,
        )

    active = tf.range(tf.size(edge))
    zeros = tf.zeros_like(edge)
    vector = tf.TensorShape([None])
    scalar = tf.TensorShape([])
    handle, _, _, _, block, inner, outer = tf.while_loop(
        lambda handle, k, active, *_: tf.size(active) > 0,
        body,
        (handle, tf.constant(0), active, edge, tf.zeros_like(active), zeros, zeros),
        shape_invariants=(scalar, scalar, vector, vector, vector, vector, vector),
    )
    return handle, block, inner, outer


def _code_place(coder, handle, side, block, inner, outer, target):
    """Codes the distance inside its block [2^k, 2^(k+1)) by k halvings; returns (handle, distance)."""

    def body(handle, level, start, inner, outer):
        half = tf.cast(tf.bitwise.left_shift(1, level), _F64)
        subset = tf.cast(tf.where(block > level)[:, 0], tf.int32)
        index = subset[:, None]
        first = tf.gather(start, subset)
        middle = side.beyond(subset, first + half)
        near, far = tf.gather(inner, subset), tf.gather(outer, subset)
        farther = tf.cast(tf.gather(target, subset) >= first + half, tf.int32)
        handle, farther = coder.code(handle, decision_row(near - middle, near - far), farther)
        chosen = farther > 0
        zero = tf.zeros_like(first)
        return (
            handle,
            level - 1,
            tf.tensor_scatter_nd_add(start, index, tf.where(chosen, half, zero)),
            tf.tensor_scatter_nd_update(inner, index, tf.where(chosen, middle, near)),
            tf.tensor_scatter_nd_update(outer, index, tf.where(chosen, far, middle)),
        )

    start = tf.cast(tf.bitwise.left_shift(tf.ones_like(block), block), _F64)
    # The maximum of no elements is the smallest int32.
    highest = tf.maximum(tf.reduce_max(block), 0) - 1
    vector = tf.TensorShape([None])
    scalar = tf.TensorShape([])
    handle, _, distance, _, _ = tf.while_loop(
        lambda handle, level, *_: level >= 0,
        body,
        (handle, highest, start, inner, outer),
        shape_invariants=(scalar, scalar, vector, vector, vector),
    )
    return handle, distance


def code_flags(coder, handle, flags, probability_of_zero):
    """Codes int32 flags [n] that all have the same probability of being 0."""
    row = int(np.searchsorted(tables.decision_edges(), probability_of_zero))
    return coder.code(handle, tf.fill([tf.size(flags)], row), flags)
