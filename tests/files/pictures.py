"""Pictures in tests: made by hand, and what is read of them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gllmm_tf.errors import ImageError
from gllmm_tf.files.container import TAG_ALPHA
from gllmm_tf.files.images import read_image

SIZE = (30, 20)  # width, height


def pixels_of(image) -> np.ndarray:
    return np.array(image.convert("RGB"))


def read_alpha(picture) -> np.ndarray:
    alpha = Image.open(io.BytesIO(picture.metadata[TAG_ALPHA]))
    assert alpha.mode == "L"
    return np.array(alpha)


def png(width, height, depth, colour_type, raw: bytes, extra: bytes = b"") -> bytes:
    """A PNG file from scratch, for what Pillow cannot write. `raw` are filtered rows."""
    fields = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", fields)
        + extra
        + png_chunk(b"IDAT", zlib.compress(raw))
        + png_chunk(b"IEND", b"")
    )


def png_chunk(name: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checksum


def assert_refused(path, pattern: str, **kwargs) -> None:
    with pytest.raises(ImageError, match=pattern) as caught:
        read_image(path, **kwargs)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
