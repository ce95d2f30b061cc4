"""The bytes of a file and the range decoder in plain Python.

docs/format.md and docs/format_symbols.md as code, nothing but the pages. Standard library only. `seen`
collects names of the branches that were taken.
"""

from __future__ import annotations

import copy
import zlib

MOST_PIXELS = 1 << 28


class Refused(ValueError):
    """The file is not one that a reader accepts."""


class Fields:
    """Bytes, taken from the front."""

    def __init__(self, data: bytes, seen: set[str]):
        self._data, self._at, self.seen = data, 0, seen

    def take(self, length):
        taken = self._data[self._at : self._at + length]
        if len(taken) < length:
            raise Refused("length")
        self._at += length
        return taken

    def varint(self):
        value = 0
        for i in range(4):
            (byte,) = self.take(1)
            value += (byte & 127) << 7 * i
            if byte < 128:
                if byte == 0 and i:
                    raise Refused("varint")
                self.seen.add(f"varint: of {i + 1}")
                return value
        raise Refused("varint")

    def rest(self):
        return self._data[self._at :]


class File:
    """The fields of a file.

    Attributes:
        index, identity, width, height, metadata, z_stream, y_stream: The fields.
        seen: The branches that reading took.
    """

    def __init__(self, data: bytes):
        self.seen: set[str] = set()
        if data[:4] != b"\x89GLM":
            raise Refused("magic")
        if len(data) > 4 and data[4] != 1:
            raise Refused("format version")
        if len(data) < 22 or zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
            raise Refused("checksum")
        flags, self.index, self.identity = data[5], data[6], data[7:15]
        if flags & ~1:
            raise Refused("flags")
        fields = Fields(data[15:-4], self.seen)
        self.width, self.height = fields.varint(), fields.varint()
        counted = max(self.width, 64) * max(self.height, 64)
        if not self.width or not self.height or counted > MOST_PIXELS:
            raise Refused("size")
        z_length = fields.varint()
        self.metadata = self._metadata(fields) if flags & 1 else {}
        self.z_stream = fields.take(z_length)
        self.y_stream = fields.rest()
        self._note_size()

    def below(self, index: int) -> File:
        """What the z stream of an enhancement layer's file holds: a file of the model below."""
        inner, fields = copy.copy(self), Fields(self.z_stream, self.seen)
        inner.z_stream = fields.take(fields.varint())
        inner.y_stream, inner.index = fields.rest(), index
        return inner

    def _metadata(self, fields):
        metadata: dict[int, bytes] = {}
        count = fields.varint()
        if not count:
            raise Refused("metadata")
        for _ in range(count):
            (tag,) = fields.take(1)
            if tag <= max(metadata, default=0):
                raise Refused("tags")
            metadata[tag] = fields.take(fields.varint())
            self.seen.add(f"metadata: tag {tag}")
        return metadata

    def _note_size(self):
        if self.width == self.height == 1:
            self.seen.add("size: 1 x 1")
        if self.width % 2 and self.height % 2 and self.width * self.height > 1:
            self.seen.add("size: odd x odd")
        if self.width % 64 == 0 and self.height % 64 == 0:
            self.seen.add("size: whole blocks of 64")
        if max(self.width, self.height) > 256:
            self.seen.add("size: several tiles")
        if not self.metadata:
            self.seen.add("metadata: none")


class RangeDecoder:
    """Reads events of one stream."""

    def __init__(self, data: bytes, seen: set[str]):
        self._data, self._seen = data, seen
        self._size, self._offset, self._next = 1 << 32, self._word(0) << 16 | self._word(1), 2

    def _word(self, i):
        pair = self._data[2 * i : 2 * i + 2]
        if len(pair) < 2:
            self._seen.add("stream: zeros behind the end")
        return int.from_bytes(pair.ljust(2, b"\0"), "big")

    @property
    def state(self) -> tuple[int, int]:
        """(size, offset)."""
        return self._size, self._offset

    def event(self, row: list[int], precision: int) -> int:
        """The outcome i with the interval [row[i], row[i + 1]) of 2^precision."""
        i = 0
        while self._offset >= self._size * row[i + 1] >> precision:
            if row[i] == row[i + 1]:
                self._seen.add("z: symbol without probability")
            i += 1
        low = self._size * row[i] >> precision
        self._size = (self._size * row[i + 1] >> precision) - low
        self._offset -= low
        if self._size <= 1 << 16:
            if self._size == 1 << 16:
                self._seen.add("stream: size of exactly 2^16")
            self._size <<= 16
            self._offset = self._offset << 16 | self._word(self._next)
            self._next += 1
        return i

    def decision(self, frequency: int) -> int:
        """0 with the probability frequency / 2^16, or 1."""
        return self.event([0, frequency, 1 << 16], 16)

    def finish(self) -> None:
        """Raises Refused unless the stream ends here."""
        words = -(-len(self._data) // 2)
        v = self._word(self._next - 2) << 16 | self._word(self._next - 1)
        base = (v - self._offset) % (1 << 32)
        last = base + self._size - 1
        if base == 0 or last >= 1 << 32:
            wanted, kind = 0, "carry" if base else "nothing"
        else:
            s = 24 if base - 1 >> 24 < last >> 24 else 16
            wanted, kind = ((base - 1 >> s) + 1) << s, "one byte" if s == 24 else "two bytes"
        if self._next < words or v != wanted:
            raise Refused("end of a stream")
        self._seen.add(f"stream: ends with {kind}")
        self._seen.add(f"stream: {'odd' if len(self._data) % 2 else 'even'} length")
        if not self._data:
            self._seen.add("stream: no bytes")
