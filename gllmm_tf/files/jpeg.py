"""JPEG files: an end that is missing, and data that are put beside the pixels."""

from __future__ import annotations

import io
import re
import struct

from PIL import Image, ImageChops

EXIF_HEADER = b"Exif\0\0"
XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_END = b"\xff\xd9"
_MAX_SEGMENT = 65533
_PROGRESSIVE = (0xC2, 0xCA)
_FRAMES = tuple(m for m in range(0xC0, 0xD0) if m not in (0xC4, 0xC8, 0xCC))
_SCAN = 0xDA
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # What begins a segment.


def completed(data: bytes) -> Image.Image | None:
    """Decodes a file that lacks its end marker, as libjpeg does, if all the pixels are there.

    All are there if it makes no difference what follows the data: nothing or noise. Besides, the
    scans have to be complete.

    Raises:
        Exception: whatever Pillow raises for bad data.
    """
    if data.rstrip(b"\0").endswith(_END) or not _scans_are_complete(data):
        return None
    pictures = []
    for noise in (b"", b"\x5a" * 64, b"\xa5" * 64):
        picture = Image.open(
            io.BytesIO(data.removesuffix(b"\xff") + noise + _END), formats=["JPEG"]
        )
        picture.load()
        pictures.append(picture)
    first = pictures[0]
    same = all(ImageChops.difference(first, other).getbbox() is None for other in pictures[1:])
    return first if same else None


def _scans_are_complete(data: bytes) -> bool:
    """Whether the headers of the scans cover all bits of all coefficients of all components."""
    at, waiting, progressive = 2, None, False
    while at + 4 <= len(data):
        found = _MARKER.search(data, at)
        if not found or found.start() + 4 > len(data):
            break
        at = found.start()
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : at + 2 + length]
        if marker in _FRAMES and len(content) > 5:
            progressive = marker in _PROGRESSIVE
            waiting = {
                (component, k)
                for component in content[6::3]
                for k in range(64 if progressive else 1)
            }
        elif marker == _SCAN and waiting is not None and len(content) >= 4:
            components = content[1 : 1 + 2 * content[0] : 2]
            first, last, bits = content[-3:]
            if not bits & 15:
                covered = range(first, last + 1) if progressive else (0,)
                waiting -= {(component, k) for component in components for k in covered}
        at += 2 + length
    return waiting is not None and not waiting


def xmp_of(image: Image.Image) -> bytes | None:
    """The XMP packet of a JPEG picture that Pillow has opened."""
    for name, content in getattr(image, "applist", ()):
        if name == "APP1" and content.startswith(XMP_HEADER):
            return content[len(XMP_HEADER) :]
    return None


def left_out_of(image: Image.Image) -> list[str]:
    """What else such a picture has beside its pixels."""
    found = []
    for name, content in getattr(image, "applist", ()):
        if name == "COM":
            found.append("comment")
        elif name == "APP13" and content.startswith(b"Photoshop"):
            found.append("IPTC and Photoshop data")
        elif name == "APP1" and content.startswith(_EXTENDED_XMP):
            found.append("extension of its XMP packet")
    return list(dict.fromkeys(found))


def with_segments(jpeg: bytes, exif: bytes | None, xmp: bytes | None) -> tuple[bytes, list[str]]:
    """Puts EXIF data and an XMP packet into a JPEG file; returns it and what is too large for it."""
    added, left_out = b"", []
    for name, header, content in (
        ("EXIF data", EXIF_HEADER, exif),
        ("XMP packet", XMP_HEADER, xmp),
    ):
        if content is None:
            continue
        if len(header) + len(content) > _MAX_SEGMENT:
            left_out.append(name)
            continue
        added += b"\xff\xe1" + struct.pack(">H", 2 + len(header) + len(content)) + header + content
    start = 2
    if jpeg[2:4] == b"\xff\xe0":  # JFIF comes first.
        start += 2 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:start] + added + jpeg[start:], left_out
