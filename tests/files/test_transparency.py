"""What is invisible costs little and disturbs nothing."""

import io

import numpy as np
import pytest
from PIL import Image

from gllmm_tf.files.images import read_image
from gllmm_tf.files.transparency import fill_invisible

WIDTH, HEIGHT = 96, 80


@pytest.fixture(scope="module")
def disc():
    """A smooth colour inside a disc, noise outside, where alpha is 0."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = np.hypot(x - 48, y - 40) < 30
    smooth = np.stack([x * 2, y * 2, 255 - x], -1)
    noise = np.random.default_rng(0).integers(0, 256, smooth.shape)
    pixels = np.where(inside[..., None], smooth, noise).astype(np.uint8)
    return Image.fromarray(pixels), Image.fromarray(np.uint8(inside * 255))


def test_visible_pixels_stay_and_the_others_continue_them(disc):
    colour, alpha = disc
    filled = np.array(fill_invisible(colour, alpha)).astype(int)
    inside = np.array(alpha) > 0
    np.testing.assert_array_equal(filled[inside], np.array(colour)[inside])
    rim = inside[:, :-1] != inside[:, 1:]
    assert np.abs(np.diff(filled, axis=1))[rim].mean() < 12
    assert np.abs(np.diff(np.array(colour).astype(int), axis=1))[rim].mean() > 60
    assert filled[~inside].std() < np.array(colour)[~inside].std()


def test_fewer_bytes(disc):
    def size(image):
        file = io.BytesIO()
        image.save(file, "JPEG")
        return len(file.getvalue())

    colour, alpha = disc
    assert size(fill_invisible(colour, alpha)) < 0.5 * size(colour)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 3), (33, 65)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_any_size_and_one_visible_pixel(size, mode):
    colour = Image.new(mode, size, 7)
    value = (10, 20, 30) if mode == "RGB" else 10
    colour.putpixel((size[0] - 1, 0), value)
    alpha = Image.new("L", size, 0)
    assert fill_invisible(colour, alpha).size == size
    alpha.putpixel((size[0] - 1, 0), 1)
    filled = fill_invisible(colour, alpha)
    assert filled.mode == mode
    assert np.all(np.array(filled) == np.array(value))


def test_grey_stays_grey(disc):
    colour, alpha = disc
    filled = fill_invisible(colour.convert("L"), alpha)
    assert filled.mode == "L"
    rgb = np.array(fill_invisible(colour.convert("L").convert("RGB"), alpha))
    np.testing.assert_array_equal(rgb, np.array(filled)[..., None].repeat(3, -1))


def test_pictures_are_read_so(tmp_path, disc):
    colour, alpha = disc
    image = colour.copy()
    image.putalpha(alpha)
    for name, options in (
        ("a.png", {}),
        ("a.webp", {"lossless": True, "exact": True}),
        ("a.tif", {}),
    ):
        image.save(tmp_path / name, **options)
        np.testing.assert_array_equal(
            read_image(tmp_path / name).pixels, np.array(fill_invisible(colour, alpha))
        )
