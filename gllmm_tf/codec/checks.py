"""What a codec is handed: refused with one line where it cannot be used, before any work is done."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from gllmm_tf import work
from gllmm_tf.codec.regions import Span
from gllmm_tf.errors import FormatError, GllmmError, ImageError, ModelError

F = TypeVar("F", bound=Callable)


def eager(function: F) -> F:
    """A function that TensorFlow's AutoGraph leaves as it is, so that its errors stay one line."""
    function.autograph_info__ = None  # type: ignore[attr-defined]
    return function


def check_image(image) -> np.ndarray:
    """uint8 [H, W, 3] as an array, or ImageError."""
    if isinstance(image, (str, bytes, os.PathLike)):
        raise ImageError("a picture is an array of pixels, not a path; read the file first")
    try:
        array = np.asarray(image)
    except (
        Exception
    ) as error:  # what is no array refuses in its own way, a tensor of a graph among others
        raise ImageError(f"a picture is an array of pixels, not {_kind(image)}") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        found = f"{array.dtype} {list(array.shape)}"
        raise ImageError(
            f"a picture is uint8 [height, width, 3], not {found if array.ndim else _kind(image)}"
        )
    return array


def check_data(data) -> bytes:
    """The bytes of a file, or FormatError."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, (str, os.PathLike)):
        raise FormatError("a file is its bytes, not its path; read it first")
    raise FormatError(f"a file is bytes, not {_kind(data)}")


def check_count(name: str, value, least: int):
    """A whole number, or None where that is a choice; GllmmError for anything else."""
    if value is None and least > 0:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise GllmmError(f"{name} is {value!r}, it must be a whole number from {least} up", name)
    return int(value)


def check_number(name: str, value) -> float:
    """A number, or ModelError."""
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ModelError(f"{name} is {value!r}, it must be a number", name) from None


def check_metadata(metadata) -> dict[int, bytes]:
    """{tag: bytes} as the container takes it; empty for None."""
    good = metadata is None or isinstance(metadata, Mapping)
    if good and all(
        isinstance(tag, int) and 1 <= tag <= 255 and isinstance(payload, (bytes, bytearray))
        for tag, payload in (metadata or {}).items()
    ):
        return dict(metadata or {})
    raise GllmmError("metadata are {tag: bytes} with tags from 1 to 255", "metadata")


def check_crop(crop, width, height):
    """(rows, columns) of the region (x, y, width, height), None for None."""
    if crop is None:
        return None
    try:
        x, y, w, h = (operator.index(value) for value in crop)
    except (TypeError, ValueError):
        raise ImageError(
            f"crop is {crop!r}, it must be four whole numbers: x, y, width, height", "crop"
        ) from None
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


def _kind(value) -> str:
    kind = type(value)
    if kind.__module__.startswith("tensorflow"):
        return "a tensor: take its numpy(); inside a tf.function, use tf.numpy_function"
    return f"{kind.__module__}.{kind.__name__}".replace("builtins.", "")
