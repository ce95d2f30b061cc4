"""Pictures to the bytes of a `.gllmm` file and back, without TensorFlow.

The same files as `gllmm_tf.codec.tensorflow_codec.TensorFlowCodec` reads and writes, and the same
symbols. Pixels, and latents that lie on a tie, may differ in the last bit of a float.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from gllmm_tf.codec.base import Codec
from gllmm_tf.codec.regions import DEFAULT_MEMORY
from gllmm_tf.portable.latent_coder import LatentCoder
from gllmm_tf.portable.networks import PixelNetworks
from gllmm_tf.zoo.model_file import ModelFile


class PortableCodec(Codec):
    """A loaded model, for any number of threads: each stage works on one picture at a time.

    A search for better latents (`refine`) needs gradients, and loads TensorFlow for them.

    Args:
        model_file: `ModelFile`.
        tile: Pixels of a tile along the longer side of a picture (rounded up to a multiple of 64); 0
            chooses the length by `memory`. A tile is as wide as the picture's shorter side.
        memory: Megabytes that g_a and g_s may take for a tile, about, beside onnxruntime, the picture
            and its latents. A picture that fits is one tile.

    Attributes:
        networks: `PixelNetworks`.
        coder: `LatentCoder`.
    """

    networks: PixelNetworks
    coder: LatentCoder

    def __init__(self, model_file: ModelFile, tile: int = 0, memory: int = DEFAULT_MEMORY):
        super().__init__(model_file)
        self.networks = PixelNetworks(model_file, tile, memory)
        self.coder = LatentCoder(model_file)

    @contextlib.contextmanager
    def while_decoding(self, shape, region) -> Iterator[None]:
        """Builds g_s beside what is done inside, in a thread of its own.

        What goes wrong there goes wrong again where g_s is used, and is reported there.
        """

        def prepare():
            with contextlib.suppress(Exception):
                self.networks.prepare_synthesis(shape, region)

        thread = threading.Thread(target=prepare, name="gllmm g_s")
        thread.start()
        try:
            yield
        finally:
            thread.join()
