"""Pictures to the bytes of a `.gllmm` file and back, without TensorFlow.

The same files as `gllmm_tf.codec.tensorflow_codec.TensorFlowCodec` reads and writes, and the same
symbols. Pixels, and latents that lie on a tie, may differ in the last bit of a float.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

from gllmm_tf.codec.base import Codec
from gllmm_tf.memory import Backend
from gllmm_tf.portable.latent_coder import LatentCoder
from gllmm_tf.portable.networks import LayeredNetworks, PixelNetworks
from gllmm_tf.zoo.model_file import ModelFile


class PortableCodec(Codec):
    """See `Codec`.

    A search for better latents (`refine`) needs gradients, and loads TensorFlow for them.
    """

    networks: PixelNetworks
    needs = Backend(resident=350, addresses=600)

    def __init__(self, model_file: ModelFile, tile: int = 0, **settings: Any):
        super().__init__(model_file, tile, **settings)
        self._make(model_file, tile, LatentCoder, PixelNetworks, LayeredNetworks)

    @contextlib.contextmanager
    def while_decoding(self, shape, region) -> Iterator[None]:
        """Builds g_s beside what is done inside, in a thread of its own.

        What goes wrong there goes wrong again where g_s is used, and is reported there.
        """

        def prepare():
            with contextlib.suppress(Exception):
                self.networks.prepare_synthesis(shape, region)

        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(prepare,), name="gllmm g_s"
        )
        thread.start()
        try:
            yield
        finally:
            thread.join()
