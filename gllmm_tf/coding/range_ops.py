"""The range coder: the compiled operations of tensorflow-compression, and nothing else of it.

create_range_encoder, entropy_encode_index, entropy_encode_channel, entropy_encode_finalize
create_range_decoder, entropy_decode_index, entropy_decode_channel, entropy_decode_finalize
pmf_to_quantized_cdf     probabilities -> integer frequencies
HyperCoder               z <-> streams, with the tables that a model file stores

Two packages bring the same operations: `tensorflow-compression-ops` for TensorFlow 2.17, and
`tensorflow-compression` 2.14, of which the library alone is loaded: its Python modules need
tensorflow-probability and a second to import.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from gllmm_tf.errors import GllmmError

# Spelled as the packages spell it: TensorFlow knows a library that it has loaded by its path alone, and
# has no operations for whoever loads it under another one.
LIBRARIES = {
    "tensorflow_compression_ops": "cc/libtensorflow_compression.so",
    "tensorflow_compression": "python/ops/../../cc/libtensorflow_compression.so",
}

_OPERATIONS = (
    "create_range_decoder",
    "create_range_encoder",
    "entropy_decode_channel",
    "entropy_decode_finalize",
    "entropy_decode_index",
    "entropy_encode_channel",
    "entropy_encode_finalize",
    "entropy_encode_index",
    "pmf_to_quantized_cdf",
)


def __getattr__(name: str) -> Any:
    """An operation; the library is loaded with the first one."""
    if name in _OPERATIONS:
        return getattr(_library(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _library() -> ModuleType:
    problems = []
    for path in _library_files():
        try:
            return tf.load_op_library(path)
        except (tf.errors.OpError, OSError, RuntimeError) as error:
            problems.append(f"{path}: {str(error).splitlines()[0]}")
    found = "; ".join(problems) or "neither is installed"
    raise GllmmError(
        f"TensorFlow {tf.__version__} has no range coder ({found}): install tensorflow-compression 2.14 "
        "with TensorFlow 2.14, or tensorflow-compression-ops 2.17 with TensorFlow 2.17"
    )


def _library_files() -> Iterator[str]:
    for package, library in LIBRARIES.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            path = os.path.join(folder, library)
            if os.path.exists(path):
                yield path


class HyperCoder:
    """Codes z [B, h, w, N], one stream for each picture.

    Args:
        cdf: int32, one row per channel, as `FactorizedBottleneck.tables` lays them out.
        offset: int32 [N], the integer of each row's first interval.
    """

    def __init__(self, cdf: np.ndarray, offset: np.ndarray):
        self._cdf = tf.constant(cdf, tf.int32)
        self._offset = tf.constant(offset, tf.int32)

    def compress(self, z_hat: tf.Tensor) -> tf.Tensor:
        """Strings [B] of integers of any real dtype [B, h, w, N]."""
        symbols = tf.cast(tf.round(z_hat), tf.int32) - self._offset
        ops = _library()
        handle = ops.create_range_encoder(tf.shape(z_hat)[:1], self._cdf)
        return ops.entropy_encode_finalize(ops.entropy_encode_channel(handle, symbols))

    def decompress(self, strings: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """int32 [B, *shape, N] of strings [B]; shape: int32 [2], rows and columns.

        Raises:
            tf.errors.InvalidArgumentError: a stream does not end where it should.
        """
        ops = _library()
        handle = ops.create_range_decoder(strings, self._cdf)
        shape = tf.concat([shape, tf.shape(self._offset)], 0)
        handle, symbols = ops.entropy_decode_channel(handle, shape, tf.int32)
        is_whole = ops.entropy_decode_finalize(handle)
        check = tf.debugging.assert_equal(is_whole, True, message="Sanity check failed.")
        with tf.control_dependencies([check] if check is not None else []):
            return tf.identity(symbols) + self._offset
