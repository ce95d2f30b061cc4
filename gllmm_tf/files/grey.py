"""Grey pictures: coded as RGB, given back with R = G = B."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gllmm_tf.files.container import TAG_GREY

_ROWS_AT_ONCE = 256


def is_grey(pixels: np.ndarray) -> bool:
    """Whether R = G = B in all of a picture, uint8 [H, W, 3]."""
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = pixels[top : top + _ROWS_AT_ONCE]
        if not (
            np.array_equal(rows[..., 0], rows[..., 1])
            and np.array_equal(rows[..., 1], rows[..., 2])
        ):
            return False
    return True


def make_grey(pixels: np.ndarray) -> np.ndarray:
    """Replaces R, G and B of each pixel by their mean, rounded.

    The errors that coding made in the three channels partly cancel in it.

    Args:
        pixels: uint8 [H, W, 3].

    Returns:
        uint8 [H, W, 3].
    """
    grey = np.empty_like(pixels)
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = pixels[top : top + _ROWS_AT_ONCE]
        mean = (rows.sum(-1, dtype=np.uint16) + 1) // 3
        grey[top : top + _ROWS_AT_ONCE] = mean[..., None]
    return grey


def with_tag(metadata: Mapping[int, bytes], pixels: np.ndarray) -> dict[int, bytes]:
    """Metadata of a container that say whether a picture is grey, so that it comes back so."""
    others = {tag: data for tag, data in metadata.items() if tag != TAG_GREY}
    return {**others, TAG_GREY: b""} if is_grey(pixels) else others
