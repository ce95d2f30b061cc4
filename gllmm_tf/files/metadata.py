"""What travels beside the pixels: alpha and colour profile <-> bytes of the container."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping

from PIL import Image

from gllmm_tf.errors import FormatError, ImageError
from gllmm_tf.files.container import TAG_ALPHA
from gllmm_tf.files.pillow_errors import pillow_errors

_MAX_PROFILE_BYTES = 1 << 24


def crop_metadata(
    metadata: Mapping[int, bytes], size: tuple[int, int], region: tuple[int, int, int, int]
) -> dict[int, bytes]:
    """Returns the metadata of a region of a picture: its alpha channel is cut, the rest stays.

    Args:
        metadata: Container metadata by tag.
        size: (width, height) of the whole picture.
        region: (x, y, width, height), inside the picture.

    Raises:
        FormatError: The alpha channel is damaged.
    """
    metadata = dict(metadata)
    if TAG_ALPHA in metadata:
        x, y, width, height = region
        alpha = unpack_alpha(metadata[TAG_ALPHA], size)
        metadata[TAG_ALPHA] = pack_alpha(alpha.crop((x, y, x + width, y + height)))
    return metadata


def pack_alpha(alpha: Image.Image) -> bytes:
    """An image of mode L as a PNG file."""
    encoded = io.BytesIO()
    alpha.save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def unpack_alpha(data: bytes, size: tuple[int, int]) -> Image.Image:
    """Decodes the alpha channel of a picture of `size`, which is checked before anything is decoded.

    Raises:
        FormatError: It is damaged, or not of this size. MemoryError: There is too little memory.
    """
    damaged = "the alpha channel is damaged"
    try:
        with pillow_errors(damaged):
            alpha = Image.open(io.BytesIO(data), formats=["PNG"])
        if alpha.size != size or alpha.mode != "L":
            raise ImageError(
                f"the alpha channel is {alpha.width} x {alpha.height}, mode {alpha.mode}; it "
                f"should be {size[0]} x {size[1]}, mode L"
            )
        with pillow_errors(damaged, size[0] * size[1]):
            alpha.load()
        return alpha
    except ImageError as error:
        raise FormatError(f"{error}; make the file again") from error


def pack_profile(profile: bytes) -> bytes:
    """The bytes of an ICC profile, compressed."""
    return zlib.compress(profile, 9)


def unpack_profile(data: bytes) -> bytes:
    """The bytes of an ICC profile.

    Raises:
        FormatError: They are damaged, or far more than a profile has.
    """
    decoder = zlib.decompressobj()
    try:
        profile = decoder.decompress(data, _MAX_PROFILE_BYTES)
    except zlib.error as error:
        raise FormatError(f"the colour profile is damaged: {error}") from error
    if not decoder.eof or decoder.unused_data:
        raise FormatError("the colour profile is damaged or absurdly large")
    return profile
