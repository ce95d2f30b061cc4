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


def tiff(*pages) -> bytes:
    """An uncompressed TIFF file of pages (RGB image, NewSubfileType), from scratch."""
    data = b"II*\0" + struct.pack("<I", 8)
    for number, (image, kind) in enumerate(pages):
        width, height = image.size
        at = len(data) + 2 + 12 * 10 + 4
        bits, pixels = (
            struct.pack("<4H", 8, 8, 8, 0),
            image.tobytes() + bytes(len(image.tobytes()) % 2),
        )
        following = 0 if number == len(pages) - 1 else at + len(bits) + len(pixels)
        entries = [(254, 4, 1, kind), (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, at),
                   (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, at + len(bits)), (277, 3, 1, 3),
                   (278, 3, 1, height), (279, 4, 1, 3 * width * height)]  # fmt: skip
        data += struct.pack("<H", len(entries))
        data += b"".join(struct.pack("<HHII", *entry) for entry in entries)
        data += struct.pack("<I", following) + bits + pixels
    return data


def assert_refused(path, pattern: str, **kwargs) -> None:
    with pytest.raises(ImageError, match=pattern) as caught:
        read_image(path, **kwargs)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
