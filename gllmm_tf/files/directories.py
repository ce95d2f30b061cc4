"""Directories of TIFF files and EXIF data: entries (tag, type, count, value or its place) <-> bytes."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Container, Iterator
from typing import NamedTuple

EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005  # Tags whose values are directories.
BYTE, SHORT, LONG = 1, 3, 4
# Far more than there are, so that hostile files cost little:
_MOST_ENTRIES, _MOST_DIRECTORIES = 4096, 16
_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)


class Entry(NamedTuple):
    """Where the value of a tag lies."""

    tag: int
    kind: int
    number: int  # of values
    at: int  # Of the value itself.
    end: int


class Directory(NamedTuple):
    """Entries, the place of the following directory (0: none), and the end of this one."""

    entries: list[Entry]
    next: int
    end: int


class Tree:
    """The directories of a file, as far as they are asked for; ValueError where they are damaged."""

    def __init__(self, data: bytes | mmap.mmap):
        self._data = data
        self.order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4], "")
        if not self.order:
            raise ValueError("no TIFF header")
        self.first = self._number(4, LONG)
        self.main = self.directory(self.first)

    def directory(self, at: int) -> Directory:
        entries, together = [], 0
        count = self._number(at, SHORT)
        if count > _MOST_ENTRIES:
            raise ValueError("too many entries")
        end = at + 2 + 12 * count
        for place in range(at + 2, end, 12):
            tag, kind = self._number(place, SHORT), self._number(place + 2, SHORT)
            number = self._number(place + 4, LONG)
            size = number * (_TYPE_BYTES[kind] if kind < len(_TYPE_BYTES) else 1)
            start = place + 8 if size <= 4 else self._number(place + 8, LONG)
            if start + size > len(self._data):
                continue  # A value that is not there; the others may be of use.
            entries.append(Entry(tag, kind, number, start, start + size))
            together += size
        if together > len(self._data):
            raise ValueError("values that overlap")
        following = self._number(end, LONG) if end + 4 <= len(self._data) else 0
        return Directory(entries, following, end + 4)

    def content(self, entry: Entry) -> bytes:
        return bytes(self._data[entry.at : entry.end])

    def value(self, entry: Entry) -> int:
        return self._number(entry.at, SHORT if entry.kind == SHORT else LONG)

    def walk(self) -> Iterator[Directory]:
        """All directories but the thumbnail's."""
        waiting, seen = [self.first], set[int]()
        while waiting and len(seen) < _MOST_DIRECTORIES:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            try:
                directory = self.directory(at)
            except ValueError:
                continue
            yield directory
            waiting += [self.value(e) for e in directory.entries if e.tag in (EXIF, GPS, INTEROP)]

    def _number(self, at: int, kind: int) -> int:
        try:
            return struct.unpack_from(self.order + ("H" if kind == SHORT else "I"), self._data, at)[
                0
            ]
        except struct.error:
            raise ValueError("cut short") from None


class Value(NamedTuple):
    """What a tag says: type, how many values, and their bytes in the order of the file."""

    kind: int
    number: int
    content: bytes | dict[int, Value]  # a directory of its own


def values_of(
    tree: Tree, directory: Directory, wanted: Container[int] | None = None, depth: int = 0
) -> dict[int, Value]:
    """The first entry of each tag with its value; damaged directories inside are left out.

    Args:
        tree: Of the file.
        directory: Of the entries.
        wanted: Tags to look at; None for all.
        depth: Of the directory, below which directories inside are left out.
    """
    found: dict[int, Value] = {}
    for entry in directory.entries:
        if entry.tag in found or (wanted is not None and entry.tag not in wanted):
            continue
        content: bytes | dict[int, Value] = tree.content(entry)
        if entry.tag in (EXIF, GPS, INTEROP):
            try:
                inner = tree.directory(tree.value(entry)) if depth < 2 else Directory([], 0, 0)
            except ValueError:
                continue
            content = values_of(tree, inner, None, depth + 1)
        if entry.kind < len(_TYPE_BYTES) and content:
            found[entry.tag] = Value(entry.kind, entry.number, content)
    return found


def swapped(value: Value) -> Value:
    """A value in the other order of bytes."""
    content = value.content
    if isinstance(content, dict):
        return value._replace(content={tag: swapped(inner) for tag, inner in content.items()})
    size = {5: 4, 10: 4}.get(value.kind, _TYPE_BYTES[value.kind])  # Rationals are pairs.
    pieces = (content[i : i + size][::-1] for i in range(0, len(content), size))
    return value._replace(content=b"".join(pieces))


def pack_directory(entries: dict[int, Value], order: str, at: int) -> bytes:
    """A directory at this place of a file, with its values and inner directories behind it."""
    table, behind = struct.pack(order + "H", len(entries)), b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, (kind, number, content) in sorted(entries.items()):
        place = struct.pack(order + "I", start + len(behind))
        if isinstance(content, dict):
            behind += pack_directory(content, order, start + len(behind))
        elif len(content) > 4:
            behind += content
        else:
            place = content.ljust(4, b"\0")
        behind += bytes(len(behind) % 2)
        table += struct.pack(order + "HHI", tag, kind, number) + place
    return table + bytes(4) + behind
