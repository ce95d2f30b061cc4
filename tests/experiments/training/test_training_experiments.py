"""The experiments around training, as far as they need no minutes: what they run and how they judge."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from experiments.common import places
from experiments.common.program import ExperimentError
from experiments.training import acceptance_training, overfit, training_comparison
from gllmm_tf import config, errors
from gllmm_tf.training.run import train
from gllmm_tf.training.settings import Settings


def test_acceptance_covers_every_kind_of_training():
    table = acceptance_training.configurations(60)
    settings = {name: Settings.of(**row) for name, row in table.items()}
    families = {s.model.config().families for s in settings.values()}
    subsets = (itertools.combinations(config.FAMILIES, n) for n in (1, 2, 3))
    assert families == set(itertools.chain(*subsets))
    for name in ("system", "metric", "optimizer", "rounding", "precision"):
        assert len({s.flat()[name] for s in settings.values()}) == 2, name
    assert len(settings["variable rate"].model.lambdas) == 3
    first = settings["gllmm 200 steps"]
    assert (first.schedule.steps, first.model.num_filters, first.data.batch) == (200, 32, 8)


def test_acceptance_reads_the_curve(tmp_path):
    rows = [{"loss": 10.0 - i, "skipped": 0} for i in range(10)] + [{"validation": {}}]
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "metrics.jsonl").write_text(text)
    assert acceptance_training.losses_of(str(tmp_path)) == (9.5, 1.5, 0)
    (tmp_path / "metrics.jsonl").write_text('{"loss": null, "skipped": 5}')
    first, last, skipped = acceptance_training.losses_of(str(tmp_path))
    assert not last < first and skipped == 5


def test_overfit_crop():
    path = places.SAMPLES[0]
    crop = overfit.crop_of(path, 20, 200)
    assert crop.shape == (1, 256, 256, 3) and crop.dtype == np.uint8
    np.testing.assert_array_equal(crop[0, 5:], overfit.crop_of(path, 25, 200)[0, :-5])
    with pytest.raises(errors.ImageError, match="friends.png: has no 256 x 256 pixels at row 300"):
        overfit.crop_of(path, 300, 0)


def test_comparison_differs_in_what_the_name_says():
    base = training_comparison.settings_of("base", {"train_glob": "-"})
    seen = {base}
    for name in training_comparison.VARIANTS:
        settings = training_comparison.settings_of(name, {"train_glob": "-"})
        pixels = settings.schedule.steps * settings.data.batch * settings.data.patch**2
        assert pixels == 200 * 8 * 128**2, name
        seen.add(settings)
    assert len(seen) == len(training_comparison.VARIANTS)
    optimizer = base.optimizer
    assert (optimizer.learning_rate, base.schedule.flat, optimizer.ema) == (1.2e-3, 0.2, 0.999)


@pytest.mark.slow
def test_comparison_trains_what_is_missing(tmp_path, monkeypatch, eagerly):
    rng = np.random.default_rng(0)
    for i in range(19):
        pixels = rng.integers(0, 256, (9, 9, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
    small = dict(families="gaussian", components=1, stages=1, num_filters=8, entropy_widths="8,8")
    small.update(patch=64, batch=2, validation_size=64)
    monkeypatch.setattr(training_comparison, "BASE", {**training_comparison.BASE, **small})
    variants = {"base": {}, "twice": {"steps": 2, "batch": 1}}
    monkeypatch.setattr(training_comparison, "VARIANTS", variants)
    common = {
        "train_glob": f"{tmp_path}/*.png",
        "cache_dir": str(tmp_path / "cache"),
        "steps": 2,
        "precision": "float32",
    }
    output = str(tmp_path / "rows.csv")
    assert training_comparison.run(common, output) == 2
    assert training_comparison.run(common, output) == 0
    folder = str(tmp_path / "again")
    result = train(training_comparison.settings_of("twice", common, folder))
    base, twice = training_comparison.read_rows(output)
    assert (base["steps"], twice["steps"]) == (2, 4)
    assert base["pixels"] == twice["pixels"] == 4 * 64**2
    assert twice["loss"] == pytest.approx(result["loss"], rel=1e-3)
    assert base["loss"] != twice["loss"]

    lines = training_comparison.format_table([base, twice]).splitlines()
    assert len(lines) == 4 and sum("**base**" in line for line in lines) == 1
    assert f"{min(base['loss'], twice['loss']):.3f}" in lines[2]
    with pytest.raises(ExperimentError, match="'base' has 2 steps, not 3; choose another"):
        training_comparison.run({**common, "steps": 3}, output)
    with open(output, "a") as file:
        file.write("other,1,1,1,1,1,1\n")
    with pytest.raises(ExperimentError, match="no such run as 'other'; delete that row"):
        training_comparison.run(common, output)
