"""Does the mixture pay? Small models that differ in one thing, trained alike.

    python -m experiments.training.ablation --train_glob='photos/**/*.jpg'

Every configuration is trained from scratch with each seed on the same crops in the same order (the
seed decides crops, noise and initial weights), for the same number of steps and pixels, and judged
on the same held-out pictures with rounded latents. Compared are, as in the papers,

    the mixture           Gaussian, Laplacian or logistic alone, the three pairs, and all three
                          (GLLMM); 3 components per family, so that a pair has 6 and GLLMM 9
    the residual modules  1 residual block, or 2 or 3 in a module, with GLLMM
    the systems           GMM and attention of Cheng et al. (1 block, Gaussian, narrower entropy
                          network) beside GLLMM of Fu et al.

The models are small (N = 24) and the runs short, thousands of times shorter than published ones:
what is measured is which choice learns more from this little training, not where it ends.

Writes a CSV with a row per run, which a program that was interrupted continues, and beside it a
table (.md, and into docs/figures.md) and a plot (.png, .svg) of all rows that the CSV has.
`--report_only` draws without training. The column `seconds` of the CSV has the time of each run: a
minute or two at the default size on two cores.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import flags
from tqdm import tqdm

from experiments.common import doc_tables, places, program, records
from experiments.common.figures import PALETTE, pyplot, save, tidy
from experiments.common.program import ExperimentError
from gllmm_tf.training import data
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings

SAME = {  # what all configurations have in common; the flags may change some
    "num_filters": 24,
    "lambdas": (0.0075,),
    "patch": 128,
    "batch": 8,
    "steps": 500,
    "optimizer": "muon",
    "muon_largest": 512,
    "warmup": 50,
    "components": 3,
}


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One row of the comparison: its name, the question it belongs to, and its settings."""

    name: str
    group: str
    settings: dict


def _mixture(name: str, families: str) -> Configuration:
    return Configuration(name, "mixture", {"families": families, "stages": 2})


CONFIGURATIONS = [
    _mixture("Gaussian", "gaussian"),
    _mixture("Laplacian", "laplacian"),
    _mixture("logistic", "logistic"),
    _mixture("Gaussian + Laplacian", "gaussian,laplacian"),
    _mixture("Gaussian + logistic", "gaussian,logistic"),
    _mixture("Laplacian + logistic", "laplacian,logistic"),
    Configuration("GLLMM", "reference", {"stages": 2}),
    Configuration("GLLMM, residual block", "residual modules", {"stages": 1}),
    Configuration("GLLMM, three stages", "residual modules", {"stages": 3}),
    Configuration("Cheng et al.", "systems", {"system": "cheng2020"}),
]
REFERENCE = "GLLMM"
FIELDS = [
    "config",
    "seed",
    "num_filters",
    "batch",
    "patch",
    "lambda",
    "steps",
    "pixels",
    "parameters",
    "loss",
    "bpp",
    "y_bpp",
    "z_bpp",
    "psnr",
    "seconds",
]
ALIKE = ["num_filters", "batch", "patch", "lambda", "steps"]  # must agree in all rows


# Training -------------------------------------------------------------------------------------


def train_once(configuration: Configuration, common: dict, pictures, held_out) -> dict:
    """Trains one configuration with one seed and judges it; returns its row of the CSV.

    Args:
        configuration: what is tried.
        common: fields of `Settings` that all configurations share, with the seed.
        pictures: `data.Pictures` to train on.
        held_out: uint8 [n, size, size, 3], to be judged on.
    """
    tf.keras.backend.clear_session()
    settings = Settings.of(**common, **configuration.settings)
    learner = Learner(settings)
    crops = data.Crops(pictures, settings.data.patch, settings.run.seed)
    start = time.monotonic()
    batches = crops.dataset(0, settings.schedule.steps, settings.data.batch)
    label = f"{configuration.name}, seed {settings.run.seed}"
    quiet = not sys.stderr.isatty()
    bar = tqdm(batches, label, settings.schedule.steps, unit="step", leave=False, disable=quiet)
    for step, (some, quality) in enumerate(bar):
        learner.take_step(some, quality, step)
    seconds = time.monotonic() - start
    with learner.averaged():
        judged = learner.judge.evaluate(held_out)["qualities"][0]
    return {
        "config": configuration.name,
        "seed": settings.run.seed,
        "num_filters": settings.model.num_filters,
        "batch": settings.data.batch,
        "patch": settings.data.patch,
        "lambda": settings.model.lambdas[0],
        "steps": settings.schedule.steps,
        "pixels": int(learner.pixels),
        "parameters": int(sum(np.prod(v.shape) for v in learner.variables)),
        **{name: f"{judged[name]:.6f}" for name in ("loss", "bpp", "y_bpp", "z_bpp", "psnr")},
        "seconds": f"{seconds:.1f}",
    }


