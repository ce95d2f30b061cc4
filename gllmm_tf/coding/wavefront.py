"""The one loop that codes all of y, along diagonals of independent positions.

The 5x5 causal context reaches two columns to the right in the rows above, so all positions (r, c)
with the same step `t = c + 3 r` are independent of each other and depend on the steps t-1 ... t-8
only: tap (dy, dx) of the context lies `-(3 dy + dx)` steps back, in row r + dy. A 32 x 48 latent takes
141 steps instead of 1536 positions. The loop keeps the last eight steps, [8, 2 + h, n], indexed by
row; its memory does not grow with the width of the picture.
"""

import tensorflow as tf

from gllmm_tf.coding.integer_mixture import IntegerMixture
from gllmm_tf.coding.symbols import code_flags, code_integers

TAPS = [(dy, dx) for dy in (-2, -1) for dx in range(-2, 3)] + [(0, -2), (0, -1)]
STEPS_BACK = 8
# A channel of y that is zero in the whole picture is told once, by a flag, and then costs nothing.
PROBABILITY_OF_DEAD = 0.125

_F64 = tf.float64


def num_steps(height, width):
    return width + 3 * (height - 1)


def rows_of_step(t, height, width):
    """First and one past the last row that has a position in step t, int32 scalars."""
    first = tf.maximum(0, (t - width + 3) // 3)  # ceil((t - width + 1) / 3)
    last = tf.minimum(height - 1, t // 3)
    return first, last + 1


def positions_of_step(t, height, width):
    """[n, 2] (row, column) of step t, by ascending row."""
    first, end = rows_of_step(t, height, width)
    rows = tf.range(first, end)
    return tf.stack([rows, t - 3 * rows], 1)


def context_of_step(recent, first, end):
    """[end - first, 12 n] from the recent steps [8, 2 + h, n] (two rows of zeros on top)."""
    taps = []
    for dy, dx in TAPS:
        back = -(3 * dy + dx)
        taps.append(recent[back - 1, first + 2 + dy : end + 2 + dy])
    return tf.concat(taps, 1)


def code_latent(coder, string, networks, families, components, phi, y):
    """Codes y position by position.

    Args:
        coder: `symbols.Encoder` or `symbols.Decoder`.
        string: What a decoder reads.
        networks: `FixedPointNetworks`.
        families: Families of the mixture.
        components: Components per family.
        phi: float64 integers [h, w, 2 N].
        y: float64 integers [h, w, N] to write; zeros of that shape when reading.

    Returns:
        (handle, y): the coder's state to finalise and the integers written or read.
    """
    height, width, channels = tf.shape(y)[0], tf.shape(y)[1], networks.num_filters
    handle = coder.start(string)
    alive = tf.cast(tf.reduce_any(tf.not_equal(y, 0.0), [0, 1]), tf.int32)
    handle, alive = code_flags(coder, handle, alive, PROBABILITY_OF_DEAD)
    active = tf.cast(tf.where(alive > 0)[:, 0], tf.int32)
    count = tf.size(active)
    selected = networks.select(active)
    target = tf.gather(y, active, axis=2)
    phi_part = networks.phi_part(phi)

    def body(t, handle, recent, values):
        first, end = rows_of_step(t, height, width)
        positions = positions_of_step(t, height, width)
        context = context_of_step(recent, first, end)
        params = networks.parameters(context, tf.gather_nd(phi_part, positions), selected)
        mixture = IntegerMixture.from_parameters(params, families, components)
        wanted = tf.reshape(tf.gather_nd(target, positions), [-1])
        handle, value = code_integers(coder, handle, mixture, wanted)
        step = tf.pad(tf.reshape(value, [end - first, count]), [[first + 2, height - end], [0, 0]])
        recent = tf.concat([step[None], recent[:-1]], 0)
        return t + 1, handle, recent, values.write(t, tf.reshape(value, [-1, count]))

    steps = tf.where(count > 0, num_steps(height, width), 0)
    # One more entry of no positions: without a living channel there would be nothing to join.
    values = tf.TensorArray(_F64, size=steps + 1, element_shape=[None, None], infer_shape=False)
    values = values.write(steps, tf.zeros([0, count], _F64))
    recent = tf.zeros([STEPS_BACK, height + 2, count], _F64)
    scalar = tf.TensorShape([])
    _, handle, _, values = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (tf.constant(0), handle, recent, values),
        shape_invariants=(scalar, scalar, tf.TensorShape([STEPS_BACK, None, None]), scalar),
        parallel_iterations=1,
    )
    placed = tf.transpose(values.concat())  # [count, positions in the order of coding]
    by_step = tf.scatter_nd(active[:, None], placed, [channels, tf.shape(placed)[1]])
    by_step = tf.pad(by_step, [[0, 0], [0, height * width - tf.shape(placed)[1]]])
    raster = tf.gather(by_step, tf.argsort(_step_order(height, width)), axis=1)
    return handle, tf.reshape(tf.transpose(raster), [height, width, channels])


def _step_order(height, width):
    """Raster indices of all positions in the order of coding: by step, then by row. int32 [h w]."""
    rows, columns = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    key = (columns + 3 * rows) * height + rows
    return tf.argsort(tf.reshape(key, [-1]), stable=True)


def all_contexts(y):
    """The contexts of all positions at once, [h w, 12 n] in raster order, from y [h, w, n]."""
    height, width = tf.shape(y)[0], tf.shape(y)[1]
    padded = tf.pad(y, [[2, 0], [2, 2], [0, 0]])
    taps = [padded[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width] for dy, dx in TAPS]
    return tf.reshape(tf.concat(taps, 2), [height * width, -1])
