"""Codecs that come with Pillow, to stand beside ours: their best settings for an equal comparison."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, features

from gllmm_tf.cli.formats import LADDERS
from gllmm_tf.codec.targets import largest_within
from gllmm_tf.errors import GllmmError

_OPTIONS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "jpeg": ("JPEG", lambda s: {"quality": int(s), "subsampling": "4:2:0", "optimize": True}),
    "webp": ("WEBP", lambda s: {"quality": int(s), "method": 6}),
    "avif": ("AVIF", lambda s: {"quality": int(s), "subsampling": "4:4:4", "speed": 6}),
    "jpeg2000": (
        "JPEG2000",
        lambda s: {
            "quality_mode": "rates",
            "quality_layers": [float(s)],
            "irreversible": True,
            "mct": 1,
        },
    ),
}
_FEATURES = {"webp": "webp", "avif": "avif", "jpeg2000": "jpg_2000"}
_GROWTH = 0.06  # of a file's size in powers of two from a setting to the next, about


def check(codec: str) -> None:
    """Raises GllmmError where this Pillow does not have the codec."""
    if codec in _FEATURES and not features.check(_FEATURES[codec]):
        raise GllmmError(f"this Pillow has no {codec}; install Pillow 11.3 or later")


def encode(codec: str, image: np.ndarray, setting: str) -> bytes:
    """The file of uint8 [H, W, 3] at a setting.

    Raises:
        GllmmError: the codec has no such setting.
    """
    check(codec)
    pillow_format, options = _OPTIONS[codec]
    file = io.BytesIO()
    try:
        Image.fromarray(image).save(file, pillow_format, **options(setting))
    except (OSError, ValueError) as error:
        raise GllmmError(f"{codec}@{setting} does not work here: {error}") from error
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of a file of `encode`."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def fit(codec: str, image: np.ndarray, limit: int) -> tuple[str, bytes]:
    """(setting, file) of the largest setting whose file has at most `limit` bytes, or of the lowest."""
    ladder, files = LADDERS[codec], {}

    def measure(index):
        files[index] = encode(codec, image, ladder[index])
        return math.log2(len(files[index]))

    best = max(largest_within(measure, math.log2(limit), len(ladder) - 1, _GROWTH), 0)
    return ladder[best], files.get(best) or encode(codec, image, ladder[best])
