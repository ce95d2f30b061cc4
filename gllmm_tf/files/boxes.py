"""What files made of boxes (AVIF, HEIC, JPEG XL) say that their readers tell late or not at all."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

_MOST_BOXES = 1000
_META_BYTES = 1 << 20  # How much of a file's properties is looked at.
_RATIOS = ((1, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def colour_codes(file: BinaryIO) -> tuple[int, int] | None:
    """(primaries, transfer) as H.273 numbers them, of an AVIF or HEIC file; None without nclx."""
    content = _content(file, b"meta", _META_BYTES)
    at = content.find(b"colrnclx")
    if at < 0 or at + 12 > len(content):
        return None
    return struct.unpack_from(">HH", content, at + 8)


def avif_bits(file: BinaryIO) -> int:
    """Bits a sample of an AVIF file, whose reader gives 8 in any case."""
    content = _content(file, b"meta", _META_BYTES)
    at = content.find(b"av1C")
    if at < 0 or at + 7 > len(content) or not content[at + 6] & 0x40:
        return 8
    return 12 if content[at + 6] & 0x20 else 10


def jxl_size(file: BinaryIO) -> tuple[int, int] | None:
    """(width, height) of a JPEG XL file, whose reader decodes it before it tells; None if unknown."""
    start = file.read(16)
    file.seek(0)
    if not start.startswith(b"\xff\x0a"):
        start = _content(file, b"jxlc", 16) or _content(file, b"jxlp", 20)[4:]
    if len(start) < 16:
        start += bytes(16 - len(start))
    return _size_header(int.from_bytes(start[2:], "little")) if start[:2] == b"\xff\x0a" else None


def _size_header(bits: int) -> tuple[int, int]:
    """ISO/IEC 18181-1, SizeHeader: fields from the lowest bit on."""
    at = 0

    def take(count: int) -> int:
        nonlocal at
        value = bits >> at & ((1 << count) - 1)
        at += count
        return value

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = side()
    ratio = take(3)
    numerator, denominator = _RATIOS[ratio]
    return (height * numerator // denominator if ratio else side()), height


def _content(file: BinaryIO, wanted: bytes, limit: int) -> bytes:
    """The first bytes in the first box of this name at the top of a file, which is left at its start."""
    try:
        for name, start, size in _boxes(file):
            if name == wanted:
                file.seek(start)
                return file.read(min(size, limit))
        return b""
    finally:
        file.seek(0)


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, bytes of the content) of the boxes at the top of a file."""
    end, at = file.seek(0, 2), 0
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            size, header = int.from_bytes(file.read(8), "big"), 16
        size = size or end - at
        if size < header:
            return
        yield name, at + header, min(size, end - at) - header
        at += size
