"""Figures, licences and flags in README and docs are those of the data and of the programs."""

import csv
import json
import re
import subprocess
import sys

import pages
import pytest

from experiments.rate_distortion import bd_rate, results
from experiments.tools import licences
from gllmm_tf.training.flags import main as train_main

ROOT = pages.ROOT

# Figures ----------------------------------------------------------------------------------------

DEFAULT = "ours, gllmm-n144 and -fine, 20.9 gigapixels"
REFINED = f"{DEFAULT}, 10 rounds"
FOR_MS_SSIM = "ours, gllmm-n144-ms-ssim, 19.9 gigapixels"

PSNR_RANGE = 27.0, 35.6  # dB, which all columns cover: --psnr_range 27,35.6

ANCHORS = {
    "JPEG": "jpeg",
    "JPEG XL": "jpegxl",
    "WebP": "webp",
    "JPEG 2000": "jpeg2000",
    "JPEG 2000, Pillow's defaults": "jpeg2000-pillow",
    "HEIF (x265)": "heif",
    "AVIF": "avif",
    "BPG (published curve)": "BPG 4:4:4 (x265)",
    "AV1 (published curve)": "AV1",
    "VTM, H.266 (published curve)": "VTM (VVC intra 4:4:4)",
    "gllmm_tf without refinement": DEFAULT,
}


def rows_of(text):
    """Cells of every line of a table."""
    lines = re.findall(r"^\|(.+)\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


@pytest.mark.parametrize("page, columns", [("README.md", "pPmS"), ("docs/results.md", "pPmMS")])
def test_bd_rates_are_those_of_the_results(page, columns):
    curves = bd_rate.load_curves(str(ROOT / "experiments" / "results" / "kodak.csv"))
    kinds = {
        "p": (DEFAULT, bd_rate.PSNR),
        "m": (DEFAULT, bd_rate.MS_SSIM),
        "P": (REFINED, bd_rate.PSNR),
        "M": (REFINED, bd_rate.MS_SSIM),
        "S": (FOR_MS_SSIM, bd_rate.MS_SSIM),
    }
    found = [row for row in rows_of(pages.read(page)) if row[0] in ANCHORS]
    assert len(found) >= 9
    for name, *cells in found:
        rates = bd_rate.table(curves, ANCHORS[name], PSNR_RANGE)
        for cell, column in zip(cells, columns):
            codec, metric = kinds[column]
            percent = rates[codec][metric].percent
            assert cell == (f"{percent:+.1f} %" if percent else "0"), (name, column)


def test_curve_of_the_default_is_that_of_the_results():
    points = results.average_curve(
        results.read_rows(str(ROOT / "experiments" / "results" / "kodak.csv"))
    )
    labels = {"quality": DEFAULT, "refined": REFINED}
    rows = [row for row in rows_of(pages.read("docs/results.md")) if row[0].startswith("quality ")]
    assert len(rows) == 16
    for label, bpp, psnr, ms_ssim in rows:
        quality = re.match(r"quality ([\d.]+)", label)[1]
        curve = points[labels["refined" if "--effort" in label else "quality"]]
        point = next(p for p in curve if p.setting.split("@")[0] == quality)
        shown = (f"{point.bpp:.3f}", f"{point.psnr:.2f}", f"{point.ms_ssim:.4f}")
        assert (bpp, psnr, ms_ssim) == shown, label


def test_licences_of_the_training_pictures_are_those_of_the_list():
    with open(ROOT / "docs" / "training_pictures.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 609
    counted = licences.count_licences(str(ROOT / "docs" / "training_pictures.csv"))
    with open(licences.OUTPUT, newline="") as file:
        assert [dict(row, pictures=int(row["pictures"])) for row in csv.DictReader(file)] == counted
    shown = {row[0].strip('"'): row for row in rows_of(pages.read("docs/training_pictures.md"))}
    for licence in {row["licence"] for row in counted}:
        origins = [row for row in counted if row["licence"] == licence]
        assert shown[licence][2] == str(sum(row["pictures"] for row in origins)), licence
        assert all(row["origin"] in shown[licence][1] for row in origins)


# The flags of the released scripts --------------------------------------------------------------


def flags_of_the_originals():
    """Flags in the columns of both code bases in docs/originals.md."""
    section = pages.read("docs/originals.md").partition("## Flags")[2].partition("\n## ")[0]
    rows = [row for row in rows_of(section) if len(row) == 4]
    return sorted({flag for row in rows for flag in re.findall(r"`(--?\w+)`", " ".join(row[1:3]))})


def test_flags_of_the_originals_are_listed():
    assert {"--lambda", "--batchsize", "--lossWeight", "-AR", "--epochs"} <= set(
        flags_of_the_originals()
    )


OURS_TOO = {"--verbose", "--num_filters", "--train_glob", "--learning_rate"}
"""Flags of the released scripts that are ours as well, with the meaning that the page says."""


REFUSED = [flag for flag in flags_of_the_originals() if flag not in OURS_TOO]

ACCEPTED = """
import contextlib, io, json, sys
from gllmm_tf.cli.parser import parse_args

accepted = []
for flag in sys.argv[1:]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        parse_args(["gllmm", "compress", f"{flag}=1", "photo.png"])
        accepted.append(flag)
print(json.dumps(accepted))
"""


def test_coding_accepts_no_flag_of_the_originals_silently():
    """In a process of its own: absl's flags for logging are defined where TensorFlow is imported."""
    done = subprocess.run(
        [sys.executable, "-c", ACCEPTED, *REFUSED], cwd=ROOT, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == [], done.stderr


@pytest.mark.parametrize("flag", REFUSED)
def test_training_accepts_no_flag_of_the_originals_silently(flag):
    with pytest.raises(SystemExit, match=f"{flag.lstrip('-')}.*see --help"):
        train_main(["gllmm train", f"{flag}=1", "--train_glob=photos/*.png", "--run_dir=runs/x"])
