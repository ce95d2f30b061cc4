"""Pictures in and out: every mode, orientation, profile and alpha."""

import struct
import zlib

import numpy as np
import pytest
from files.pictures import pixels_of, png, png_chunk, read_alpha
from PIL import Image

from gllmm_tf.errors import ImageError
from gllmm_tf.files.container import TAG_ALPHA, TAG_ICC
from gllmm_tf.files.images import read_image, write_image

ORIENTATION = 0x0112  # EXIF tag


@pytest.mark.parametrize(
    "mode, extension",
    [
        ("RGB", "png"),
        ("RGB", "tif"),
        ("RGB", "bmp"),
        ("RGB", "ppm"),
        ("L", "pgm"),
        ("L", "png"),
        ("L", "tif"),
        ("L", "bmp"),
        ("1", "png"),
        ("1", "tif"),
        ("1", "bmp"),
        ("P", "png"),
        ("P", "tif"),
        ("P", "bmp"),
        ("CMYK", "tif"),
        ("RGBX", "tif"),
    ],
)
def test_lossless_modes(tmp_path, rgb, mode, extension):
    image = rgb.convert(mode)
    path = tmp_path / f"a.{extension}"
    image.save(path)
    picture = read_image(path)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (20, 30, 3)
    np.testing.assert_array_equal(picture.pixels, pixels_of(image))
    assert picture.metadata == {}
    assert bool(picture.note) == (mode == "CMYK")


def test_lossless_webp(tmp_path, rgb):
    rgb.save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp").pixels, pixels_of(rgb))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr"])
def test_jpeg_modes(tmp_path, rgb, mode):
    path = tmp_path / "a.jpg"
    rgb.convert(mode).save(path, quality=95, subsampling=0)
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, pixels_of(Image.open(path)))
    expected = pixels_of(rgb.convert("L") if mode == "L" else rgb)
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 8  # Colours are not inverted.


@pytest.mark.parametrize("depth", [2, 4])
def test_shallow_grey_png(tmp_path, depth):
    path = tmp_path / "a.png"
    levels = 2**depth - 1
    first = 1 << (8 - depth)  # The byte whose first sample is 1 and whose others are 0.
    path.write_bytes(png(2, 1, depth, 0, bytes([0, first]), png_chunk(b"tRNS", b"\0\1")))
    picture = read_image(path)
    assert picture.pixels[0, 1, 0] == 0
    assert read_alpha(picture).tolist() == [[0, 255]]  # The sample named by tRNS is transparent.
    path.write_bytes(png(2, 1, depth, 0, bytes([0, first])))
    assert read_image(path).pixels[0, :, 0].tolist() == [255 // levels, 0]


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").pixels.tolist() == [[[1, 2, 3]]]


def test_more_rows_than_are_handed_over_at_once(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (600, 2, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, pixels)


def test_content_decides_the_format(tmp_path, rgb):
    rgb.save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").pixels, pixels_of(rgb))


# ------------------------------------------------------------------------- orientation, profile


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, rgb, extension, orientation):
    path = tmp_path / f"a.{extension}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    rgb.save(path)
    stored = pixels_of(Image.open(path))
    rgb.save(path, exif=exif)
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a),
    }[orientation](stored)
    np.testing.assert_array_equal(read_image(path).pixels, upright)


def test_orientation_turns_alpha_too(tmp_path, rgb, alpha):
    image = rgb.copy()
    image.putalpha(alpha)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(
        read_alpha(read_image(tmp_path / "a.png")), np.rot90(np.array(alpha), -1)
    )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b""])
def test_damaged_exif_does_no_harm(tmp_path, rgb, exif):
    rgb.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, pixels_of(rgb))


@pytest.mark.parametrize("source", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("target", ["png", "jpg", "tif", "webp"])
def test_rgb_profile_is_kept(tmp_path, rgb, wide_profile, source, target):
    rgb.save(tmp_path / f"a.{source}", icc_profile=wide_profile)
    picture = read_image(tmp_path / f"a.{source}")
    assert zlib.decompress(picture.metadata[TAG_ICC]) == wide_profile
    assert not picture.note
    write_image(tmp_path / f"b.{target}", picture.pixels, picture.metadata)
    assert Image.open(tmp_path / f"b.{target}").info["icc_profile"] == wide_profile


def grey_profile(gamma: float) -> bytes:
    """A minimal ICC version 2 profile for grey data with a plain power law."""

    def element(kind, data):
        return kind + bytes(4) + data

    white = element(b"XYZ ", struct.pack(">3i", 63190, 65536, 54061))  # D50, 16.16 fixed point.
    curve = element(b"curv", struct.pack(">IH", 1, round(gamma * 256)) + bytes(2))
    text = b"grey\0"
    name = element(b"desc", struct.pack(">I", len(text)) + text + bytes(11 + 67 + 3))
    elements = [(b"wtpt", white), (b"kTRC", curve), (b"desc", name)]
    table, body = struct.pack(">I", len(elements)), b""
    for tag, data in elements:
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(elements) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(body)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ",
                         struct.pack(">6H", 2000, 1, 1, 0, 0, 0), b"acsp")  # fmt: skip
    header += bytes(68 - len(header)) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + body


