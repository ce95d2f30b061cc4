"""Pictures: files <-> uint8 arrays, colour profile and alpha.

The codec knows 8-bit RGB. Whatever else a picture holds is dealt with here: orientation is applied;
grey, palette and CMYK become RGB; a colour profile and an alpha channel travel beside the pixels as
metadata of the container; what cannot be represented is refused with one line.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps

from gllmm_tf import work
from gllmm_tf.errors import ImageError, OutOfMemoryError, running_out_of_memory
from gllmm_tf.files.atomic import open_regular, reason, write_bytes_atomic
from gllmm_tf.files.container import MAGIC, MAX_PIXELS, TAG_ALPHA, TAG_ICC
from gllmm_tf.files.metadata import pack_alpha, pack_profile, unpack_alpha, unpack_profile
from gllmm_tf.files.pillow_errors import is_for_lack_of_memory, pillow_errors

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
FORMAT_NAMES = "PNG, JPEG, WebP, TIFF and BMP"
_SAVE_OPTIONS: dict[str, dict] = {
    "PNG": {},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "WEBP": {"lossless": True, "exact": True},  # exact: keep the colour of transparent pixels.
    "BMP": {},
    "JPEG": {"quality": 95, "subsampling": 0, "optimize": True},
}
_EXTENSIONS = {
    "": "PNG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}
PICTURE_EXTENSIONS = tuple(extension for extension in _EXTENSIONS if extension)

_ROWS_AT_ONCE = 256
_TIFF_BITS_PER_SAMPLE = 258
_HIGH_BIT_DEPTH = {"I": "32-bit integer", "F": "floating-point"}  # "I;16", "I;16B", ...: 16-bit.


class Picture(NamedTuple):
    """A picture as the codec takes it.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright.
        metadata: Container metadata by tag: colour profile and alpha, where the picture has them.
        note: What was changed on the way, for the user; "" if nothing.
    """

    pixels: np.ndarray
    metadata: dict[int, bytes]
    note: str


def read_image(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads an 8-bit PNG, JPEG, WebP, TIFF or BMP picture.

    * The orientation of EXIF data is applied.
    * An RGB colour profile is kept. Grey and CMYK pictures are converted to sRGB by their profile,
      which is dropped then, or by Pillow's plain formula if they have none.
    * Alpha is kept losslessly unless every pixel is opaque.

    Args:
        path: The file.
        max_pixels: The largest width x height that is decoded, a side below 64 counted as 64.

    Raises:
        ImageError: The file cannot be read or is not such a picture. The message names the file.
        OutOfMemoryError: There is too little memory to decode it.
    """
    try:
        with running_out_of_memory("reading the picture"), open_regular(path) as file:
            start = file.read(32)
            file.seek(0)
            if start.startswith(MAGIC):
                raise ImageError("a .gllmm file already: did you mean decompress?")
            notes: list[str] = []
            with _open_picture(file, start, max_pixels, notes) as image:
                return _to_picture(_upright(image, notes), notes)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {reason(error)}") from error
    except (ImageError, OutOfMemoryError) as error:
        raise type(error)(f"{path}: {error}", error.argument) from error


def write_image(
    path: str | os.PathLike, pixels: np.ndarray, metadata: Mapping[int, bytes] | None = None
) -> None:
    """Writes a picture, with the colour profile and alpha that `metadata` holds.

    The extension chooses the format: PNG (also without extension), TIFF, WebP and BMP are lossless,
    JPEG is written at quality 95 without subsampling.

    Args:
        path: The file; an existing file is replaced in one step.
        pixels: uint8 [H, W, 3], RGB.
        metadata: Container metadata by tag; unknown tags are ignored.

    Raises:
        ImageError: The extension is unknown or its format cannot hold the picture.
        FormatError: The metadata are damaged.
        OutOfMemoryError: There is too little memory to encode it.
        OSError: The file cannot be written.
    """
    file_format = format_of(path)
    try:
        with running_out_of_memory("writing the picture"):
            write_bytes_atomic(path, _encode(pixels, metadata or {}, file_format))
    except (ImageError, OutOfMemoryError) as error:
        raise type(error)(f"{path}: {error}", error.argument) from error


def _encode(pixels, metadata, file_format: str):
    image = Image.fromarray(np.ascontiguousarray(pixels))
    options = dict(_SAVE_OPTIONS[file_format])
    if TAG_ICC in metadata:
        if file_format == "BMP":
            raise ImageError("BMP holds no colour profile, this picture has one: use .png")
        options["icc_profile"] = unpack_profile(metadata[TAG_ICC])
    if TAG_ALPHA in metadata:
        if file_format in ("BMP", "JPEG"):
            raise ImageError(f"{file_format} holds no alpha, this picture has it: use .png")
        image.putalpha(unpack_alpha(metadata[TAG_ALPHA], image.size))
    encoded = io.BytesIO()
    try:
        image.save(encoded, file_format, **options)
    except (OSError, ValueError) as error:  # WebP and JPEG have a largest size.
        if is_for_lack_of_memory(error, image.width * image.height):
            raise MemoryError from error
        raise ImageError(
            f"{file_format} cannot hold this picture of {image.width} x {image.height} pixels "
            f"({reason(error)}): use .png"
        ) from error
    return encoded.getbuffer()


