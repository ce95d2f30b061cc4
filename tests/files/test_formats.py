"""Formats: what is read, which picture of a file, what is refused by its name."""

import io
import struct

import numpy as np
import pytest
from files.pictures import assert_refused, pixels_of, read_alpha, tiff
from PIL import Image

from gllmm_tf.errors import ImageError
from gllmm_tf.files import boxes, recognise
from gllmm_tf.files.images import read_image

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
AVIF = b"\0\0\0\x1cftypavif\0\0\0\0mif1miafMA1B"


@pytest.mark.parametrize(
    "start, name",
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\xef\xbb\xbf\n <HTML lang='en'>", "an HTML page"),
        (b"<?xml version='1.0'?><svg>", "an XML or SVG file"),
        (b"%PDF-1.7", "a PDF document"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\x76\x2f\x31\x01\2\0\0\0", "an OpenEXR picture"),
        (b"#?RADIANCE\n", "a Radiance picture"),
        (b"PK\3\4", "a ZIP archive"),
        (b"qoif\0\0", "a QOI picture"),
        (b"P7\nWIDTH 3\n", "a PAM picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2", "an MP4 or QuickTime file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file (CR3)"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera's raw file (CR2)"),
        (b"RIFF\0\0\0\0WAVE", "a RIFF file (sound or video)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"Hello, world\n", "a text file"),
        (
            "Größe, aber nicht als Bild, in Wörtern für jeden der sie sucht, ja für jeden".encode(),
            "a text file",
        ),
        (b"<!-- saved from the web -->\n<html>", "an HTML page"),
        (bytes(64), "a file that begins with zeros only"),
        (b"\x9d\x13\xc7" * 20, "a file of an unknown kind"),
        (b"PNG", "a text file"),
    ],
)
def test_what_is_refused_is_named(tmp_path, start, name):
    (tmp_path / "a.png").write_bytes(start)
    pattern = name.replace("(", r"\(").replace(")", r"\)")
    assert_refused(
        tmp_path / "a.png", rf"not a readable picture \({pattern}.*\); readable are PNG, "
    )


@pytest.mark.parametrize(
    "start, name", [(HEIC, "HEIC"), (AVIF, "AVIF"), (b"\xff\x0a" + bytes(30), "JPEG XL"),
                    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL")]
)  # fmt: skip
def test_missing_reader_names_the_extra(tmp_path, monkeypatch, start, name):
    def missing(name):
        raise ImportError

    monkeypatch.setattr(recognise.importlib, "import_module", missing)
    monkeypatch.setattr(Image, "OPEN", {})
    monkeypatch.setattr(Image, "init", lambda: None)
    (tmp_path / "a.png").write_bytes(start)
    assert_refused(tmp_path / "a.png", rf"{name} picture: .* pip install 'gllmm_tf\[formats\]'")


def can_read(name):
    try:
        recognise.readable({"HEIF": HEIC, "AVIF": AVIF, "JXL": b"\xff\x0a" + bytes(30)}[name])
    except ImageError:
        return False
    return True


def saved(path, image, name, **options):
    if not can_read(name):
        pytest.skip(f"no reader of {name}")
    try:
        image.save(path, name, **options)
    except NotImplementedError:
        pytest.skip(f"this writer of {name} knows no mode {image.mode}")


@pytest.mark.parametrize("name, extension", [("AVIF", "avif"), ("HEIF", "heic"), ("JXL", "jxl")])
def test_new_formats(tmp_path, rgb, alpha, name, extension):
    path = tmp_path / f"a.{extension}"
    image = rgb.resize((90, 60))
    image.putalpha(alpha.resize((90, 60)))
    exif = Image.Exif()
    exif[0x10F], exif[0x112] = "Maker", 6
    saved(path, image, name, quality=95, exif=exif.tobytes())
    picture = read_image(path)
    if name != "JXL":  # which has the orientation in its pixels' header alone
        assert picture.pixels.shape == (90, 60, 3)
        assert (
            np.abs(np.rot90(picture.pixels) - pixels_of(image).astype(int))[
                np.array(image)[..., 3] > 60
            ].mean()
            < 12
        )
    assert read_alpha(picture).shape == picture.pixels.shape[:2]
    assert_refused(path, "more than the limit of 5399", max_pixels=5399)
    path.write_bytes(path.read_bytes()[:200])
    assert_refused(path, "damaged")


@pytest.mark.parametrize("name", ["HEIF", "JXL"])
def test_deep_grey_of_new_formats(tmp_path, name):
    ramp = np.linspace(0, 1, 64)[None].repeat(64, 0)
    saved(tmp_path / "a", Image.fromarray(np.uint16(65535 * ramp)), name, quality=98)
    picture = read_image(tmp_path / "a")
    assert "to 8 bits a channel" in picture.note
    # The writer of JPEG XL calls 16-bit values linear.
    curve = np.where(ramp > 0.0031308, 1.055 * ramp ** (1 / 2.4) - 0.055, 12.92 * ramp)
    expected = curve if name == "JXL" else ramp
    assert np.abs(picture.pixels - 255 * expected[..., None])[:, 8:].max() < 4


def nclx(primaries, transfer):
    return b"colrnclx" + struct.pack(">HHHB", primaries, transfer, 0, 128)


@pytest.mark.parametrize("transfer, hdr", [(16, "PQ"), (18, "HLG")])
def test_hdr_avif(tmp_path, rgb, transfer, hdr):
    saved(tmp_path / "a.avif", rgb, "AVIF", quality=90)
    data = (tmp_path / "a.avif").read_bytes()
    at = data.index(b"colrnclx")
    (tmp_path / "a.avif").write_bytes(data[:at] + nclx(9, transfer)[:12] + data[at + 12 :])
    assert_refused(tmp_path / "a.avif", rf"HDR picture \({hdr}\)")


@pytest.mark.parametrize(
    "numbers, size",
    [
        ([(1, 1), (3, 5), (0, 3), (4, 5)], (40, 32)),
        ([(0, 1), (1, 2), (1079, 13), (0, 3), (1, 2), (1919, 13)], (1920, 1080)),
        ([(0, 1), (3, 2), ((1 << 30) - 1, 30), (7, 3)], (1 << 31, 1 << 30)),
        ([(0, 1), (0, 2), (99, 9), (2, 3)], (120, 100)),
    ],
)
@pytest.mark.parametrize("in_boxes", [False, True])
def test_size_of_jpeg_xl(numbers, size, in_boxes):
    value, at = 0, 0
    for number, bits in numbers:
        value |= number << at
        at += bits
    stream = b"\xff\x0a" + value.to_bytes(10, "little")
    if in_boxes:
        stream = (
            b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4s", 8 + len(stream), b"jxlc") + stream
        )
    assert boxes.jxl_size(io.BytesIO(stream)) == size


def test_gif_gives_its_first_frame(tmp_path, rgb):
    first, second = rgb.quantize(64), rgb.rotate(180).quantize(64)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    picture = read_image(tmp_path / "a.gif")
    np.testing.assert_array_equal(picture.pixels, pixels_of(first))
    assert "first of its frames" in picture.note
    first.save(tmp_path / "a.gif")
    assert not read_image(tmp_path / "a.gif").notes
    first.save(tmp_path / "a.gif", transparency=3)
    hidden = read_alpha(read_image(tmp_path / "a.gif")) == 0
    np.testing.assert_array_equal(hidden, np.array(first) == 3)


# -------------------------------------------------------------------------------- pages of TIFF


@pytest.mark.parametrize("kinds", [(0, 1), (1, 0), (0, 1, 1), (1, 1, 0), (0, 4), (0, 5, 1)])
def test_the_page_that_is_no_thumbnail(tmp_path, rgb, kinds):
    small = rgb.resize((10, 6))
    data = tiff(*((rgb if kind == 0 else small, kind) for kind in kinds))
    (tmp_path / "a.tif").write_bytes(data)
    picture = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb))
    assert f"full size among the {len(kinds)}" in picture.note
    assert_refused(tmp_path / "a.tif", "more than the limit of 4095", max_pixels=4095)


@pytest.mark.parametrize("kind", ["plain", "signed", "titled"])
def test_bigtiff(tmp_path, rgb, kind):
    tags = {"plain": {}, "signed": {339: 2}, "titled": {270: "A title"}}[kind]
    image = rgb.convert("L")
    if kind == "signed":
        image = image.point([v ^ 0x80 for v in range(256)])
    try:
        image.save(tmp_path / "a.tif", big_tiff=True, tiffinfo=tags)
    except KeyError:
        pytest.skip("this Pillow writes no BigTIFF")
    if (tmp_path / "a.tif").read_bytes()[2] != 43:
        pytest.skip("this Pillow writes no BigTIFF")
    picture = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb.convert("L")))
    words = {"plain": "", "signed": "signed samples", "titled": "left out: EXIF data"}[kind]
    assert words in picture.note and bool(words) == bool(picture.note)


