"""PNG chunk by chunk: what does not concern the picture does not stop it, what does is heeded."""

import io
import struct
import zlib

import numpy as np
import pytest
from files.pictures import assert_refused, pixels_of, png, png_chunk, read_alpha
from PIL import Image

from gllmm_tf.files.container import TAG_EXIF, TAG_ICC, TAG_XMP
from gllmm_tf.files.images import LEFT_OUT, read_image


def with_chunks(image, *chunks, at_end=False):
    """The PNG file of an image with more chunks behind IHDR or before IEND."""
    file = io.BytesIO()
    image.save(file, "PNG")
    data = file.getvalue()
    place = len(data) - 12 if at_end else 33
    return data[:place] + b"".join(chunks) + data[place:]


def damaged(chunk):
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000))),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"y" * 2_000_000)),
        png_chunk(b"tIME", bytes(7)),
        png_chunk(b"prVt", bytes(2_000_000)),
    ],
)
def test_large_and_private_chunks_are_left_out(tmp_path, rgb, chunk, at_end):
    path = tmp_path / "a.png"
    path.write_bytes(with_chunks(rgb, chunk, at_end=at_end))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb))
    assert picture.metadata == {}
    assert picture.notes == (f"{LEFT_OUT}: PNG chunk {chunk[4:8].decode()}",)


def test_large_profile_is_kept(tmp_path, rgb, wide_profile):
    profile = wide_profile + np.random.default_rng(0).bytes(3_000_000)
    chunk = png_chunk(b"iCCP", b"large\0\0" + zlib.compress(profile))
    (tmp_path / "a.png").write_bytes(with_chunks(rgb, chunk))
    picture = read_image(tmp_path / "a.png")
    assert zlib.decompress(picture.metadata[TAG_ICC]) == profile
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb))


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"tEXt", b"Comment\0hello"),
        png_chunk(b"pHYs", bytes(9)),
        png_chunk(b"gAMA", struct.pack(">I", 100000)),
        png_chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0"),
        png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(200))),
    ],
)
def test_wrong_checksum_of_what_is_beside_the_pixels(tmp_path, rgb, chunk):
    (tmp_path / "a.png").write_bytes(with_chunks(rgb, damaged(chunk)))
    picture = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb))
    assert picture.metadata == {}
    assert f"chunk {chunk[4:8].decode()}, whose checksum is wrong" in picture.note


@pytest.mark.parametrize(
    "name, content, pattern",
    [
        (b"tRNS", bytes(6), "transparency"),
        (b"PLTE", bytes(6), "chunk PLTE has a wrong checksum"),
        (b"IDAT", bytes(9), "chunk IDAT has a wrong checksum"),
        (b"IHDR", bytes(13), "chunk IHDR has a wrong checksum"),
    ],
)
def test_wrong_checksum_of_what_is_seen(tmp_path, rgb, name, content, pattern):
    (tmp_path / "a.png").write_bytes(with_chunks(rgb, damaged(png_chunk(name, content))))
    assert_refused(tmp_path / "a.png", pattern)


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"iCCP", b"no end of the name"),
        png_chunk(b"iCCP", b"x\0\0" + b"no zlib stream"),
        png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes((1 << 24) + 1))),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0damaged"),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0damaged"),
        png_chunk(b"tEXt", b""),
    ],
)
def test_damaged_contents_are_ignored(tmp_path, rgb, chunk):
    (tmp_path / "a.png").write_bytes(with_chunks(rgb, chunk))
    picture = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb))
    assert picture.metadata == {}
    assert f"ignored the chunk {chunk[4:8].decode()}" in picture.note


@pytest.mark.parametrize("compressed", [False, True])
def test_xmp_of_any_size(tmp_path, rgb, compressed):
    packet = b"<x:xmpmeta>" + bytes(np.random.default_rng(0).integers(97, 120, 2_000_000, np.uint8))
    text = b"\1\0\0\0" + zlib.compress(packet) if compressed else b"\0\0\0\0" + packet
    (tmp_path / "a.png").write_bytes(
        with_chunks(rgb, png_chunk(b"iTXt", b"XML:com.adobe.xmp\0" + text))
    )
    picture = read_image(tmp_path / "a.png")
    assert zlib.decompress(picture.metadata[TAG_XMP]) == packet


