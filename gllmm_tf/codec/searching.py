"""The search for better latents of a picture, as an encoder asks for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

import numpy as np

from gllmm_tf.codec import layered, pixels
from gllmm_tf.codec.regions import Progress
from gllmm_tf.coding.streams import Latents, ModelCoder
from gllmm_tf.errors import running_out_of_memory

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec


def refined(
    codec: Codec,
    image: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    index: int,
    rounds: int,
    progress: Progress | None,
) -> Latents:
    """The latents that `Refiner` finds, for y and z that are not rounded.

    With an enhancement layer it is the latents of the model below that are searched for, at that model's
    quality; the layer then codes what these leave.
    """
    if codec.base:
        below, _ = layered.apart(y, codec.base.config.num_filters)
        found = refined(codec.base, image, below, z, codec.config.base_index, rounds, progress)
        networks = cast(layered.LayeredNetworks, codec.networks)
        return Latents(networks.with_layer(image, found.y_hat, index), found.z_hat)
    from gllmm_tf.codec import refinement

    phi = cast(ModelCoder, codec.coder).phi(np.round(z), index)
    _, read_x = pixels.reader(image)
    last = refinement.hyper_rounds(rounds)
    total = rounds * len(refinement.blocks(y.shape[:2]))
    total += last * len(refinement.hyper_blocks(z.shape[:2]))
    shown = progress(total=total, desc="refinement") if progress else contextlib.nullcontext()
    with codec.search_turn, running_out_of_memory("the refinement"), shown as bar:
        tell = bar.update if bar is not None else None
        y_hat = codec.refiner.refine(
            read_x=lambda r, c: read_x(r, c)[None],
            size=image.shape[:2],
            y=y,
            phi=phi,
            inverse_gain=codec.networks.inverse_gain(index),
            index=index,
            rounds=rounds,
            tell=tell,
        )
        return Latents(y_hat, codec.refiner.refine_hyper(y_hat, z, index, last, tell))
