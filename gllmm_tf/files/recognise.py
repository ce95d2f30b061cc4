"""What a file is, by its first bytes: which of Pillow's readers it needs, or what to call it."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from PIL import Image

from gllmm_tf.errors import ImageError
from gllmm_tf.files.container import MAGIC
from gllmm_tf.files.names import FORMAT_NAMES

START_BYTES = 64  # How much of a file `kind_of` wants to see.


class Kind(NamedTuple):
    """What a file is.

    Attributes:
        name: For a message: "a GIF picture".
        reader: Pillow's name of the format, "PFM" for the one that is read here, "" for none.
    """

    name: str
    reader: str = ""


_STARTS = (
    (b"\x89PNG", Kind("a PNG picture", "PNG")),
    (b"\xff\xd8\xff", Kind("a JPEG picture", "JPEG")),
    (b"BM", Kind("a BMP picture", "BMP")),
    (b"GIF8", Kind("a GIF picture", "GIF")),
    (b"\xff\x0a", Kind("a JPEG XL picture", "JXL")),
    (b"\0\0\0\x0cJXL ", Kind("a JPEG XL picture", "JXL")),
    (b"\0\0\0\x0cjP  ", Kind("a JPEG 2000 picture")),
    (b"\xff\x4f\xff\x51", Kind("a JPEG 2000 picture")),
    (b"8BPS", Kind("a Photoshop file")),
    (b"\0\0\1\0", Kind("an icon (ICO)")),
    (b"\x76\x2f\x31\x01", Kind("an OpenEXR picture")),
    (b"#?RADIANCE", Kind("a Radiance picture")),
    (b"qoif", Kind("a QOI picture")),
    (b"DDS ", Kind("a DDS picture")),
    (b"P7", Kind("a PAM picture")),
    (b"BPG\xfb", Kind("a BPG picture")),
    (b"SIMPLE  =", Kind("a FITS file")),
    (b"IIRO", Kind("a camera's raw file (ORF)")),
    (b"IIU\0", Kind("a camera's raw file (RW2)")),
    (b"%PDF", Kind("a PDF document")),
    (b"%!PS", Kind("a PostScript document")),
    (b"PK\3\4", Kind("a ZIP archive")),
    (b"\x1f\x8b", Kind("a gzip archive")),
    (b"version https://git-lfs", Kind("a pointer of Git LFS, not the file itself")),
)
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PLUGINS = {"HEIF": "pillow_heif", "JXL": "pillow_jxl", "AVIF": ""}
"""Packages that read what Pillow may not; "" is a Pillow that has it built in."""


def kind_of(start: bytes) -> Kind:
    """Returns what a file with these first `START_BYTES` bytes is."""
    if not start:
        return Kind("an empty file")
    for magic, kind in _STARTS:
        if start.startswith(magic):
            return kind
    if start.startswith(_TIFF_STARTS):
        raw = start[8:10] == b"CR"
        return Kind("a camera's raw file (CR2)") if raw else Kind("a TIFF picture", "TIFF")
    if start.startswith(b"RIFF"):
        webp = start[8:12] == b"WEBP"
        return Kind("a WebP picture", "WEBP") if webp else Kind("a RIFF file (sound or video)")
    if start[4:8] == b"ftyp":
        return _kind_of_brands(start)
    if len(start) > 2 and start[:1] == b"P" and start[2:3] in b" \t\r\n#":
        if start[1:2] in b"123456":
            return Kind("a PPM picture", "PPM")
        if start[1:2] in b"fF":
            return Kind("a PFM picture", "PFM")
    return _kind_of_text(start)


def _kind_of_brands(start: bytes) -> Kind:
    size = min(int.from_bytes(start[:4], "big"), len(start))
    brands = [start[8:12], *(start[at : at + 4] for at in range(16, size - 3, 4))]
    if b"avif" in brands or b"avis" in brands:
        return Kind("an AVIF picture", "AVIF")
    if any(brand in _HEIC_BRANDS for brand in brands):
        return Kind("a HEIC picture", "HEIF")
    if brands[0] == b"crx ":
        return Kind("a camera's raw file (CR3)")
    return Kind("an MP4 or QuickTime file")


def _kind_of_text(start: bytes) -> Kind:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        return Kind("an XML or SVG file")
    if text.startswith((b"<!", b"<html", b"<head", b"<body", b"<title", b"<script")):
        return Kind("an HTML page")
    if not any(start):
        return Kind("a file that begins with zeros only")
    letters = start.decode("utf-8", "ignore")  # Its end may fall into a character.
    whole = len(letters.encode()) > len(start) - 4
    if whole and all(letter.isprintable() or letter in "\t\n\r\ufeff" for letter in letters):
        return Kind("a text file")
    return Kind("a file of an unknown kind")


def readable(start: bytes) -> Kind:
    """Returns the kind of a picture after making sure that there is a reader for it.

    Raises:
        ImageError: It is no picture, or its reader is not installed.
    """
    if start.startswith(MAGIC):
        raise ImageError("a .gllmm file already: did you mean decompress?")
    kind = kind_of(start)
    if not kind.reader:
        raise ImageError(f"not a readable picture ({kind.name}); readable are {FORMAT_NAMES}")
    if kind.reader in _PLUGINS and not _has_reader(kind.reader):
        raise ImageError(f"{kind.name}: to read it, pip install 'gllmm_tf[formats]'")
    return kind


def _has_reader(name: str) -> bool:
    Image.init()
    if name in Image.OPEN:
        return name != "AVIF" or _decodes_avif()
    try:
        plugin = importlib.import_module(_PLUGINS[name]) if _PLUGINS[name] else None
    except Exception:  # noqa: BLE001 (a plug-in for another Pillow fails in any way it likes)
        return False
    if name == "HEIF" and plugin:
        plugin.register_heif_opener()
    return name in Image.OPEN


def _decodes_avif() -> bool:
    """Pillow registers its reader even where it was built without the library."""
    plugin = importlib.import_module(Image.OPEN["AVIF"][0].__module__)
    return getattr(plugin, "SUPPORTED", True)
