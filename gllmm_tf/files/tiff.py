"""TIFF files: which page is the picture, what its samples are, EXIF data and XMP in and out."""

from __future__ import annotations

import io
import mmap
import struct
from typing import BinaryIO

from PIL import Image

from gllmm_tf.errors import ImageError
from gllmm_tf.files.depth import Samples
from gllmm_tf.files.directories import (
    BYTE,
    EXIF,
    GPS,
    SHORT,
    Entry,
    Tree,
    Value,
    pack_directory,
    swapped,
    values_of,
)
from gllmm_tf.files.exif import ORIENTATION

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT, _XMP = 258, 262, 339, 700
_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 255, 330, 50706
_MOST_PAGES = 100
_REDUCED, _MASK = 1, 4  # Bits of _SUBFILE_TYPE.
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_UNSIGNED, _SIGNED = 1, 2
_TITLE, _MAKE, _MODEL, _SOFTWARE, _DATE, _ARTIST, _HOST = 270, 271, 272, 305, 306, 315, 316
_COPYRIGHT, _RESOLUTION, _WINDOWS = 33432, (282, 283, 296), tuple(range(0x9C9B, 0x9CA0))
_TEXTS = (_TITLE, _MAKE, _MODEL, _SOFTWARE, _DATE, _ARTIST, _HOST, _COPYRIGHT)
_DESCRIPTIVE = (*_TEXTS, *_RESOLUTION, *_WINDOWS)
_STRUCTURAL = frozenset(
    {*range(0x00FE, 0x010E), 0x0111, *range(0x0115, 0x011A), 0x011C, *range(0x0120, 0x0128)}
    | {0x012D, *range(0x013D, 0x0160), *range(0x0200, 0x0215), 0x8773, 0x02BC}
)
"""What says how pixels are stored, and profile and XMP packet."""


def exif_of(data: bytes | mmap.mmap, page: int) -> tuple[bytes | None, list[int]]:
    """EXIF data of what a TIFF file says of its picture, and the tags that do not fit there.

    Args:
        data: The file.
        page: Of the picture, from 0.

    Raises:
        ValueError: It is damaged, or a BigTIFF file.
    """
    tree = Tree(data)
    directory = tree.main
    for _ in range(page):
        directory = tree.directory(directory.next)
    kept = values_of(tree, directory, (*_DESCRIPTIVE, EXIF, GPS))
    known = {*_DESCRIPTIVE, EXIF, GPS, ORIENTATION, *_STRUCTURAL}
    left_out = list(dict.fromkeys(e.tag for e in directory.entries if e.tag not in known))
    if not kept:
        return None, left_out
    header = data[:4] + struct.pack(tree.order + "I", 8)
    return header + pack_directory(kept, tree.order, 8), left_out


def with_metadata(data: bytes, exif: bytes | None, xmp: bytes | None) -> bytes:
    """Adds EXIF data and an XMP packet to a TIFF file of one page.

    Its directory is written anew behind everything else, without tags of the EXIF data that would
    contradict the pixels.

    Raises:
        ValueError: The EXIF data are damaged.
    """
    target = Tree(data)
    entries = values_of(target, target.main)
    if exif:
        source = Tree(exif)
        for tag, value in values_of(source, source.main).items():
            if tag not in _STRUCTURAL and tag != ORIENTATION:
                entries[tag] = swapped(value) if source.order != target.order else value
    if xmp:
        entries[_XMP] = Value(BYTE, len(xmp), xmp)
    data += bytes(len(data) % 2)
    header = data[:4] + struct.pack(target.order + "I", len(data))
    return header + data[8:] + pack_directory(entries, target.order, len(data))


def choose_page(image: Image.Image, notes: list[str]) -> None:
    """Goes to the one page of a TIFF file that is no thumbnail and no mask."""
    main, raw, frames = [], False, 0
    while frames <= _MOST_PAGES:
        try:
            image.seek(frames)
        except EOFError:
            break
        frames += 1
        tags = image.tag_v2  # type: ignore[attr-defined]
        kind = tags.get(_SUBFILE_TYPE, 0)
        raw = raw or _DNG_VERSION in tags or bool(kind & _REDUCED and _SUB_DIRECTORIES in tags)
        if not kind & (_REDUCED | _MASK) and tags.get(_OLD_SUBFILE_TYPE) != 2:
            main.append(frames - 1)
    if raw:
        raise ImageError("a camera's raw file; develop it to a picture first")
    if frames > _MOST_PAGES:
        raise ImageError(f"holds more than {_MOST_PAGES} pages; extract one of them first")
    if len(main) > 1 or (frames > 1 and not main):
        raise ImageError(f"holds {frames} frames or pages; extract one of them first")
    image.seek(main[0] if main else 0)
    if frames > 1:
        notes.append(f"took the picture of full size among the {frames} in this TIFF file")


def samples_of(image: Image.Image) -> Samples:
    """How the samples of the page are stored at which Pillow's image of a TIFF file is."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and image.mode[0] in "IF"
    return Samples(bits, _SIGNED in tags.get(_SAMPLE_FORMAT, ()), inverted)


def describes(image: Image.Image) -> bool:
    """Whether Pillow's image of a TIFF file has what could be EXIF data."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    return any(tag in tags for tag in (*_DESCRIPTIVE, EXIF, GPS))


def as_pillow_knows(file: BinaryIO) -> tuple[BinaryIO, Samples | None]:
    """A file that Pillow reads, and how it stores its samples; None where Pillow knows that itself.

    Pillow takes signed grey for unsigned, and knows neither signed colours nor, in all orders of bytes,
    16-bit grey in which 0 is white. It is given a file that says of the same bytes what it knows.
    """
    file.seek(0)
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            tree = Tree(content)
            changes, samples = _changes(tree)
            if samples is None:
                return file, None
            data = bytearray(content)
    except ValueError:
        return file, None
    finally:
        file.seek(0)
    for entry, value in changes:
        data[entry.at : entry.end] = struct.pack(tree.order + "H", value) * entry.number
    return io.BytesIO(bytes(data)), samples


def _changes(tree: Tree) -> tuple[list[tuple[Entry, int]], Samples | None]:
    """New values for the entries that Pillow does not understand, and what they say; None: it does."""
    entries = {entry.tag: entry for entry in tree.main.entries if entry.kind == SHORT}
    bits = tree.value(entries[_BITS_PER_SAMPLE]) if _BITS_PER_SAMPLE in entries else 1
    values = {
        tag: tree.value(entries[tag]) for tag in (_PHOTOMETRIC, _SAMPLE_FORMAT) if tag in entries
    }
    signed = values.get(_SAMPLE_FORMAT) == _SIGNED
    inverted = values.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if bits not in (8, 16) or not (signed or (inverted and bits == 16)):
        return [], None
    changes = [(entries[_SAMPLE_FORMAT], _UNSIGNED)] if signed else []
    changes += [(entries[_PHOTOMETRIC], _BLACK_IS_ZERO)] if inverted else []
    return changes, Samples(bits, signed, inverted)
