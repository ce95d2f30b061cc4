"""What a codec is handed: refused with one line where it cannot be used, before any work is done."""

from __future__ import annotations

import os

import numpy as np

from gllmm_tf import work
from gllmm_tf.codec.regions import Span
from gllmm_tf.errors import FormatError, ImageError


def check_image(image) -> np.ndarray:
    if isinstance(image, (str, bytes, os.PathLike)):
        raise ImageError("a picture is an array of pixels, not a path; read the file first")
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"a picture is uint8 [height, width, 3], not {image.dtype} {list(image.shape)}"
        )
    return image


def check_crop(crop, width, height):
    """(rows, columns) of the region (x, y, width, height), None for None."""
    if crop is None:
        return None
    x, y, w, h = crop
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        raise ImageError(
            f"the region {x},{y},{w},{h} (x,y,width,height) is not inside the picture of {width} x "
            f"{height} pixels",
            "crop",
        )
    return Span(y, y + h), Span(x, x + w)


def check_length(parts, least_bits: float) -> None:
    """Raises FormatError where a container's streams are too short for the size that it declares.

    Args:
        parts: `Container`.
        least_bits: What a position of z takes at least (`coding.tables.least_bits`).
    """
    rows, columns = work.blocks(parts.width, parts.height)
    least = work.least_bytes(rows * columns, least_bits)
    if len(parts.z_stream) < least:
        raise FormatError(
            f"declares a picture of {parts.width} x {parts.height} pixels, for which its z stream "
            f"of {len(parts.z_stream)} bytes is too short, {least} at least: make the file again"
        )
