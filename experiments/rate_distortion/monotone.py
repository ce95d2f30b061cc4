"""Is quality monotone? Rate and PSNR must rise from each quality to the next, in small steps.

    python -m experiments.rate_distortion.rate_distortion --images ~/kodak --codecs ours --output kodak.csv
    python -m experiments.rate_distortion.monotone kodak.csv

reads the rows of a model that rate_distortion.py measured, at 1, 1.5, 2, .., the highest quality,
and prints mean bpp and PSNR over the pictures with the step from the quality before. Exit status 1
unless every mean bpp and PSNR is larger than the one before and no step of the mean rate is larger
than 35 %. The column "rising" counts the pictures on which both
rise; it has no limit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from absl import flags

from experiments.common import program
from experiments.common.program import ExperimentError, LimitError
from experiments.rate_distortion.results import codec_of_models, common_images, read_rows
from gllmm_tf.zoo import registry

LARGEST_STEP = 35.0  # percent of rate
STEP = 0.5  # of quality, which has to be covered without a gap


@dataclasses.dataclass(frozen=True)
class Step:
    """One quality beside the one before.

    Attributes:
        quality: of the model.
        bpp, psnr: means over the pictures.
        rate_percent, gain_db: against the quality before; None for the first.
        rising: number of pictures on which both rise; None for the first.
        good: whether the limits are kept.
    """

    quality: float
    bpp: float
    psnr: float
    rate_percent: float | None
    gain_db: float | None
    rising: int | None
    good: bool


def steps_of(rows: Sequence[dict], codec: str) -> tuple[list[Step], int]:
    """Returns the steps of a codec's qualities, ascending, and the number of pictures.

    Args:
        rows: as from `results.read_rows`.
        codec: name of a curve of one model of variable rate.

    Raises:
        ExperimentError: there are no rows of this kind, or qualities are missing in between.
    """
    rows = [row for row in rows if row["codec"] == codec]
    images = common_images(rows)
    if not images:
        raise ExperimentError(f"No picture was measured with {codec!r} at all its qualities.")
    by_quality = {}  # quality -> {image: row}
    for row in rows:
        if row["image"] in images:
            by_quality.setdefault(_quality(row["setting"]), {})[row["image"]] = row
    qualities = sorted(by_quality)
    for before, quality in zip(qualities, qualities[1:]):
        if quality - before > STEP:
            raise ExperimentError(
                f"{codec} has no quality between {before:g} and {quality:g}; run "
                f"rate_distortion.py again, which measures every {STEP:g}."
            )
    if len(qualities) < 2:
        raise ExperimentError(f"{codec} has one quality only; there is nothing to compare.")
    steps = []
    for i, quality in enumerate(qualities):
        steps.append(_step(quality, by_quality[quality], by_quality[qualities[i - 1]], i == 0))
    return steps, len(images)


def _quality(setting: str) -> float:
    try:
        return float(setting.split("@")[0])
    except ValueError:
        raise ExperimentError(f"Setting {setting!r} is no quality of a model.") from None


def _step(quality: float, here: dict, before: dict, first: bool) -> Step:
    """Returns the step from the rows `before` to the rows `here`, both {image: row}."""

    def mean(rows, field):
        return sum(row[field] for row in rows.values()) / len(rows)

    bpp, psnr = mean(here, "bpp"), mean(here, "psnr")
    if first:
        return Step(quality, bpp, psnr, None, None, None, True)
    rate = 100.0 * (bpp / mean(before, "bpp") - 1.0)
    gain = psnr - mean(before, "psnr")
    rising = sum(
        here[i]["bpp"] > before[i]["bpp"] and here[i]["psnr"] > before[i]["psnr"] for i in here
    )
    return Step(quality, bpp, psnr, rate, gain, rising, 0 < rate <= LARGEST_STEP and gain > 0)


def format_table(steps: Sequence[Step], images: int) -> str:
    """Returns a line per quality."""
    lines = ["quality     bpp    PSNR    rate     gain   rising"]
    for s in steps:
        line = f"{s.quality:7g} {s.bpp:7.4f} {s.psnr:7.3f}"
        if s.rate_percent is not None:
            line += f" {s.rate_percent:+6.1f}% {s.gain_db:+5.2f} dB {s.rising:3d} of {images}"
        lines.append(line + ("" if s.good else "  NOT ALLOWED"))
    return "\n".join(lines)


def define_flags() -> None:
    program.define_model()


def main(f: flags.FlagValues, results: str) -> None:
    rows, models = read_rows(results), registry.names_and_identities(f.model)
    steps, images = steps_of(rows, codec_of_models(rows, models.values()))
    print(format_table(steps, images))
    if not all(step.good for step in steps):
        raise LimitError(f"bpp and PSNR must rise, no step of the rate exceed {LARGEST_STEP:g} %")


if __name__ == "__main__":
    program.run(main, define_flags, ["RESULTS"])
