"""PNG files that were written here are known, others are not."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from gllmm_tf.files import container, images, mark
from gllmm_tf.files.colour import make_profile
from gllmm_tf.files.metadata import pack_bytes

PIXELS = np.full((6, 9, 3), 70, np.uint8)


def test_pictures_of_ours(tmp_path):
    profile = make_profile((0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (2.2,))
    metadata = {container.TAG_ICC: pack_bytes(profile), container.TAG_XMP: pack_bytes(b"<x/>")}
    images.write_image(tmp_path / "a.png", PIXELS)
    images.write_image(tmp_path / "b.png", PIXELS, metadata)
    assert mark.is_marked(tmp_path / "a.png") and mark.is_marked(tmp_path / "b.png")
    assert images.read_image(tmp_path / "a.png").notes == ()  # nothing was left out


def text(keyword, value):
    info = PngImagePlugin.PngInfo()
    info.add_text(keyword, value)
    return {"pnginfo": info}


@pytest.mark.parametrize(
    "options",
    [
        {},
        text("Software", "gllmm_tg"),
        text("Comment", "gllmm_tf"),
        text("Software", "gllmm_tf 1"),
        text("Title", "\0tEXtSoftware\0gllmm_tf".replace("\0", " ")),
    ],
)
def test_pictures_of_others(tmp_path, options):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", **options)
    assert not mark.is_marked(tmp_path / "a.png")


@pytest.mark.parametrize("end", [0, 8, 20, 33, 40, 50])
def test_what_is_cut_or_gone(tmp_path, end):
    images.write_image(tmp_path / "a.png", PIXELS)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[:end])
    assert not mark.is_marked(tmp_path / "b.png")
    assert not mark.is_marked(tmp_path / "gone.png")
    assert not mark.is_marked(tmp_path)
