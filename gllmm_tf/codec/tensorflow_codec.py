"""Pictures to the bytes of a `.gllmm` file and back, computed by TensorFlow.

Large pictures go through the transforms in tiles (`gllmm_tf/codec/tiling.py`), which takes bounded
memory. An encoder that worked in tiles may round a latent that lies on a tie otherwise than one that
did not; either file decodes to its encoder's symbols, with and without tiles.
"""

from __future__ import annotations

from gllmm_tf.codec.base import Codec
from gllmm_tf.codec.networks import PixelNetworks
from gllmm_tf.codec.regions import DEFAULT_MEMORY
from gllmm_tf.coding.latent_coder import LatentCoder
from gllmm_tf.zoo.model_file import ModelFile


class TensorFlowCodec(Codec):
    """A loaded model, for any number of threads: each stage works on one picture at a time.

    Args:
        model_file: `ModelFile`.
        tile: Pixels of a tile along the longer side of a picture (rounded up to a multiple of 64); 0
            chooses the length by `memory`. A tile is as wide as the picture's shorter side.
        memory: Megabytes that g_a and g_s may take for a tile, about, beside TensorFlow, the picture
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
