"""Which settings of training learn most from the same pixels? Short runs that differ in one thing.

    python -m experiments.training.training_comparison --train_glob='photos/**/*.jpg'

Each run starts from scratch and sees the same number of pixels of the same photographs; the averaged
weights are judged on photographs that were held out, with rounded latents. The first run, `base`, is
close to the training of gllmm-n48, at one lambda; every other one changes what its name says. There is
one seed, so small differences mean nothing. Most of these models are thousands of steps from their end:
what learns fast here need not end lowest. `seconds_per_step` depends on the machine.

Writes a CSV with a row per run, which a program that was interrupted continues, and the table into
docs/training.md. About a minute per run on two cores.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Sequence

import tensorflow as tf
from absl import flags

from experiments.common import doc_tables, places, program, records
from experiments.common.program import ExperimentError
from gllmm_tf.training.run import Run
from gllmm_tf.training.settings import Settings

BASE = {
    "num_filters": 48,
    "entropy_widths": (512, 512),
    "lambdas": (0.0075,),
    "patch": 128,
    "batch": 8,
    "steps": 200,
    "muon_largest": 400,
    "warmup": 50,
}

VARIANTS = {
    "base": {},
    "Muon at half the rate": {"learning_rate": 6e-4},
    "Muon at twice the rate": {"learning_rate": 2.4e-3},
    "Adam at 4e-4": {"optimizer": "adam", "learning_rate": 4e-4},
    "Adam at 1e-4, as published": {"optimizer": "adam", "learning_rate": 1e-4},
    "rate falls from the first step": {"flat": 0.0},
    "no average of the weights": {"ema": 0.0},
    "gradient's norm not bounded": {"clip_norm": 0.0},
    "noise in place of rounding": {"rounding": "noise"},
    "float32": {"precision": "float32"},
    "crops of 64 x 64, 32 of them": {"patch": 64, "batch": 32},
    "crops of 256 x 256, 2 of them": {"patch": 256, "batch": 2},
    "twice the batch, half the steps": {"batch": 16, "steps": 0.5},
    "N = 32": {"num_filters": 32},
}
"""Name -> settings in place of those of `BASE`; `steps` is a factor."""

FIELDS = ("name", "steps", "pixels", "loss", "bpp", "psnr", "seconds_per_step")


def settings_of(name: str, common: dict, run_dir: str = "") -> Settings:
    """Returns the settings of a variant; `common` holds what all of them share."""
    values = {**BASE, **common, **VARIANTS[name]}
    base_steps = common.get("steps", BASE["steps"])
    values["steps"] = round(base_steps * VARIANTS[name].get("steps", 1))
    values.update(
        run_dir=run_dir, evaluate_every=0, validation_files=0, checkpoint_every=10**9, log_every=50
    )
    return Settings.of(**values)


def train_once(name: str, common: dict) -> dict:
    """Trains one variant in a folder that is thrown away; returns its row."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(name, common, folder)
        with contextlib.redirect_stdout(sys.stderr):
            run = Run(settings)
            result = run.train()
        learner = run.learner
        steps, pixels = int(learner.step.numpy()), int(learner.pixels.numpy())
        seconds = float(learner.seconds.numpy())
    tf.keras.backend.clear_session()
    if result is None or steps < settings.schedule.steps:
        raise ExperimentError(f"{name}: stopped at step {steps}; the same command starts it anew.")
    [judged] = result["qualities"]
    return {
        "name": name,
        "steps": steps,
        "pixels": pixels,
        "loss": round(judged["loss"], 4),
        "bpp": round(judged["bpp"], 4),
        "psnr": round(judged["psnr"], 3),
        "seconds_per_step": round(seconds / steps, 3),
    }


def read_rows(path: str) -> list[dict]:
    """Returns the rows of the CSV, numbers as numbers; no file is no rows."""
    rows = records.read_csv(path, FIELDS, text_fields=("name",))
    for row in rows:
        if row["name"] not in VARIANTS:
            raise ExperimentError(f"{path}: no such run as {row['name']!r}; delete that row.")
    return rows


def run(common: dict, output: str) -> int:
    """Trains the variants that `output` does not have and appends their rows; returns how many.

    Raises:
        ExperimentError: `output` has runs of another length.
    """
    rows = read_rows(output)
    for row in rows:
        wanted = settings_of(row["name"], common).schedule.steps
        if row["steps"] != wanted:
            raise ExperimentError(
                f"{output}: {row['name']!r} has {row['steps']} steps, not {wanted}; choose another "
                "--output."
            )
    missing = [name for name in VARIANTS if name not in {row["name"] for row in rows}]
    for name in missing:
        row = train_once(name, common)
        records.append_csv(output, FIELDS, row)
        print("{name}: loss {loss}, {bpp} bpp, {psnr} dB".format(**row), flush=True)
    return len(missing)


def format_table(rows: Sequence[dict]) -> str:
    """Markdown, by ascending loss; in the order of `VARIANTS` where that is equal."""
    order = list(VARIANTS)
    head = ("setting", "steps", "Mpixel", "loss", "bpp", "PSNR dB")
    cells = []
    for row in sorted(rows, key=lambda row: (row["loss"], order.index(row["name"]))):
        name = f"**{row['name']}**" if row["name"] == "base" else row["name"]
        pixels, seconds = f"{row['pixels'] / 1e6:.1f}", f"{row['seconds_per_step']:.2f}"
        judged = f"{row['loss']:.3f}", f"{row['bpp']:.3f}", f"{row['psnr']:.2f}"
        cells.append([name, row["steps"], pixels, *judged, seconds])
    return "\n".join(doc_tables.markdown([*head, "s / step, compilation included"], "l", cells))


def define_flags() -> None:
    program.define_photographs()
    flags.DEFINE_integer("steps", BASE["steps"], "Steps of the base.", lower_bound=2)
    flags.DEFINE_bool("report_only", False, "Train nothing, write the table of the CSV's rows.")
    output = f"{places.RESULTS}/training_comparison.csv"
    flags.DEFINE_string("output", output, "CSV to extend.")
    program.define_page("training.md")


def main(f: flags.FlagValues) -> None:
    if not f.report_only:
        common = {"train_glob": f.train_glob, "cache_dir": f.cache_dir, "steps": f.steps}
        run(common, f.output)
    text = format_table(read_rows(f.output))
    if f.page:
        doc_tables.insert(f.page, "training_comparison", text)
    print(text)


if __name__ == "__main__":
    program.run(main, define_flags)