def test_grey_profile_is_converted(tmp_path):
    image = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    image.save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    picture = read_image(tmp_path / "a.png")
    assert picture.metadata == {}
    assert "sRGB" in picture.note
    linear = np.arange(256) / 255
    srgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    assert np.abs(picture.pixels[0] - 255 * srgb[:, None]).max() < 2


@pytest.mark.parametrize("space", [b"GRAY", b"CMYK"])
def test_profile_for_other_pixels_is_dropped(tmp_path, rgb, srgb_profile, space):
    profile = srgb_profile[:16] + space + srgb_profile[20:]
    rgb.save(tmp_path / "a.png", icc_profile=profile)
    picture = read_image(tmp_path / "a.png")
    assert picture.metadata == {}
    assert "profile" in picture.note
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb))


def test_unreadable_profile_is_dropped(tmp_path, rgb):
    profile = bytes(16) + b"GRAY" + bytes(200)
    rgb.convert("L").save(tmp_path / "a.png", icc_profile=profile)
    picture = read_image(tmp_path / "a.png")
    assert "unreadable" in picture.note
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb.convert("L")))


# --------------------------------------------------------------------------------------- alpha


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("source", ["png", "tif", "webp"])
@pytest.mark.parametrize("target", ["png", "tif", "webp"])
def test_alpha_is_kept(tmp_path, rgb, alpha, mode, source, target):
    image = rgb.convert(mode)
    image.putalpha(alpha)
    path = tmp_path / f"a.{source}"
    image.save(path, **({"lossless": True, "exact": True} if source == "webp" else {}))
    picture = read_image(path)
    visible = np.array(alpha) > 0
    np.testing.assert_array_equal(picture.pixels[visible], pixels_of(image)[visible])
    np.testing.assert_array_equal(read_alpha(picture), np.array(alpha))

    write_image(tmp_path / f"b.{target}", picture.pixels, picture.metadata)
    restored = np.array(Image.open(tmp_path / f"b.{target}").convert("RGBA"))
    np.testing.assert_array_equal(restored, np.dstack([picture.pixels, np.array(alpha)]))


@pytest.mark.parametrize("transparent", [3, bytes(range(256))])
def test_palette_with_transparency(tmp_path, rgb, transparent):
    image = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "a.png", transparency=transparent)
    picture = read_image(tmp_path / "a.png")
    index = np.array(image)
    expected = np.where(index == 3, 0, 255) if transparent == 3 else index
    np.testing.assert_array_equal(read_alpha(picture), expected)
    visible = expected > 0
    np.testing.assert_array_equal(picture.pixels[visible], pixels_of(image)[visible])


def test_colour_key_becomes_alpha(tmp_path):
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    image.save(tmp_path / "a.png", transparency=(4, 5, 6))
    assert read_alpha(read_image(tmp_path / "a.png")).tolist() == [[255, 0]]


def test_opaque_alpha_is_dropped(tmp_path, rgb):
    rgb.convert("RGBA").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").metadata == {}


def test_unknown_metadata_is_ignored(tmp_path, rgb):
    write_image(tmp_path / "b.png", pixels_of(rgb), {77: b"?"})
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, pixels_of(rgb))


@pytest.mark.parametrize(
    "name", ["b.png", "b.PNG", "b", "b.tif", "b.tiff", "b.webp", "b.bmp", "b.ppm"]
)
def test_write_is_lossless(tmp_path, rgb, name):
    write_image(tmp_path / name, pixels_of(rgb))
    expected = {"b": "PNG", "b.PNG": "PNG", "b.webp": "WEBP", "b.bmp": "BMP", "b.ppm": "PPM"}.get(
        name
    )
    assert Image.open(tmp_path / name).format in (expected, *([] if expected else ["PNG", "TIFF"]))
    np.testing.assert_array_equal(pixels_of(Image.open(tmp_path / name)), pixels_of(rgb))


def test_write_jpeg(tmp_path, rgb):
    write_image(tmp_path / "b.jpg", pixels_of(rgb))
    written = Image.open(tmp_path / "b.jpg")
    assert written.format == "JPEG"
    assert np.abs(pixels_of(written).astype(int) - pixels_of(rgb)).mean() < 4


@pytest.mark.parametrize(
    "name, shape, metadata, pattern",
    [
        ("b.gif", (4, 4, 3), {}, "extension .gif"),
        ("b.gllmm", (4, 4, 3), {}, "extension .gllmm"),
        ("b.jpg", (4, 4, 3), {TAG_ALPHA: b""}, "no alpha"),
        ("b.bmp", (4, 4, 3), {TAG_ALPHA: b""}, "no alpha"),
        ("b.ppm", (4, 4, 3), {TAG_ALPHA: b""}, "no alpha"),
        ("b.bmp", (4, 4, 3), {TAG_ICC: b""}, "no colour profile"),
        ("b.ppm", (4, 4, 3), {TAG_ICC: b""}, "no colour profile"),
        ("b.jpg", (1, 70000, 3), {}, "cannot hold"),
        ("b.webp", (1, 20000, 3), {}, "cannot hold"),
    ],
)
def test_formats_that_cannot_hold_the_picture(tmp_path, name, shape, metadata, pattern):
    path = tmp_path / name
    with pytest.raises(ImageError, match=pattern) as caught:
        write_image(path, np.zeros(shape, np.uint8), metadata)
    assert str(caught.value).startswith(f"{path}: ")
    assert not list(tmp_path.iterdir())
