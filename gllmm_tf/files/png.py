"""PNG files chunk by chunk: what Pillow need not see, and what it does not tell.

A reader has to skip what does not concern the picture: a comment of any size, a chunk with a wrong
checksum. So Pillow is given the chunks that make the pixels, and the others are read here.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator

from gllmm_tf.errors import ImageError
from gllmm_tf.files import mark

MAX_BYTES = 1 << 24  # Of one text or profile.
_MOST_DECOMPRESSED, _MOST_NOTES = 8, 20  # So that hostile files cost little.
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_COLOUR_CHUNKS = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP")
_HINTS = (
    b"bKGD",
    b"hIST",
    b"sBIT",
    b"sPLT",
    b"acTL",
    b"fcTL",
    b"fdAT",
)  # Nothing is lost with them.
_XMP = b"XML:com.adobe.xmp"


@dataclasses.dataclass
class PngFacts:
    """What a PNG file says.

    Attributes:
        pixels: The file with those chunks alone that make the pixels.
        depth: Bits a sample.
        colour_type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        frames: Of an animation; 1 for a picture.
        colour: Contents of iCCP (the profile itself), sRGB, gAMA, cHRM and cICP by name.
        key: Samples of the one colour that is transparent (tRNS of a picture without palette).
        exif: EXIF data from their TIFF header on.
        xmp: XMP packet.
        left_out: Names of the chunks that hold something else.
        notes: What was wrong with the file.
    """

    pixels: bytes = b""
    depth: int = 8
    colour_type: int = 2
    frames: int = 1
    colour: dict[str, bytes] = dataclasses.field(default_factory=dict)
    key: tuple[int, ...] | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    left_out: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    decompressed: int = 0

    def note(self, text: str) -> None:
        """Adds to the notes; of very many, the first ones do."""
        if len(self.notes) < _MOST_NOTES and text not in self.notes:
            self.notes.append(text)

    def inflate(self, data: bytes) -> bytes:
        """`inflate`, for the first few texts and profiles of a file; ValueError for more."""
        self.decompressed += 1
        if self.decompressed > _MOST_DECOMPRESSED:
            raise ValueError("too many")
        return inflate(data)


def read_chunks(data: bytes) -> PngFacts:
    """Reads a PNG file's chunks.

    Raises:
        ImageError: A chunk that changes what is seen is damaged.
    """
    facts = PngFacts()
    kept: list = [SIGNATURE]
    for name, content, whole, sound in _chunks(data):
        if name == b"IHDR" and len(content) == 13:
            facts.depth, facts.colour_type = content[8], content[9]
        if not sound and name == b"tRNS":
            raise ImageError("damaged: its transparency (tRNS) has a wrong checksum")
        if sound is False and name[:1].isupper() and name != b"IEND":
            raise ImageError(f"damaged: its chunk {_text(name)} has a wrong checksum")
        if not sound and name[:1].islower():
            facts.note(f"ignored the chunk {_text(name)}, whose checksum is wrong")
        elif name in _PIXEL_CHUNKS or name[:1].isupper():
            keyed = name == b"tRNS" and facts.colour_type in (0, 2)
            if keyed:
                facts.key = _key(bytes(content), facts)
            else:
                kept.append(whole)
        else:
            _read_beside(name, bytes(content), facts)
    facts.pixels = b"".join(kept)
    return facts


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview, bool | None]]:
    """(name, content, the chunk with all its fields, whether the checksum is right) of each chunk.

    None where the file ends within the chunk.
    """
    view, at = memoryview(data), len(SIGNATURE)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        content = view[at + 8 : at + 8 + length]
        checksum = int.from_bytes(view[end - 4 : end], "big") if end <= len(data) else None
        sound = None if checksum is None else zlib.crc32(view[at + 4 : end - 4]) == checksum
        yield name, content, view[at:end], sound
        if name == b"IEND":
            return
        at = end


def _key(content: bytes, facts: PngFacts) -> tuple[int, ...] | None:
    samples = 1 if facts.colour_type == 0 else 3
    if len(content) != 2 * samples:
        facts.note("ignored its transparency (tRNS), which has a wrong length")
        return None
    return tuple(v & ((1 << facts.depth) - 1) for v in struct.unpack(f">{samples}H", content))


def _read_beside(name: bytes, content: bytes, facts: PngFacts) -> None:
    """Takes what is of use from a chunk that is not needed to decode the pixels."""
    try:
        if name in _COLOUR_CHUNKS:
            value = _profile(content, facts) if name == b"iCCP" else content
            facts.colour.setdefault(_text(name), value)
        elif name == b"eXIf":
            facts.exif = content.removeprefix(b"Exif\0\0")
        elif name == b"acTL":
            facts.frames = max(1, int.from_bytes(content[:4], "big"))
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            _read_text(name, content, facts)
        elif name not in _HINTS:
            _leave_out(_text(name), facts)
    except (ValueError, IndexError, zlib.error):
        facts.note(f"ignored the chunk {_text(name)}, which is damaged or too large")


def _profile(content: bytes, facts: PngFacts) -> bytes:
    _, rest = content.split(b"\0", 1)
    return facts.inflate(rest[1:])


def _read_text(name: bytes, content: bytes, facts: PngFacts) -> None:
    if name == b"tEXt" and content == mark.CONTENT:
        return
    keyword, rest = content.split(b"\0", 1)
    profile = keyword.removeprefix(b"Raw profile type ").lower()  # As ImageMagick writes them.
    if name == b"iTXt" and keyword == _XMP:
        compressed, _, rest = rest[0], rest[1], rest[2:]
        _, _, text = rest.split(b"\0", 2)
        facts.xmp = facts.inflate(text) if compressed else text
    elif keyword != profile and profile in (b"exif", b"app1", b"xmp"):
        text = facts.inflate(rest[1:]) if name == b"zTXt" else rest
        raw = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
        if profile == b"xmp" or raw.startswith(b"http://ns.adobe.com/xap/"):
            facts.xmp = facts.xmp or raw.rsplit(b"\0", 1)[-1]
        else:
            facts.exif = facts.exif or raw.removeprefix(b"Exif\0\0")
    else:
        _leave_out(_text(name), facts)


def _leave_out(name: str, facts: PngFacts) -> None:
    if name not in facts.left_out and len(facts.left_out) < _MOST_NOTES:
        facts.left_out.append(name)


def _text(name: bytes) -> str:
    return "".join(c if c.isalpha() and c.isascii() else "?" for c in name.decode("latin-1"))


def inflate(data: bytes) -> bytes:
    """Decompresses a zlib stream of at most `MAX_BYTES`.

    Raises:
        ValueError: It is longer or ends early. zlib.error: It is damaged.
    """
    decoder = zlib.decompressobj()
    content = decoder.decompress(data, MAX_BYTES)
    if not decoder.eof:
        raise ValueError("too long or cut short")
    return content
