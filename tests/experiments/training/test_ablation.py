"""The ablation: one real run, resuming, what it refuses, and its summary."""

import numpy as np
import pytest
from PIL import Image

from experiments.common import records
from experiments.common.program import ExperimentError
from experiments.training import ablation

TINY = {"num_filters": 2, "steps": 2, "batch": 2, "patch": 64, "optimizer": "adam", "warmup": 0}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A glob of 18 pictures, so that two are left to train on."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(18):
        pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).resize((96, 80)).save(folder / f"{i:02d}.png")
    return str(folder / "*.png")


def fake_row(name, seed, loss, steps=2):
    numbers = {"num_filters": 2, "batch": 2, "patch": 64, "lambda": 0.0075, "steps": steps}
    numbers.update(pixels=16384, parameters=1000, loss=loss, bpp=0.2, y_bpp=0.19, z_bpp=0.01)
    return {"config": name, "seed": seed, **numbers, "psnr": 25.0, "seconds": 1.0}


def test_a_run_trains_and_is_recorded(photographs, tmp_path, eagerly):
    output = str(tmp_path / "ablation.csv")
    cheng = [c for c in ablation.CONFIGURATIONS if c.settings.get("system") == "cheng2020"]
    changes = {**TINY, "validation_size": 64}
    cache = str(tmp_path / "cache")
    assert ablation.run(photographs, cache, output, [3], changes, configurations=cheng) == 1
    (row,) = ablation.read_rows(output)
    assert (row["config"], row["seed"], row["steps"], row["pixels"]) == (cheng[0].name, 3, 2, 16384)
    assert row["bpp"] == pytest.approx(row["y_bpp"] + row["z_bpp"], abs=1e-5)
    assert row["loss"] > row["bpp"] > 0 and np.isfinite(row["psnr"]) and row["parameters"] > 1000
    assert ablation.run(photographs, cache, output, [3], changes, configurations=cheng) == 0
    with pytest.raises(ExperimentError, match="'steps': 2.*choose another --output"):
        ablation.run(photographs, cache, output, [3], {**changes, "steps": 3})


def test_seeds_come_one_after_the_other_and_runs_resume(photographs, tmp_path, monkeypatch):
    calls = []

    def train_once(configuration, common, pictures, held_out):
        assert len(pictures) == 2 and held_out.shape == (16, 64, 64, 3)
        calls.append((common["seed"], configuration.name))
        if len(calls) == 13:
            raise KeyboardInterrupt
        return fake_row(configuration.name, common["seed"], 1.0)

    monkeypatch.setattr(ablation, "train_once", train_once)
    arguments = (photographs, str(tmp_path / "cache"), str(tmp_path / "a.csv"), [0, 1])
    changes = {**TINY, "validation_size": 64}
    with pytest.raises(KeyboardInterrupt):
        ablation.run(*arguments, changes)
    names = [c.name for c in ablation.CONFIGURATIONS]
    assert calls == [(0, name) for name in names] + [(1, name) for name in names[:3]]
    del calls[:]
    assert ablation.run(*arguments, changes) == 8
    assert calls == [(1, name) for name in names[2:]]


def test_configurations_are_the_papers():
    by_name = {c.name: c.settings for c in ablation.CONFIGURATIONS}
    families = {s["families"] for s in by_name.values() if "families" in s}
    assert len(families) == 6  # three alone, three pairs; GLLMM is the system's own
    assert {by_name[n]["stages"] for n in by_name if n.startswith("GLLMM")} == {1, 2, 3}
    assert ablation.REFERENCE in by_name


def test_summary_pairs_runs_of_one_seed():
    rows = [
        fake_row("GLLMM", 0, 1.0),
        fake_row("GLLMM", 1, 2.0),
        fake_row("Gaussian", 0, 1.1),
        fake_row("Gaussian", 1, 2.4),
        fake_row("Laplacian", 2, 1.0),
    ]
    gaussian, laplacian, gllmm = ablation.summarise(rows)
    assert gaussian.mean["loss"] == pytest.approx(1.75) and gaussian.spread == pytest.approx(0.65)
    assert gaussian.against == pytest.approx(15) and gaussian.against_spread == pytest.approx(5)
    assert laplacian.against is None  # no GLLMM with its seed
    assert gllmm.against == 0
    table = ablation.format_table([gaussian, laplacian, gllmm])
    assert "| Gaussian | 2 | 1,000 | 1.7500 ± 0.6500 | +15.0 ± 5.0 % |" in table
    assert "| Laplacian | 1 | 1,000 | 1.0000 ± 0.0000 | - |" in table


def test_report_is_written(tmp_path, capsys):
    output = tmp_path / "ablation.csv"
    with pytest.raises(ExperimentError, match="no runs yet"):
        ablation.write_report(str(output))
    for seed in (0, 1):
        for i, configuration in enumerate(ablation.CONFIGURATIONS):
            row = fake_row(configuration.name, seed, 1 + i / 50 + seed / 9)
            records.append_csv(str(output), ablation.FIELDS, row)
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text("<!-- begin ablation: made by it -->\n<!-- end ablation -->\n")
    ablation.write_report(str(output), str(page))
    assert "GLLMM, three stages" in capsys.readouterr().out
    assert (tmp_path / "ablation.md").read_text() in page.read_text()
    assert "(../ablation.png)" in page.read_text()
    assert all((tmp_path / f"ablation{s}").stat().st_size > 500 for s in (".md", ".png", ".svg"))


def test_a_foreign_or_cut_csv_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ExperimentError, match="columns must be"):
        ablation.read_rows(str(path))
    path.write_text(",".join(ablation.FIELDS) + "\nGLLMM,0,2\n")
    with pytest.raises(ExperimentError, match="not complete"):
        ablation.read_rows(str(path))
