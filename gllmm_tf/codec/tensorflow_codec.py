"""Pictures to the bytes of a `.gllmm` file and back, computed by TensorFlow.

Large pictures go through the transforms in tiles (`gllmm_tf/codec/tiling.py`), which takes bounded
memory. An encoder that worked in tiles may round a latent that lies on a tie otherwise than one that
did not; either file decodes to its encoder's symbols, with and without tiles.
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from gllmm_tf.codec.base import Codec
from gllmm_tf.codec.networks import LayeredNetworks, PixelNetworks
from gllmm_tf.coding.latent_coder import LatentCoder
from gllmm_tf.errors import GllmmError
from gllmm_tf.memory import Backend
from gllmm_tf.zoo.model_file import ModelFile

# TensorFlow's threads are not there in a forked child, where its first operation would wait for ever.
_state = {"used": False, "lost": False}


class TensorFlowCodec(Codec):
    """See `Codec`."""

    needs = Backend(resident=550, addresses=350)

    def __init__(self, model_file: ModelFile, tile: int = 0, **settings: Any):
        _check_fork()
        super().__init__(model_file, tile, **settings)
        self._make(model_file, tile, LatentCoder, PixelNetworks, LayeredNetworks)

    def check_place(self) -> None:
        """See `Codec.check_place`; a graph is no place either."""
        super().check_place()
        if not tf.executing_eagerly():
            raise GllmmError(
                "a codec works on arrays, not inside a tf.function: call it through tf.numpy_function"
            )


def _check_fork():
    """Raises GllmmError in a child that was forked when TensorFlow had been used."""
    if _state["lost"]:
        raise GllmmError(
            "TensorFlow was used before this process was forked and cannot work in it: start processes "
            "with multiprocessing.get_context('spawn'), or take the portable backend",
            "backend",
        )
    _state["used"] = True


def _after_fork():
    _state["lost"] = _state["used"]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
