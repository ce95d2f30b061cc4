"""What Pillow raises, as errors of ours: damage, or memory that ran out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from gllmm_tf.errors import ImageError, OutOfMemoryError, is_out_of_memory
from gllmm_tf.files.atomic import reason

LEAST = 1 << 28
"""Bytes without which nothing can be said about a picture."""

BYTES_PER_PIXEL = 16
"""More than any of Pillow's libraries holds at a time."""


@contextlib.contextmanager
def pillow_errors(message: str, num_pixels: int = 0) -> Iterator[None]:
    """Turns whatever Pillow raises for bad data into an ImageError that starts with `message`.

    Its decoders meet bad data with nearly any exception: OSError, SyntaxError, ValueError, KeyError,
    struct.error, zlib.error, ... The libraries for JPEG, TIFF and WebP say the same when they get no
    memory. So nothing is called damaged while there is no memory for it.

    Args:
        message: what is wrong.
        num_pixels: width x height where it is known.

    Raises:
        ImageError: as said. MemoryError: there is too little memory to know.
    """
    try:
        yield
    except (ImageError, OutOfMemoryError):
        raise
    except Exception as error:
        if is_for_lack_of_memory(error, num_pixels):
            raise MemoryError from error
        if isinstance(error, UnidentifiedImageError):
            raise ImageError(message) from error
        if isinstance(error, Image.DecompressionBombError):  # Pillow's own limit, which we lift.
            raise ImageError(f"{message}: more pixels than PIL.Image.MAX_IMAGE_PIXELS") from error
        raise ImageError(f"{message}: {reason(error)}") from error


def is_for_lack_of_memory(error: Exception, num_pixels: int) -> bool:
    """Whether `error`, of coding a picture of so many pixels, may mean that memory ran out."""
    if is_out_of_memory(error) or "out of memory" in str(error):  # One of Pillow's own codes.
        return True
    try:
        np.empty(
            max(LEAST, BYTES_PER_PIXEL * num_pixels), np.uint8
        )  # Never touched, so it is free.
    except MemoryError:
        return True
    return False
