"""The loop that codes all of y, along diagonals of independent positions, in NumPy.

The causal context reaches two columns to the right in the rows above, so all positions with equal
`t = column + 3 row` are independent of each other and depend on earlier steps only. A decoder takes one
step at a time, an encoder as many as make a large batch; exactness gives both the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from gllmm_tf.coding.streams import num_steps
from gllmm_tf.portable import constants, symbols, workers
from gllmm_tf.portable.integer_mixture import IntegerMixture

if TYPE_CHECKING:
    from gllmm_tf.config import ModelConfig
    from gllmm_tf.portable.fixed_point import FixedPointNetworks

BATCH_ELEMENTS = 2**15  # of an encoder, unless a single step has more
PHI_POSITIONS = 512  # whose part of phi a decoder works out at once


class StepOrder:
    """The positions of [height, width] in the order of coding: by step, then by row.

    Attributes:
        positions: int [h w], raster indices.
        step: int [h w], the step of each.
        starts: int [steps + 1], where each step begins in these, and the end.
    """

    def __init__(self, height: int, width: int):
        step = (np.arange(width) + 3 * np.arange(height)[:, None]).reshape(-1)
        self.positions = np.argsort(step, kind="stable")
        self.step = step[self.positions]
        self.starts = np.searchsorted(self.step, np.arange(num_steps(height, width) + 1))

    def __len__(self) -> int:
        return len(self.starts) - 1


class Latent:
    """The mixtures of one picture's y, for the channels that are not zero in all of it.

    y is held as int32 [(h + 2) (w + 4), n] with two rows of zeros above and two columns on both sides,
    a cell per row.

    Args:
        networks: `FixedPointNetworks`.
        config: `ModelConfig`.
        phi: float32 integers [h, w, 2 N].
        channels: int [n], ascending.
    """

    def __init__(
        self,
        networks: FixedPointNetworks,
        config: ModelConfig,
        phi: np.ndarray,
        channels: np.ndarray,
    ):
        self.channels = channels
        self._filters = config.num_filters
        self._layout = config.families, config.components
        self._size = phi.shape[:2]
        self._phi = phi.reshape(-1, phi.shape[2])
        self._parameters = networks.select(channels)
        self._stride = self._size[1] + 2 * constants.REACH
        self._taps = np.array([dy * self._stride + dx for dy, dx in constants.TAPS])

    def cells(self, y: np.ndarray | None = None) -> np.ndarray:
        """Integers [h, w, N] as cells; zeros for None."""
        height, width = self._size
        reach = constants.REACH
        cells = np.zeros([height + reach, self._stride, len(self.channels)], np.int32)
        if y is not None:
            cells[reach:, reach:-reach] = y[:, :, self.channels]
        return cells.reshape(-1, len(self.channels))

    def crop(self, cells: np.ndarray) -> np.ndarray:
        """The inverse of `cells`, float32 [h, w, N]."""
        reach = constants.REACH
        y = np.zeros([*self._size, self._filters], np.float32)
        inside = cells.reshape(-1, self._stride, len(self.channels))[reach:, reach:-reach]
        y[:, :, self.channels] = inside
        return y

    def places(self, positions: np.ndarray) -> np.ndarray:
        """Cells of the positions, raster indices int [P]."""
        rows, columns = np.divmod(positions, self._size[1])
        return (rows + constants.REACH) * self._stride + constants.REACH + columns

    def of_phi(self, positions: np.ndarray) -> np.ndarray:
        """What the entropy parameters' networks make of phi alone, at some positions."""
        return self._parameters.of_phi(self._phi[positions])

    def mixture(self, cells: np.ndarray, places: np.ndarray, of_phi: np.ndarray) -> IntegerMixture:
        """`IntegerMixture` of the elements [P, n] at some places, whose contexts are in `cells`."""
        context = cells[places[:, None] + self._taps].reshape(len(places), -1)
        parameters = self._parameters.parameters(context, of_phi)
        parameters = parameters.reshape(len(parameters), -1)
        return IntegerMixture.from_parameters(parameters, *self._layout)


def encode_batches(
    latent: Latent, cells: np.ndarray, order: StepOrder
) -> Iterator[tuple[int, tuple[list[int], list[int]]]]:
    """Yields (last step, events) of batches of steps, the events in the order of the stream."""

    def encode(batch):
        positions = order.positions[batch]
        places = latent.places(positions)
        mixture = latent.mixture(cells, places, latent.of_phi(positions))
        log = symbols.DecisionLog()
        symbols.code_integers(log, mixture, cells[places].reshape(-1).astype(np.float64))
        events = log.events(np.repeat(order.step[batch], len(latent.channels)))
        return int(order.step[batch.stop - 1]), events

    return workers.in_order(encode, _batches(order, len(latent.channels)))


def _batches(order, channels):
    """Steps in batches: slices into the order's positions."""
    first = 0
    while first < len(order):
        most = order.starts[first] + BATCH_ELEMENTS // channels
        end = max(first + 1, int(np.searchsorted(order.starts, most, "right")) - 1)
        yield slice(order.starts[first], order.starts[end])
        first = end


def decode_steps(
    latent: Latent,
    reader: symbols.Coder,
    order: StepOrder,
    tell: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Reads y, step by step; returns cells. tell: Called with 1 after each step."""
    cells = latent.cells()
    nothing = np.zeros(0)
    first, of_phi = 0, nothing
    for start, stop in zip(order.starts[:-1], order.starts[1:]):
        if stop > first + len(of_phi):
            first = start
            of_phi = latent.of_phi(order.positions[start : max(stop, start + PHI_POSITIONS)])
        places = latent.places(order.positions[start:stop])
        mixture = latent.mixture(cells, places, of_phi[start - first : stop - first])
        y = symbols.code_integers(reader, mixture, np.zeros(mixture.weights.shape[1]))
        cells[places] = y.reshape(len(places), -1)
        if tell is not None:
            tell(1)
    return cells
