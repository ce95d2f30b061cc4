"""What travels beside the pixels: alpha, colour profile, EXIF and XMP <-> bytes of the container."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Iterable, Mapping

from PIL import Image

from gllmm_tf.errors import FormatError, ImageError
from gllmm_tf.files.container import TAG_ALPHA, TAG_EXIF, TAG_GREY, TAG_ICC, TAG_XMP
from gllmm_tf.files.exif import of_upright_pixels
from gllmm_tf.files.pillow_errors import pillow_errors

MAX_BYTES = 1 << 24  # Of a profile, EXIF data or an XMP packet.
NAMES = {
    TAG_ICC: "colour profile",
    TAG_ALPHA: "alpha",
    TAG_GREY: "grey",
    TAG_EXIF: "EXIF",
    TAG_XMP: "XMP",
}
STRIPPABLE = {"exif": TAG_EXIF, "xmp": TAG_XMP, "icc": TAG_ICC}


def crop_metadata(
    metadata: Mapping[int, bytes], size: tuple[int, int], region: tuple[int, int, int, int]
) -> dict[int, bytes]:
    """Returns the metadata of a region of a picture: its alpha channel is cut, EXIF data get its size.

    Args:
        metadata: Container metadata by tag.
        size: (width, height) of the whole picture.
        region: (x, y, width, height), inside the picture.

    Raises:
        FormatError: They are damaged.
    """
    metadata = dict(metadata)
    if TAG_ALPHA in metadata:
        x, y, width, height = region
        alpha = unpack_alpha(metadata[TAG_ALPHA], size)
        metadata[TAG_ALPHA] = pack_alpha(alpha.crop((x, y, x + width, y + height)))
    if TAG_EXIF in metadata:
        with contextlib.suppress(ValueError):  # What cannot be understood stays as it is.
            data = unpack_bytes(TAG_EXIF, metadata[TAG_EXIF])
            metadata[TAG_EXIF] = pack_bytes(of_upright_pixels(data, region[2:])[0])
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


def pack_bytes(content: bytes) -> bytes:
    """A profile, EXIF data or an XMP packet, compressed."""
    return zlib.compress(content, 9)


def unpack_bytes(tag: int, data: bytes) -> bytes:
    """What `pack_bytes` was given.

    Args:
        tag: Of the metadata, for the message.
        data: Their payload.

    Raises:
        FormatError: It is damaged, or far more than such metadata have.
    """
    damaged = f"the {NAMES[tag]} is damaged"
    decoder = zlib.decompressobj()
    try:
        content = decoder.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise FormatError(f"{damaged}: {error}") from error
    if not decoder.eof or decoder.unused_data:
        raise FormatError(f"{damaged} or absurdly large")
    return content


def tags_to_strip(strip: str | Iterable[str]) -> frozenset[int]:
    """Returns the tags of metadata that are to be left out.

    Args:
        strip: Names among "exif", "xmp", "icc" and "all", also as one text with commas.

    Raises:
        ImageError: There is no such kind.
    """
    if not isinstance(strip, (str, list, tuple, set, frozenset)):
        raise ImageError(f"strip is {strip!r}; give names of metadata, as in 'exif,xmp'", "strip")
    names = strip.split(",") if isinstance(strip, str) else list(strip)
    tags: set[int] = set()
    for name in filter(None, (str(name).strip().lower() for name in names)):
        if name == "all":
            tags.update(STRIPPABLE.values())
        elif name in STRIPPABLE:
            tags.add(STRIPPABLE[name])
        else:
            raise ImageError(
                f"cannot strip {name!r}; give some of {', '.join(STRIPPABLE)} or all", "strip"
            )
    return frozenset(tags)


def size_notes(metadata: Mapping[int, bytes], stream_bytes: int) -> tuple[str, ...]:
    """A line if what could be stripped takes more bytes than the picture itself, else none."""
    kinds = {name: len(metadata[tag]) for name, tag in STRIPPABLE.items() if tag in metadata}
    if sum(kinds.values()) <= stream_bytes:
        return ()
    names = ",".join(kinds)
    return (
        f"its metadata ({names}) take {sum(kinds.values())} bytes, the picture {stream_bytes}: "
        f"strip {names} to leave them out",
    )
