"""Pictures that are refused: too deep, several, damaged, too large, none."""

import os

import numpy as np
import pytest
from files.pictures import assert_refused, pixels_of, png
from PIL import Image

from gllmm_tf.errors import ImageError
from gllmm_tf.files.images import read_image


def test_lab_tiff(tmp_path, rgb):
    image = Image.merge("LAB", rgb.split())
    image.save(tmp_path / "a.tif")
    assert_refused(tmp_path / "a.tif", "mode LAB")


@pytest.mark.parametrize("extension", ["png", "webp", "tif"])
def test_several_frames(tmp_path, rgb, extension):
    path = tmp_path / f"a.{extension}"
    rgb.save(path, save_all=True, append_images=[rgb.rotate(180)])
    assert_refused(path, "2 frames or pages")


def test_multi_picture_jpeg_gives_its_main_picture(tmp_path, rgb):
    rgb.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[rgb.rotate(180)], quality=95)
    picture = read_image(tmp_path / "a.jpg")
    assert "main picture of the 2" in picture.note
    assert np.abs(picture.pixels.astype(int) - pixels_of(rgb)).mean() < 8


@pytest.mark.parametrize(
    "data, pattern",
    [
        (b"", "not a readable picture \\(an empty file"),
        (b"hello", "not a readable picture \\(a text file"),
        (bytes(1000), "not a readable picture \\(a file that begins with zeros only"),
        (b"\x89PNG\r\n\x1a\n", "not a readable picture \\(a PNG picture, damaged"),
        (b"\x89GLM\x01" + bytes(50), "gllmm file already.*decompress"),
        (png(60000, 60000, 8, 2, b"\0"), "MAX_IMAGE_PIXELS"),
        (png(8, 8, 8, 2, b"\0" * 30), "damaged or cut short"),
    ],
)
def test_what_is_not_a_picture(tmp_path, data, pattern):
    (tmp_path / "a.png").write_bytes(data)
    assert_refused(tmp_path / "a.png", pattern)


def test_limit_on_pixels(tmp_path, rgb):
    rgb.save(tmp_path / "a.png")
    assert_refused(tmp_path / "a.png", "600 pixels.*counted as 4096.*4095", max_pixels=4095)
    assert read_image(tmp_path / "a.png", max_pixels=4096).pixels.shape == (20, 30, 3)
    rgb.resize((70, 100)).save(tmp_path / "b.png")
    assert_refused(tmp_path / "b.png", "7000 pixels, more than the limit of 6999", max_pixels=6999)
    assert read_image(tmp_path / "b.png", max_pixels=7000).pixels.shape == (100, 70, 3)


@pytest.mark.parametrize("shape", [(1 << 17, 1), (2, 100_000), (1, 70_000), (63, 66_000)])
def test_limit_on_strips(tmp_path, shape):
    """A strip is more work than its pixels: the networks see whole blocks of 64 x 64."""
    Image.new("L", shape).save(tmp_path / "a.png")
    assert_refused(tmp_path / "a.png", "a side has at least 64.*limit", max_pixels=1 << 22)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif", "bmp"])
def test_truncated_pictures(tmp_path, rgb, extension):
    """An error, or all pixels (the last bytes of some formats hold none)."""
    path = tmp_path / f"a.{extension}"
    rgb.save(path)
    data = path.read_bytes()
    whole = read_image(path).pixels
    refused = 0
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        try:
            np.testing.assert_array_equal(read_image(path).pixels, whole)
        except ImageError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
            assert str(error).isprintable()
    assert refused > 0.9 * len(data) / 7


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif", "bmp"])
def test_mutated_pictures_raise_nothing_else(tmp_path, rgb, extension):
    path = tmp_path / f"a.{extension}"
    rgb.save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        mutant = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            mutant[at] = rng.integers(256)
        path.write_bytes(mutant)
        try:
            assert read_image(path).pixels.dtype == np.uint8
        except ImageError as error:
            refused += 1
            assert str(error).isprintable()
    assert refused


def test_paths_that_are_not_files(tmp_path):
    assert_refused(tmp_path / "missing.png", "No such file")
    assert_refused(tmp_path, "is a directory")
    (tmp_path / "file").write_bytes(b"")
    assert_refused(tmp_path / "file" / "a.png", "Not a directory")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert_refused(tmp_path / "pipe", "not a regular file")  # And does not wait for a writer.
