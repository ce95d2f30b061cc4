"""Colour: profiles that are sRGB, profiles made from a few numbers, pixels converted to sRGB.

A picture's colours are said by an ICC profile, by code points (ITU-T H.273: PNG's cICP, AVIF's and
HEIC's nclx) or by numbers (PNG's gAMA and cHRM). Where only the curve differs from sRGB, the pixels
get sRGB's curve; other primaries become a profile.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from gllmm_tf.errors import ImageError
from gllmm_tf.files.pillow_errors import is_for_lack_of_memory

Curve = Callable[[np.ndarray], np.ndarray]
"""Coded values in 0..1, float64 -> values in 0..1 in sRGB's coding."""

_D65 = (0.3127, 0.3290)
_SRGB = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # x and y of white, red, green and blue.
_PRIMARIES = {  # Of H.273, that pictures may have.
    1: _SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_VIDEO_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES: dict[int, tuple[float, ...]] = {  # (g) or (g, a, b, c, d): see `_linear`.
    1: _VIDEO_CURVE,
    4: (2.2,),
    5: (2.8,),
    6: _VIDEO_CURVE,
    8: (1.0,),
    13: _SRGB_CURVE,
    14: _VIDEO_CURVE,
    15: _VIDEO_CURVE,
}
_HDR = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = 2
_GAMMA_TOLERANCE = 0.05  # libpng's; 1 / 2.2 stands for sRGB's curve.
_CHROMATICITY_TOLERANCE = 0.002
NO_OPTIMIZATION, _BLACK_POINT_COMPENSATION = 0x0100, 0x2000  # LittleCMS's; names since Pillow 10.3.
_SAME_COLOUR = 1  # Of 255: two profiles that differ no more are one.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D50 = np.array([0.9642, 1.0, 0.8249])


class Meaning(NamedTuple):
    """What a picture's values mean.

    Attributes:
        profile: ICC profile; None for sRGB.
        curve: What makes sRGB's values of the picture's; None where they stay as they are.
        notes: What could not be understood.
    """

    profile: bytes | None = None
    curve: Curve | None = None
    notes: tuple[str, ...] = ()


def meaning_of_png(colour: Mapping[str, bytes], grey: bool) -> Meaning:
    """Returns what the chunks say: cICP before iCCP, sRGB, and gAMA with cHRM, as the standard has it.

    Args:
        colour: Contents of the chunks by name.
        grey: Whether the picture has no colours, for which primaries mean nothing.

    Raises:
        ImageError: HDR, or what has no meaning here.
    """
    if "cICP" in colour:
        content = colour["cICP"]
        if len(content) != 4 or content[2] != 0 or content[3] != 1:
            raise ImageError(
                f"its colours (cICP {' '.join(map(str, content[:4]))}) are not those of full-range "
                "RGB; convert it to sRGB first"
            )
        return meaning_of_codes(content[0], content[1], grey)
    if "iCCP" in colour:
        return Meaning(profile=colour["iCCP"])
    if "sRGB" in colour:
        return Meaning()
    return _meaning_of_numbers(colour, grey)


def meaning_of_codes(primaries: int, transfer: int, grey: bool = False) -> Meaning:
    """Returns what code points of H.273 mean.

    Raises:
        ImageError: HDR, or what is not among the colours of pictures.
    """
    if transfer in _HDR:
        raise ImageError(
            f"an HDR picture ({_HDR[transfer]}), which 8 bits cannot show; make an SDR one of it first"
        )
    primaries = 1 if primaries == _UNSPECIFIED or grey else primaries
    transfer = 13 if transfer == _UNSPECIFIED else transfer
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        raise ImageError(
            f"its colours (code points {primaries} and {transfer} of H.273) are not supported; "
            "convert it to sRGB first"
        )
    return _meaning(_PRIMARIES[primaries], _CURVES[transfer])


def adobe_rgb() -> Meaning:
    """What values mean in Adobe RGB (1998)."""
    return _meaning((*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (563 / 256,))


def _meaning_of_numbers(colour: Mapping[str, bytes], grey: bool) -> Meaning:
    notes = []
    points: tuple[float, ...] = _SRGB
    curve: tuple[float, ...] = _SRGB_CURVE
    if "gAMA" in colour:
        exponent = int.from_bytes(colour["gAMA"][:4], "big") / 100000
        if not 0.1 <= exponent <= 10:
            notes.append(f"ignored its gamma (gAMA) of {exponent:g}, which makes no sense")
        elif abs(exponent * 2.2 - 1) > _GAMMA_TOLERANCE:
            curve = (1 / exponent,)
    if "cHRM" in colour and not grey:
        if len(colour["cHRM"]) == 32:
            points = tuple(v / 100000 for v in struct.unpack(">8I", colour["cHRM"]))
        near = np.abs(np.subtract(points, _SRGB)).max() < _CHROMATICITY_TOLERANCE
        if near:
            points = _SRGB
        elif "gAMA" in colour and curve is _SRGB_CURVE and not notes:
            curve = (1 / exponent,)  # Such a curve is 2.2 by intent, as Adobe RGB's.
    try:
        meaning = _meaning(points, curve)
    except (np.linalg.LinAlgError, ZeroDivisionError, struct.error):
        notes.append("ignored its primaries (cHRM), which make no sense")
        meaning = _meaning(_SRGB, curve)
    return meaning._replace(notes=tuple(notes))


def _meaning(points: tuple[float, ...], curve: tuple[float, ...]) -> Meaning:
    if points == _SRGB:
        same = curve == _SRGB_CURVE
        return Meaning(curve=None if same else lambda values: _coded(_linear(values, curve)))
    return Meaning(profile=make_profile(points, curve))


def _linear(values: np.ndarray, curve: tuple[float, ...]) -> np.ndarray:
    """values^g, or (a values + b)^g from d on and c values below."""
    if len(curve) == 1:
        return values ** curve[0]
    g, a, b, c, d = curve
    return np.where(values >= d, (a * values + b) ** g, c * values)


def _coded(linear: np.ndarray) -> np.ndarray:
    """The inverse of sRGB's curve."""
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def curve_table(curve: Curve | None, levels: int) -> np.ndarray:
    """uint8 [levels]: what each of 0 .. levels - 1 becomes in 0..255."""
    values = np.arange(levels) / (levels - 1)
    return np.round(255 * (values if curve is None else curve(values))).astype(np.uint8)


def make_profile(points: tuple[float, ...], curve: tuple[float, ...]) -> bytes:
    """Returns an ICC profile (version 4, matrix and curve).

    Args:
        points: Chromaticities x and y of white, red, green and blue.
        curve: (g) or (g, a, b, c, d), as in `_linear`.

    Raises:
        np.linalg.LinAlgError, ZeroDivisionError: These are no primaries.
    """
    xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in zip(points[::2], points[1::2])])
    white, primaries = xyz[0], xyz[1:].T  # [XYZ, RGB]
    adapted = _BRADFORD @ white
    if not np.all(adapted > 0) or not np.isfinite(xyz).all():
        raise np.linalg.LinAlgError("no white")
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / adapted) @ _BRADFORD
    matrix = adaptation @ (primaries * np.linalg.solve(primaries, white))
    if np.abs(matrix).max() > 100 or abs(np.linalg.det(matrix)) < 1e-3:
        raise np.linalg.LinAlgError("no colours")
    kind = 0 if len(curve) == 1 else 3
    parametric = b"para" + struct.pack(">IHH", 0, kind, 0) + _fixed(curve)
    elements = [
        (b"desc", _name("gllmm_tf: RGB by its primaries")),
        (b"cprt", _name("No copyright")),
        (b"wtpt", b"XYZ \0\0\0\0" + _fixed(_D50)),
        (b"chad", b"sf32\0\0\0\0" + _fixed(adaptation.ravel())),
        *((b"rgb"[i : i + 1] + b"XYZ", b"XYZ \0\0\0\0" + _fixed(matrix[:, i])) for i in range(3)),
        *((b"rgb"[i : i + 1] + b"TRC", parametric) for i in range(3)),
    ]
    return _assemble(elements)