def run(
    train_glob: str | Sequence[str],
    cache_dir: str,
    output: str,
    seeds: Sequence[int],
    changes: dict,
    max_minutes: float = 0.0,
    configurations: Sequence[Configuration] = CONFIGURATIONS,
) -> int:
    """Trains what `output` does not have yet, seed by seed, and appends it row by row.

    Args:
        train_glob: glob or globs of pictures; the same 16 of them are held out from every run.
        cache_dir: folder for the decoded pictures.
        output: the CSV.
        seeds: of the runs.
        changes: settings in place of those of `SAME`, and those that `SAME` does not name.
        max_minutes: no run is started that would last beyond; 0 for no limit.
        configurations: to train.

    Returns:
        The number of rows added.

    Raises:
        ExperimentError: `output` has runs with other settings.
    """
    began = time.monotonic()
    common = {**SAME, **changes}
    rows = read_rows(output)
    _refuse_other_settings(rows, common, output)
    done = {(row["config"], row["seed"]) for row in rows}
    missing = [(s, c) for s in seeds for c in configurations if (c.name, s) not in done]
    if not missing:
        return 0
    size = common.pop("validation_size", 512)
    training_paths, held_out_paths = data.split(data.find_pictures(train_glob), 16)
    pictures = data.Pictures.open(training_paths, cache_dir)
    held_out = data.centre_crops(data.Pictures.open(held_out_paths, cache_dir), size)
    if not len(held_out):
        raise ExperimentError(f"No held-out picture has {size} x {size} pixels; give larger ones.")
    longest = 0.0
    for count, (seed, configuration) in enumerate(missing):
        start = time.monotonic()
        if max_minutes and start - began + longest > 60 * max_minutes:
            print(f"time limit: {len(missing) - count} runs are left; the same command continues")
            return count
        row = train_once(configuration, {**common, "seed": seed}, pictures, held_out)
        records.append_csv(output, FIELDS, row)
        longest = max(longest, time.monotonic() - start)
        print("{config}, seed {seed}: loss {loss}, {bpp} bpp, {psnr} dB".format(**row), flush=True)
    return len(missing)


def read_rows(path: str) -> list[dict]:
    """Returns the rows of the CSV, numbers as numbers; no file is no rows."""
    return records.read_csv(path, FIELDS, text_fields=("config",))


def _refuse_other_settings(rows: list[dict], common: dict, path: str) -> None:
    mine = {name: common.get(name) for name in ALIKE if name != "lambda"}
    [mine["lambda"]] = common["lambdas"]
    for row in rows:
        theirs = {name: row[name] for name in mine}
        if theirs != mine:
            raise ExperimentError(
                f"{path}: has runs with {theirs}, these would have {mine}; choose another --output."
            )


# Report ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Summary:
    """Runs of one configuration.

    Attributes:
        configuration: which.
        runs: rows, by seed.
        mean: {"loss", "bpp", "psnr"} over the seeds.
        spread: half the distance from the smallest to the largest loss.
        against: mean over the seeds of loss / loss of GLLMM with the same seed - 1, in percent;
            None without such a pair.
        against_spread: half the distance from its smallest to its largest value over the seeds.
    """

    configuration: Configuration
    runs: list[dict]
    mean: dict
    spread: float
    against: float | None
    against_spread: float | None


def summarise(rows: Sequence[dict]) -> list[Summary]:
    """Returns a summary per configuration that has runs, in the order of `CONFIGURATIONS`."""
    reference = {row["seed"]: row["loss"] for row in rows if row["config"] == REFERENCE}
    summaries = []
    for configuration in CONFIGURATIONS:
        runs = sorted(
            (row for row in rows if row["config"] == configuration.name),
            key=lambda row: row["seed"],
        )
        if not runs:
            continue
        ratios = [
            100 * (row["loss"] / reference[row["seed"]] - 1)
            for row in runs
            if row["seed"] in reference
        ]
        mean = {k: statistics.fmean(row[k] for row in runs) for k in ("loss", "bpp", "psnr")}
        summaries.append(
            Summary(
                configuration,
                runs,
                mean,
                _half_range([row["loss"] for row in runs]),
                statistics.fmean(ratios) if ratios else None,
                _half_range(ratios) if ratios else None,
            )
        )
    return summaries


