"""Files made to cost much: none takes more than a moment, or more memory than its size explains."""

import struct
import time
import zlib

import numpy as np
import pytest
from files.pictures import png, png_chunk
from PIL import Image

from gllmm_tf.errors import ImageError
from gllmm_tf.files.images import read_image

SECONDS = 20  # Of a busy machine; none takes more than one of an idle one.
BOMB = zlib.compress(bytes(1 << 24), 9)


def directory(entries, following=0):
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + table + struct.pack("<I", following)


def exif_with(*parts):
    return b"II*\0" + struct.pack("<I", 8) + b"".join(parts)


def many_chunks(name, content, count):
    return png(1, 1, 8, 0, b"\0\0", png_chunk(name, content) * count)


def tiff_of_pages(count):
    page = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
            (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 1)]  # fmt: skip
    size = len(directory(page))
    pages = (directory(page, 8 + (i + 1) * size if i + 1 < count else 0) for i in range(count))
    return exif_with(*pages)


HOSTILE = {
    "texts that inflate": lambda: many_chunks(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB, 150),
    "profiles that inflate": lambda: many_chunks(b"iCCP", b"a\0\0" + BOMB + b"x", 150),
    "raw profiles that inflate": lambda: many_chunks(
        b"zTXt", b"Raw profile type exif\0\0" + BOMB, 150
    ),
    "tens of thousands of chunks": lambda: many_chunks(b"tEXt", b"", 40_000),
    "as many with wrong checksums": lambda: png(
        1, 1, 8, 0, b"\0\0", struct.pack(">I4sI", 0, b"tEXt", 7) * 40_000
    ),
    "values that overlap": lambda: png(
        *(1, 1, 8, 0, b"\0\0"),
        png_chunk(b"eXIf", exif_with(directory([(1, 1, 4_000_000, 8)] * 4000), bytes(4_100_000))),
    ),
    "directories that point to each other": lambda: png(
        *(1, 1, 8, 0, b"\0\0"),
        png_chunk(b"eXIf", exif_with(*[
            directory([(tag, 4, 1, 8 + k * 48006) for k in range(4000)])
            for tag in [0x8769, 0x8825, 0xA005] * 5
        ])),
    ),
    "thousands of pages": lambda: tiff_of_pages(20_000),
    "a JPEG of markers": lambda: b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(9) + b"\xff" * 400_000,
    "a JPEG of empty segments": lambda: b"\xff\xd8" + b"\xff\xe0\0\2" * 60_000,
    "boxes of nothing": lambda: b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0\0\0\x08free" * 500_000,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_little(tmp_path, name):
    path = tmp_path / "a.png"
    path.write_bytes(HOSTILE[name]())
    start = time.perf_counter()
    try:
        picture = read_image(path)
        assert picture.pixels.shape == (1, 1, 3) and len(picture.notes) <= 50
    except ImageError as error:
        assert str(error).isprintable()
    assert time.perf_counter() - start < SECONDS


def test_a_profile_of_any_kind_is_judged_at_once(tmp_path):
    rng = np.random.default_rng(0)
    for size in (0, 3, 127, 132, 5000, 3_000_000):
        for space in (b"RGB ", b"GRAY", b"CMYK", b"\0\0\0\0"):
            profile = rng.bytes(16) + space + rng.bytes(size)
            Image.new("RGB", (2, 2)).save(tmp_path / "a.png", icc_profile=profile)
            start = time.perf_counter()
            assert read_image(tmp_path / "a.png").pixels.shape == (2, 2, 3)
            assert time.perf_counter() - start < SECONDS
