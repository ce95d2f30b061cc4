"""Transparent pictures: alpha from a transparent colour, and colours for what is invisible."""

from __future__ import annotations

import numpy as np
from PIL import Image


def alpha_of_key(samples: np.ndarray, key: tuple[int, ...]) -> Image.Image:
    """Alpha (mode L) where one colour is transparent.

    Args:
        samples: integers [H, W] or [H, W, channels].
        key: The colour, one number a channel.
    """
    if samples.ndim == 2:
        hidden = samples == key[0]
    else:
        hidden = np.ones(samples.shape[:2], bool)
        for channel, value in enumerate(key):
            hidden &= samples[..., channel] == value
    return Image.fromarray(np.where(hidden, np.uint8(0), np.uint8(255)))


def fill_invisible(colour: Image.Image, alpha: Image.Image) -> Image.Image:
    """Replaces what is invisible (alpha 0) by a smooth continuation of what is visible.

    Whatever lies there costs bytes, and its edge against the visible part costs most and disturbs
    that. Pull and push (Gortler et al., The Lumigraph, 1996): means of the visible pixels on ever
    coarser grids, then from the coarsest grid back, each grid filled by the interpolated coarser one.

    Args:
        colour: Mode RGB or L.
        alpha: Mode L, of the same size.
    """
    mask = alpha.point([0] + [255] * 255)
    if mask.getextrema() == (0, 0):
        return Image.new(colour.mode, colour.size)
    if mask.getextrema() == (255, 255):
        return colour
    rgba = colour.convert("RGB")
    rgba.putalpha(mask)
    grids = [rgba]
    while grids[-1].getchannel("A").getextrema()[0] == 0:
        coarse = grids[-1].reduce(2)  # Colours weighted by alpha.
        coarse.putalpha(coarse.getchannel("A").point([0] + [255] * 255))
        grids.append(coarse)
    filled = grids[-1].convert("RGB")
    for grid in reversed(grids[:-1]):
        behind = filled.resize(grid.size, Image.Resampling.BILINEAR)
        filled = Image.composite(grid.convert("RGB"), behind, grid.getchannel("A"))
    return filled if colour.mode == "RGB" else filled.getchannel("R")
