"""The plots: files are written, and the curves in them are those of the results."""

import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from experiments.common import processes
from experiments.common.program import ExperimentError
from experiments.rate_distortion import bd_rate, plots

BPP = np.array([0.1, 0.25, 0.5, 0.9, 2.0])
DB = np.array([27.0, 30.1, 33.0, 35.4, 40.0])


def curve(codec, factor, published=False):
    return bd_rate.make_curve(codec, factor * BPP, DB, published)


def markers(svg, colour):
    """Returns the places of a colour's markers in an SVG, [P, 2]."""
    uses = re.findall(r'<use xlink:href="#\w+" x="([\d.]+)" y="([\d.]+)" style="([^"]*)"', svg)
    return np.array([(float(x), float(y)) for x, y, style in uses if f"fill: {colour}" in style])


@pytest.fixture(scope="module")
def curves():
    return [curve("ours", 0.8), curve("webp", 1.1), curve("VTM", 0.7, published=True)]


@pytest.fixture(scope="module")
def paths(curves, tmp_path_factory):
    figure = plots.draw(curves, bd_rate.PSNR, "Three curves", max_bpp=1.5)
    return plots.save(figure, str(tmp_path_factory.mktemp("plots") / "kodak_psnr"))


def test_a_png_and_an_svg_are_written(paths):
    assert [os.path.basename(path) for path in paths] == ["kodak_psnr.png", "kodak_psnr.svg"]
    with Image.open(paths[0]) as picture:
        assert min(picture.size) > 600
        assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_points_lie_where_the_results_say(paths, curves):
    svg = pathlib.Path(paths[1]).read_text(encoding="utf-8")
    measured = [curve for curve in curves if not curve.published]
    wanted = np.concatenate(
        [np.stack([c.bpp, c.quality], -1)[c.bpp <= 1.5] for c in measured]
    )  # [points of both curves, 2]
    styles = plots.styles_of(curves)
    places = np.concatenate([markers(svg, styles[c.codec]["colour"]) for c in measured])
    assert places.shape == wanted.shape == (8, 2)
    for axis, direction in ((0, 1), (1, -1)):  # SVG counts y from the top
        slope, offset = np.polyfit(wanted[:, axis], places[:, axis], 1)
        assert slope * direction > 0
        np.testing.assert_allclose(places[:, axis], slope * wanted[:, axis] + offset, atol=0.01)


def test_names_and_dashes(paths):
    svg = pathlib.Path(paths[1]).read_text(encoding="utf-8")
    for text in ("ours", "webp", "VTM, published", "Three curves"):
        assert f"<!-- {text} -->" in svg  # drawn as outlines, which carry their text as a comment
    dashed = re.findall(r"stroke-dasharray: [\d. ,]+; [^\"]*stroke: (#\w+)", svg)
    assert set(dashed) == {plots.PUBLISHED_COLOURS[0]}  # the published curve and no other


def test_the_same_curves_give_the_same_file(paths, curves, tmp_path):
    figure = plots.draw(curves, bd_rate.PSNR, "Three curves", max_bpp=1.5)
    again = plots.save(figure, str(tmp_path / "again"))
    assert pathlib.Path(again[1]).read_bytes() == pathlib.Path(paths[1]).read_bytes()


def test_lines_are_those_that_bd_rate_integrates(curves):
    bpp, quality = plots.visible_line(curves[1], 1.5)
    assert bpp[0] == pytest.approx(0.11) and quality[0] == 27.0
    assert bpp[-1] <= 1.5 and np.all(np.diff(bpp) > 0)
    at_points = np.interp(curves[1].bpp[:4], bpp, quality)
    np.testing.assert_allclose(at_points, DB[:4], atol=0.01)  # through the measured points


def test_nothing_to_draw_is_refused(curves):
    with pytest.raises(ExperimentError, match="No curve in PSNR has a point up to 0.01 bpp"):
        plots.draw(curves, bd_rate.PSNR, "", max_bpp=0.01)


def test_command_draws_both_metrics(tmp_path):
    results = tmp_path / "results.csv"
    header = "image,codec,setting,bytes,bpp,psnr,ms_ssim,encode_seconds,decode_seconds\n"
    rows = [
        f"a.png,{codec},{i},1,{factor * bpp},{db},{1 - 10 ** (-db / 20)},0,0\n"
        for codec, factor in (("ours", 1.0), ("jpeg", 2.0))
        for i, (bpp, db) in enumerate(zip(BPP, DB))
    ]
    results.write_text(header + "".join(rows))
    done = processes.module("experiments.rate_distortion.plots", str(results))
    assert done.returncode == 0, done.stderr
    stems = [
        f"results_{metric}{suffix}" for metric in ("psnr", "ms_ssim") for suffix in (".png", ".svg")
    ]
    assert done.stdout.split() == [str(tmp_path / stem) for stem in stems]
    assert all((tmp_path / stem).stat().st_size > 1000 for stem in stems)
