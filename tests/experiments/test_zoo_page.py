"""The page of the models: it is up to date, and its facts come from where it says."""

import csv
import pathlib
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "experiments"))

from experiments.common.coders import ExperimentError  # noqa: E402
from experiments.tools import zoo_page  # noqa: E402
from gllmm_tf.zoo import registry  # noqa: E402

REMAKE = "docs/models.md is out of date: python -m experiments.tools.zoo_page"


@pytest.fixture(scope="module")
def shipped_page():
    return (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def row(quality, image="a.png", bpp=0.5, identity=None, codec="ours"):
    identity = identity or registry.read_model().identity.hex()
    numbers = {"bpp": bpp, "psnr": 30.0, "ms_ssim": 0.9}
    return {"image": image, "codec": codec, "setting": f"{quality}@{identity}", **numbers}


@pytest.mark.parametrize("name", registry.names())
def test_page_has_identity_and_size_of_every_model(name, shipped_page):
    assert zoo_page.identity_row(name) in shipped_page, REMAKE
    for line in [*zoo_page.network_rows(name), *zoo_page.training_rows(name)]:
        assert line in shipped_page, REMAKE


def test_page_has_no_other_models(shipped_page):
    heads = [line[3:].split(",")[0] for line in shipped_page.splitlines() if line[:3] == "## "]
    assert sorted(heads) == sorted([*registry.names(), "Training pictures"]), REMAKE
    assert f"## {registry.DEFAULT_MODEL}, the default\n" in shipped_page, REMAKE


def test_figures_are_those_of_the_models_identity_only():
    rows = [row("10", bpp=1.25), row("2", bpp=0.25), row("2", "b.png", 0.75)]
    rows += [row("10", "b.png", 1.75), row("3", identity="00" * 8, bpp=9.0)]
    lines = zoo_page.kodak_rows(registry.DEFAULT_MODEL, rows)
    assert lines[0] == "Kodak, 2 pictures:"
    assert [line.split("|")[1:3] for line in lines[4:]] == [
        [" 2 ", " 0.5000 "],
        [" 10 ", " 1.5000 "],
    ]
    assert lines[-1].endswith("| 30.00 | 0.9000 | 10.00 |")
    refined = registry.read_model().identity.hex() + "+5"
    rows += [row("1", name, identity=refined) for name in ("a.png", "b.png")]
    assert "| 1, `--refine 5` |" in zoo_page.kodak_rows(registry.DEFAULT_MODEL, rows)[-1]
    assert zoo_page.kodak_rows(registry.DEFAULT_MODEL, rows[4:5]) == ["Not measured on Kodak."]
    with pytest.raises(ExperimentError, match="different numbers of pictures"):
        zoo_page.kodak_rows(registry.DEFAULT_MODEL, rows[:3])


def test_licences_are_counted(tmp_path):
    manifest = tmp_path / "manifest.csv"
    table = [
        ("github:a/b @0123abcd", "CC-BY-SA-4.0 (debian/copyright)"),
        ("github:a/b @0123abcd", "Somewhere (CC BY-SA 4.0) https://x.org/y"),
        ("github:a/b @0123abcd", "Photos are public domain: https://x.org"),
        ("Debian p 1-2", "CC-BY-4.0 / CC0"),
        ("c", 'repo README: "do as you wish"'),
        ("c", "Unsplash License"),
        ("c", "Licensed under Attribution 2.0 Generic <https://x.org/by"),
    ]
    with open(manifest, "w", newline="") as file:
        csv.writer(file).writerows([("origin", "licence"), *table])
    counted = {
        (r["licence"], r["origin"]): r["pictures"] for r in zoo_page.count_licences(manifest)
    }
    assert counted == {
        ("CC-BY-SA-4.0", "a/b"): 2,
        ("CC0 or public domain", "a/b"): 1,
        ("CC-BY-4.0 / CC0", "Debian p 1-2"): 1,
        ("do as you wish", "c"): 1,
        ("Unsplash licence", "c"): 1,
        ("CC-BY-2.0", "c"): 1,
    }
    manifest.write_text("a,b\n1,2\n")
    with pytest.raises(ExperimentError, match="no column"):
        zoo_page.count_licences(str(manifest))


def test_the_start_of_a_training_is_told_in_words():
    start = {"identity": "ab12", "steps": 1500, "pixels_seen": 2_500_000_000}
    assert zoo_page._shown("started_from", start) == "`ab12`, 1,500 steps, 2.50 gigapixels"
    assert zoo_page._shown("started_from", {"identity": "ab12", "steps": None}) == "`ab12`"
    assert zoo_page._shown("started_from", None) == "random weights"
    assert zoo_page._shown("hardware", None) == "not recorded"
    assert zoo_page._shown("seconds", 90) == "1.5 minutes"
    assert zoo_page._shown("seconds", 5400) == "1.5 hours"
    later = {"identity": "cd34", "steps": 20, "pixels_seen": 10**7, "started_from": start}
    assert zoo_page._shown("started_from", later) == (
        "`cd34`, 20 steps, 0.01 gigapixels; that from `ab12`, 1,500 steps, 2.50 gigapixels"
    )
    info = {"steps": 3, "pixels_seen": 4, "started_from": later}
    assert [part["steps"] for part in zoo_page._parts(info)] == [3, 20, 1500]


def test_totals_count_the_starts(monkeypatch):
    start = dict(identity="ab12", steps=1500, pixels_seen=2_500_000_000, started_from=None)
    info = {"steps": 500, "pixels_seen": 500_000_000, "started_from": start}
    monkeypatch.setattr(zoo_page.zoo, "read_model", lambda name: types.SimpleNamespace(info=info))
    lines = zoo_page.training_rows("any")
    assert "| steps, with those of its starts | 2,000 |" in lines
    assert "| pixels seen, with those of its starts | 3.00 gigapixels |" in lines
    del start["started_from"]  # an older record: whether it had a start is not known
    assert "| steps, with those of its starts | not recorded |" in zoo_page.training_rows("any")
    del info["started_from"]
    assert not any("starts" in line for line in zoo_page.training_rows("any"))
