"""The report: a page that holds all it shows, with the figures of bd_rate.py."""

import base64
import csv
import io
import json
import math
import os
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from experiments.common import browser, coders, places, processes
from experiments.common.program import ExperimentError
from experiments.rate_distortion import bd_rate
from experiments.rate_distortion import results as rd
from experiments.report import equal_size, report, report_check
from gllmm_tf import Codec, metrics
from gllmm_tf.zoo import registry

STEPS = ("64", "32", "16", "8", "4", "2", "1")  # smallest file first
KODAK = [f"kodim{number:02d}.png" for number in range(1, 25)]


def step_coder(name, settings=STEPS):
    """Rounds values down to a multiple of the setting and deflates them: a codec that is a real one."""

    def encode(image, setting):
        step = int(setting.split("@")[0])
        shape = np.array(image.shape[:2], np.uint16).tobytes()
        return shape + zlib.compress((image // step * step).tobytes())

    def decode(data, setting):
        shape = np.frombuffer(data[:4], np.uint16)
        return np.frombuffer(zlib.decompress(data[4:]), np.uint8).reshape(*shape, 3)

    return coders.Coder(name, tuple(settings), encode, decode)


def drawn(height, width):
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[0:height, 0:width]
    base = 128 + 70 * np.sin(rows / 9.0) + 50 * np.cos(columns / 13.0)
    pixels = np.stack([base, 0.7 * base + 30, 255 - base], -1) + rng.normal(size=(height, width, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


CURVES = (
    ("ours, a network of another kind and with a long name", 0.9),
    ("ours", 0.8),
    ("jpeg", 1.3),
    ("webp", 1.0),
)


def write_results(path, names, codecs=CURVES):
    """Results whose rates have constant factors; MS-SSIM is given."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rd.FIELDS, lineterminator="\n")
        writer.writeheader()
        for shift, name in enumerate(names):
            for codec, factor in codecs:
                for i in range(6):
                    bpp, quality = factor * 0.1 * 1.7**i, 27 + 2.1 * i - 0.05 * i * i + 0.1 * shift
                    row = {
                        "image": name,
                        "codec": codec,
                        "setting": f"{i + 1}",
                        "bytes": 900 * 2**i,
                    }
                    row.update(bpp=f"{bpp:.6f}", psnr=f"{quality:.4f}", encode_seconds=1)
                    row.update(ms_ssim=f"{1 - 10 ** (-quality / 22):.6f}", decode_seconds=0.5)
                    writer.writerow(row)
    return str(path)


def embedded(page):
    """Returns the data of a page."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results") / "kodak.csv", KODAK)


@pytest.fixture(scope="module")
def image():
    return drawn(184, 240)


@pytest.fixture(scope="module")
def page(results, image):
    ours = step_coder("ours", ["16@0011223344556677", "4@0011223344556677"])
    rivals = [(step_coder("jpeg"), STEPS), (step_coder("webp"), STEPS)]
    pictures = [
        report.picture_data(name, pixels, equal_size.compare(pixels, ours, rivals))
        for name, pixels in (("landscape", image), ("portrait", image[:, :150].swapaxes(0, 1)))
    ]
    return report.render(report.report_data(results, pictures, title="Curves & pictures"))


# What the page holds --------------------------------------------------------------------------


def test_page_loads_nothing(page, results):
    data = embedded(page)
    program = page.replace(json.dumps(data, ensure_ascii=False, separators=(",", ":")), "")
    assert "default-src 'none'" in program  # the browser itself refuses any load
    assert not re.search(r"https?:|file:|//[a-z]+\.", program)
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|@import|import\(", program)
    assert all(a.startswith(("#", "data:")) for a in re.findall(r'(?:href|src)="([^"]*)"', program))
    assert set(re.findall(r"url\((.)", program)) == {"#"}
    for text in (program, json.dumps({**data, "pictures": []})):
        assert os.path.dirname(results) not in text
        assert not re.search(r'"/(home|tmp|root|usr)', text)
    sources = [v["src"] for p in data["pictures"] for q in p["points"] for v in q["versions"]]
    sources += [p["original"]["src"] for p in data["pictures"]]
    assert len(sources) == 2 * (1 + 2 * 3)
    assert all(source.startswith("data:image/webp;base64,") for source in sources)


def test_all_rows_are_embedded(page, results):
    data = embedded(page)
    rows = [dict(zip(data["columns"], row)) for row in data["rows"]]
    assert len(rows) == 24 * len(CURVES) * 6
    assert rows == rd.read_rows(results)
    assert data["images"] == data["common"] == KODAK


def test_averages_are_those_of_the_experiment(page, results):
    averages = embedded(page)["averages"]
    for codec, points in rd.average_curve(rd.read_rows(results)).items():
        mine = [a for a in averages if a["codec"] == codec]
        assert [(a["setting"], a["bpp"], a["psnr"], a["ms_ssim"]) for a in mine] == [
            (p.setting, p.bpp, p.psnr, p.ms_ssim) for p in points
        ]
        assert mine[0]["quality"][bd_rate.MS_SSIM] == metrics.ms_ssim_db(points[0].ms_ssim)


def test_bd_rates_are_those_of_bd_rate(page, results):
    mine = embedded(page)["bd_rates"]
    curves = bd_rate.load_curves(results)
    assert set(mine) == {curve.codec for curve in curves[bd_rate.PSNR]}
    assert bd_rate.find_curve(curves[bd_rate.PSNR], "GLLMM (paper, MSE)").published
    for anchor in mine:
        for codec, rates in bd_rate.table(curves, anchor).items():
            for metric, rate in rates.items():
                wanted = rate and [rate.percent, rate.low, rate.high]
                assert mine[anchor][codec][metric] == wanted, (anchor, codec, metric)
    assert mine["jpeg"]["ours"][bd_rate.PSNR][0] == pytest.approx(100 * (0.8 / 1.3 - 1), abs=1e-3)


def test_curves_are_measured_and_published(page, results):
    data = embedded(page)
    for metric, curves in bd_rate.load_curves(results).items():
        for mine, curve in zip(data["curves"][metric], curves):
            assert (mine["codec"], mine["published"]) == (curve.codec, curve.published)
            np.testing.assert_array_equal(mine["points"], np.stack([curve.bpp, curve.quality], -1))
        assert len(data["curves"][metric]) == len(curves)


def test_pictures_are_exactly_the_decoders(page, image):
    picture = embedded(page)["pictures"][0]
    assert (picture["name"], picture["width"], picture["height"]) == ("landscape", 240, 184)

    def pixels(source):
        data = base64.b64decode(source.partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    np.testing.assert_array_equal(pixels(picture["original"]["src"]), image)
    assert [[v["codec"] for v in q["versions"]] for q in picture["points"]] == [
        ["ours", "jpeg", "webp"],
        ["ours", "jpeg", "webp"],
    ]
    for point, step in zip(picture["points"], (16, 4)):
        for version in point["versions"]:  # codecs that are the same one fit at the same setting
            file = step_coder("").encode(image, str(step))
            decoded = step_coder("").decode(file, str(step))
            np.testing.assert_array_equal(pixels(version["src"]), decoded)
            assert version["bytes"] == len(file)
            assert version["bpp"] == 8 * len(file) / (184 * 240)
            assert version["psnr"] == metrics.psnr(image, decoded)
            assert version["ms_ssim"] == pytest.approx(metrics.ms_ssim(image, decoded), abs=1e-6)
            assert version["fits"]


def test_names_cannot_end_the_script(tmp_path):
    name = '</script><img src="x">'
    path = write_results(tmp_path / "r.csv", ["a.png"], [(name, 1.0), ("b", 2.0)])
    page = report.render(report.report_data(path, title="<i>{{data}}</i>"))
    assert page.count("</script>") == 2
    assert "<title>&lt;i&gt;{{data}}&lt;/i&gt;</title>" in page
    assert embedded(page)["averages"][0]["codec"] == name


def test_lossless_pictures_have_no_finite_psnr(image):
    points = equal_size.compare(image[:20, :20], step_coder("ours", ["1"]), [])
    data = report.picture_data("tiny", image[:20, :20], points)
    (version,) = data["points"][0]["versions"]
    assert (version["psnr"], version["ms_ssim"]) == (None, None)
    assert metrics.psnr(image, image) == math.inf


def test_page_without_ours_and_without_pictures(tmp_path):
    path = write_results(tmp_path / "r.csv", ["a.png", "b.png"], [("avif", 1.0), ("webp", 2.0)])
    data = embedded(report.render(report.report_data(path)))
    assert data["anchor"] == "avif"  # no JPEG: the first there is
    assert data["pictures"] == []
    with pytest.raises(ExperimentError, match="No curve of 'vtm'; there are avif, webp"):
        report.report_data(path, anchor="vtm")


# Headline -------------------------------------------------------------------------------------


def rows_with(settings):
    """Rows of curves, {name: settings}, in this order."""
    return [{"codec": codec, "setting": s} for codec, some in settings.items() for s in some]


def test_the_headline_is_the_default_models_wherever_it_stands():
    models = registry.names_and_identities()
    (low, *_), (*_, high) = models.values(), models.values()
    other = "00" * 8
    rows = rows_with(
        {
            "ours, small": [f"1@{other}", f"2@{other}"],
            "ours, lower part": [f"1@{low}", f"2@{low}"] if low != high else [],
            "ours, mixed": [f"1@{low}", f"8@{high}", f"1@{low}+6"],
            "searched": [f"1@{low}+6", f"8@{high}+3"],
            "best": [f"1@{low}", f"8@{high}"],
        }
    )
    wanted = {"model": " and ".join(models), "plain": "best", "refined": "searched"}
    assert report.headline(rows) == wanted
    assert report.headline(rows[:-2])["plain"] == "ours, small"  # the default was not measured
    assert report.headline(rows_with({"jpeg": ["5"]}))["plain"] is None


def test_the_repositorys_report_begins_with_the_default():
    data = report.report_data(f"{places.RESULTS}/kodak.csv")
    plain = coders.label_of(Codec.load())
    assert data["headline"] == {
        "model": " and ".join(registry.names_and_identities()),
        "plain": plain,
        "refined": f"{plain}, 10 rounds",
    }
    names = list(dict.fromkeys(point["codec"] for point in data["averages"]))
    assert any(name.startswith("ours,") for name in names[: names.index(plain)])  # not the first
    for codec in (plain, f"{plain}, 10 rounds"):
        assert data["bd_rates"]["jpeg"][codec][bd_rate.PSNR][0] < 0


# Equal size -----------------------------------------------------------------------------------


def coder_of_sizes(sizes, calls):
    """A codec whose setting i makes a file of sizes[i] bytes; `calls` notes what was encoded."""

    def encode(image, setting):
        calls.append(setting)
        return bytes(sizes[int(setting)])

    return coders.Coder("fake", (), encode, lambda data, setting: np.full([1, 1, 3], int(setting)))


@pytest.mark.parametrize(
    "sizes, limit, wanted, fits",
    [
        ([10, 20, 30, 40, 50], 30, 2, True),  # exactly as large
        ([10, 20, 30, 40, 50], 39, 2, True),
        ([10, 20, 30, 40, 50], 99, 4, True),  # the best is small enough
        ([10, 20, 30, 40, 50], 10, 0, True),
        ([10, 20, 30, 40, 50], 9, 0, False),  # even the worst is too large
        ([10, 20, 31, 30, 50], 30, 3, True),  # not monotone
        ([10, 20, 31, 31, 29, 50, 60, 70], 30, 4, True),
        ([7], 7, 0, True),
    ],
)
def test_largest_setting_that_is_not_larger(sizes, limit, wanted, fits):
    ladder = [str(i) for i in range(len(sizes))]
    version = equal_size.fit_to_size(coder_of_sizes(sizes, []), ladder, None, limit)
    assert (version.setting, version.size, version.fits) == (str(wanted), sizes[wanted], fits)
    assert version.image[0, 0, 0] == wanted  # what is shown is that file, decoded


def test_search_encodes_few_files():
    calls = []
    ladder = [str(i) for i in range(101)]
    version = equal_size.fit_to_size(coder_of_sizes(range(101), calls), ladder, None, 63)
    assert version.setting == "63"
    assert len(calls) == len(set(calls)) <= 7 + equal_size.LOOK_AHEAD


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_ladders_rise(name, image):
    coder = coders.CONVENTIONAL[name]()
    sizes = [len(coder.encode(image[:64, :64], s)) for s in equal_size.LADDERS[name][::24]]
    assert sizes == sorted(sizes)


def test_every_conventional_codec_has_a_ladder():
    assert set(equal_size.LADDERS) == set(coders.CONVENTIONAL)


# Command --------------------------------------------------------------------------------------


def test_chosen_pictures(tmp_path):
    for name in ("b.png", "a.jpg", "c.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    chosen = equal_size.choose_images([str(tmp_path)], ["c", "a.jpg"])
    assert {k: os.path.basename(v) for k, v in chosen.items()} == {"c": "c.png", "a": "a.jpg"}
    assert list(equal_size.choose_images([str(tmp_path)], [])) == ["a", "b"]
    with pytest.raises(ExperimentError, match="no picture 'kodim04' among a, b, c"):
        equal_size.choose_images([str(tmp_path)], ["kodim04"])


def run_report(*arguments):
    return processes.module("experiments.report.report", *map(str, arguments))


def test_command_writes_the_page(results, tmp_path):
    output = tmp_path / "page.html"
    done = run_report(results, "--output", output, "--title", "My title")
    assert done.returncode == 0, done.stderr
    assert embedded(output.read_text(encoding="utf-8"))["title"] == "My title"


def test_command_refuses_in_one_line(results, tmp_path):
    output = tmp_path / "page.html"
    done = run_report(results, "--output", output, "--max_megabytes", "0.1")
    assert done.returncode == 1
    assert re.fullmatch(
        r"The page would have 0\.\d MB, more than .* fewer qualities\.\n", done.stderr
    )
    assert not output.exists()
    done = run_report(tmp_path / "none.csv", "--output", output)
    assert done.stderr == f"{tmp_path / 'none.csv'}: No such file or directory.\n"


# In a browser ---------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(
    browser.find_browser() is None, reason="no Chromium is installed"
)


@needs_browser
def test_page_works_in_chromium(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    line = report_check.check_page(str(path), str(tmp_path / "shots"))
    assert line.startswith("check passed")
    for name, width in (("wide", browser.WIDE[0]), ("phone", 2 * browser.PHONE[0])):
        light, dark = (
            np.asarray(Image.open(tmp_path / "shots" / f"{name}_{scheme}.png").convert("L"))
            for scheme in ("light", "dark")
        )
        assert light.shape[1] == dark.shape[1] == width
        assert np.median(light) > 200 > 60 > np.median(dark)


@needs_browser
@pytest.mark.parametrize(
    "before, after, message",
    [
        ("headPart();\n", 'headPart(); console.error("oops");\n', "errors on the console.*oops"),
        ("headPart();\n", "headPart(); nothing();\n", "errors on the console|The page raised"),
        ("const found = rate(anchor, plain)", "const found = rate(plain, anchor)", "tiles with"),
        ("wrap(name.series.short)", "[name.series.short.slice(0, 3)]", "names in the charts"),
        ("return 100 * Math.expm1", "return 99 * Math.expm1", "curves and table differ"),
        ("viewer.split = (event", "viewer.split = .1 + (event", "the divider is"),
        ('href="data:,"', 'href="https://localhost:9/icon.png"', "errors on the console|asks for"),
    ],
)
def test_check_finds_what_is_broken(page, tmp_path, before, after, message):
    assert before in page
    path = tmp_path / "page.html"
    path.write_text(page.replace(before, after), encoding="utf-8")
    with pytest.raises(ExperimentError, match=message):
        report_check.check_page(str(path))


def test_check_without_a_browser_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(browser, "find_browser", lambda: None)
    assert report_check.check_page(str(tmp_path / "page.html")).startswith("check skipped: none of")
