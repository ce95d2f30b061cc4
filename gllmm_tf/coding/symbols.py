"""Integers as short sequences of yes/no decisions on tensorflow-compression's range coder.

tfc's streaming coder takes its probabilities from a table that is fixed when the coder is made, while
every latent element has a distribution of its own. So the table holds binary distributions on a grid
of log-odds, and each integer y of a batch is told by decisions whose probabilities are ratios of its
mixture's exact masses:

    is y the centre m?          else: is y below m?         then with d = |y - m|, for k = 0, 1, 2, ...
    is d < 2^(k+1)?             and, in that block of 2^k values, k halvings.

The masses ahead of a decision are integers, so encoder and decoder find the same table row. Any
integer can be told; where the masses have run out a decision costs one bit.

Decisions of one kind, a phase, are made for all symbols of a step of the picture before the next phase
begins. A decoder has to go step by step. An encoder makes the decisions of many steps at once and
sorts them by step and phase before it writes them: the same stream.

Most symbols lie next to their centre. The masses G(d) at distance d and farther are computed at once
for d = 3..8 where d >= 2, and for d = 9..32 where d >= 8; only beyond that one by one.
"""

import numpy as np
import tensorflow as tf

from gllmm_tf import work
from gllmm_tf.coding import empty_channels, range_ops, tables

MAX_BLOCK = 28  # an encoder's |y - m| is below 2^29

# Phases in the order of the stream.
CENTRE, SIDE, BLOCK = 0, 1, 2  # BLOCK + k
HALVING = BLOCK + MAX_BLOCK + 1  # HALVING + MAX_BLOCK - level
PHASES = HALVING + MAX_BLOCK + 1

BATCH_ELEMENTS = 2**15  # of an encoder, unless a single step has more

NEAR = 8  # tables of masses reach to d = 8 ...
FAR = 32  # ... and to d = 32
WINDOW_LEVELS = 4  # all blocks left have at most 2^4 values when the halvings read from tables

_F64 = tf.float64


