"""Pictures: files to uint8 arrays, with what travels beside the pixels.

The codec knows 8-bit RGB. Whatever else a picture holds is dealt with here: orientation is applied;
grey, palette, CMYK and deeper pictures become 8-bit RGB; a colour profile, an alpha channel, EXIF data
and an XMP packet travel beside the pixels as metadata of the container; what cannot be represented is
refused with one line. Compressing and training read pictures by this function alone.

`opening.py` decodes the files, `writing.py` is the other direction.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from gllmm_tf.errors import ImageError, OutOfMemoryError, running_out_of_memory
from gllmm_tf.files import exif, recognise
from gllmm_tf.files.atomic import open_regular, reason
from gllmm_tf.files.colour import Meaning, curve_table, grey_table, is_srgb, to_srgb
from gllmm_tf.files.container import MAX_PIXELS, TAG_ALPHA, TAG_EXIF, TAG_ICC, TAG_XMP
from gllmm_tf.files.depth import Samples, bits_of, to_8_bits
from gllmm_tf.files.metadata import MAX_BYTES, pack_alpha, pack_bytes, tags_to_strip
from gllmm_tf.files.names import FORMAT_NAMES
from gllmm_tf.files.opening import Opened, open_picture
from gllmm_tf.files.pillow_errors import pillow_errors
from gllmm_tf.files.transparency import alpha_of_key, fill_invisible
from gllmm_tf.files.writing import (
    PICTURE_EXTENSIONS,
    check_format,
    encode_image,
    format_of,
    write_image,
)

__all__ = [
    "FORMATS",
    "FORMAT_NAMES",
    "LEFT_OUT",
    "PICTURE_EXTENSIONS",
    "Picture",
    "check_format",
    "encode_image",
    "format_of",
    "read_image",
    "to_picture",
    "write_image",
]

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
"""Pillow's names of what it reads in any installation."""

LEFT_OUT = "left out"
"""How a note begins that tells of something not kept, which is told once a run."""

_ROWS_AT_ONCE = 256


class Picture(NamedTuple):
    """A picture as the codec takes it.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright.
        metadata: Container metadata by tag: colour profile, alpha, EXIF and XMP, where there are some.
        notes: What was changed or left out on the way, for the user, a line each.
    """

    pixels: np.ndarray
    metadata: dict[int, bytes]
    notes: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """All notes in one line; "" if there are none."""
        return "; ".join(self.notes)


def read_image(
    path: str | os.PathLike,
    max_pixels: int = MAX_PIXELS,
    *,
    strip: str | Iterable[str] = (),
) -> Picture:
    """Reads a picture: PNG, JPEG, WebP, TIFF, BMP, GIF, PPM or PFM; AVIF, HEIC and JPEG XL with the
    packages of `gllmm_tf[formats]`.

    * The orientation of EXIF data is applied.
    * An RGB colour profile is kept unless it is sRGB. Grey and CMYK pictures are converted to sRGB by
      their profile, which is dropped then, or by Pillow's plain formula if they have none. What PNG's
      chunks or code points say of colours is turned into a profile, or the pixels get sRGB's curve.
    * Alpha is kept losslessly unless every pixel is opaque. What is invisible is filled from what is
      visible.
    * EXIF data, without their thumbnail, and an XMP packet are kept.
    * 16-bit and floating-point pictures are reduced to 8 bits.

    Args:
        path: The file.
        max_pixels: The largest width x height that is decoded, a side below 64 counted as 64.
        strip: What to leave out: "exif", "xmp", "icc" (the pixels are converted to sRGB) or "all".

    Raises:
        ImageError: The file cannot be read or is not such a picture. The message names the file.
        OutOfMemoryError: There is too little memory to decode it.
    """
    stripped = tags_to_strip(strip)
    try:
        with running_out_of_memory("reading the picture"), open_regular(path) as file:
            return _read(file, max_pixels, stripped)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {reason(error)}") from error
    except (ImageError, OutOfMemoryError) as error:
        raise type(error)(f"{path}: {error}", error.argument) from error


def _read(file: BinaryIO, max_pixels: int, stripped: frozenset[int]) -> Picture:
    start = file.read(recognise.START_BYTES)
    file.seek(0)
    notes: list[str] = []
    opened = open_picture(file, recognise.readable(start), max_pixels, notes)
    size = opened.image.width * opened.image.height
    with pillow_errors(f"a picture of mode {opened.image.mode} that cannot be converted", size):
        return _to_picture(opened, stripped, notes)


def to_picture(
    image: Image.Image, exif_data: bytes | None = None, xmp: bytes | None = None
) -> Picture:
    """A picture that Pillow holds, as the codec takes it: as `read_image` does with a file.

    Args:
        image: Of any mode, with its `info`.
        exif_data: EXIF data from their TIFF header on; their orientation is applied.
        xmp: XMP packet.

    Raises:
        ImageError: Its mode cannot be converted. OutOfMemoryError: There is too little memory.
    """
    notes: list[str] = []
    meaning = Meaning(profile=image.info.get("icc_profile"))
    unusable = pillow_errors(f"a picture of mode {image.mode} that cannot be converted")
    with running_out_of_memory("converting the picture"), unusable:
        opened = Opened(image, Samples(bits_of(image)), meaning, exif_data, xmp)
        return _to_picture(opened, frozenset(), notes)


