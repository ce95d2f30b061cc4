"""Alpha and colour profile as the container has them: a region of them, and their damage."""

import io
import zlib

import numpy as np
import pytest
from files.pictures import SIZE, pixels_of, png
from PIL import Image

from gllmm_tf.errors import FormatError
from gllmm_tf.files.container import TAG_ALPHA, TAG_ICC
from gllmm_tf.files.images import read_image, write_image
from gllmm_tf.files.metadata import crop_metadata


def test_metadata_of_a_region(tmp_path, rgb, alpha, wide_profile):
    rgba = Image.fromarray(np.dstack([rgb, alpha]))
    rgba.save(tmp_path / "a.png", icc_profile=wide_profile)
    picture = read_image(tmp_path / "a.png")
    width, height = alpha.size
    beside = crop_metadata(picture.metadata, (width, height), (2, 3, 6, 5))
    write_image(tmp_path / "b.png", picture.pixels[3:8, 2:8], beside)
    with Image.open(tmp_path / "b.png") as image:
        part = np.array(rgba)[3:8, 2:8]
        np.testing.assert_array_equal(np.array(image)[..., 3], part[..., 3])
        visible = part[..., 3] > 0
        np.testing.assert_array_equal(np.array(image)[visible], part[visible])
        assert image.info["icc_profile"]
    assert crop_metadata({}, (width, height), (0, 0, 1, 1)) == {}
    with pytest.raises(FormatError, match="alpha"):
        crop_metadata({TAG_ALPHA: b"?"}, (width, height), (0, 0, 1, 1))


def encoded_png(image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    "metadata, pattern",
    [
        ({TAG_ALPHA: b"not a picture"}, "alpha channel is damaged"),
        ({TAG_ALPHA: encoded_png(Image.new("L", (29, 20)))}, "29 x 20.*30 x 20"),
        ({TAG_ALPHA: encoded_png(Image.new("RGB", SIZE))}, "mode RGB"),
        ({TAG_ALPHA: png(*SIZE, 8, 0, bytes(100))}, "alpha channel is damaged"),
        ({TAG_ALPHA: png(60000, 60000, 8, 0, b"\0")}, "alpha channel"),
        ({TAG_ICC: b"not a zlib stream"}, "colour profile is damaged"),
        ({TAG_ICC: zlib.compress(b"profile")[:-1]}, "colour profile is damaged"),
        ({TAG_ICC: zlib.compress(bytes((1 << 24) + 1))}, "absurdly large"),
        ({TAG_ICC: zlib.compress(b"profile") + b"more"}, "colour profile is damaged"),
    ],
)
def test_damaged_metadata_is_refused(tmp_path, rgb, metadata, pattern):
    with pytest.raises(FormatError, match=pattern):
        write_image(tmp_path / "b.png", pixels_of(rgb), metadata)
    assert not list(tmp_path.iterdir())
