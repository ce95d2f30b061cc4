"""EXIF data and XMP packets: which way up, and what of them stays true of pixels that are upright.

EXIF data are a TIFF file without pixels. They are changed in place, so that what is not understood, such
as a maker's notes with places of their own, stays as it is.
"""

from __future__ import annotations

import re
import struct

from PIL import Image

from gllmm_tf.files.directories import EXIF, INTEROP, LONG, SHORT, Tree, values_of

ORIENTATION = 0x0112
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_WIDTH, _HEIGHT = (0x0100, 0xA002), (0x0101, 0xA003)
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


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """1..8: how the stored pixels lie; 1 if nothing says so.

    Raises:
        ValueError: The EXIF data are damaged.
    """
    if exif:
        tree = Tree(exif)
        for entry in tree.main.entries:
            if entry.tag == ORIENTATION and entry.kind in (SHORT, LONG):
                value = tree.value(entry)
                return value if 1 <= value <= 8 else 1
    match = _XMP_ORIENTATION.search(xmp or b"")
    return int(match[2]) if match else 1


def is_adobe_rgb(exif: bytes | None) -> bool:
    """Whether EXIF data say that the colours are Adobe RGB, as cameras do it without a profile.

    Their colour space is none of those with a number, and the rules of interoperability are R03.
    """
    try:
        tree = Tree(exif or b"")
        inner = values_of(tree, tree.main)[EXIF].content
        rules = inner[INTEROP].content if isinstance(inner, dict) else {}
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
    tree = Tree(exif)
    data = bytearray(exif)
    needed = [(0, 8)]
    for directory in tree.walk():
        needed.append((directory.end - 6 - 12 * len(directory.entries), directory.end))
        for entry in directory.entries:
            needed.append((entry.at, entry.end))
            if entry.kind in (SHORT, LONG) and entry.number == 1:
                new = {
                    ORIENTATION: 1,
                    **dict.fromkeys(_WIDTH, size[0]),
                    **dict.fromkeys(_HEIGHT, size[1]),
                }
                if entry.tag in new and new[entry.tag] < 1 << (16 if entry.kind == SHORT else 32):
                    code = tree.order + ("H" if entry.kind == SHORT else "I")
                    struct.pack_into(code, data, entry.at, new[entry.tag])
    if not tree.main.next:
        return bytes(data), False
    struct.pack_into(f"{tree.order}I", data, tree.main.end - 4, 0)
    _remove_thumbnail(tree, data, needed)
    return bytes(data), True


def _remove_thumbnail(tree: Tree, data: bytearray, needed: list[tuple[int, int]]) -> None:
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