def _to_picture(opened: Opened, stripped: frozenset[int], notes: list[str]) -> Picture:
    metadata = {}
    image, curve = opened.image, opened.meaning.curve
    hidden = _alpha_of_key(opened)
    if image.mode[0] in "IF":
        image, curve = to_8_bits(image, opened.samples, curve, notes), None
    else:
        image = to_8_bits(image, opened.samples, None, notes)
    colour, alpha = _split_alpha(image)
    orientation = _orientation(opened, notes)
    colour = exif.upright(colour, orientation)
    alpha = hidden if alpha is None else alpha
    alpha = None if alpha is None else exif.upright(alpha, orientation)

    if curve:
        table = curve_table(curve, 256).tolist()
        colour = colour.convert("L") if colour.mode == "1" else colour
        colour = colour.point(table * len(colour.getbands()))
        notes.append("converted to sRGB by the curve of its colours")
    colour, profile = _by_profile(colour, opened.meaning.profile, TAG_ICC in stripped, notes)
    if profile:
        metadata[TAG_ICC] = pack_bytes(profile)
    if alpha is not None and alpha.getextrema() != (255, 255):
        metadata[TAG_ALPHA] = pack_alpha(alpha)
        colour = fill_invisible(colour.convert("L") if colour.mode == "1" else colour, alpha)
    left_out = _keep(opened, colour.size, stripped, metadata, notes)
    notes += [f"{LEFT_OUT}: {item}" for item in [*left_out, *opened.left_out]]
    return Picture(
        _to_array(colour if colour.mode == "RGB" else colour.convert("RGB")), metadata, tuple(notes)
    )


def _keep(opened: Opened, size, stripped, metadata: dict[int, bytes], notes) -> list[str]:
    """Puts EXIF data and an XMP packet into `metadata`; returns what of them is left out."""
    left_out = []
    if opened.exif and TAG_EXIF not in stripped:
        try:
            data, had_thumbnail = exif.of_upright_pixels(opened.exif, size)
            if had_thumbnail:
                left_out.append("thumbnail of its EXIF data")
            if len(data) <= MAX_BYTES:
                metadata[TAG_EXIF] = pack_bytes(data)
            else:
                left_out.append(f"EXIF data of more than {MAX_BYTES} bytes")
        except ValueError:
            pass  # A note was made where the orientation was looked for.
    if opened.xmp and TAG_XMP not in stripped:
        if len(opened.xmp) <= MAX_BYTES:
            metadata[TAG_XMP] = pack_bytes(exif.without_orientation(opened.xmp))
        else:
            left_out.append(f"XMP packet of more than {MAX_BYTES} bytes")
    return left_out


def _orientation(opened: Opened, notes: list[str]) -> int:
    if opened.orientation is not None:
        return opened.orientation
    try:
        return exif.orientation_of(opened.exif, opened.xmp)
    except ValueError:
        notes.append("ignored unreadable EXIF data, so the orientation may be wrong")
        return 1


def _alpha_of_key(opened: Opened) -> Image.Image | None:
    """Alpha of a PNG in which one colour is transparent."""
    if opened.key is None:
        return None
    image, key = opened.image, opened.key
    if image.mode == "RGB" and opened.samples.bits > 8:
        raise ImageError(
            "16 bits a channel with a transparent colour (tRNS) are not supported; convert it to 8 bits"
        )
    if image.mode in ("1", "L"):
        image = image.convert("L")
        key = (key[0] * (255 // ((1 << opened.samples.bits) - 1)),)
    return alpha_of_key(np.asarray(image), key)


def _by_profile(image, profile: bytes | None, strip: bool, notes: list[str]):
    """Converts an image by its profile where that is done; returns it and the profile to keep."""
    if not profile:
        if image.mode == "CMYK":
            notes.append(
                "converted from CMYK to RGB without a colour profile, so colours are rough"
            )
        return image, None
    space = profile[16:20]  # Colour space of the data, in the profile's header.
    if space == b"RGB " and image.mode in ("1", "L", "RGB"):
        if is_srgb(profile):
            return image, None
        if not strip:
            return image, profile
        converted = to_srgb(image.convert("RGB"), profile)
    elif space == b"GRAY" and image.mode in ("1", "L"):
        table = grey_table(profile)
        if table is not None and np.abs(table.astype(int) - np.arange(256)).max() <= 1:
            return image, None
        converted = None if table is None else image.convert("L").point(table.tolist())
    elif (space, image.mode) == (b"CMYK", "CMYK"):
        converted = to_srgb(image, profile)
    else:
        notes.append("ignored its colour profile, which is not for these pixels")
        return image, None
    notes.append(
        "converted to sRGB by its colour profile"
        if converted
        else "ignored its colour profile, which is unreadable"
    )
    return converted or image, None


def _to_array(image):
    """uint8 [H, W, 3] of an RGB image; by rows, since Pillow copies what it hands over twice."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _ROWS_AT_ONCE):
        bottom = min(top + _ROWS_AT_ONCE, image.height)
        pixels[top:bottom] = image.crop((0, top, image.width, bottom))
    return pixels


def _split_alpha(image):
    """Returns the colour as an image of mode 1, L, RGB or CMYK, and alpha (mode L) or None."""
    mode = image.mode
    if mode in ("P", "PA"):
        opaque = mode == "P" and "transparency" not in image.info and image.palette.mode == "RGB"
        image = image.convert("RGB" if opaque else "RGBA")
    elif mode in ("1", "L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA")
    elif mode in ("RGBX", "YCbCr"):
        image = image.convert("RGB")
    elif mode == "RGBa":  # Premultiplied.
        image = image.convert("RGBA")
    elif mode not in ("1", "L", "LA", "RGB", "RGBA", "CMYK"):
        raise ImageError(
            f"pictures of mode {mode} are not supported; convert it to 8-bit RGB first"
        )

    if image.mode not in ("LA", "RGBA"):
        return image, None
    alpha = image.getchannel("A")
    colour = (
        image.getchannel("L")
        if image.mode == "LA"
        else Image.merge("RGB", [image.getchannel(band) for band in "RGB"])
    )
    return colour, alpha
