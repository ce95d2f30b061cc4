"""BD-rate against cases with a known answer, and against the published curves."""

import csv
import math

import numpy as np
import pytest

from experiments.common.program import ExperimentError
from experiments.rate_distortion import bd_rate, results

BPP = [0.1, 0.2, 0.4, 0.7, 1.1]
DB = [27.0, 29.4, 32.1, 34.5, 36.6]
VTM = "VTM (VVC intra 4:4:4)"


def curve(bpp=BPP, quality=DB, codec="codec"):
    return bd_rate.make_curve(codec, bpp, quality)


@pytest.mark.parametrize("factor, percent", [(1.25, 25.0), (0.5, -50.0), (1.0, 0.0), (3.0, 200.0)])
def test_scaled_rates(factor, percent):
    result = bd_rate.bd_rate(curve(), curve([factor * bpp for bpp in BPP]))
    assert result.percent == pytest.approx(percent, abs=1e-9)
    assert (result.low, result.high) == (27.0, 36.6)


def test_opposite_directions_are_reciprocal():
    other = curve([0.15, 0.3, 0.5, 1.3], [28.0, 31.0, 33.5, 37.0])
    forth, back = bd_rate.bd_rate(curve(), other), bd_rate.bd_rate(other, curve())
    assert (1 + forth.percent / 100) * (1 + back.percent / 100) == pytest.approx(1.0, abs=1e-9)


def test_log_linear_curves_in_closed_form():
    # ln rate = q / 8 and q / 8 + 0.01 (q - 30): over [28, 34] the mean difference is 0.01.
    q, p = np.array([26.0, 28, 31, 34]), np.array([28.0, 30, 35, 38])
    a = bd_rate.make_curve("a", np.exp(q / 8), q)
    b = bd_rate.make_curve("b", np.exp(p / 8 + 0.01 * (p - 30)), p)
    result = bd_rate.bd_rate(a, b)
    assert (result.low, result.high) == (28.0, 34.0)
    assert result.percent == pytest.approx(100 * math.expm1(0.01), abs=1e-9)


def test_points_come_in_any_order():
    order = [3, 0, 4, 2, 1]
    shuffled = curve([1.25 * BPP[i] for i in order], [DB[i] for i in order])
    assert bd_rate.bd_rate(curve(), shuffled).percent == pytest.approx(25.0, abs=1e-9)


def test_of_equal_qualities_the_cheaper_point_counts():
    doubled = curve([*BPP, 0.9, 5.0], [*DB, DB[2], DB[0]])
    assert bd_rate.bd_rate(curve(), doubled).percent == pytest.approx(0.0, abs=1e-9)


def test_no_overlap_names_both_ranges():
    above = curve(quality=[quality + 10 for quality in DB], codec="other")
    with pytest.raises(bd_rate.NoOverlapError, match=r"27.00 to 36.60 dB.*37.00 to 46.60 dB"):
        bd_rate.bd_rate(curve(), above)


@pytest.mark.parametrize(
    "bpp, quality, message",
    [
        ([0.1, 0.2], [30.0, math.inf], "finite"),
        ([0.0, 0.2], [30.0, 31.0], "finite"),
        ([0.1], [30.0], "two qualities, got 1"),
        ([0.1, 0.2], [30.0, 30.0], "two qualities, got 1"),
    ],
)
def test_invalid_curves_are_named(bpp, quality, message):
    with pytest.raises(ExperimentError, match=f"codec: .*{message}"):
        curve(bpp, quality)


@pytest.mark.parametrize(
    "codec, percent",
    [
        ("GLLMM (paper, MSE)", -3.3),
        ("Cheng2020 (paper, MSE)", 3.4),
        ("AV1", 16.2),
        ("BPG 4:4:4 (x265)", 22.0),
        ("WebP", 78.7),
        ("JPEG 2000", 98.0),
        ("JPEG", 208.5),
    ],
)
def test_published_curves_on_kodak(codec, percent):
    curves = bd_rate.published_curves("kodak")[bd_rate.PSNR]
    result = bd_rate.bd_rate(bd_rate.find_curve(curves, VTM), bd_rate.find_curve(curves, codec))
    assert result.percent == pytest.approx(percent, abs=0.06)


def write_results(path, names=("a.png", "b.png"), codecs=(("one", 1.0), ("two", 1.25))):
    """Results of codecs whose rates differ by constant factors."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, results.FIELDS)
        writer.writeheader()
        for shift, name in enumerate(names):
            for codec, factor in codecs:
                for bpp, quality in zip(BPP, DB):
                    row = {"image": name, "codec": codec, "setting": bpp, "bytes": 1}
                    row.update(bpp=factor * bpp, psnr=quality + shift, encode_seconds=0)
                    row.update(ms_ssim=1 - 10 ** (-quality / 20), decode_seconds=0)
                    writer.writerow(row)


def test_table_from_a_file_of_results(tmp_path):
    path = tmp_path / "rows.csv"
    write_results(path)
    curves = bd_rate.load_curves(str(path))
    rates = bd_rate.table(curves, "one")
    assert list(rates) == ["one", "two"]  # best first, no published curves for these pictures
    for metric in (bd_rate.PSNR, bd_rate.MS_SSIM):
        assert rates["two"][metric].percent == pytest.approx(25.0, abs=1e-6)
    assert rates["two"][bd_rate.PSNR].low == pytest.approx(27.5)  # mean of the two pictures
    text = bd_rate.format_table(curves, "one")
    assert "| two | +25.0 % | 27.50 to 37.10 | +25.0 % | 13.50 to 18.30 |" in text


def test_published_curves_stand_beside_kodak_only(tmp_path):
    path = tmp_path / "rows.csv"
    names = [f"kodim{i:02d}.png" for i in range(1, 25)]
    write_results(path, names)
    text = bd_rate.format_table(bd_rate.load_curves(str(path)), VTM)
    assert "| GLLMM (paper, MSE) (published) | -3.3 % |" in text
    write_results(path, names[:8])
    assert len(bd_rate.load_curves(str(path))[bd_rate.PSNR]) == 2


def test_unknown_anchor_lists_the_curves(tmp_path):
    path = tmp_path / "rows.csv"
    write_results(path)
    with pytest.raises(ExperimentError, match="'vtm'; there are one, two"):
        bd_rate.table(bd_rate.load_curves(str(path)), "vtm")


def test_only_the_range_counts():
    """Ten percent more up to 34 dB and five times as much beyond: below, ten percent are left."""
    quality = np.arange(28.0, 41.0)
    rate = np.exp(0.2 * quality)
    anchor = bd_rate.make_curve("anchor", rate, quality)
    test = bd_rate.make_curve("test", np.where(quality > 34, 5.0, 1.1) * rate, quality)
    found = bd_rate.bd_rate(anchor, test, (29.0, 33.0))
    assert (found.low, found.high) == (29.0, 33.0)
    assert found.percent == pytest.approx(10.0, abs=1e-6)
    assert bd_rate.bd_rate(anchor, test).percent > 50
    with pytest.raises(bd_rate.NoOverlapError):
        bd_rate.bd_rate(anchor, test, (41.0, 43.0))
    curves = {bd_rate.PSNR: [anchor, test], bd_rate.MS_SSIM: [anchor, test]}
    rates = bd_rate.table(curves, "anchor", (29.0, 33.0))["test"]
    assert rates[bd_rate.PSNR] == found and rates[bd_rate.MS_SSIM].percent > 50
