"""EXIF data and XMP packets: which way up, and what of them stays true of pixels that are upright.

EXIF data are a TIFF file without pixels: directories of entries (tag, type, count, value or its
place). They are changed in place, so that what is not understood, such as a maker's notes with places
of their own, stays as it is.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

_ORIENTATION, _EXIF, _GPS, _INTEROP = 0x0112, 0x8769, 0x8825, 0xA005
_THUMBNAIL, _THUMBNAIL_BYTES, _XMP = 0x0201, 0x0202, 0x02BC
_WIDTH, _HEIGHT = (0x0100, 0xA002), (0x0101, 0xA003)
_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
_BYTE, _SHORT, _LONG = 1, 3, 4
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")
_TRANSPOSE = Image.Transpose
_UPRIGHT = {
    2: _TRANSPOSE.FLIP_LEFT_RIGHT,
    3: _TRANSPOSE.ROTATE_180,
    4: _TRANSPOSE.FLIP_TOP_BOTTOM,
    5: _TRANSPOSE.TRANSPOSE,
    6: _TRANSPOSE.ROTATE_270,
    7: _TRANSPOSE.TRANSVERSE,
    8: _TRANSPOSE.ROTATE_90,
}
_DESCRIPTIVE = (
    *(
        0x010E,
        0x010F,
        0x0110,
        0x0131,
        0x0132,
        0x013B,
        0x013C,
        0x8298,
    ),  # Title, camera, date, author..
    *(0x011A, 0x011B, 0x0128),  # resolution
    *range(0x9C9B, 0x9CA0),  # the same as Windows writes them
)
STRUCTURAL_TAGS = frozenset(
    {*range(0x00FE, 0x010E), 0x0111, *range(0x0115, 0x011A), 0x011C, *range(0x0120, 0x0128)}
    | {0x012D, *range(0x013D, 0x0160), *range(0x0200, 0x0215), 0x8773, 0x02BC}
)
"""Tags of a TIFF file that say how its pixels are stored, and those of its profile and XMP packet."""


class _Entry(NamedTuple):
    tag: int
    kind: int
    number: int  # of values
    at: int  # Of the value itself.
    end: int


class _Directory(NamedTuple):
    entries: list[_Entry]
    next: int
    end: int


class _Tree:
    """The directories of EXIF data; ValueError where they are damaged."""

    def __init__(self, data: bytes | mmap.mmap):
        self._data = data
        self.order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4], "")
        if not self.order:
            raise ValueError("no TIFF header")
        self.first = self._number(4, _LONG)
        self.main = self.directory(self.first)

    def directory(self, at: int) -> _Directory:
        entries = []
        count = self._number(at, _SHORT)
        end = at + 2 + 12 * count
        for place in range(at + 2, end, 12):
            tag, kind = self._number(place, _SHORT), self._number(place + 2, _SHORT)
            number = self._number(place + 4, _LONG)
            size = number * (_TYPE_BYTES[kind] if kind < len(_TYPE_BYTES) else 1)
            start = place + 8 if size <= 4 else self._number(place + 8, _LONG)
            if start + size > len(self._data):
                continue  # A value that is not there; the others may be of use.
            entries.append(_Entry(tag, kind, number, start, start + size))
        following = self._number(end, _LONG) if end + 4 <= len(self._data) else 0
        return _Directory(entries, following, end + 4)

    def content(self, entry: _Entry) -> bytes:
        return bytes(self._data[entry.at : entry.end])

    def value(self, entry: _Entry) -> int:
        return self._number(entry.at, _SHORT if entry.kind == _SHORT else _LONG)

    def walk(self) -> Iterator[_Directory]:
        """All directories but the thumbnail's."""
        waiting, seen = [self.first], set()
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            try:
                directory = self.directory(at)
            except ValueError:
                continue
            yield directory
            waiting += [
                self.value(e) for e in directory.entries if e.tag in (_EXIF, _GPS, _INTEROP)
            ]

    def _number(self, at: int, kind: int) -> int:
        try:
            return struct.unpack_from(
                self.order + ("H" if kind == _SHORT else "I"), self._data, at
            )[0]
        except struct.error:
            raise ValueError("cut short") from None


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """1..8: how the stored pixels lie; 1 if nothing says so.

    Raises:
        ValueError: The EXIF data are damaged.
    """
    if exif:
        tree = _Tree(exif)
        for entry in tree.main.entries:
            if entry.tag == _ORIENTATION and entry.kind in (_SHORT, _LONG):
                value = tree.value(entry)
                return value if 1 <= value <= 8 else 1
    match = _XMP_ORIENTATION.search(xmp or b"")
    return int(match[2]) if match else 1


def is_adobe_rgb(exif: bytes | None) -> bool:
    """Whether EXIF data say that the colours are Adobe RGB, as cameras do it without a profile.

    Their colour space is none of those with a number, and the rules of interoperability are R03.
    """
    try:
        tree = _Tree(exif or b"")
        inner = _values(tree, tree.main)[_EXIF].content
        rules = inner[_INTEROP].content if isinstance(inner, dict) else {}
        return isinstance(rules, dict) and rules[1].content.startswith(b"R03")
    except (ValueError, KeyError):
        return False


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turns and mirrors an image by the orientation of its EXIF data."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def of_upright_pixels(exif: bytes, size: tuple[int, int]) -> tuple[bytes, bool]:
    """EXIF data for a picture that lies upright: orientation 1, its size, no thumbnail.

    Args:
        exif: From the TIFF header on.
        size: (width, height).

    Returns:
        The data, and whether they had a thumbnail.

    Raises:
        ValueError: They are damaged.
    """
    tree = _Tree(exif)
    data = bytearray(exif)
    needed = [(0, 8)]
    for directory in tree.walk():
        needed.append((directory.end - 6 - 12 * len(directory.entries), directory.end))
        for entry in directory.entries:
            needed.append((entry.at, entry.end))
            if entry.kind in (_SHORT, _LONG) and entry.number == 1:
                new = {
                    _ORIENTATION: 1,
                    **dict.fromkeys(_WIDTH, size[0]),
                    **dict.fromkeys(_HEIGHT, size[1]),
                }
                if entry.tag in new and new[entry.tag] < 1 << (16 if entry.kind == _SHORT else 32):
                    code = tree.order + ("H" if entry.kind == _SHORT else "I")
                    struct.pack_into(code, data, entry.at, new[entry.tag])
    if not tree.main.next:
        return bytes(data), False
    struct.pack_into(f"{tree.order}I", data, tree.main.end - 4, 0)
    _remove_thumbnail(tree, data, needed)
    return bytes(data), True


