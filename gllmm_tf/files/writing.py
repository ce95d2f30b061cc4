"""Arrays to picture files, with the profile, alpha, EXIF and XMP that travel beside them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping

import numpy as np
from PIL import Image, PngImagePlugin

from gllmm_tf.errors import ImageError, OutOfMemoryError, running_out_of_memory
from gllmm_tf.files import jpeg, mark, tiff
from gllmm_tf.files.atomic import reason, write_bytes_atomic
from gllmm_tf.files.container import TAG_ALPHA, TAG_EXIF, TAG_GREY, TAG_ICC, TAG_XMP
from gllmm_tf.files.grey import is_grey
from gllmm_tf.files.metadata import unpack_alpha, unpack_bytes
from gllmm_tf.files.pillow_errors import is_for_lack_of_memory

_LONGEST_SIDE = {"WEBP": 16383, "JPEG": 65535}
_SAVE_OPTIONS: dict[str, dict] = {
    "PNG": {},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "WEBP": {"lossless": True, "exact": True},  # exact: keep the colour of transparent pixels.
    "BMP": {},
    "PPM": {},
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
    ".ppm": "PPM",
    ".pnm": "PPM",
}
_WRITTEN = tuple(extension for extension in _EXTENSIONS if extension)
PICTURE_EXTENSIONS = (
    *_WRITTEN,
    *(".jpe", ".jfif", ".mpo", ".gif", ".pgm", ".pbm", ".pfm", ".dib"),
    *(".avif", ".heic", ".heif", ".hif", ".jxl"),
)
"""Of pictures that are read or written, so that none is taken for the name of a compressed file."""
_PIXELS_ALONE = ("BMP", "PPM")


def write_image(
    path: str | os.PathLike, pixels: np.ndarray, metadata: Mapping[int, bytes] | None = None
) -> tuple[str, ...]:
    """Writes a picture, with the colour profile, alpha, EXIF and XMP that `metadata` holds.

    The extension chooses the format: PNG (also without extension), TIFF, WebP, BMP and PPM are
    lossless, JPEG is written at quality 95 without subsampling. A picture that was grey is written as
    grey; PPM always has three channels.

    Args:
        path: The file; an existing file is replaced in one step.
        pixels: uint8 [H, W, 3], RGB.
        metadata: Container metadata by tag; unknown tags are ignored.

    Returns:
        Notes for the user: what the format cannot hold and was left out.

    Raises:
        ImageError: The extension is unknown or its format cannot hold the picture.
        FormatError: The metadata are damaged.
        OutOfMemoryError: There is too little memory to encode it.
        OSError: The file cannot be written.
    """
    try:
        data, notes = encode_image(pixels, metadata or {}, format_of(path))
        with running_out_of_memory("writing the picture"):
            write_bytes_atomic(path, data)
    except (ImageError, OutOfMemoryError) as error:
        text = str(error)
        named = text if text.startswith(f"{path}: ") else f"{path}: {text}"
        raise type(error)(named, error.argument) from error
    return notes


def encode_image(
    pixels: np.ndarray, metadata: Mapping[int, bytes], file_format: str
) -> tuple[bytes | memoryview, tuple[str, ...]]:
    """The bytes that `write_image` writes, and its notes; `file_format` as from `format_of`."""
    notes: list[str] = []
    with running_out_of_memory("writing the picture"):
        data = _encode(pixels, metadata, file_format, notes)
    return data, tuple(notes)


def format_of(path: str | os.PathLike) -> str:
    """Returns Pillow's name of the format that the extension of `path` asks for.

    Raises:
        ImageError: The extension belongs to no format that can be written.
    """
    extension = os.path.splitext(os.fspath(path))[1].lower()
    if extension not in _EXTENSIONS:
        raise ImageError(
            f"{path}: cannot write a picture with extension {extension}; use one of "
            f"{' '.join(_WRITTEN)}"
        )
    return _EXTENSIONS[extension]


def check_format(
    path: str | os.PathLike, metadata: Mapping[int, bytes], size: tuple[int, int]
) -> None:
    """Checks, before the work is done, that a file named so can hold such a picture.

    Args:
        path: Of the file.
        metadata: Container metadata by tag.
        size: (width, height) of the picture.

    Raises:
        ImageError: It cannot.
    """
    try:
        _check_held(format_of(path), metadata, size)
    except ImageError as error:
        text = str(error)
        raise ImageError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from None


def _check_held(file_format, metadata, size):
    """Raises ImageError where a format cannot hold metadata that belong to the picture, or its size."""
    if TAG_ICC in metadata and file_format in _PIXELS_ALONE:
        raise ImageError(f"{file_format} holds no colour profile, this picture has one: use .png")
    if TAG_ALPHA in metadata and file_format in ("BMP", "JPEG", "PPM"):
        raise ImageError(f"{file_format} holds no alpha, this picture has it: use .png")
    if max(size) > _LONGEST_SIDE.get(file_format, max(size)):
        raise ImageError(
            f"{file_format} cannot hold this picture of {size[0]} x {size[1]} pixels "
            f"({_LONGEST_SIDE[file_format]} a side at most): use .png"
        )


def _encode(pixels, metadata: Mapping[int, bytes], file_format: str, notes: list[str]):
    options = dict(_SAVE_OPTIONS[file_format])
    _check_held(file_format, metadata, (pixels.shape[1], pixels.shape[0]))
    if TAG_ICC in metadata:
        options["icc_profile"] = unpack_bytes(TAG_ICC, metadata[TAG_ICC])
    image = _image_of(pixels, metadata, file_format)
    data = {tag: unpack_bytes(tag, metadata[tag]) for tag in (TAG_EXIF, TAG_XMP) if tag in metadata}
    return _save(image, file_format, options, data.get(TAG_EXIF), data.get(TAG_XMP), notes)


def _image_of(pixels, metadata: Mapping[int, bytes], file_format: str) -> Image.Image:
    """The picture in the mode in which it is written: L, LA, RGB or RGBA."""
    pixels = np.ascontiguousarray(pixels)
    # A profile for RGB belongs to RGB pixels.
    grey = TAG_GREY in metadata and TAG_ICC not in metadata and file_format != "PPM"
    if grey and is_grey(pixels):
        pixels = np.ascontiguousarray(pixels[..., 0])
    image = Image.fromarray(pixels)
    if TAG_ALPHA in metadata:
        image.putalpha(unpack_alpha(metadata[TAG_ALPHA], image.size))
    return image


def _save(
    image: Image.Image,
    file_format: str,
    options: dict,
    exif_data: bytes | None,
    xmp: bytes | None,
    notes: list[str],
):
    """The file's bytes."""
    if file_format in _PIXELS_ALONE:
        for name, content in (("EXIF", exif_data), ("XMP", xmp)):
            if content is not None:
                notes.append(f"left out: {name}, for which {file_format} has no place")
    elif file_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text(mark.KEYWORD, mark.TEXT)
        if xmp is not None:
            text.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        options["pnginfo"] = text
    elif file_format == "WEBP" and xmp is not None:
        options["xmp"] = xmp
    if file_format in ("PNG", "WEBP") and exif_data is not None:
        options["exif"] = exif_data
    encoded = _bytes_of(image, file_format, options)
    if exif_data is None and xmp is None:
        return encoded
    if file_format == "JPEG":
        whole, left_out = jpeg.with_segments(bytes(encoded), exif_data, xmp)
        notes += [f"left out: {name}, too large for JPEG" for name in left_out]
        return whole
    if file_format == "TIFF":
        try:
            return tiff.with_metadata(bytes(encoded), exif_data, xmp)
        except ValueError:
            notes.append("left out: EXIF, which is damaged")
    return encoded


def _bytes_of(image: Image.Image, file_format: str, options: dict):
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
