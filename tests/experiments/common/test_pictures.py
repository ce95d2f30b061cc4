"""Pictures: found, read upright, and refused in one line."""

import numpy as np
import pytest
from PIL import Image

from experiments.common import pictures
from experiments.common.program import ExperimentError


def test_pictures_are_found_in_folders_files_and_globs(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "c.webp"):
        (tmp_path / name).touch()
    assert list(pictures.find_images([str(tmp_path)])) == ["a.JPG", "b.png", "c.webp"]
    assert list(pictures.find_images([f"{tmp_path}/*.png", f"{tmp_path}/a.JPG"])) == [
        "a.JPG",
        "b.png",
    ]
    with pytest.raises(ExperimentError, match="notes.txt: no pictures found"):
        pictures.find_images([f"{tmp_path}/notes.txt"])


def test_ambiguous_names_and_empty_folders_are_refused(tmp_path):
    for folder in ("one", "two", "none"):
        (tmp_path / folder).mkdir()
    for folder in ("one", "two"):
        (tmp_path / folder / "a.png").touch()
    with pytest.raises(ExperimentError, match="one file name"):
        pictures.find_images([f"{tmp_path}/one", f"{tmp_path}/two"])
    with pytest.raises(ExperimentError, match="no pictures"):
        pictures.find_images([f"{tmp_path}/none"])


def test_pictures_are_read_upright(tmp_path):
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pictures.read_image(f"{tmp_path}/a.png"), np.rot90(pixels, -1))


def test_no_picture_is_one_line(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ExperimentError, match=r"a.png: not a picture\.$"):
        pictures.read_image(f"{tmp_path}/a.png")
    with pytest.raises(ExperimentError, match=r"b.png: No such file or directory\.$"):
        pictures.read_image(f"{tmp_path}/b.png")


def test_drawn_pictures_follow_from_their_seed():
    one, again = (pictures.draw(np.random.default_rng(3), 20, 30) for _ in range(2))
    assert one.shape == (20, 30, 3) and one.dtype == np.uint8 and one.std() > 20
    np.testing.assert_array_equal(one, again)
    assert np.any(one != pictures.draw(np.random.default_rng(4), 20, 30))