def format_of(path: str | os.PathLike) -> str:
    """Returns Pillow's name of the format that the extension of `path` asks for.

    Raises:
        ImageError: The extension belongs to no format that can be written.
    """
    extension = os.path.splitext(os.fspath(path))[1].lower()
    if extension not in _EXTENSIONS:
        raise ImageError(
            f"{path}: cannot write a picture with extension {extension}; use one of "
            f"{' '.join(PICTURE_EXTENSIONS)}"
        )
    return _EXTENSIONS[extension]


def _open_picture(file: BinaryIO, start: bytes, max_pixels: int, notes: list[str]):
    """Opens and decodes the picture in `file`, after checking what its header declares."""
    with pillow_errors(f"not a readable 8-bit picture in one of the formats {FORMAT_NAMES}"):
        image = Image.open(file, formats=FORMATS)
    width, height = image.size
    excess = work.excess(width, height, max_pixels)
    if excess:
        raise ImageError(f"{excess}: raise max_pixels", "max_pixels")
    with pillow_errors("damaged or cut short", width * height):
        _refuse_high_bit_depth(image, start)
        _refuse_several_frames(image, notes)
        image.load()
    if image.format == "PNG" and image.mode == "L" and "transparency" in image.info:
        # The grey level to be transparent. Pillow scales shallow pixels to 8 bits, but not this.
        image.info["transparency"] *= 255 // (2 ** _png_bit_depth(start) - 1)
    return image


def _png_bit_depth(start: bytes) -> int:
    return start[24]  # 8 bytes signature, 8 chunk length and name, 8 width and height.


def _refuse_high_bit_depth(image, start: bytes) -> None:
    """Refuses more than 8 bits a sample, which Pillow partly reads as 8 without a word."""
    advice = "; convert it to 8 bits a channel first"
    if image.format == "TIFF":
        bits = max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,)))
    elif image.format == "PNG":
        bits = _png_bit_depth(start)
    else:
        bits = 8
    if image.mode in _HIGH_BIT_DEPTH and bits != 16:
        raise ImageError(f"{_HIGH_BIT_DEPTH[image.mode]} pictures are not supported{advice}")
    if bits > 8 or image.mode[0] in "IF":
        raise ImageError(f"{bits}-bit pictures are not supported{advice}")


def _refuse_several_frames(image, notes: list[str]) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format == "MPO":  # A photograph with a preview or depth map behind it.
        notes.append(f"took the main picture of the {frames} in this JPEG")
    elif frames > 1:
        raise ImageError(f"holds {frames} frames or pages; extract one of them first")


def _upright(image, notes: list[str]):
    try:
        return ImageOps.exif_transpose(image) or image
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (Pillow's reader of EXIF data raises nearly anything)
        notes.append("ignored unreadable EXIF data, so the orientation may be wrong")
        return image


def _to_picture(image, notes: list[str]) -> Picture:
    metadata = {}
    profile = image.info.get("icc_profile")
    image, alpha = _split_alpha(image)
    if alpha is not None:
        metadata[TAG_ALPHA] = pack_alpha(alpha)

    rgb = None
    if profile:
        space = profile[16:20]  # Colour space of the data, in the profile's header.
        if space == b"RGB " and image.mode in ("1", "L", "RGB"):
            metadata[TAG_ICC] = pack_profile(profile)
        elif (space, image.mode) in ((b"GRAY", "L"), (b"CMYK", "CMYK")):
            rgb = _to_srgb(image, profile)
            notes.append(
                "converted to sRGB by its colour profile"
                if rgb
                else "ignored its colour profile, which is unreadable"
            )
        else:
            notes.append("ignored its colour profile, which is not for these pixels")
    elif image.mode == "CMYK":
        notes.append("converted from CMYK to RGB without a colour profile, so colours are rough")
    if rgb is None:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    return Picture(_to_array(rgb), metadata, "; ".join(notes))


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
    return colour, None if alpha.getextrema() == (255, 255) else alpha


def _to_srgb(image, profile: bytes):
    """Returns a grey or CMYK image in sRGB, or None if the profile does not work."""
    try:
        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            # Without optimisation: its lookup table of few nodes is coarse in the shadows.
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE,
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        if is_for_lack_of_memory(
            error, image.width * image.height
        ):  # What little CMS says then is the same.
            raise MemoryError from error
        return None