def test_profiles_as_imagemagick_writes_them(tmp_path, rgb):
    exif = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    raw = b"\nexif\n%8d\n" % (len(exif) + 6) + (b"Exif\0\0" + exif).hex().encode()
    chunk = png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw))
    (tmp_path / "a.png").write_bytes(with_chunks(rgb, chunk))
    picture = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, np.rot90(pixels_of(rgb), -1))
    assert zlib.decompress(picture.metadata[TAG_EXIF]) == exif.replace(b"\6", b"\1")


# ------------------------------------------------------------------------------- transparency


@pytest.mark.parametrize("key, alpha", [(0, [[255, 0]]), (1, [[0, 255]]), (257, [[0, 255]])])
def test_one_bit(tmp_path, key, alpha):
    """A white and a black pixel."""
    chunk = png_chunk(b"tRNS", struct.pack(">H", key))
    (tmp_path / "a.png").write_bytes(png(2, 1, 1, 0, b"\0\x80", chunk))
    assert read_alpha(read_image(tmp_path / "a.png")).tolist() == alpha


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_any_depth(tmp_path, depth):
    """The second level of three is transparent, and no level that is 8 bits like it."""
    levels = {1: [0, 1], 16: [0x1234, 0x1235, 0x5678]}.get(depth, [0, 1, 2])
    raw = b"".join(np.array(levels, ">u2").tobytes() for _ in range(depth == 16))
    if depth < 16:
        bits = "".join(f"{level:0{depth}b}" for level in levels)
        bits += "0" * (-len(bits) % 8)
        raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
    chunk = png_chunk(b"tRNS", struct.pack(">H", levels[1]))
    (tmp_path / "a.png").write_bytes(png(len(levels), 1, depth, 0, b"\0" + raw, chunk))
    expected = [[255, 0, 255][: len(levels)]]
    assert read_alpha(read_image(tmp_path / "a.png")).tolist() == expected


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_of_any_depth(tmp_path, depth):
    bits = f"{1:0{depth}b}{0:0{depth}b}"
    raw = int(bits + "0" * (-len(bits) % 8), 2).to_bytes(max(1, depth // 4), "big")
    chunks = png_chunk(b"PLTE", bytes([9, 9, 9, 200, 100, 50])) + png_chunk(b"tRNS", b"\xff\x80")
    (tmp_path / "a.png").write_bytes(png(2, 1, depth, 3, b"\0" + raw, chunks))
    picture = read_image(tmp_path / "a.png")
    assert read_alpha(picture).tolist() == [[0x80, 0xFF]]
    assert picture.pixels.tolist() == [[[200, 100, 50], [9, 9, 9]]]


def test_one_colour(tmp_path):
    chunk = png_chunk(b"tRNS", struct.pack(">3H", 4, 5, 6))
    (tmp_path / "a.png").write_bytes(png(3, 1, 8, 2, b"\0\4\5\6\4\5\7\1\2\3", chunk))
    assert read_alpha(read_image(tmp_path / "a.png")).tolist() == [[0, 255, 255]]
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, bytes(7), chunk))
    assert_refused(tmp_path / "a.png", "transparent colour .* not supported; convert it to 8 bits")


def test_transparency_of_a_wrong_length_is_ignored(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 2, bytes(4), png_chunk(b"tRNS", b"\0")))
    picture = read_image(tmp_path / "a.png")
    assert picture.metadata == {} and "wrong length" in picture.note


def test_file_without_its_last_chunk(tmp_path, rgb):
    data = with_chunks(rgb)
    (tmp_path / "a.png").write_bytes(data[:-12])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, pixels_of(rgb))
    assert Image.open(io.BytesIO(data)).size == rgb.size
