"""Files to images of Pillow's: one picture of each file, with what the file says of it."""

from __future__ import annotations

import dataclasses
import io
import mmap
import struct
from typing import BinaryIO

from PIL import Image

from gllmm_tf.errors import ImageError
from gllmm_tf.files import boxes, exif, jpeg, png, tiff
from gllmm_tf.files.colour import Meaning, adobe_rgb, meaning_of_codes, meaning_of_png
from gllmm_tf.files.depth import Samples, bits_of, check_size, ppm_bits, read_pfm
from gllmm_tf.files.metadata import MAX_BYTES
from gllmm_tf.files.pillow_errors import pillow_errors
from gllmm_tf.files.recognise import Kind

_ORIENTATION, _XMP = 274, 700  # TIFF tags
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")


@dataclasses.dataclass
class Opened:
    """A picture as its file has it.

    Attributes:
        image: Loaded; it lies as it is stored.
        samples: As the file has them.
        meaning: Of its values.
        exif: EXIF data from their TIFF header on.
        xmp: XMP packet.
        orientation: 1..8 where the file says it outside its EXIF data.
        left_out: What else the file holds.
        key: The colour that is transparent in a PNG without palette, as its samples are.
    """

    image: Image.Image
    samples: Samples = Samples()
    meaning: Meaning = Meaning()
    exif: bytes | None = None
    xmp: bytes | None = None
    orientation: int | None = None
    left_out: list[str] = dataclasses.field(default_factory=list)
    key: tuple[int, ...] | None = None

    @property
    def is_grey(self) -> bool:
        return self.image.mode in _GREY_MODES


def open_picture(file: BinaryIO, kind: Kind, max_pixels: int, notes: list[str]) -> Opened:
    """Decodes the picture in `file` after checking what its header declares.

    Args:
        file: At its start.
        kind: What it is.
        max_pixels: The largest width x height.
        notes: Lines are appended for what was done.

    Raises:
        ImageError: It is damaged, too large, or of a kind that is not supported.
    """
    if kind.reader == "PFM":
        return Opened(read_pfm(file, max_pixels, notes))
    if kind.reader == "PNG":
        return _open_png(file, max_pixels, notes)
    size = boxes.jxl_size(file) if kind.reader == "JXL" else None
    if size:
        check_size(*size, max_pixels)
    codes = boxes.colour_codes(file) if kind.reader in ("AVIF", "HEIF") else None
    bits = 0
    if kind.reader == "AVIF":
        bits = boxes.avif_bits(file)
    elif kind.reader == "PPM":
        bits = ppm_bits(file.read(1000))
        file.seek(0)
    stream, samples = tiff.as_pillow_knows(file) if kind.reader == "TIFF" else (file, None)
    image = _load(stream, kind, max_pixels, notes)
    if image.format == "TIFF":
        samples = samples or tiff.samples_of(image)
    opened = Opened(image, samples or Samples(bits or bits_of(image)))
    opened.meaning = Meaning(image.info.get("icc_profile") or _bmp_profile(file, image))
    if codes and not opened.meaning.profile:
        opened.meaning = meaning_of_codes(*codes, opened.is_grey)
    opened.exif = (image.info.get("exif") or b"").removeprefix(jpeg.EXIF_HEADER) or None
    opened.xmp = _bytes(image.info.get("xmp")) or jpeg.xmp_of(image)
    opened.left_out = jpeg.left_out_of(image)
    if not opened.meaning.profile and not opened.is_grey and exif.is_adobe_rgb(opened.exif):
        opened.meaning = adobe_rgb()
    if kind.reader in ("AVIF", "HEIF", "JXL") and opened.xmp:
        opened.xmp = exif.without_orientation(opened.xmp)  # Their readers have turned the pixels.
    if image.format == "TIFF":
        _read_tags(opened, file)
    elif image.format == "GIF" and "comment" in image.info:
        opened.left_out.append("comment")
    elif image.format == "JXL" and opened.exif and not getattr(image, "jpeg", False):
        # The reader has turned the pixels.
        opened.exif = _said_to_be_upright(opened.exif, image.size)
    return opened


