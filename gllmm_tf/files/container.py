"""The `.gllmm` container: a small header, two streams and a checksum <-> bytes.

`docs/format.md` specifies every bit. In short, where `varint` is an unsigned LEB128 number of at
most four bytes in its shortest form:

    offset 0   magic            4 bytes  89 47 4C 4D: one byte above 0x7F, then "GLM"
    offset 4   format version   1 byte   1
    offset 5   flags            1 byte   bit 0: metadata follow; bits 1..7 are 0
    offset 6   quality index    1 byte   16 (quality - f), f of the model; 0 for a fixed rate
    offset 7   model identity   8 bytes  hash of everything that decoding depends on
    offset 15  width            varint   1..2^28 - 1, pixels of the picture, without padding
               height           varint   1..2^28 - 1
               z stream length  varint   0..2^28 - 1, bytes
               metadata         only with flag bit 0: count varint (at least 1), then the entries
                                by ascending tag: tag 1 byte (1..255), length varint, payload
               z stream         the hyperprior's symbols
               y stream         the latents' symbols: all that is left before the checksum
    end - 4    checksum         4 bytes  CRC-32 (zlib, PNG) of all bytes before, little endian

A `Container` has exactly one encoding: `pack(unpack(data)) == data` if `unpack` accepts `data`.
A picture without metadata costs at most 31 bytes beyond its two streams.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Mapping

from gllmm_tf import work
from gllmm_tf.errors import FormatError

MAGIC = b"\x89GLM"
VERSION = 1
MAX_PIXELS = 1 << 28  # What a header may ask for unless the caller raises it: 268 Mpixel.
MAX_PIXELS_FOR_OTHERS = 1 << 24
"""What the service and a SavedModel accept by default: 16.8 Mpixel (memory: docs/serving.md)."""

FLAG_METADATA = 0x01
TAG_ICC = 1  # Colour profile (ICC), zlib-compressed.
TAG_ALPHA = 2  # Alpha channel, an 8-bit grey PNG of the picture's size.
TAG_GREY = 3  # The picture is grey: R = G = B is restored. No payload.
TAG_EXIF = 4  # EXIF data from their TIFF header on, zlib-compressed.
TAG_XMP = 5  # XMP packet, zlib-compressed.

_HEADER = struct.Struct("<4sBBB8s")  # magic, format version, flags, quality index, model identity
START = _HEADER.size  # of the fields with a fixed place
_CHECKSUM = struct.Struct("<I")
_MIN_SIZE = START + 3 + _CHECKSUM.size  # Three one-byte varints and two empty streams.
_VARINT_BYTES = 4
_VARINT_LIMIT = 1 << 7 * _VARINT_BYTES

_PICTURES = (
    (b"\x89PNG", "PNG picture"),
    (b"\xff\xd8\xff", "JPEG picture"),
    (b"RIFF", "WebP picture"),
    (b"II*\x00", "TIFF picture"),
    (b"MM\x00*", "TIFF picture"),
    (b"GIF8", "GIF picture"),
    (b"BM", "BMP picture"),
)
# The magic without bit 7, read as Latin-1 and written as UTF-8, and after a failed UTF-8 decoding.
_TEXT_DAMAGE = (b"\tGLM", b"\xc2\x89GLM", b"\xef\xbf\xbdGLM")
_COPY_AGAIN = "copy or download it again"
_BAD_WRITER = "not written by gllmm_tf; make the file again"  # The checksum was right.


@dataclasses.dataclass(frozen=True)
class Container:
    """The contents of one `.gllmm` file.

    Attributes:
      model_id: 8 bytes, the identity of the model that wrote the streams.
      width: Width of the picture in pixels.
      height: Height of the picture in pixels.
      quality_index: 0..255; `16 (quality - first_quality)` for a variable rate, 0 for a fixed one.
      z_stream: The hyperprior's range-coded symbols.
      y_stream: The latents' range-coded symbols.
      metadata: Payloads by tag (1..255). Readers keep and ignore tags they do not know.
    """

    model_id: bytes
    width: int
    height: int
    quality_index: int
    z_stream: bytes
    y_stream: bytes
    metadata: Mapping[int, bytes] = dataclasses.field(default_factory=dict)


def pack(container: Container) -> bytes:
    """Returns the file that holds `container`.

    Raises:
      ValueError: A field is outside the range the format can express.
    """
    c = container
    if len(c.model_id) != 8:
        raise ValueError(f"model_id has {len(c.model_id)} bytes; a model identity has 8.")
    if not 0 <= c.quality_index <= 255:
        raise ValueError(f"quality_index is {c.quality_index}; it must lie in 0..255.")
    if c.width < 1 or c.height < 1:
        raise ValueError(f"The picture is {c.width} x {c.height}; both sides must be at least 1.")
    if not all(1 <= tag <= 255 for tag in c.metadata):
        raise ValueError(f"Metadata tags are {sorted(c.metadata)}; they must lie in 1..255.")

    flags = FLAG_METADATA if c.metadata else 0
    parts = [_HEADER.pack(MAGIC, VERSION, flags, c.quality_index, bytes(c.model_id))]
    parts += [varint(c.width), varint(c.height), varint(len(c.z_stream))]
    if c.metadata:
        parts.append(varint(len(c.metadata)))
        for tag, payload in sorted(c.metadata.items()):
            parts += [bytes([tag]), varint(len(payload)), bytes(payload)]
    parts += [bytes(c.z_stream), bytes(c.y_stream)]
    body = b"".join(parts)
    return body + _CHECKSUM.pack(zlib.crc32(body))


def unpack(data: bytes, max_pixels: int = MAX_PIXELS) -> Container:
    """Returns the contents of the file `data`.

    Checks run in the order magic, format version, checksum, fields, so that the message names the
    outermost thing that is wrong. Nothing is allocated in proportion to a declared size.

    Args:
      data: The whole file.
      max_pixels: The largest width x height that is accepted, a side below 64 counted as 64.

    Raises:
      FormatError: `data` is not a `.gllmm` file that this version reads.
    """
    data = bytes(data)
    check_start(data)
    _check_checksum(data)

    flags, quality_index, model_id = read_start(data)
    fields = Fields(data, START, len(data) - _CHECKSUM.size)
    width, height = read_size(fields)
    excess = work.excess(width, height, max_pixels)
    if excess:
        raise FormatError(
            f"declares a picture of {excess}: raise max_pixels if the file can be trusted",
            "max_pixels",
        )
    z_length = fields.varint("z stream length")
    metadata = _read_metadata(fields) if flags & FLAG_METADATA else {}
    z_stream = fields.take(z_length, "z stream")
    y_stream = fields.rest()
    return Container(model_id, width, height, quality_index, z_stream, y_stream, metadata)


def check_start(data: bytes) -> None:
    """Raises FormatError unless `data` begins as a file of a version that this one reads."""
    _check_magic(data)
    _check_version(data)


def read_start(data: bytes) -> tuple[int, int, bytes]:
    """(flags, quality index, model identity) of the first `START` bytes of a file.

    Raises:
      FormatError: A flag is unknown.
    """
    _, _, flags, quality_index, model_id = _HEADER.unpack_from(data)
    if flags & ~FLAG_METADATA:
        raise FormatError(
            f"unknown flags 0x{flags & ~FLAG_METADATA:02x}: the file uses a feature this gllmm_tf "
            "does not know; update gllmm_tf"
        )
    return flags, quality_index, model_id


def read_size(fields: Fields) -> tuple[int, int]:
    """(width, height), the first two fields behind the start.

    Raises:
      FormatError: One of them is 0 or no number.
    """
    width = fields.varint("width")
    height = fields.varint("height")
    if width < 1 or height < 1:
        raise FormatError(
            f"declares a picture of {width} x {height} pixels; neither may be 0: {_BAD_WRITER}"
        )
    return width, height


def _check_magic(data: bytes) -> None:
    if not data:
        raise FormatError(f"the file is empty: {_COPY_AGAIN}")
    if data.startswith(MAGIC):
        return
    if MAGIC.startswith(data):
        raise FormatError(f"cut short after {_plural(len(data), 'byte')}: {_COPY_AGAIN}")
    for start, name in _PICTURES:
        if data.startswith(start):
            raise FormatError(f"not a .gllmm file but a {name}: did you mean compress?")
    if data.startswith(_TEXT_DAMAGE):
        raise FormatError("damaged by a transfer as text: copy it again in binary mode")
    raise FormatError(
        f"not a .gllmm file: it begins with {data[:4].hex(' ')} instead of {MAGIC.hex(' ')}"
    )


def _check_version(data: bytes) -> None:
    version = data[len(MAGIC)] if len(data) > len(MAGIC) else VERSION  # The length is checked next.
    if version > VERSION:
        raise FormatError(
            f"written by a newer gllmm_tf, format version {version}; this one reads {VERSION}: "
            "update gllmm_tf"
        )
    if version < VERSION:
        raise FormatError(f"format version {version} does not exist; damaged: {_COPY_AGAIN}")


def _check_checksum(data: bytes) -> None:
    if len(data) < _MIN_SIZE:
        raise FormatError(
            f"cut short after {_plural(len(data), 'byte')}; the smallest .gllmm file has "
            f"{_MIN_SIZE}: {_COPY_AGAIN}"
        )
    end = len(data) - _CHECKSUM.size
    (checksum,) = _CHECKSUM.unpack_from(data, end)
    if checksum != zlib.crc32(memoryview(data)[:end]):
        raise FormatError(f"cut short or damaged, its checksum does not match: {_COPY_AGAIN}")


def _read_metadata(fields: Fields) -> dict[int, bytes]:
    count = fields.varint("metadata count")
    if count < 1:
        raise FormatError(f"announces metadata but holds none: {_BAD_WRITER}")
    metadata: dict[int, bytes] = {}
    previous = 0
    for _ in range(count):
        tag = fields.take(1, "metadata tag")[0]
        if tag <= previous:
            raise FormatError(
                f"metadata tag {tag} follows {previous}; tags must be 1..255 and ascend: "
                f"{_BAD_WRITER}"
            )
        previous = tag
        length = fields.varint(f"length of metadata {tag}")
        metadata[tag] = fields.take(length, f"metadata {tag}")
    return metadata


class Fields:
    """Reads `data[start:end]` field by field and refuses to step past the end."""

    def __init__(self, data: bytes, start: int, end: int):
        self._data, self._at, self._end = data, start, end

    def take(self, length: int, name: str) -> bytes:
        """The next `length` bytes."""
        if length > self._end - self._at:
            raise FormatError(
                f"the {name} should have {_plural(length, 'byte')} but only "
                f"{self._end - self._at} are left: {_BAD_WRITER}"
            )
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self._end - self._at, "rest")

    def varint(self, name: str) -> int:
        """The next number."""
        value = 0
        for i in range(_VARINT_BYTES):
            byte = self.take(1, name)[0]
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                if byte == 0 and i > 0:
                    break  # A longer form than needed: every number has one encoding only.
                return value
        raise FormatError(
            f"the {name} is not a number of at most {_VARINT_BYTES} bytes in its shortest form: "
            f"{_BAD_WRITER}"
        )


def varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, the lowest first, bit 7 set on all bytes but the last."""
    if not 0 <= value < _VARINT_LIMIT:
        raise ValueError(f"{value} does not fit; a varint holds 0..{_VARINT_LIMIT - 1}.")
    groups = []
    while True:
        groups.append(value & 0x7F)
        value >>= 7
        if not value:
            break
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
