"""Symbols to streams and back, exactly, computed by TensorFlow.

The same integers lead to the same bytes, and back, on every machine: all of it is fixed-point
arithmetic (`fixed_point.py`), in the order of `wavefront.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from gllmm_tf import memory
from gllmm_tf.coding import range_ops, symbols, wavefront
from gllmm_tf.coding.fixed_point import FixedPointNetworks
from gllmm_tf.coding.integer_mixture import IntegerMixture
from gllmm_tf.coding.streams import Latents, Listener, ModelCoder, Streams
from gllmm_tf.config import HYPER_STRIDE
from gllmm_tf.errors import FormatError, OutOfMemoryError, running_out_of_memory

if TYPE_CHECKING:
    from gllmm_tf.zoo.model_file import ModelFile

INFORMATION_POSITIONS = 256  # of y at once, where information is summed

_F64 = tf.float64
_INDEX = tf.TensorSpec([], tf.int32)  # a quality index
_KEY = tf.TensorSpec([], tf.int64)  # of a listener
_DAMAGE = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.OutOfRangeError,
)


class LatentCoder(ModelCoder):
    """See `ModelCoder`; each direction works on one picture at a time.

    Attributes:
        networks: `FixedPointNetworks`.
    """

    def __init__(self, model_file: ModelFile):
        super().__init__(model_file.config)
        exact = model_file.exact
        n = self.config.num_filters
        self.networks = FixedPointNetworks(exact, n, self.config.num_groups)
        if not self.config.base:
            self._hyper_coder = range_ops.HyperCoder(exact["z/cdf"], exact["z/offset"])
        self._listeners: dict[int, Listener] = {}
        self._keys = itertools.count()
        latent = tf.TensorSpec([None, None, n], _F64)
        hyper = tf.TensorSpec([None, None, self.config.z_filters], _F64)
        string = tf.TensorSpec([], tf.string)
        self._write_z = _graph(self.write_z, hyper)
        self._write_y = _graph(self.write_y, latent, hyper, _INDEX)
        self._write_y_watched = _graph(self.write_y, latent, hyper, _INDEX, _KEY)
        self._read_z = _graph(self.read_z, string, tf.TensorSpec([2], tf.int32))
        self._read_y = _graph(self.read_y, hyper, string, _INDEX)
        self._read_y_watched = _graph(self.read_y, hyper, string, _INDEX, _KEY)
        self._phi = _graph(self.networks.hyper_synthesis, hyper, _INDEX)
        self._information = _graph(self._information_bits, latent, hyper, _INDEX)
        # Threads that share a graph, with pictures of different shapes, can crash TensorFlow 2.14.
        self._turns = {name: threading.Lock() for name in ("encode", "decode", "inspect")}

    @property
    def tracing_count(self) -> int:
        """How often any graph has been traced."""
        graphs = [self._write_z, self._read_z, self._read_y]
        graphs += [self._write_y, self._write_y_watched]
        graphs += [self._read_y_watched, self._phi, self._information]
        return sum(graph.experimental_get_tracing_count() for graph in graphs)

    def encode(
        self, y_hat: np.ndarray, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> Streams:
        with self._turns["encode"], running_out_of_memory("coding the latents"):
            z_stream = self._write_z(tf.constant(z_hat, _F64)).numpy()
        return Streams(z_stream, self.encode_y(y_hat, z_hat, index, tell=tell))

    def decode(
        self,
        streams: Streams,
        shape: tuple[int, int],
        index: int,
        *,
        tell: Listener | None = None,
    ) -> Latents:
        with _decoding(), self._turns["decode"]:
            z_hat = self._read_z(streams.z, np.array(shape, np.int32)).numpy()
        y_hat = self.decode_y(streams.y, z_hat, index, tell=tell)
        return Latents(y_hat, z_hat.astype(np.float32))

    def encode_y(
        self, y_hat: np.ndarray, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> bytes:
        latents = [tf.constant(latent, _F64) for latent in (y_hat, z_hat)]
        with self._turns["encode"], running_out_of_memory("coding the latents"):
            if tell is None:
                return self._write_y(*latents, index).numpy()
            with self._listening(tell) as key:
                return self._write_y_watched(*latents, index, key).numpy()

    def decode_y(
        self, stream: bytes, z_hat: np.ndarray, index: int, *, tell: Listener | None = None
    ) -> np.ndarray:
        z_hat = tf.constant(z_hat, _F64)
        with _decoding(), self._turns["decode"]:
            if tell is None:
                y_hat, sane = self._read_y(z_hat, stream, index)
            else:
                with self._listening(tell) as key:
                    y_hat, sane = self._read_y_watched(z_hat, stream, index, key)
            sane, y_hat = bool(sane.numpy()), tf.cast(y_hat, tf.float32).numpy()
        if not sane:
            raise FormatError(
                "the streams are damaged although the checksum fits; make the file again"
            )
        return y_hat

    def phi(self, z_hat: np.ndarray, index: int) -> np.ndarray:
        with self._turns["inspect"], running_out_of_memory("the hyper synthesis"):
            return self._phi(tf.constant(z_hat, _F64), index).numpy()

    def information_bits(self, y_hat: np.ndarray, z_hat: np.ndarray, index: int) -> float:
        latents = [tf.constant(latent, _F64) for latent in (y_hat, z_hat)]
        with self._turns["inspect"], running_out_of_memory("the information content"):
            return float(self._information(*latents, index))

    def integer_mixture(self, y_hat, z_hat, index) -> IntegerMixture:
        """`IntegerMixture` of all elements of y at once, in raster order, channels last.

        y_hat: float64 [h, w, N]. z_hat: float64 [h / 4, w / 4, N]. index: int32 scalar.
        """
        latent = self.whole_latent(z_hat, index)
        positions = tf.range(tf.size(y_hat[..., 0]))
        return latent.mixture(latent.pad(y_hat), positions)[0]

    def whole_latent(self, z_hat, index, channels=None) -> wavefront.Latent:
        """The mixtures of y given z_hat, for some channels (int32 [n], ascending) or all of them."""
        phi = self.networks.hyper_synthesis(z_hat, index)
        channels = tf.range(self.config.num_filters) if channels is None else channels
        layout = self.config.families, self.config.components
        return wavefront.Latent(self.networks, *layout, phi, channels)

    # The functions below are made of TensorFlow operations: graphs here, parts of a SavedModel.

    def write_z(self, z_hat):
        """The z stream, a string scalar; z_hat: float64 [h / 4, w / 4, N]."""
        return self._hyper_coder.compress(tf.cast(z_hat, tf.float32)[None])[0]

    def write_y(self, y_hat, z_hat, index, key=None):
        """The y stream, a string scalar.

        y_hat: float64 [h, w, N]. z_hat: float64 [h / 4, w / 4, N]. index: int32 scalar. key: int64
        scalar, of the listener that hears of the steps; None for none.
        """
        handle, _ = self._code(symbols.Encoder(), "", y_hat, z_hat, index, key)
        return range_ops.entropy_encode_finalize(handle)

    def read_z(self, z_stream, shape):
        """z_hat, float64 [*shape, Z], of a string scalar; shape: int32 [2]."""
        z_hat = self._hyper_coder.decompress(z_stream[None], shape)[0]
        return tf.cast(z_hat, _F64)

    def read_y(self, z_hat, y_stream, index, key=None):
        """Returns (y_hat float64 [h, w, N], whether the stream ended as it should).

        The arguments are those of `write_y`.
        """
        rows, columns = tf.unstack(HYPER_STRIDE * tf.shape(z_hat)[:2])
        y = tf.zeros([rows, columns, self.config.num_filters], _F64)
        decoder = symbols.Decoder()
        handle, y_hat = self._code(decoder, y_stream, y, z_hat, index, key)
        return y_hat, decoder.is_at_end(handle)

    def _code(self, coder, string, y_hat, z_hat, index, key):
        phi = self.networks.hyper_synthesis(z_hat, index)
        layout = self.config.families, self.config.components
        tell = None
        if key is not None:

            def tell(steps):
                tf.numpy_function(self._hear, [key, steps], [])

        return wavefront.code_latent(coder, string, self.networks, *layout, phi, y_hat, index, tell)

    def _hear(self, key, steps):
        self._listeners[int(key)](int(steps))

    def _listening(self, tell):
        return _Listening(self._listeners, next(self._keys), tell)

    def _information_bits(self, y_hat, z_hat, index):
        latent = self.whole_latent(z_hat, index)
        cells, count = latent.pad(y_hat), tf.size(y_hat[..., 0])

        def body(first, bits):
            end = tf.minimum(first + INFORMATION_POSITIONS, count)
            mixture, y = latent.mixture(cells, tf.range(first, end))
            below, up_to = tf.unstack(mixture.below(y + tf.constant([[-0.5], [0.5]], _F64)))
            ratio = mixture.total / tf.maximum(up_to - below, 1.0)
            return end, bits + tf.reduce_sum(tf.math.log(ratio)) / np.log(2)  # bits

        start = (tf.constant(0), tf.constant(0.0, _F64))
        return tf.while_loop(lambda first, _: first < count, body, start, parallel_iterations=1)[1]


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    """Turns what TensorFlow says of damaged streams into FormatError, and of memory into its error."""
    try:
        with running_out_of_memory("decoding the latents"):
            yield
    except _DAMAGE as error:
        if memory.is_short():
            raise OutOfMemoryError("not enough memory for decoding the latents") from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(f"the streams cannot be decoded ({reason})") from None


class _Listening:
    """A listener of one call, known by a key of its own while a with-block lasts.

    A graph knows listeners by number alone: each call of each thread has its own.
    """

    def __init__(self, listeners, key, tell):
        self._listeners, self._key, self._tell = listeners, key, tell

    def __enter__(self):
        self._listeners[self._key] = self._tell
        return tf.constant(self._key, tf.int64)

    def __exit__(self, *error):
        del self._listeners[self._key]


def _graph(function, *signature):
    """One graph for all sizes. Without autograph, which takes most of the time of tracing."""
    return tf.function(function, input_signature=signature, autograph=False)
