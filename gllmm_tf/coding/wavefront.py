"""The one loop that codes all of y, along diagonals of independent positions.

The 5x5 causal context reaches two columns to the right in the rows above, so all positions (r, c)
with the same step `t = c + 3 r` are independent of each other and depend on earlier steps only. A
32 x 48 latent takes 141 steps instead of 1536 positions. A decoder takes one step at a time, an encoder
as many as make a large batch: it knows all of y, and exactness gives both the same numbers.
"""

import tensorflow as tf

from gllmm_tf.coding.fixed_point import SYMBOL_LIMIT
from gllmm_tf.coding.integer_mixture import IntegerMixture
from gllmm_tf.coding.streams import num_steps
from gllmm_tf.coding.symbols import code_flags, code_integers

TAPS = [(dy, dx) for dy in (-2, -1) for dx in range(-2, 3)] + [(0, -2), (0, -1)]
REACH = 2  # of the context, rows up and columns to both sides

_F32, _F64 = tf.float32, tf.float64


def rows_of_step(t, height, width):
    """First and one past the last row that has a position in step t, int32 like t."""
    first = tf.maximum(0, (t - width + 3) // 3)  # ceil((t - width + 1) / 3)
    last = tf.minimum(height - 1, t // 3)
    return first, last + 1


class Latent:
    """The mixtures of one picture's y, for the channels that are not zero in all of it.

    y is held as int32 [(h + 2) (w + 4), n] with two rows of zeros above and two columns on both sides,
    a cell per row.

    Attributes:
        channels: int32 [n], ascending.
    """

    def __init__(self, networks, families, components, phi, channels):
        """phi: float32 integers [h, w, 2 N]. The other arguments are those of `code_latent`."""
        self.channels = channels
        self._networks = networks
        self._layout = (families, components)
        self._phi = tf.reshape(phi, [-1, 2 * networks.num_filters])
        self._size = tf.shape(phi)[0], tf.shape(phi)[1]
        self._kernels = networks.select(channels)

    def pad(self, y):
        """float64 [h, w, N] to cells."""
        y = tf.cast(tf.gather(y, self.channels, axis=2), tf.int32)
        y = tf.pad(y, [[REACH, 0], [REACH, REACH], [0, 0]])
        return tf.reshape(y, [-1, tf.size(self.channels)])

    def crop(self, cells):
        """The inverse of `pad`."""
        height, width = self._size
        count = tf.size(self.channels)
        shape = [height + REACH, width + 2 * REACH, count]
        y = tf.reshape(cells, shape)[REACH:, REACH:-REACH]
        y = tf.pad(y, [[0, 0], [0, 0], [0, 1]])  # one more channel of zeros for those left out
        filters = self._networks.num_filters
        source = tf.tensor_scatter_nd_update(
            tf.fill([filters], count), self.channels[:, None], tf.range(count)
        )
        return tf.cast(tf.gather(y, source, axis=2), _F64)

    def cell(self, positions):
        """Cells of the positions, raster indices int32 [P]."""
        width = self._size[1]
        rows = positions // width
        return (rows + REACH) * (width + 2 * REACH) + REACH + positions - rows * width

    def mixture(self, cells, positions):
        """`IntegerMixture` of the elements at some positions, whose contexts are in `cells`.

        Returns:
            (mixture of [P, n] elements, y at the positions as float64 [P n]).
        """
        stride = self._size[1] + 2 * REACH
        offsets = tf.stack([dy * stride + dx for dy, dx in [*TAPS, (0, 0)]])
        window = tf.gather(cells, self.cell(positions)[:, None] + offsets)  # [P, 13, n]
        limit = int(SYMBOL_LIMIT)
        context = tf.cast(tf.clip_by_value(window[:, :-1], -limit, limit), _F32)
        context = tf.reshape(context, [tf.size(positions), -1])
        phi = tf.gather(self._phi, positions)
        params = self._networks.parameters(context, phi, self._kernels)
        mixture = IntegerMixture.from_parameters(params, *self._layout)
        return mixture, tf.cast(tf.reshape(window[:, -1], [-1]), _F64)


def code_latent(coder, string, networks, families, components, phi, y, index, tell=None):
    """Codes y position by position.

    Args:
        coder: `symbols.Encoder` or `symbols.Decoder`.
        string: What a decoder reads.
        networks: `FixedPointNetworks`.
        families: Families of the mixture.
        components: Components per family.
        phi: float32 integers [h, w, 2 N].
        y: float64 integers [h, w, N] to write; zeros of that shape when reading.
        index: Quality index, int32 scalar.
        tell: A function of an int32 scalar, steps done; it is called in the loop's graph.

    Returns:
        (handle, y): the coder's state to finalise and the integers written or read.
    """
    height, width = tf.shape(y)[0], tf.shape(y)[1]
    handle = coder.start(string)
    alive = tf.cast(tf.reduce_any(tf.not_equal(y, 0.0), [0, 1]), tf.int32)
    rows, move = networks.flag_rows(index, height * width)
    handle, alive = code_flags(coder, handle, alive, rows, move)
    latent = Latent(
        networks, families, components, phi, tf.cast(tf.where(alive > 0)[:, 0], tf.int32)
    )
    count = tf.size(latent.channels)
    order, step_of, starts = step_order(height, width)
    steps = tf.where(count > 0, num_steps(height, width), 0)
    stride = coder.steps_at_once(count * tf.minimum(height, (width + 2) // 3))

    def body(t, handle, cells):
        end = tf.minimum(t + stride, steps)
        some = slice(starts[t], starts[end])
        positions = order[some]
        mixture, wanted = latent.mixture(cells, positions)
        step = tf.repeat(step_of[some] - t, count)
        handle, values = code_integers(coder, handle, mixture, wanted, step, end - t)
        values = tf.reshape(tf.cast(values, tf.int32), [-1, count])
        cells = tf.tensor_scatter_nd_update(cells, latent.cell(positions)[:, None], values)
        if tell is not None:
            tell(end - t)
        return end, handle, cells

    _, handle, cells = tf.while_loop(
        lambda t, handle, _: tf.logical_and(t < steps, coder.goes_on(handle)),
        body,
        (tf.constant(0), handle, latent.pad(y)),
        shape_invariants=(
            tf.TensorShape([]),
            tf.nest.map_structure(lambda _: tf.TensorShape([]), handle),
            tf.TensorShape([None, None]),
        ),
        parallel_iterations=1,
    )
    return handle, latent.crop(cells)


def step_order(height, width):
    """The positions in the order of coding: by step, then by row.

    Returns:
        (raster indices int32 [h w], their steps int32 [h w], index of each step's first position and
        one past the last int32 [steps + 1]).
    """
    rows, columns = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    step = tf.reshape(columns + 3 * rows, [-1])
    order = tf.argsort(step, stable=True)
    first, end = rows_of_step(tf.range(num_steps(height, width)), height, width)
    starts = tf.concat([[0], tf.cumsum(end - first)], 0)
    return order, tf.gather(step, order), starts