def _half_range(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / 2


def format_table(summaries: Sequence[Summary]) -> str:
    """Returns the table as Markdown, with what all runs have in common above it."""
    first = summaries[0].runs[0]
    seeds = sorted({run["seed"] for summary in summaries for run in summary.runs})
    about = (
        f"N = {first['num_filters']}, lambda = {first['lambda']:g}, {first['steps']} steps of "
        f"{first['batch']} crops of {first['patch']} x {first['patch']} pixels "
        f"({first['pixels'] / 1e6:.0f} megapixels), seeds {', '.join(map(str, seeds))}. "
        "Held-out loss is lambda 255^2 MSE + bpp, lower is better; ± is half the distance between "
        "the extremes over the seeds; the comparison with GLLMM pairs runs of one seed."
    )
    head = ["configuration", "seeds", "parameters", "held-out loss", "against GLLMM"]
    rows = []
    for s in summaries:
        against = "-" if s.against is None else f"{s.against:+.1f} ± {s.against_spread:.1f} %"
        if s.configuration.name == REFERENCE:
            against = "0"
        loss = f"{s.mean['loss']:.4f} ± {s.spread:.4f}"
        cells = [s.configuration.name, len(s.runs), f"{s.runs[0]['parameters']:,}", loss, against]
        rows.append([*cells, f"{s.mean['bpp']:.4f}", f"{s.mean['psnr']:.2f}"])
    return "\n".join([about, "", *doc_tables.markdown([*head, "bpp", "PSNR, dB"], "lr", rows)])


def draw(summaries: Sequence[Summary]):
    """Returns a figure: a row per configuration, a dot per seed, a bar at the mean."""
    colours = dict(zip(("mixture", "residual modules", "systems"), PALETTE))
    colours["reference"] = "#000000"
    figure, axes = pyplot.subplots(figsize=(8.0, 0.8 + 0.42 * len(summaries)), layout="constrained")
    seeds = sorted({run["seed"] for s in summaries for run in s.runs})
    markers = dict(zip(seeds, "os^Dv<>P" * len(seeds)))
    for height, s in enumerate(reversed(summaries)):
        colour = colours[s.configuration.group]
        axes.plot([s.mean["loss"]] * 2, [height - 0.3, height + 0.3], color=colour, lw=2.5)
        for run in s.runs:
            axes.plot(
                run["loss"], height, markers[run["seed"]], color=colour, ms=6, mfc="white", mew=1.3
            )
    reference = [s.mean["loss"] for s in summaries if s.configuration.name == REFERENCE]
    if reference:
        axes.axvline(reference[0], color="#999999", lw=0.8, ls="--", zorder=0)
    names = [s.configuration.name for s in reversed(summaries)]
    axes.set_yticks(range(len(names)), names)
    for tick, s in zip(axes.get_yticklabels(), reversed(summaries)):
        tick.set_color(colours[s.configuration.group])
    for seed in seeds:
        axes.plot(
            [], [], markers[seed], color="#555555", mfc="white", mew=1.3, label=f"seed {seed}"
        )
    axes.plot([], [], "|", color="#555555", ms=12, mew=2.5, label="mean")
    axes.legend(ncols=len(seeds) + 1, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    axes.set_xlabel("held-out loss: lambda 255² MSE + bpp (lower is better)")
    tidy(axes, grid="x")
    return figure


def write_report(output: str, page: str = "") -> None:
    """Writes table and plot beside the CSV, the table into a page if one is named, and prints it.

    Raises:
        ExperimentError: the CSV has no rows yet.
    """
    summaries = summarise(read_rows(output))
    if not summaries:
        raise ExperimentError(f"{output}: no runs yet; run without --report_only first.")
    stem = os.path.splitext(output)[0]
    text = format_table(summaries)
    records.write_text(f"{stem}.md", text + "\n")
    print(text)
    print("\n".join([f"{stem}.md", *save(draw(summaries), stem)]))
    if page:
        picture = os.path.relpath(f"{stem}.png", os.path.dirname(page))
        doc_tables.insert(page, "ablation", f"{text}\n\n![Held-out loss of every run]({picture})")


def define_flags() -> None:
    program.define_photographs()
    flags.DEFINE_list("seeds", ["0", "1"], "Seeds, two at least for a spread.")
    flags.DEFINE_integer("steps", SAME["steps"], "Steps per run.", lower_bound=1)
    flags.DEFINE_integer("num_filters", SAME["num_filters"], "N.", lower_bound=2)
    flags.DEFINE_float("max_minutes", 0.0, "Start no run that would end after it; 0: no limit.")
    flags.DEFINE_bool("report_only", False, "Train nothing, draw what the CSV has.")
    flags.DEFINE_string("output", f"{places.RESULTS}/ablation.csv", "CSV to extend.")
    program.define_page("figures.md")


def main(f: flags.FlagValues) -> None:
    if not f.report_only:
        changes = {"steps": f.steps, "num_filters": f.num_filters}
        seeds = program.numbers("seeds", f.seeds, int)
        run(f.train_glob, f.cache_dir, f.output, seeds, changes, f.max_minutes)
    write_report(f.output, f.page)


if __name__ == "__main__":
    program.run(main, define_flags)
