"""The range coder: everything that coding takes from tensorflow-compression.

create_range_encoder, entropy_encode_index, entropy_encode_finalize
create_range_decoder, entropy_decode_index, entropy_decode_finalize
hyper_coder     the stored tables of z as an object with `compress` and `decompress`
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

create_range_decoder = tfc.create_range_decoder
create_range_encoder = tfc.create_range_encoder
entropy_decode_finalize = tfc.entropy_decode_finalize
entropy_decode_index = tfc.entropy_decode_index
entropy_encode_finalize = tfc.entropy_encode_finalize
entropy_encode_index = tfc.entropy_encode_index


def hyper_coder(cdf: np.ndarray, offset: np.ndarray) -> tfc.ContinuousBatchedEntropyModel:
    """What codes z [B, h, w, N] with the frequency tables that a model file stores.

    Args:
        cdf: int32, one row per channel, as tensorflow-compression lays it out.
        offset: int32 [N], the integer of each row's first interval.
    """
    return tfc.ContinuousBatchedEntropyModel(
        prior_shape=(len(offset),),
        coding_rank=3,
        compression=True,
        stateless=True,
        cdf=tf.constant(cdf),
        cdf_offset=tf.constant(offset),
        offset_heuristic=False,
    )
