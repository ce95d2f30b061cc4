"""What stands at the beginning of a `.gllmm` file, read without the rest of it.

    file --seek, read--> size, quality, identity, where each of the metadata lies

The checksum stands at the end of the file, so nothing here is known to be undamaged.
"""

from __future__ import annotations

import os
from typing import BinaryIO, NamedTuple

from gllmm_tf.errors import FormatError
from gllmm_tf.files import container


class Header(NamedTuple):
    """The beginning of a file.

    Attributes:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        quality_index: As in `container.Container`.
        model_id: 8 bytes, the identity of the model that wrote the streams.
        metadata: {tag: (offset in the file, bytes)} of the payloads.
    """

    width: int
    height: int
    quality_index: int
    model_id: bytes
    metadata: dict[int, tuple[int, int]]


class _FileFields(container.Fields):
    """Fields of a file that can seek; what is skipped is not read."""

    def __init__(self, file: BinaryIO, end: int):
        super().__init__(b"", 0, 0)
        self._file, self._size = file, end

    def take(self, length: int, name: str) -> bytes:
        if length > self._size - self._file.tell():
            raise FormatError(f"cut short in the {name}: copy or download it again")
        return self._file.read(length)

    def skip(self, length: int, name: str) -> int:
        """Steps over `length` bytes; returns the offset of the first."""
        offset = self._file.tell()
        if length > self._size - offset:
            raise FormatError(f"cut short in the {name}: copy or download it again")
        self._file.seek(length, os.SEEK_CUR)
        return offset


def read_header(file: BinaryIO) -> Header:
    """Reads the header of a file, from where it stands, and the lengths of its metadata.

    Args:
        file: Binary, able to seek; afterwards it stands behind the metadata.

    Raises:
        FormatError: It does not begin as a `.gllmm` file that this version reads.
    """
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(start)
    data = file.read(container.START)
    container.check_start(data)
    if len(data) < container.START:
        raise FormatError(f"cut short after {len(data)} bytes: copy or download it again")
    flags, quality_index, model_id = container.read_start(data)
    fields = _FileFields(file, end)
    width, height = container.read_size(fields)
    fields.varint("z stream length")
    metadata: dict[int, tuple[int, int]] = {}
    if flags & container.FLAG_METADATA:
        for _ in range(fields.varint("metadata count")):
            tag = fields.take(1, "metadata tag")[0]
            length = fields.varint(f"length of metadata {tag}")
            metadata[tag] = fields.skip(length, f"metadata {tag}"), length
    return Header(width, height, quality_index, model_id, metadata)


def read_payload(file: BinaryIO, header: Header, tag: int) -> bytes | None:
    """The payload of a tag; None if the file has none."""
    if tag not in header.metadata:
        return None
    offset, length = header.metadata[tag]
    file.seek(offset)
    return file.read(length)
