"""The page of the models: it is up to date, and its facts come from where it says."""

import csv
import os
import pathlib
import re

import pytest

from experiments.common import places
from experiments.common.program import ExperimentError
from experiments.rate_distortion.results import read_rows
from experiments.tools import licences, zoo_page
from gllmm_tf.config import ModelConfig
from gllmm_tf.zoo import registry

REMAKE = "docs/models.md is out of date: python -m experiments.tools.zoo_page"


@pytest.fixture(scope="module")
def shipped_page():
    return pathlib.Path(places.DOCS, "models.md").read_text(encoding="utf-8")


def row(quality, image="a.png", bpp=0.5, identity=None, codec="ours"):
    identity = identity or registry.read_model().identity.hex()
    numbers = {"bpp": bpp, "psnr": 30.0, "ms_ssim": 0.9}
    return {"image": image, "codec": codec, "setting": f"{quality}@{identity}", **numbers}


def test_the_page_is_what_the_command_writes(shipped_page):
    assert zoo_page.page(read_rows(f"{places.RESULTS}/kodak.csv")) == shipped_page, REMAKE


def test_page_has_every_model(shipped_page):
    heads = [line[3:].split(",")[0] for line in shipped_page.splitlines() if line[:3] == "## "]
    models = zoo_page.all_models()
    assert heads == [*(model.name for model in models), "Training pictures"], REMAKE
    higher = registry.DEFAULT_CONTINUATION
    assert (
        f"## {registry.DEFAULT_MODEL}, the default up to quality {higher.above:g}\n" in shipped_page
    )
    assert f"## {higher.name}, the default above quality {higher.above:g}\n" in shipped_page
    for model in models:
        assert all(line in shipped_page for line in zoo_page.facts_of(model)), REMAKE


def test_figures_are_those_of_the_models_identity_only():
    default = zoo_page.shipped_model(registry.DEFAULT_MODEL)
    rows = [row("10", bpp=1.25), row("2", bpp=0.25), row("2", "b.png", 0.75)]
    rows += [row("10", "b.png", 1.75), row("3", identity="00" * 8, bpp=9.0)]
    lines = zoo_page.kodak_rows(default, rows)
    assert lines[0] == "Kodak, 2 pictures:"
    assert [line.split("|")[1:3] for line in lines[4:]] == [
        [" 2 ", " 0.5000 "],
        [" 10 ", " 1.5000 "],
    ]
    assert lines[-1].endswith("| 30.00 | 0.9000 | 10.00 |")
    refined = registry.read_model().identity.hex() + "+5"
    rows += [row("1", name, identity=refined) for name in ("a.png", "b.png")]
    assert "| 1, `--refine 5` |" in zoo_page.kodak_rows(default, rows)[-1]
    assert zoo_page.kodak_rows(default, rows[4:5]) == ["Not measured on Kodak."]
    with pytest.raises(ExperimentError, match="different numbers of pictures"):
        zoo_page.kodak_rows(default, rows[:3])


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
        (r["licence"], r["origin"]): r["pictures"] for r in licences.count_licences(manifest)
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
        licences.count_licences(str(manifest))


def test_the_start_of_a_training_is_put_into_words():
    start = {"identity": "ab12", "steps": 1500, "pixels_seen": 2_500_000_000}
    assert zoo_page.shown("started_from", start) == "`ab12`, 1,500 steps, 2.50 gigapixels"
    assert zoo_page.shown("started_from", {"identity": "ab12", "steps": None}) == "`ab12`"
    assert zoo_page.shown("started_from", None) == "random weights"
    assert zoo_page.shown("hardware", None) == "not recorded"
    assert zoo_page.shown("seconds", 90) == "1.5 minutes"
    assert zoo_page.shown("seconds", 5400) == "1.5 hours"
    later = {"identity": "cd34", "steps": 20, "pixels_seen": 10**7, "started_from": start}
    assert zoo_page.shown("started_from", later) == (
        "`cd34`, 20 steps, 0.01 gigapixels; that from `ab12`, 1,500 steps, 2.50 gigapixels"
    )
    info = {"steps": 3, "pixels_seen": 4, "started_from": later}
    assert [part["steps"] for part in zoo_page.parts_of(info)] == [3, 20, 1500]


def test_totals_count_the_starts():
    start = dict(identity="ab12", steps=1500, pixels_seen=2_500_000_000, started_from=None)
    info = {"steps": 500, "pixels_seen": 500_000_000, "started_from": start}

    def rows():
        return zoo_page.training_rows(zoo_page.Model("any", "00", 1, ModelConfig(), info))

    steps = "steps, with those of its starts"
    assert (steps, "2,000") in rows()
    assert ("pixels seen, with those of its starts", "3.00 gigapixels") in rows()
    del start["started_from"]  # an older record: whether it had a start is not known
    assert (steps, "not recorded") in rows()
    del info["started_from"]
    assert not any("starts" in label for label, _ in rows())


def test_other_models_need_no_files():
    """Their facts are in the repository, their files are not."""
    models = {model.name: model for model in zoo_page.other_models()}
    assert not set(models) & set(registry.names())
    rows = read_rows(f"{places.RESULTS}/kodak.csv")
    for name, model in models.items():
        assert model.file is None and model.config.num_filters == 128 and not model.config.lambdas
        assert zoo_page.command_of(model).startswith(
            "`python train.py --config=experiments/configs/"
        )
        assert f"| {name} |" in zoo_page.kodak_rows(model, rows)[-1]  # measured, at its identity


def test_commands_name_files_that_exist():
    for model in zoo_page.all_models():
        source = re.search(r"(experiments/[\w/]+\.py)", zoo_page.command_of(model))
        assert source and os.path.exists(os.path.join(places.ROOT, source[1])), model.name
