"""Pictures that travel: in every form, in pieces, and what is said of damage."""

import os

import numpy as np
import pytest
from PIL import Image

from gllmm_tf import errors
from gllmm_tf.training import crops, data
from gllmm_tf.training.xla import bundle
from gllmm_tf.training.xla.runner import pictures


@pytest.fixture
def paths(folder):
    """Of the five pictures."""
    return data.find_pictures(f"{folder}/pictures/*.png")


FINGERPRINT = {"count": 5, "sha256": "of these"}


@pytest.mark.parametrize("kind", pictures.KINDS)
def test_pictures_come_back_from_their_pieces(paths, tmp_path, kind):
    bundle.write_pictures(paths, tmp_path, kind, FINGERPRINT, piece_bytes=20_000)
    place = tmp_path / "pictures"
    sizes = [os.path.getsize(place / name) for name in os.listdir(place) if name.endswith(".bin")]
    assert len(sizes) >= 3 and max(sizes) == 20_000
    found, fingerprint = pictures.read(str(place))
    assert fingerprint == FINGERPRINT
    assert len(found) == len(paths)
    for picture, path in zip(found, paths):
        np.testing.assert_array_equal(picture, data.decode(path))


@pytest.mark.parametrize("kind", pictures.KINDS)
def test_pictures_that_plain_pillow_reads_otherwise(tmp_path, kind):
    """Turned ones, and 16 bits: there, too, they are what training here sees."""
    ramp = np.linspace(0, 1, 90)[None].repeat(70, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = Image.fromarray(np.uint8(255 * ramp)).convert("RGB")
    rgb.save(tmp_path / "turned.jpg", exif=exif)
    rgb.save(tmp_path / "plain.jpg")
    Image.fromarray(np.uint16(65535 * ramp)).save(tmp_path / "deep.png")
    paths = [str(tmp_path / name) for name in ("turned.jpg", "plain.jpg", "deep.png")]
    bundle.write_pictures(paths, tmp_path / "step", kind, FINGERPRINT)
    found, _ = pictures.read(str(tmp_path / "step" / "pictures"))
    assert found.shapes == [(90, 70), (70, 90), (70, 90)]
    for picture, path in zip(found, paths):
        np.testing.assert_array_equal(picture, data.decode(path))


def test_crops_of_what_travels_are_those_of_training(paths, tmp_path):
    bundle.write_pictures(paths, tmp_path, "pixels", FINGERPRINT)
    found, _ = pictures.read(str(tmp_path / "pictures"))
    here = data.Pictures.open(paths, str(tmp_path / "cache"))
    for step in range(20):
        expected = data.Crops(here, 64, 5, 3).batch(step, 3)
        for a, b in zip(crops.Crops(found, 64, 5, 3).batch(step, 3), expected):
            np.testing.assert_array_equal(a, b)


def test_pictures_of_one_size_may_be_an_array(tmp_path):
    same = np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3)
    np.save(tmp_path / "same.npy", same)
    mapped, fingerprint = pictures.read(str(tmp_path / "same.npy"))
    assert mapped.shapes == [(5, 7)] * 2
    np.testing.assert_array_equal(mapped[1], same[1])
    np.save(tmp_path / "other.npy", same[::-1])
    _, other = pictures.read(str(tmp_path / "other.npy"))
    assert fingerprint["count"] == other["count"] == 2
    assert fingerprint["sha256"] != other["sha256"]
    np.save(tmp_path / "grey.npy", same[..., 0])
    (tmp_path / "text.npy").write_text("no array")
    for name in ("grey.npy", "text.npy", "none.npy"):
        with pytest.raises(errors.GllmmError, match=f"{name}: is no array of pictures .*; give"):
            pictures.read(str(tmp_path / name))


def test_damaged_pictures_are_named(paths, tmp_path):
    bundle.write_pictures(paths, tmp_path, "pixels", FINGERPRINT, piece_bytes=50_000)
    place = tmp_path / "pictures"
    whole = (place / "pictures-001.bin").read_bytes()
    (place / "pictures-001.bin").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(errors.GllmmError, match="pictures-001.bin: is damaged, its checksum"):
        pictures.read(str(place))
    (place / "pictures-001.bin").unlink()
    with pytest.raises(errors.GllmmError, match="pictures-001.bin: cannot be read"):
        pictures.read(str(place))
    with pytest.raises(errors.GllmmError, match="pictures.json: is missing; copy it again"):
        pictures.read(str(tmp_path / "none"))


def test_folder_that_cannot_be_written_is_one_line(paths, tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(errors.GllmmError, match="pictures: cannot be written .*make room"):
        bundle.write_pictures(paths, tmp_path, "pixels", FINGERPRINT)
