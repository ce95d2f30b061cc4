"""Samples that are not 8-bit unsigned integers: reduced to these, or refused."""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from gllmm_tf import work
from gllmm_tf.errors import ImageError
from gllmm_tf.files.colour import Curve, curve_table


class Samples(NamedTuple):
    """How a file stores samples.

    Attributes:
        bits: Of each.
        signed: Whether they are two's complement, which Pillow hands over as if they were not.
        inverted: Whether 0 is white, and still is in Pillow's image.
    """

    bits: int = 8
    signed: bool = False
    inverted: bool = False


def to_8_bits(
    image: Image.Image, samples: Samples, curve: Curve | None, notes: list[str]
) -> Image.Image:
    """Reduces an image of mode I;16, I or F to mode L; others, which Pillow has reduced, stay.

    Values of b bits become round(255 v / (2^b - 1)), those of floating-point pictures, which have to
    lie in 0..1, round(255 v).

    Args:
        image: A loaded image.
        samples: As the file has them.
        curve: What makes sRGB's values of the picture's.
        notes: A line is appended for what was done.

    Raises:
        ImageError: Values whose black and white are not known.
    """
    bits, signed, inverted = samples
    if image.mode == "F":
        return _from_float(np.asarray(image), inverted, curve, notes)
    if image.mode == "I" and bits > 16:
        raise ImageError(
            f"{bits}-bit integers, of which it is not known which one is white; convert it to 16 or "
            "8 bits first"
        )
    if image.mode.startswith("I"):
        flip = (1 << (bits - 1)) * signed ^ ((1 << bits) - 1) * inverted
        values = np.asarray(image).astype(np.int32) & ((1 << bits) - 1)
        image = Image.fromarray(curve_table(curve, 1 << bits)[values ^ flip])
    elif signed or inverted:
        flip = 0x80 * signed ^ 0xFF * inverted
        image = image.point([v ^ flip for v in range(256)] * len(image.getbands()))
    if signed:
        notes.append(
            f"signed samples: took {-(1 << (bits - 1))} as black and {(1 << (bits - 1)) - 1} as white"
        )
    if bits > 8:
        notes.append(f"reduced from {bits} to 8 bits a channel")
    return image


def bits_of(image: Image.Image) -> int:
    """Bits a sample in the file, which is no TIFF, of an image that Pillow has opened."""
    if image.mode.startswith("I;16"):
        return 16  # Whatever the file has: the values are scaled.
    if image.format == "HEIF":
        return image.info.get("bit_depth", 8)
    return {"I": 32, "F": 32}.get(image.mode, 8)


def ppm_bits(start: bytes) -> int:
    """Bits a sample of a PPM, PGM or PBM file, by its first bytes: of whole bytes, as they are read."""
    fields = re.sub(rb"#[^\n]*", b" ", start).split()[:4]
    deep = fields[0] not in (b"P1", b"P4") and fields[-1].isdigit() and int(fields[-1]) > 255
    return 16 if deep else 8


def _from_float(values: np.ndarray, inverted: bool, curve: Curve | None, notes: list[str]):
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # Also where there is a NaN.
        raise ImageError(
            f"floating-point values from {low:g} to {high:g}; scale them to 0 (black) .. 1 (white) first"
        )
    values = 1 - values if inverted else values
    notes.append(
        "floating-point values: took 0 as black and 1 as white, and reduced them to 8 bits"
    )
    return Image.fromarray(np.round(255 * (curve(values) if curve else values)).astype(np.uint8))


def read_pfm(file: BinaryIO, max_pixels: int, notes: list[str]) -> Image.Image:
    """Reads a PFM picture, grey or colour, as mode L or RGB.

    Raises:
        ImageError: It is damaged, too large, or has values outside 0..1.
    """
    lines = [file.readline(64) for _ in range(3)]
    try:
        width, height = map(int, lines[1].split())
        scale = float(lines[2])
        channels = {b"Pf": 1, b"PF": 3}[lines[0].strip()]
        if width < 1 or height < 1 or not scale:
            raise ValueError
    except (ValueError, KeyError):
        raise ImageError("damaged: not the header of a PFM picture") from None
    check_size(width, height, max_pixels)
    data = file.read(4 * channels * width * height)
    if len(data) < 4 * channels * width * height:
        raise ImageError(
            f"cut short: {len(data)} of {4 * channels * width * height} bytes of pixels"
        )
    values = np.frombuffer(data, "<f4" if scale < 0 else ">f4").reshape(height, width, channels)
    return _from_float(values[::-1, :, 0] if channels == 1 else values[::-1], False, None, notes)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises ImageError for a picture of more pixels than the limit."""
    excess = work.excess(width, height, max_pixels)
    if excess:
        raise ImageError(f"{excess}: raise max_pixels", "max_pixels")