def _open_png(file: BinaryIO, max_pixels: int, notes: list[str]) -> Opened:
    facts = png.read_chunks(file.read())
    if facts.frames > 1:
        raise ImageError(f"holds {facts.frames} frames or pages; extract one of them first")
    image = _load(io.BytesIO(facts.pixels), Kind("a PNG picture", "PNG"), max_pixels, notes)
    notes += facts.notes
    opened = Opened(
        image, Samples(facts.depth), exif=facts.exif or None, xmp=facts.xmp, key=facts.key
    )
    opened.meaning = meaning_of_png(facts.colour, opened.is_grey)
    notes += opened.meaning.notes
    opened.left_out = [f"PNG chunk {name}" for name in facts.left_out]
    return opened


def _load(file: BinaryIO, kind: Kind, max_pixels: int, notes: list[str]) -> Image.Image:
    """Opens a file, checks the size of its picture, and decodes it."""
    with pillow_errors(f"not a readable picture ({kind.name}, damaged or of a rare kind)"):
        image: Image.Image = Image.open(file, formats=[kind.reader])
    check_size(*image.size, max_pixels)
    with pillow_errors("damaged or cut short", image.width * image.height):
        _choose_frame(image, notes)
        check_size(*image.size, max_pixels)
        try:
            image.load()
        except OSError:
            whole = None
            if kind.reader == "JPEG":
                file.seek(0)
                whole = jpeg.completed(file.read())
            if whole is None:
                raise
            notes.append("its end is missing, but no pixel of it")
            image = whole
    return image


def _choose_frame(image: Image.Image, notes: list[str]) -> None:
    """Goes to the frame that is the picture, or refuses a file of several."""
    if image.format == "TIFF":
        tiff.choose_page(image, notes)
        return
    if image.format == "GIF":
        if getattr(image, "is_animated", False):  # To count its frames, all have to be read.
            notes.append("took the first of its frames")
        image.seek(0)
        return
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format == "MPO":  # A photograph, and a preview or depth map behind it.
        notes.append(f"took the main picture of the {frames} in this JPEG")
    elif frames > 1 and image.format == "HEIF":
        notes.append(f"took the main picture of the {frames} in this file")
    elif frames > 1:
        raise ImageError(f"holds {frames} frames or pages; extract one of them first")


def _read_tags(opened: Opened, file: BinaryIO) -> None:
    tags = opened.image.tag_v2  # type: ignore[attr-defined]
    opened.xmp = _bytes(tags.get(_XMP)) or opened.xmp
    opened.orientation = tags.get(_ORIENTATION, None)
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            opened.exif, others = tiff.exif_of(data, opened.image.tell())
        opened.left_out += [f"TIFF tag {tag}" for tag in others]
    except ValueError:  # Of a BigTIFF file, too.
        if tiff.describes(opened.image):
            opened.left_out.append("EXIF data of this TIFF file")


def _bmp_profile(file: BinaryIO, image: Image.Image) -> bytes | None:
    """The ICC profile in a BMP file of version 5."""
    if image.format != "BMP":
        return None
    file.seek(0)
    header = file.read(138)
    if len(header) < 138 or header[14:18] != struct.pack("<I", 124) or header[70:74] != b"DEBM":
        return None
    offset, size = struct.unpack_from("<II", header, 126)
    file.seek(14 + offset)
    return file.read(min(size, MAX_BYTES)) or None


def _said_to_be_upright(data: bytes, size: tuple[int, int]) -> bytes:
    try:
        return exif.of_upright_pixels(data, size)[0]
    except ValueError:
        return data


def _bytes(value) -> bytes | None:
    if isinstance(value, tuple) and value:
        value = bytes(value) if isinstance(value[0], int) else value[0]
    return value.encode() if isinstance(value, str) else value