class Encoder:
    """The coder argument of `code_integers` that writes."""

    def start(self, string=None):
        del string
        return range_ops.create_range_encoder([], tf.constant(tables.decision_lookup()))

    def steps_at_once(self, elements_per_step):
        """How many steps a batch may have."""
        return tf.maximum(1, BATCH_ELEMENTS // tf.maximum(1, elements_per_step))

    def code_flag(self, handle, row, bit):
        """Codes one decision, int32 scalars; returns (handle, bit)."""
        return range_ops.entropy_encode_index(handle, row[None], bit[None]), bit

    def goes_on(self, handle):
        """Whether there is reason to code more, bool scalar."""
        del handle
        return tf.constant(True)

    def begin(self, handle):
        """Opens a batch: returns the state that `code` takes and returns."""
        log = tf.TensorArray(
            tf.int32, 0, dynamic_size=True, element_shape=[None, 3], infer_shape=False
        )
        return handle, log

    def code(self, state, phase, row, bit, element):
        """Codes one phase: `row` of the decision table and `bit` of each of the elements `element`."""
        handle, log = state
        phase = tf.fill([tf.size(row)], phase)
        return (handle, log.write(log.size(), tf.stack([element, phase, 2 * row + bit], 1))), bit

    def finish(self, state, step, num_steps):
        """Writes the batch in the order of the stream. step: of each element, int32 [E], ascending."""
        handle, log = state
        element, phase, decision = tf.unstack(log.concat(), axis=1)
        slot = tf.gather(step, element) * PHASES + phase
        counts = tf.math.bincount(slot, minlength=num_steps * PHASES, maxlength=num_steps * PHASES)
        in_stream = tf.cumsum(counts, exclusive=True)
        by_phase = tf.transpose(tf.reshape(counts, [num_steps, PHASES]))  # the order of the log
        in_log = tf.cumsum(tf.reshape(by_phase, [-1]), exclusive=True)
        in_log = tf.reshape(tf.transpose(tf.reshape(in_log, [PHASES, num_steps])), [-1])
        place = tf.range(tf.size(slot)) + tf.gather(in_stream - in_log, slot)
        decision = tf.scatter_nd(place[:, None], decision, tf.shape(decision))
        return range_ops.entropy_encode_index(handle, decision // 2, decision % 2)


class Decoder:
    """The coder argument of `code_integers` that reads: it ignores the bits it is handed.

    Its handle is a pair: the state of tensorflow-compression's decoder, and the bits that are left of the
    stream, float64, which the decisions use up. That one reads zeros behind the end, for ever; so nothing
    more is read once `work.END_BYTES` of them have been used up.
    """

    def start(self, string):
        left = 8 * (tf.strings.length(string) + work.END_BYTES)
        handle = range_ops.create_range_decoder(string, tf.constant(tables.decision_lookup()))
        return handle, tf.cast(left, _F64)

    def steps_at_once(self, elements_per_step):
        del elements_per_step
        return tf.constant(1)

    def code_flag(self, handle, row, bit):
        del bit
        handle, bits = self._read(handle, row[None])
        return handle, bits[0]

    def goes_on(self, handle):
        return handle[1] > 0

    def begin(self, handle):
        return handle

    def code(self, state, phase, row, bit, element):
        del phase, bit, element
        return self._read(state, row)

    def finish(self, state, step, num_steps):
        del step, num_steps
        return state

    def is_at_end(self, handle):
        """Whether the stream ended where the last decision was, bool scalar."""
        handle, left = handle
        return tf.logical_and(range_ops.entropy_decode_finalize(handle), left > 0)

    def _read(self, handle, row):
        handle, left = handle
        handle, bits = range_ops.entropy_decode_index(handle, row, tf.shape(row), tf.int32)
        costs = tf.gather(tf.constant(tables.decision_costs()), 2 * row + bits)
        return (handle, left - tf.reduce_sum(costs)), bits


def decision_row(part, whole):
    """Row of the decision table whose probability of 0 is nearest to part / whole, int32 like `part`.

    One correctly rounded division and comparisons. Where `whole` is 0 the probability is 1/2.
    """
    ratio = tf.where(whole > 0, part / tf.maximum(whole, 1.0), 0.5)
    edges = tf.constant(tables.decision_edges()[None])
    return tf.raw_ops.LowerBound(sorted_inputs=edges, values=ratio[None])[0]


def code_integers(coder, handle, mixture, y, step, num_steps):
    """Codes one integer per element of `mixture`.

    Args:
        coder: `Encoder` or `Decoder`.
        handle: The coder's state, a variant scalar.
        mixture: `IntegerMixture` of E elements.
        y: float64 integers [E] to write; any [E] when reading.
        step: int32 [E], 0 .. num_steps - 1, ascending. A decoder takes one step at a time.
        num_steps: int32 scalar.

    Returns:
        (handle, y), the integers written or read.
    """
    state = coder.begin(handle)
    centre = mixture.centre()
    low, to_high = tf.unstack(mixture.below(centre + tf.constant([[-0.5], [0.5]], _F64)))
    row = decision_row(to_high - low, mixture.total)
    other = tf.cast(tf.not_equal(y, centre), tf.int32)
    state, other = coder.code(state, CENTRE, row, other, tf.range(tf.size(row)))

    rest = _where(other > 0)
    values = tf.gather(tf.stack([centre, low, mixture.total - to_high, y - centre]), rest, axis=1)
    state, offset = _code_offset(coder, state, rest, mixture.gather(rest), *tf.unstack(values))
    y = tf.tensor_scatter_nd_add(centre, rest[:, None], offset)
    return coder.finish(state, step, num_steps), y


def code_flags(coder, handle, flags, rows, move):
    """Codes flags, one after the other.

    Args:
        coder: `Encoder` or `Decoder`.
        handle: The coder's state, a variant scalar.
        flags: int32 [n] to write; any [n] when reading.
        rows: int32 [n], rows of the decision table where each is expected.
        move: bool, whether what was coded moves the rows of what follows (`empty_channels`).

    Returns:
        (handle, flags), those written or read.
    """
    frequency = tf.constant(tables.load()["frequency"], tf.int32)
    least, most = empty_channels.ROWS

    def body(i, handle, shift, flags):
        row = rows[i]
        if move:
            row = tf.clip_by_value(row + shift, least, most)
        handle, flag = coder.code_flag(handle, row, flags[i])
        surprise = (1 - flag) * 2**tables.FREQUENCY_BITS - frequency[row]
        shift += tf.bitwise.right_shift(surprise, empty_channels.MOVE_BITS)
        return i + 1, handle, shift, tf.tensor_scatter_nd_update(flags, [[i]], [flag])

    _, handle, _, flags = tf.while_loop(
        lambda i, *_: i < tf.size(flags), body, (0, handle, 0, flags), parallel_iterations=1
    )
    return handle, flags


def _code_offset(coder, state, element, mixture, centre, low, high, offset):
    """Codes y - centre, not 0, float64 [R]; low and high are the masses below and above the centre."""
    above = tf.cast(offset > 0, tf.int32)
    state, above = coder.code(state, SIDE, decision_row(low, low + high), above, element)
    side = _Side(mixture, centre, tf.cast(above, _F64))
    target = tf.abs(offset)

    first = low + side.above * (high - low)  # G(1)
    second = side.beyond(tf.constant([[2.0]], _F64))[0]  # G(2)
    goes_on = tf.cast(target >= 2.0, tf.int32)
    row = decision_row(first - second, first)
    state, goes_on = coder.code(state, BLOCK, row, goes_on, element)

    tail = _where(goes_on > 0)
    state, distance = _code_tail(
        coder,
        state,
        tf.gather(element, tail),
        side.gather(tail),
        tf.gather(second, tail),
        tf.cast(tf.gather(target, tail), tf.int32),
    )
    distance = tf.tensor_scatter_nd_update(tf.ones_like(target), tail[:, None], distance)
    return state, side.sign * distance


class _Side:
    """The part of each element's distribution on the side of its centre that y is on.

    Attributes: above, float64 [R], 1 above the centre and 0 below; sign, 1 and -1.
    """

    def __init__(self, mixture, centre, above):
        self.above = above
        self.sign = 2.0 * above - 1.0
        self._mixture = mixture
        self._centre = centre

    def beyond(self, distance):
        """G, [D, R]: the mass at `distance`, float64 [D, 1] or [D, R], from the centre and farther."""
        below = self._mixture.below(self._centre + self.sign * (distance - 0.5))
        return self.above * self._mixture.total - self.sign * below

    def gather(self, index):
        centre, above = tf.unstack(tf.gather(tf.stack([self._centre, self.above]), index, axis=1))
        return _Side(self._mixture.gather(index), centre, above)


def _code_tail(coder, state, element, side, edge, target):
    """Codes distances of at least 2.

    Args:
        element: int32 [S].
        side: `_Side` of S elements.
        edge: G(2).
        target: The distances to write, int32 [S].

    Returns:
        (state, distances as float64 [S]).
    """
    near = _table(side, edge, 2, NEAR)
    state, block, far = _code_blocks(coder, state, near, 2, element, target)
    far_element, far_target = tf.gather(element, far), tf.gather(target, far)
    far_side = side.gather(far)
    table = _table(far_side, tf.gather(near[:, -1], far), NEAR, FAR)
    state, far_block, out = _code_blocks(coder, state, table, NEAR, far_element, far_target)

    def outliers():
        return _code_outliers(
            coder,
            state,
            tf.gather(far_element, out),
            far_side.gather(out),
            tf.gather(table[:, -1], out),
            tf.gather(far_target, out),
        )

    def none():
        return state, tf.zeros([0], tf.int32), tf.zeros([0, 2**WINDOW_LEVELS + 1], _F64)

    state, out_start, windows = tf.cond(tf.size(out) > 0, outliers, none)

    # All masses in one list; `at` is where an element's block begins.
    masses = tf.concat([tf.reshape(t, [-1]) for t in (near, table, windows)], 0)
    start = tf.bitwise.left_shift(tf.ones_like(block), block)
    at = _row_starts(near) + start - 2
    far_start = tf.bitwise.left_shift(tf.ones_like(far_block), far_block)
    far_at = tf.size(near) + _row_starts(table) + far_start - NEAR
    out_at = tf.size(near) + tf.size(table) + _row_starts(windows)
    far_values = tf.stack([far_block, far_start, far_at], 1)
    out_values = tf.stack([tf.fill(tf.shape(out_at), WINDOW_LEVELS), out_start, out_at], 1)
    far_values = tf.tensor_scatter_nd_update(far_values, out[:, None], out_values)
    values = tf.stack([block, start, at], 1)
    values = tf.tensor_scatter_nd_update(values, far[:, None], far_values)
    block, start, at = tf.unstack(values, axis=1)

    goal = at + target - start
    begin = at
    for level in reversed(range(WINDOW_LEVELS)):
        state, at = _code_half(coder, state, level, block, masses, at, goal, element)
    return state, tf.cast(start + at - begin, _F64)


def _table(side, edge, first, last):
    """[R, last - first + 1]: G(first), which is `edge`, to G(last)."""
    distance = tf.constant(np.arange(first + 1.0, last + 1.0)[:, None])
    return tf.transpose(tf.concat([edge[None], side.beyond(distance)], 0))


def _row_starts(table):
    return tf.range(tf.shape(table)[0]) * table.shape[1]


def _code_blocks(coder, state, table, first, element, target):
    """Codes k with target in [2^k, 2^(k+1)), from 2^k = first to where `table` of G ends.

    Returns (state, k int32 [R], the elements beyond the table, int32 [n], whose k is left open).
    """
    start, last = int(first).bit_length() - 1, first + table.shape[1] - 1
    active = tf.range(tf.shape(table)[0])
    block = tf.fill([tf.size(active)], start)
    for k in range(start, last.bit_length() - 1):
        inner = tf.gather(table[:, 2**k - first], active)
        outer = tf.gather(table[:, 2 ** (k + 1) - first], active)
        goes_on = tf.cast(tf.gather(target, active) >= 2 ** (k + 1), tf.int32)
        row = decision_row(inner - outer, inner)
        state, goes_on = coder.code(state, BLOCK + k, row, goes_on, tf.gather(element, active))
        block = tf.tensor_scatter_nd_add(block, active[:, None], goes_on)
        active = tf.gather(active, _where(goes_on > 0))
    return state, block, active


def _code_half(coder, state, level, block, masses, at, goal, element):
    """Codes a halving of the blocks [2^k, 2^(k+1)) with k > level; `at` moves towards `goal`."""
    active = _where(block > level)
    begin = tf.gather(at, active)
    ends = begin[:, None] + tf.constant([0, 2**level, 2 ** (level + 1)])
    near, middle, far = tf.unstack(tf.gather(masses, ends), axis=1)
    farther = tf.cast(tf.gather(goal, active) >= begin + 2**level, tf.int32)
    row = decision_row(near - middle, near - far)
    phase = HALVING + MAX_BLOCK - level
    state, farther = coder.code(state, phase, row, farther, tf.gather(element, active))
    return state, tf.tensor_scatter_nd_add(at, active[:, None], farther * 2**level)


def _code_outliers(coder, state, element, side, edge, target):
    """Codes distances of at least `FAR` down to windows of 2^WINDOW_LEVELS values.

    Returns (state, first distances of the windows, int32 [X], G in the windows [X, 17]).
    """
    target = tf.cast(target, _F64)
    state, block, inner, outer = _code_far_blocks(coder, state, element, side, edge, target)
    state, start = _code_far_halves(coder, state, element, side, block, inner, outer, target)
    inside = tf.constant(np.arange(2.0**WINDOW_LEVELS + 1)[:, None])
    return state, tf.cast(start, tf.int32), tf.transpose(side.beyond(start + inside))


def _code_far_blocks(coder, state, element, side, edge, target):
    """Codes k with target in [2^k, 2^(k+1)): one decision per k, for the elements not placed yet.

    `edge` is G(FAR). Returns (state, k int32 [X], G(2^k), G(2^(k+1))).
    """

    def body(state, k, active, edge, block, inner, outer):
        end = tf.bitwise.left_shift(2, k)
        distance = tf.cast(end, _F64)
        far = side.gather(active).beyond(tf.fill([1, 1], distance))[0]
        goes_on = tf.cast(tf.gather(target, active) >= distance, tf.int32)
        row = decision_row(edge - far, edge)
        state, goes_on = coder.code(state, BLOCK + k, row, goes_on, tf.gather(element, active))
        index = active[:, None]
        block = tf.tensor_scatter_nd_update(block, index, tf.fill([tf.size(active)], k))
        inner = tf.tensor_scatter_nd_update(inner, index, edge)
        outer = tf.tensor_scatter_nd_update(outer, index, far)
        # The bound ends the loop on damaged streams; no encoder reaches it.
        chosen = _where(tf.logical_and(goes_on > 0, k < MAX_BLOCK))
        active, edge = tf.gather(active, chosen), tf.gather(far, chosen)
        return state, k + 1, active, edge, block, inner, outer

    active = tf.range(tf.size(edge))
    zeros = tf.zeros_like(edge)
    first = tf.constant(FAR.bit_length() - 1)
    variables = (state, first, active, edge, tf.zeros_like(active), zeros, zeros)
    state, _, _, _, block, inner, outer = tf.while_loop(
        lambda state, k, active, *_: tf.size(active) > 0,
        body,
        variables,
        shape_invariants=_any_length(variables),
    )
    return state, block, inner, outer


def _code_far_halves(coder, state, element, side, block, inner, outer, target):
    """Halves the blocks [2^k, 2^(k+1)) down to 2^WINDOW_LEVELS values; returns (state, starts)."""

    def body(state, level, start, inner, outer):
        half = tf.cast(tf.bitwise.left_shift(1, level), _F64)
        active = _where(block > level)
        index = active[:, None]
        first = tf.gather(start, active)
        middle = side.gather(active).beyond((first + half)[None])[0]
        near, far = tf.gather(inner, active), tf.gather(outer, active)
        farther = tf.cast(tf.gather(target, active) >= first + half, tf.int32)
        row = decision_row(near - middle, near - far)
        phase = HALVING + MAX_BLOCK - level
        state, farther = coder.code(state, phase, row, farther, tf.gather(element, active))
        chosen = farther > 0
        return (
            state,
            level - 1,
            tf.tensor_scatter_nd_add(start, index, tf.cast(farther, _F64) * half),
            tf.tensor_scatter_nd_update(inner, index, tf.where(chosen, middle, near)),
            tf.tensor_scatter_nd_update(outer, index, tf.where(chosen, far, middle)),
        )

    start = tf.cast(tf.bitwise.left_shift(tf.ones_like(block), block), _F64)
    variables = (state, tf.reduce_max(block) - 1, start, inner, outer)
    state, _, start, _, _ = tf.while_loop(
        lambda state, level, *_: level >= WINDOW_LEVELS,
        body,
        variables,
        shape_invariants=_any_length(variables),
    )
    return state, start


def _any_length(variables):
    """Shape invariants of a loop over vectors, scalars and a coder's state."""

    def invariant(variable):
        if isinstance(variable, tf.TensorArray):
            return tf.TensorShape([])
        return tf.TensorShape([None] * len(variable.shape))

    return tf.nest.map_structure(invariant, variables)


def _where(condition):
    """int32 indices of the elements for which `condition` holds."""
    return tf.cast(tf.where(condition)[:, 0], tf.int32)