@pytest.mark.parametrize("kinds", [(0, 0), (2, 2), (1, 1), (0, 1, 0)])
def test_several_pages_are_refused(tmp_path, rgb, kinds):
    (tmp_path / "a.tif").write_bytes(tiff(*((rgb, kind) for kind in kinds)))
    assert_refused(tmp_path / "a.tif", f"holds {len(kinds)} frames or pages")


@pytest.mark.parametrize("tags", [{254: 1, 330: 8}, {50706: b"\1\4\0\0"}])
def test_raw_files_are_not_their_thumbnails(tmp_path, rgb, tags):
    rgb.save(tmp_path / "a.tif", tiffinfo=tags)
    assert_refused(tmp_path / "a.tif", "camera's raw file; develop it")


# ----------------------------------------------------------------------------- JPEG without end


def jpeg_of(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0},
                                     {"restart_marker_blocks": 1}, {"optimize": True}])  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("missing", [1, 2])
def test_jpeg_without_its_end(tmp_path, rgb, options, mode, missing):
    data = jpeg_of(rgb.resize((90, 60)).convert(mode), **options)
    (tmp_path / "whole.jpg").write_bytes(data)
    (tmp_path / "a.jpg").write_bytes(data[:-missing])
    picture = read_image(tmp_path / "a.jpg")
    np.testing.assert_array_equal(picture.pixels, read_image(tmp_path / "whole.jpg").pixels)
    if options.get("quality") != 95:  # Of such a one, Pillow misses nothing.
        assert picture.notes[0] == "its end is missing, but no pixel of it"


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_without_pixels(tmp_path, rgb, progressive):
    """Cut anywhere: the whole picture, or it is refused."""
    data = jpeg_of(rgb.resize((90, 60)), progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(data)
    whole = read_image(tmp_path / "a.jpg").pixels
    refused = 0
    for length in range(20, len(data), 13):
        (tmp_path / "a.jpg").write_bytes(data[:length])
        try:
            np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").pixels, whole)
        except ImageError:
            refused += 1
    assert refused > len(data) / 13 - 4
