"""What `evaluate` measures beside sizes: YCbCr, the picture's own rate, BD-rates."""

import json
import math

import numpy as np
import pytest
from cli.commandline import error_line, gllmm
from PIL import Image

from gllmm_tf import metrics
from gllmm_tf.cli.bd_rate import bd_rate


def test_bd_rate_is_the_mean_of_the_logarithms():
    """Curves that PCHIP meets exactly, straight in the logarithm of the rate."""
    q = np.linspace(30, 38, 5)
    anchor = [(math.exp(0.1 * x), x) for x in q]
    steeper = [(math.exp(0.1 * x + 0.02 * (x - 34)), x) for x in q[1:]]
    assert bd_rate(anchor, steeper) == pytest.approx(100 * math.expm1(0.02 * 1), abs=1e-9)


def test_bd_rate_of_simple_curves():
    curve = [(0.1, 30.0), (0.3, 33.0), (0.8, 36.0)]
    assert bd_rate(curve, curve) == 0
    assert bd_rate(curve, [(rate / 2, q) for rate, q in curve]) == pytest.approx(-50)
    assert bd_rate(curve[:2], [(3 * rate, q) for rate, q in curve[1::-1]]) == pytest.approx(200)
    assert math.isnan(bd_rate(curve, [(1, 40.0), (2, 45.0)]))
    assert math.isnan(bd_rate(curve, [(1, 31.0)]))
    assert math.isnan(bd_rate(curve, [(1, math.inf), (2, math.nan)]))
    assert bd_rate(curve, [*curve, (9.0, 33.0), (1.0, math.inf)]) == 0


def test_psnr_of_ycbcr():
    a = np.random.default_rng(0).integers(0, 200, (20, 30, 3), dtype=np.uint8)
    assert metrics.psnr_ycbcr(a, a) == math.inf
    grey = metrics.psnr_ycbcr(a, a + 10)  # Y alone differs
    assert grey == math.inf or grey > 100
    red = a + np.array([20, 0, 0], np.uint8)
    parts = [20 * math.log10(255 / (20 * w)) for w in (0.299, 0.168736, 0.5)]
    assert metrics.psnr_ycbcr(a, red) == pytest.approx(np.dot(parts, [6, 1, 1]) / 8, abs=1e-3)


def test_rate_of_the_picture_alone(folder, model, tiny_codec, sample_pixels, capsys):
    image = Image.open("photo.png").convert("RGBA")
    image.putalpha(Image.effect_noise(image.size, 50))
    image.save("alpha.png")
    assert gllmm("evaluate", *model, "--json", "alpha.png", "photo.png") == 0
    alpha, plain = map(json.loads, capsys.readouterr().out.splitlines())
    assert alpha["picture_bpp"] < alpha["bpp"] - 4
    assert plain["picture_bpp"] == plain["bpp"] and plain["psnr_ycbcr"] > 5


@pytest.mark.parametrize("rival", ["jpeg", "webp"])
def test_bd_rate_against_another_codec(folder, model, capsys, rival):
    assert gllmm("evaluate", *model, "photo.png", "--against", rival) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(f"BD-rate against {rival}, PSNR: ")
    assert lines[-1] == f"BD-rate against {rival}, MS-SSIM: no MS-SSIM in common"  # too small
    assert sum(line.startswith("gllmm@") for line in lines) == 8
    assert sum(line.startswith(f"{rival}@") for line in lines) > 8
    assert gllmm("evaluate", *model, "photo.png", "--against", rival, "--json") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["against"] == rival and len(last["gllmm"]) == 8
    assert last["bd_rate_percent_ms_ssim"] is None and last["gllmm"][0][2] is None


def test_bd_rate_in_ms_ssim(folder, model, capsys):
    Image.effect_noise((176, 176), 60).convert("RGB").save("large.png")
    assert gllmm("evaluate", *model, "large.png", "--against", "jpeg", "--json") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(0 < similarity < 1 for _, _, similarity in last["gllmm"] + last["jpeg"])
    pairs = [[(r, metrics.ms_ssim_db(m)) for r, _, m in last[n]] for n in ("jpeg", "gllmm")]
    found = last["bd_rate_percent_ms_ssim"]
    assert found is None or found == pytest.approx(bd_rate(*pairs))


def test_the_search_counts_in_the_curve(folder, model, monkeypatch, capsys):
    pytest.importorskip("tensorflow")
    assert gllmm("evaluate", *model, "photo.png", "--against", "jpeg", "--json") == 0
    plain = json.loads(capsys.readouterr().out.splitlines()[-1])["gllmm"]
    assert gllmm("evaluate", *model, "photo.png", "--against", "jpeg", "--json", "-e2") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["gllmm"] != plain


def test_a_missing_scipy_is_said_first(folder, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert gllmm("evaluate", "photo.png", "--against", "jpeg") == 1
    assert error_line(capsys).startswith("a BD-rate needs SciPy: pip install")


def test_a_codec_that_is_missing_is_said_first(folder, capsys, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    assert gllmm("evaluate", "photo.png", "--against", "avif") == 1
    assert "this Pillow has no avif" in error_line(capsys)
