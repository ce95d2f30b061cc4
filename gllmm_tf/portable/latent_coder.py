"""Symbols to streams and back, exactly, without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gllmm_tf.coding.streams import Latents, Listener, ModelCoder, Streams
from gllmm_tf.config import HYPER_STRIDE, QUALITY_STEPS
from gllmm_tf.errors import FormatError, running_out_of_memory
from gllmm_tf.portable import blas, constants, symbols, wavefront
from gllmm_tf.portable.fixed_point import FixedPointNetworks
from gllmm_tf.portable.integer_mixture import IntegerMixture
from gllmm_tf.portable.range_coder import RangeDecoder, RangeEncoder, SymbolTable

if TYPE_CHECKING:
    from gllmm_tf.zoo.model_file import ModelFile

INFORMATION_POSITIONS = 256  # of y at once, where information is summed

_DAMAGED = "the streams are damaged although the checksum fits; make the file again"


class LatentCoder(ModelCoder):
    """See `ModelCoder`.

    Attributes:
        networks: `FixedPointNetworks`.
    """

    def __init__(self, model_file: ModelFile):
        super().__init__(model_file.config)
        exact = model_file.exact
        self.networks = FixedPointNetworks(exact, self.config.num_filters, self.config.num_groups)
        if not self.config.base:
            self._table = SymbolTable(exact["z/cdf"])
            self._offset = np.asarray(exact["z/offset"], np.int64)
        self._empty = exact.get(constants.EMPTY)

    def encode(
        self, y_hat: np.ndarray, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> Streams:
        with blas.one_thread(), running_out_of_memory("coding the latents"):
            coder = RangeEncoder()
            shifted = np.asarray(z_hat).astype(np.int64) - self._offset
            coder.encode(*self._table.intervals(shifted.reshape(-1, len(self._offset))))
            return Streams(coder.finish(), self.encode_y(y_hat, z_hat, index, tell=tell))

    def decode(
        self,
        streams: Streams,
        shape: tuple[int, int],
        index: int,
        *,
        tell: Listener | None = None,
    ) -> Latents:
        with blas.one_thread(), running_out_of_memory("decoding the latents"):
            rows, columns = (int(side) for side in shape)
            decoder = RangeDecoder(streams.z)
            z = decoder.symbols(rows * columns * self._table.rows)
            if not decoder.finish():
                raise FormatError(_DAMAGED)
            z_hat = np.reshape(z, [rows, columns, -1]) + self._offset
            y_hat = self.decode_y(streams.y, z_hat, index, tell=tell)
            return Latents(y_hat, z_hat.astype(np.float32))

    def encode_y(
        self, y_hat: np.ndarray, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> bytes:
        with blas.one_thread(), running_out_of_memory("coding the latents"):
            y_hat = np.asarray(y_hat)
            alive = np.any(y_hat != 0, (0, 1))
            coder, flags = RangeEncoder(), symbols.DecisionLog()
            symbols.code_flags(flags, alive.copy(), *self._flag_rows(index, y_hat.shape))
            coder.encode(*flags.events(np.arange(len(alive))))
            channels = np.nonzero(alive)[0]
            if len(channels):
                latent = self.whole_latent(z_hat, index, channels)
                order = wavefront.StepOrder(*y_hat.shape[:2])
                cells, done = latent.cells(y_hat), 0
                for last_step, events in wavefront.encode_batches(latent, cells, order):
                    coder.encode(*events)
                    if tell is not None:
                        tell(last_step + 1 - done)
                        done = last_step + 1
            return coder.finish()

    def decode_y(
        self, stream: bytes, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> np.ndarray:
        with blas.one_thread(), running_out_of_memory("decoding the latents"):
            shape = [HYPER_STRIDE * side for side in z_hat.shape[:2]] + [self.config.num_filters]
            decoder = RangeDecoder(stream)
            reader = symbols.DecisionReader(decoder)
            alive = np.zeros(shape[2], bool)
            symbols.code_flags(reader, alive, *self._flag_rows(index, shape))
            channels = np.nonzero(alive)[0]
            y_hat = np.zeros(shape, np.float32)
            if len(channels):
                latent = self.whole_latent(z_hat, index, channels)
                order = wavefront.StepOrder(*shape[:2])
                y_hat = latent.crop(wavefront.decode_steps(latent, reader, order, tell))
            if not decoder.finish():
                raise FormatError(_DAMAGED)
            return y_hat

    def phi(self, z_hat: np.ndarray, index: int) -> np.ndarray:
        with blas.one_thread(), running_out_of_memory("the hyper synthesis"):
            return self.networks.hyper_synthesis(z_hat, index)

    def information_bits(self, y_hat: np.ndarray, z_hat: np.ndarray, index: int) -> float:
        with blas.one_thread(), running_out_of_memory("the information content"):
            latent = self.whole_latent(z_hat, index)
            cells = latent.cells(np.asarray(y_hat))
            positions, bits = np.arange(np.size(y_hat[..., 0])), 0.0
            for first in range(0, len(positions), INFORMATION_POSITIONS):
                some = positions[first : first + INFORMATION_POSITIONS]
                places = latent.places(some)
                mixture = latent.mixture(cells, places, latent.of_phi(some))
                y = cells[places].reshape(-1).astype(np.float64)
                mass = mixture.below(y + 0.5) - mixture.below(y - 0.5)
                bits += float(np.sum(np.log2(mixture.total / np.maximum(mass, 1.0))))
            return bits

    def integer_mixture(self, y_hat: np.ndarray, z_hat: np.ndarray, index: int) -> IntegerMixture:
        """`IntegerMixture` of all elements of y at once, in raster order, channels last."""
        with blas.one_thread():
            latent = self.whole_latent(z_hat, index)
            positions = np.arange(np.size(y_hat[..., 0]))
            cells, places = latent.cells(np.asarray(y_hat)), latent.places(positions)
            return latent.mixture(cells, places, latent.of_phi(positions))

    def whole_latent(self, z_hat, index, channels=None) -> wavefront.Latent:
        """The mixtures of y given z_hat, for some channels (int [n], ascending) or all of them."""
        phi = self.networks.hyper_synthesis(z_hat, index)
        channels = np.arange(self.config.num_filters) if channels is None else channels
        return wavefront.Latent(self.networks, self.config, phi, channels)

    def _flag_rows(self, index, shape):
        """(rows of the decision table for the flags of empty channels, whether flags move them)."""
        if self._empty is None:
            return np.full(shape[2], symbols.row_of(constants.EMPTY_DEFAULT)), False
        positions = shape[0] * shape[1]
        size = min(
            positions.bit_length() - constants.EMPTY_SMALLEST.bit_length(),
            constants.EMPTY_SIZES - 1,
        )
        quality = (index + QUALITY_STEPS // 2) // QUALITY_STEPS
        return self._empty[min(quality, len(self._empty) - 1), size].astype(np.int64), True