def _assemble(elements: list[tuple[bytes, bytes]]) -> bytes:
    """An ICC profile of these elements; equal ones are stored once."""
    table, body, places = struct.pack(">I", len(elements)), b"", {}
    first = 128 + 4 + 12 * len(elements)
    for tag, data in elements:
        if data not in places:
            places[data] = first + len(body)
            body += data + bytes(-len(data) % 4)
        table += tag + struct.pack(">II", places[data], len(data))
    header = struct.pack(
        ">I4sI4s4s4s6H4s28x3i48x",
        *(first + len(body), b"\0" * 4, 0x04300000, b"mntr", b"RGB ", b"XYZ "),
        *(2000, 1, 1, 0, 0, 0, b"acsp"),
        *(round(v * 65536) for v in _D50),
    )
    return header + table + body


def _fixed(values) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(v) * 65536) for v in values))


def _name(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(encoded), 28) + encoded


def is_srgb(profile: bytes) -> bool:
    """Whether a profile for RGB data shows what sRGB shows: on a grid of colours, for both intents."""
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(17, -1, 3)
    for intent in (ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Intent.PERCEPTUAL):
        shown = to_srgb(Image.fromarray(grid), profile, intent, NO_OPTIMIZATION)
        if shown is None:
            return False
        if np.abs(np.asarray(shown).astype(int) - grid).max() > _SAME_COLOUR:
            return False
    return True


def grey_table(profile: bytes) -> np.ndarray | None:
    """uint8 [256]: what grey levels under this profile are in sRGB; None if it does not work."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    shown = to_srgb(ramp, profile)
    return None if shown is None else np.asarray(shown)[0, :, 1]


def to_srgb(
    image: Image.Image,
    profile: bytes,
    intent: ImageCms.Intent = ImageCms.Intent.RELATIVE_COLORIMETRIC,
    # Without optimisation: its lookup table of few nodes is coarse in the shadows.
    flags: int = _BLACK_POINT_COMPENSATION | NO_OPTIMIZATION,
) -> Image.Image | None:
    """Returns an image of mode L, RGB or CMYK in sRGB, or None if the profile does not work."""
    try:
        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=intent,
            outputMode="RGB",
            flags=flags,  # type: ignore[arg-type]
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        # What little CMS says for lack of memory is the same.
        if is_for_lack_of_memory(error, image.width * image.height):
            raise MemoryError from error
        return None
