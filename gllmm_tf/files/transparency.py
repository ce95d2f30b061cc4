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
    seen = np.asarray(alpha) > 0
    if seen.all():
        return colour
    pixels = np.asarray(colour.convert("RGB"))
    grids: list[tuple[np.ndarray, np.ndarray]] = [(pixels, seen)]
    while grids[-1][1].any() and not grids[-1][1].all():
        grids.append(_coarser(*grids[-1]))
    filled = np.round(grids[-1][0]).astype(np.uint8) if seen.any() else np.zeros_like(pixels)
    for pixels, seen in reversed(grids[:-1]):
        size = (seen.shape[1], seen.shape[0])
        behind = np.asarray(Image.fromarray(filled).resize(size, Image.Resampling.BILINEAR))
        filled = np.where(seen[..., None], np.round(pixels).astype(np.uint8), behind)
    image = Image.fromarray(filled)
    return image if colour.mode == "RGB" else image.getchannel("R")


def _coarser(pixels: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the seen ones of 2 x 2 pixels, float32 [H / 2, W / 2, 3], and where there are any."""
    height, width = seen.shape
    total = np.zeros(((height + 1) // 2, (width + 1) // 2, 3), np.float32)
    count = np.zeros(total.shape[:2], np.float32)
    for i in (0, 1):
        for j in (0, 1):
            part = seen[i::2, j::2]
            rows, columns = part.shape
            total[:rows, :columns] += pixels[i::2, j::2] * part[..., None]
            count[:rows, :columns] += part
    return total / np.maximum(count, 1)[..., None], count > 0
