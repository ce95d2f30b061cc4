"""Pictures to the bytes of a `.gllmm` file and back, computed by TensorFlow.

Large pictures go through the transforms in tiles (`gllmm_tf/codec/tiling.py`), which takes bounded
memory. An encoder that worked in tiles may round a latent that lies on a tie otherwise than one that
did not; either file decodes to its encoder's symbols, with and without tiles.
"""

from __future__ import annotations

import contextlib
import functools
import threading

from gllmm_tf.codec import refinement
from gllmm_tf.codec.base import BaseCodec, Search
from gllmm_tf.codec.networks import PixelNetworks, reader
from gllmm_tf.codec.refinement import Refiner
from gllmm_tf.codec.regions import DEFAULT_MEMORY
from gllmm_tf.coding.latent_coder import LatentCoder
from gllmm_tf.errors import running_out_of_memory
from gllmm_tf.zoo.model_file import ModelFile


class Codec(BaseCodec):
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
        self._refinement_turn = threading.Lock()

    def search(self) -> Search:
        """See `BaseCodec.search`."""
        _ = self.refiner  # whatever is wrong with it comes first
        return self._refined

    @functools.cached_property
    def refiner(self) -> Refiner:
        """What searches for better latents; built on first use."""
        return Refiner(self.model_file)

    def _refined(self, image, y, z_hat, index, rounds, progress):
        """Returns y_hat of `Refiner.refine`."""
        phi = self.coder.phi(z_hat, index)
        inverse_gain = self.networks.inverse_gain(index)
        total = rounds * len(refinement.blocks(y.shape[:2]))
        shown = progress(total=total, desc="refinement") if progress else contextlib.nullcontext()
        with self._refinement_turn, running_out_of_memory("the refinement"), shown as bar:
            return self.refiner.refine(
                read_x=reader(image)[1],
                size=image.shape[:2],
                y=y,
                phi=phi,
                inverse_gain=inverse_gain,
                index=index,
                rounds=rounds,
                tell=bar.update if bar is not None else None,
            )
