"""Monotone quality: what passes, what fails, and what cannot be judged."""

import csv
import types

import pytest

from experiments.common import program
from experiments.common.program import ExperimentError
from experiments.rate_distortion import monotone, results


def rows_of(points, codec="ours", image="a.png"):
    """Rows of one picture from {quality: (bpp, psnr)}."""
    return [
        {
            **{"image": image, "codec": codec, "setting": f"{quality:g}@00ff", "bytes": 1},
            **{"bpp": bpp, "psnr": psnr, "ms_ssim": 0.9},
            **{"encode_seconds": 0.0, "decode_seconds": 0.0},
        }
        for quality, (bpp, psnr) in points.items()
    ]


RISING = {1: (0.10, 28.0), 1.5: (0.13, 28.9), 2: (0.17, 29.7), 2.5: (0.2295, 30.1)}


def test_steps_are_of_means_over_pictures():
    rows = rows_of(RISING) + rows_of({1: (0.2, 30), 1.5: (0.25, 31), 2: (0.3, 32), 2.5: (0.4, 33)})
    for row in rows[4:]:
        row["image"] = "b.png"
    steps, images = monotone.steps_of(rows, "ours")
    assert images == 2
    assert [step.quality for step in steps] == [1, 1.5, 2, 2.5]
    assert steps[0].rate_percent is None and steps[0].good
    assert steps[1].bpp == pytest.approx(0.19)
    assert steps[1].rate_percent == pytest.approx(100 * (0.19 / 0.15 - 1))
    assert steps[1].gain_db == pytest.approx(0.95)
    assert [step.rising for step in steps[1:]] == [2, 2, 2]
    assert all(step.good for step in steps)


@pytest.mark.parametrize(
    "quality, point",
    [
        (2, (0.176, 29.7)),  # 35.4 % more than 0.13
        (2, (0.13, 29.7)),  # the same rate
        (2, (0.12, 29.7)),
        (2, (0.17, 28.9)),  # the same PSNR
        (2, (0.17, 28.0)),
    ],
)
def test_a_step_that_is_too_large_or_falls_is_found(quality, point):
    steps, _ = monotone.steps_of(rows_of({**RISING, quality: point}), "ours")
    assert [step.quality for step in steps if not step.good][0] == quality


def test_a_picture_that_falls_is_counted_though_the_mean_rises():
    other = {**RISING, 2: (0.12, 29.0)}
    rows = rows_of(RISING) + rows_of(RISING, image="b.png") + rows_of(other, image="c.png")
    steps, _ = monotone.steps_of(rows, "ours")
    assert steps[2].rising == 2 and steps[2].good


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ExperimentError, match="no quality between 1.5 and 2.5"):
        monotone.steps_of(rows_of({q: p for q, p in RISING.items() if q != 2}), "ours")
    with pytest.raises(ExperimentError, match="No picture was measured with 'theirs'"):
        monotone.steps_of(rows_of(RISING), "theirs")
    with pytest.raises(ExperimentError, match="one quality only"):
        monotone.steps_of(rows_of({1: (0.1, 28)}), "ours")
    rows = rows_of(RISING)
    rows[0]["setting"] = "small@00"
    with pytest.raises(ExperimentError, match="'small@00' is no quality"):
        monotone.steps_of(rows, "ours")


@pytest.mark.parametrize("psnr, status", [(30.1, 0), (29.0, 1)])
def test_exit_status_is_the_verdict(tmp_path, psnr, status, capsys, monkeypatch):
    found = {"small": "00ff"}
    monkeypatch.setattr(monotone.registry, "names_and_identities", lambda name: found)
    path = tmp_path / "results.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, results.FIELDS)
        writer.writeheader()
        writer.writerows(rows_of({**RISING, 2.5: (0.2, psnr)}))
    options = types.SimpleNamespace(model=None)
    assert program.status_of(lambda: monotone.main(options, str(path))) == status
    out, err = capsys.readouterr()
    assert (
        ("NOT ALLOWED" in out) == err.startswith("FAILED: bpp and PSNR must rise") == bool(status)
    )


def test_a_model_that_was_not_measured_is_named():
    assert results.codec_of_models(rows_of(RISING), ["00ff"]) == "ours"
    with pytest.raises(ExperimentError, match="of the model 1234"):
        results.codec_of_models(rows_of(RISING), ["1234"])
