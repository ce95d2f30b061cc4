"""The page of `compare`: which versions it holds, at which size."""

import base64
import io
import json
import pathlib
import re

import numpy as np
import pytest
from cli.commandline import error_line, gllmm
from PIL import Image

from gllmm_tf import metrics


def data_of(path="compare.html"):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text)[1])


def pixels_of(uri):
    kind, _, data = uri.partition(",")
    assert kind.startswith("data:image/") and kind.endswith(";base64")
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_picture_and_its_file(compressed, model, tiny_codec, sample_pixels, capsys):
    assert gllmm("compare", *model, "photo.png", compressed.name) == 0
    assert re.fullmatch(r"compare.html: \d+ bytes\n", capsys.readouterr().out)
    data = data_of()
    shown = tiny_codec.decompress(compressed.read_bytes())
    first, second = data["versions"]
    np.testing.assert_array_equal(pixels_of(first["src"]), sample_pixels)
    np.testing.assert_array_equal(pixels_of(second["src"]), shown)
    np.testing.assert_array_equal(pixels_of(data["original"]), sample_pixels)
    assert first["exact"] and first["psnr"] is None
    assert second["psnr"] == pytest.approx(metrics.psnr(sample_pixels, shown))
    assert second["bytes"] == len(compressed.read_bytes())


@pytest.mark.parametrize("specs", [("6", "webp"), ("jpeg", "6"), ("webp@30", "jpeg2000")])
def test_equal_size(folder, model, specs):
    assert gllmm("compare", *model, *specs, "--picture", "photo.png", "-o", "a.html") == 0
    versions = data_of("a.html")["versions"]
    fixed, free = versions if specs[0][0] in "6w" else versions[::-1]
    assert free["bytes"] <= fixed["bytes"]
    assert (fixed["name"] == "gllmm, quality 6") == ("6" in specs)
    assert re.match(r"(webp|jpeg|jpeg2000)@", free["name"])


def test_two_qualities_of_one_picture(folder, model, tiny_codec, sample_pixels):
    assert gllmm("compare", *model, "2", "7.5", "--picture", "photo.png") == 0
    sizes = [version["bytes"] for version in data_of()["versions"]]
    assert sizes == [len(tiny_codec.compress(sample_pixels, quality)) for quality in (2, 7.5)]


@pytest.mark.parametrize(
    "line, text",
    [
        ("2 5", "2: is no file, so it needs the original: --picture FILE"),
        ("photo.png jp3", "jp3: no file, no quality and none of jpeg, webp"),
        ("jpeg webp --picture photo.png", "give one of both a setting, as jpeg@50"),
        ("photo.png jpeg@x", "jpeg@x does not work here"),
        ("photo.png small.png", "different sizes"),
        ("small.png small.png --picture photo.png", "photo.png has another size than small.png"),
        ("photo.png 2 -o notes.txt", "notes.txt: exists and is no page of compare"),
        ("photo.png 2 -o gone/a.html", "there is no directory"),
        ("gone.png 3", "gone.png: no file, no quality"),
    ],
)
def test_what_cannot_be_compared(folder, model, capsys, line, text):
    Image.new("RGB", (8, 8)).save("small.png")
    pathlib.Path("notes.txt").write_text("of value")
    if line.startswith("gone"):
        line += " --picture photo.png"
    assert gllmm("compare", *model, *line.split()) == 1
    assert text in error_line(capsys)
    assert not pathlib.Path("compare.html").exists()
    assert pathlib.Path("notes.txt").read_text() == "of value"


def test_a_page_of_ours_is_replaced_and_names_are_text(folder, model, capsys):
    Image.open("photo.png").save("a<b>&'.png")
    for _ in range(2):
        assert gllmm("compare", *model, "a<b>&'.png", "1") == 0
    page = pathlib.Path("compare.html").read_text()
    assert "a&lt;b&gt;&amp;&#x27;.png" in page and "a<b>" not in page
    assert data_of()["versions"][0]["name"] == "a<b>&'.png"
    assert not re.search(r"(src|href)=.?https?:", page)
