"""The search for better latents of a picture, as an encoder asks for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

import numpy as np

from gllmm_tf.codec import layered, pixels
from gllmm_tf.codec.regions import Progress
from gllmm_tf.coding.streams import ModelCoder
from gllmm_tf.errors import running_out_of_memory

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec


def refined(
    codec: Codec,
    image: np.ndarray,
    y: np.ndarray,
    z_hat: np.ndarray,
    index: int,
    rounds: int,
    progress: Progress | None,
) -> np.ndarray:
    """y_hat of `Refiner.refine`, float32 [h, w, N].

    With an enhancement layer it is the y of the model below that is searched for, at that model's quality;
    the layer then codes what this one leaves of the picture.
    """
    if codec.base:
        below, _ = layered.apart(y, codec.base.config.num_filters)
        y_hat = refined(codec.base, image, below, z_hat, codec.config.base_index, rounds, progress)
        return cast(layered.LayeredNetworks, codec.networks).with_layer(image, y_hat, index)
    from gllmm_tf.codec import refinement

    phi = cast(ModelCoder, codec.coder).phi(z_hat, index)
    _, read_x = pixels.reader(image)
    total = rounds * len(refinement.blocks(y.shape[:2]))
    shown = progress(total=total, desc="refinement") if progress else contextlib.nullcontext()
    with codec.search_turn, running_out_of_memory("the refinement"), shown as bar:
        return codec.refiner.refine(
            read_x=lambda r, c: read_x(r, c)[None],
            size=image.shape[:2],
            y=y,
            phi=phi,
            inverse_gain=codec.networks.inverse_gain(index),
            index=index,
            rounds=rounds,
            tell=bar.update if bar is not None else None,
        )