def _remove_thumbnail(tree: _Tree, data: bytearray, needed: list[tuple[int, int]]) -> None:
    """Clears the directory of the thumbnail and all that it alone needs, and cuts off an empty end."""
    cleared = []
    try:
        directory = tree.directory(tree.main.next)
        cleared.append((tree.main.next, directory.end))
        cleared += [(entry.at, entry.end) for entry in directory.entries]
        values = {e.tag: tree.value(e) for e in directory.entries if e.end - e.at >= 2}
        start = values.get(_THUMBNAIL, 0)
        cleared.append((start, start + values.get(_THUMBNAIL_BYTES, 0)))
    except ValueError:
        pass
    kept = bytes(data)
    for start, end in cleared:
        end = min(end, len(data))
        data[start:end] = bytes(max(0, end - start))
    for start, end in needed:  # Damaged data may overlap.
        data[start:end] = kept[start:end]
    last = max(end for _, end in needed)
    if not any(data[last:]):
        del data[last:]


def without_orientation(xmp: bytes) -> bytes:
    """An XMP packet that says that the pixels lie upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def of_tiff(data: bytes | mmap.mmap, page: int) -> tuple[bytes | None, list[int]]:
    """EXIF data of what a TIFF file says of its picture, and the tags that do not fit there.

    Args:
        data: The file.
        page: Of the picture, from 0.

    Raises:
        ValueError: It is damaged, or a BigTIFF file.
    """
    tree = _Tree(data)
    directory = tree.main
    for _ in range(page):
        directory = tree.directory(directory.next)
    found = _values(tree, directory)
    known = {*_DESCRIPTIVE, _EXIF, _GPS, _ORIENTATION, *STRUCTURAL_TAGS}
    left_out = [tag for tag in found if tag not in known]
    kept = {tag: found[tag] for tag in (*_DESCRIPTIVE, _EXIF, _GPS) if tag in found}
    if not kept:
        return None, left_out
    header = data[:4] + struct.pack(tree.order + "I", 8)
    return header + _pack(kept, tree.order, 8), left_out


def into_tiff(data: bytes, exif: bytes | None, xmp: bytes | None) -> bytes:
    """Adds EXIF data and an XMP packet to a TIFF file of one page.

    Its directory is written anew behind everything else, without tags of the EXIF data that would
    contradict the pixels.

    Raises:
        ValueError: The EXIF data are damaged.
    """
    target = _Tree(data)
    entries = _values(target, target.main)
    if exif:
        source = _Tree(exif)
        for tag, value in _values(source, source.main).items():
            if tag not in STRUCTURAL_TAGS and tag != _ORIENTATION:
                entries[tag] = _swapped(value) if source.order != target.order else value
    if xmp:
        entries[_XMP] = _Value(_BYTE, len(xmp), xmp)
    data += bytes(len(data) % 2)
    header = data[:4] + struct.pack(target.order + "I", len(data))
    return header + data[8:] + _pack(entries, target.order, len(data))


class _Value(NamedTuple):
    kind: int
    number: int
    content: bytes | dict[int, _Value]  # a directory of its own


def _values(tree: _Tree, directory: _Directory, depth: int = 0) -> dict[int, _Value]:
    """The entries of a directory with their values; damaged directories inside are left out."""
    found: dict[int, _Value] = {}
    for entry in directory.entries:
        content: bytes | dict[int, _Value] = tree.content(entry)
        if entry.tag in (_EXIF, _GPS, _INTEROP):
            try:
                inner = tree.directory(tree.value(entry)) if depth < 2 else _Directory([], 0, 0)
            except ValueError:
                continue
            content = _values(tree, inner, depth + 1)
        if entry.kind < len(_TYPE_BYTES) and content:
            found[entry.tag] = _Value(entry.kind, entry.number, content)
    return found


def _swapped(value: _Value) -> _Value:
    """A value in the other order of bytes."""
    content = value.content
    if isinstance(content, dict):
        return value._replace(content={tag: _swapped(inner) for tag, inner in content.items()})
    size = {5: 4, 10: 4}.get(value.kind, _TYPE_BYTES[value.kind])  # Rationals are pairs.
    pieces = (content[i : i + size][::-1] for i in range(0, len(content), size))
    return value._replace(content=b"".join(pieces))


def _pack(entries: dict[int, _Value], order: str, at: int) -> bytes:
    """A directory at this place of a file, with its values and inner directories behind it."""
    table, behind = struct.pack(order + "H", len(entries)), b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, (kind, number, content) in sorted(entries.items()):
        place = struct.pack(order + "I", start + len(behind))
        if isinstance(content, dict):
            behind += _pack(content, order, start + len(behind))
        elif len(content) > 4:
            behind += content
        else:
            place = content.ljust(4, b"\0")
        behind += bytes(len(behind) % 2)
        table += struct.pack(order + "HHI", tag, kind, number) + place
    return table + bytes(4) + behind
