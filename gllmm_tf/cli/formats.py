"""Formats of pictures as the command line names them. Nothing is imported here, so that --help is quick."""

from __future__ import annotations

SUFFIXES = {
    "png": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "tiff": ".tif",
    "bmp": ".bmp",
    "ppm": ".ppm",
}
"""{format: extension} of pictures that can be written."""

READABLE = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".pnm", ".pfm", ".avif", ".heic", ".heif", ".jxl"),
)
"""Extensions of pictures, in small letters."""

LADDERS: dict[str, tuple[str, ...]] = {
    "jpeg": tuple(map(str, range(1, 101))),
    "webp": tuple(map(str, range(101))),
    "avif": tuple(map(str, range(101))),
    "jpeg2000": tuple(f"{1000 * 0.97**step:.1f}" for step in range(190)),
}
"""{codec of Pillow: settings, smallest file first}: qualities; for JPEG 2000 ratios of compression."""
