"""Pictures that are no photographs: what they are, and that a fault is found."""

import dataclasses
import pathlib

import numpy as np
import pytest

from experiments.common import doc_tables, places
from experiments.common.program import ExperimentError
from experiments.rate_distortion import made_pictures, off_kodak
from gllmm_tf.errors import ModelError


@pytest.fixture(scope="module")
def pictures():
    return {picture.name: picture for picture in made_pictures.pictures()}


def test_pictures_are_what_their_names_say(pictures):
    shapes = {name: picture.pixels.shape[:2] for name, picture in pictures.items()}
    assert shapes["1 pixel"] == (1, 1)
    assert shapes["strip, 1 wide"] == (4000, 1) and shapes["strip, 1 high"] == (1, 4000)
    assert all(p.pixels.dtype == np.uint8 and p.pixels.shape[2] == 3 for p in pictures.values())
    board = pictures["checkerboard, 1 pixel"].pixels
    assert np.all(board[:, 1:] != board[:, :-1]) and set(np.unique(board)) == {0, 255}
    assert len(np.unique(pictures["uniform noise"].pixels)) == 256
    for name in ("text", "line art"):  # something is drawn
        assert 0.02 < np.mean(pictures[name].pixels != 255) < 0.7
    again = {picture.name: picture for picture in made_pictures.pictures()}
    assert all(np.array_equal(p.pixels, again[name].pixels) for name, p in pictures.items())


@pytest.mark.parametrize("name", ["1 pixel", "flat red", "uniform noise"])
def test_rows_hold_real_sizes(name, pictures, tiny_codec):
    picture = dataclasses.replace(pictures[name], pixels=pictures[name].pixels[:64, :64])
    row = off_kodak.measure(tiny_codec, picture, 8.0)
    data = tiny_codec.compress(np.ascontiguousarray(picture.pixels), 8.0)
    assert row["bytes"] == len(data)
    decoded = tiny_codec.decompress(data).astype(int)
    assert row["worst"] == np.abs(decoded - picture.pixels).max()
    assert row["png_bytes"] == off_kodak.png_bytes(picture.pixels) > 50


class FakeCodec:
    """Returns what it was given."""

    def __init__(self, size=10, latents=((1,), (1,)), shape=None, error=None):
        self.size, self.latents, self.shape, self.error = size, latents, shape, error

    def encode(self, pixels, quality):
        if self.error:
            raise self.error
        self.pixels = pixels
        return type("E", (), {"data": bytes(self.size), "latents": [np.array(self.latents[0])]})

    def decode(self, data):
        image = self.pixels if self.shape is None else np.zeros(self.shape, np.uint8)
        return type("D", (), {"image": image, "latents": [np.array(self.latents[1])]})


NOISE = made_pictures.Picture("noise", np.random.default_rng(0).integers(0, 256, (16, 16, 3)), True)
NOISE = dataclasses.replace(NOISE, pixels=NOISE.pixels.astype(np.uint8))
FLAT = made_pictures.Picture("flat", np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize(
    "picture, codec, fault",
    [
        (FLAT, FakeCodec(), ""),
        (FLAT, FakeCodec(size=768), ""),
        (FLAT, FakeCodec(size=769), "larger than the limit of 768"),
        (FLAT, FakeCodec(shape=(2, 1, 3)), "decoded to"),
        (FLAT, FakeCodec(latents=((1,), (2,))), "other symbols"),
        (FLAT, FakeCodec(error=ModelError("not finite")), "not finite"),
        (NOISE, FakeCodec(size=700), ""),
        (dataclasses.replace(NOISE, pixels=NOISE.pixels // 128), FakeCodec(size=700), "noise"),
    ],
)
def test_faults_are_found(picture, codec, fault):
    row = off_kodak.measure(codec, picture, None)
    assert row["error"].startswith(fault) and bool(row["error"]) == bool(fault)


def test_noise_may_be_kept_at_high_quality():
    picture, codec = dataclasses.replace(NOISE, pixels=NOISE.pixels // 128), FakeCodec(size=700)
    assert off_kodak.measure(codec, picture, 4.0)["error"]
    assert not off_kodak.measure(codec, picture, 12.0)["error"]


def test_table_goes_into_the_page_between_its_marks(tmp_path):
    rows = [off_kodak.measure(FakeCodec(size=s), FLAT, q) for s, q in ((10, 1.0), (999, 8.0))]
    text = off_kodak.format_table(rows, "tiny")
    assert "| flat | 1 x 1 |" in text and "999 FAILED: larger than the limit" in text
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- begin t: made by x -->\nold\n<!-- end t -->\nbelow\n")
    doc_tables.insert(str(page), "t", text)
    doc_tables.insert(str(page), "t", text)  # nothing changes the second time
    assert doc_tables.extract(str(page), "t") == text + "\n"
    assert page.read_text().startswith("above\n") and page.read_text().endswith("-->\nbelow\n")
    with pytest.raises(ExperimentError, match="one pair of marks of 'u', has 0"):
        doc_tables.insert(str(page), "u", text)


def test_published_table_is_that_of_the_results():
    table = pathlib.Path(places.RESULTS, "off_kodak.md").read_text()
    page = f"{places.DOCS}/robustness.md"
    assert doc_tables.extract(page, "off_kodak") == table, (
        "python -m experiments.rate_distortion.off_kodak"
    )
    assert "FAILED" not in table
