"""Does every kind of training work? Short runs of train.py, each to a model that compresses a picture.

    python -m experiments.training.acceptance_training --train_glob='photos/**/*.jpg' \\
        --work_dir=runs/acceptance

runs train.py as a user would, with N = 32, once for each row of the table: both systems, MS-SSIM,
variable rate, every subset of the mixture's families. A row is good if no step was skipped, the loss at
the end (mean of the last fifth) is below that at the start (first fifth), and compress.py takes the
folder of the run as its --model, to a file that decodes. Exit status 1 if one is not good. The first row
has 200 steps of batch 8, the others --short_steps of batch 2. About ten minutes on two cores. A run
that is done already is not done again: --only and a second call continue.
"""

from __future__ import annotations

import itertools
import json
import os
import time

import numpy as np
from absl import flags

from experiments.common import places, processes, program, records
from experiments.common.pictures import read_image
from experiments.common.program import ExperimentError, LimitError
from gllmm_tf import metrics
from gllmm_tf.config import FAMILIES


def configurations(short_steps: int) -> dict[str, dict]:
    """Returns {name: flags of train.py}."""
    common = dict(
        num_filters=32, validation_images=8, validation_files=2, log_every=5, evaluate_every=0
    )
    short = dict(common, steps=short_steps, batch=2, warmup=10)
    rows = {
        "gllmm 200 steps": dict(common, steps=200, batch=8, warmup=20),
        "cheng2020": dict(short, system="cheng2020"),
        "adam noise float32": dict(
            short, optimizer="adam", learning_rate=1e-3, rounding="noise", precision="float32"
        ),
        "ms-ssim": dict(short, metric="ms-ssim", lambdas="12", patch=192),
        "variable rate": dict(short, lambdas="0.002,0.0075,0.03"),
    }
    for count in (1, 2):
        for subset in itertools.combinations(FAMILIES, count):
            rows["+".join(subset)] = dict(short, families=",".join(subset))
    return rows


def losses_of(folder: str) -> tuple[float, float, int]:
    """Returns (mean loss of the first fifth, of the last fifth, skipped steps)."""
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as f:
        rows = [row for row in map(json.loads, f) if "loss" in row]
    losses = [row["loss"] for row in rows]
    if None in losses:
        return float("nan"), float("nan"), rows[-1]["skipped"]
    count = max(1, len(losses) // 5)
    return np.mean(losses[:count]), np.mean(losses[-count:]), rows[-1]["skipped"]


def round_trip(folder: str) -> tuple[float, float]:
    """Compresses a photograph with the run's model and back; returns (bpp, PSNR in dB).

    Raises:
        ExperimentError: a command fails.
    """
    file, decoded = (os.path.join(folder, name) for name in ("friends.gllmm", "friends.png"))
    # As a user would: straight after the training, from the folder of the run.
    for command in (("compress", places.SAMPLES[0], file), ("decompress", file, decoded)):
        done = processes.script("compress.py", *command, f"--model={folder}")
        if done.returncode:
            raise ExperimentError(processes.last_line(done))
    original = read_image(places.SAMPLES[0])
    bpp = 8 * os.path.getsize(file) / original[..., 0].size
    return bpp, metrics.psnr(original, read_image(decoded))


def check(name: str, settings: dict, work_dir: str) -> dict:
    """Runs one configuration; returns its row."""
    folder = os.path.join(work_dir, name.replace(" ", "_"))
    settings = dict(settings, run_dir=folder)
    began = time.monotonic()
    done = processes.script("train.py", *(f"--{key}={value}" for key, value in settings.items()))
    row = {"name": name, "steps": settings["steps"], "good": False}
    row["seconds"] = round(time.monotonic() - began)
    if done.returncode:
        return {**row, "error": processes.last_line(done)}
    row["first_loss"], row["last_loss"], row["skipped"] = losses_of(folder)
    try:
        row["bpp"], row["psnr"] = round_trip(folder)
    except ExperimentError as error:
        return {**row, "error": str(error)}
    row["good"] = bool(row["last_loss"] < row["first_loss"] and not row["skipped"])
    return row


def line_of(row: dict) -> str:
    """Returns a row of the table as text."""
    line = f"{row['name']:22s}{row['steps']:7d}{row['seconds']:9d}"
    if "error" in row:
        line += f"  {row['error']}"
    else:
        line += "{first_loss:12.3f}{last_loss:11.3f}  {bpp:12.3f}{psnr:9.2f} dB".format(**row)
    return f"{line}  {'good' if row['good'] else 'BAD'}"


def define_flags() -> None:
    flags.DEFINE_string("train_glob", None, "Globs of training pictures.", required=True)
    flags.DEFINE_string("work_dir", None, "Folder for the runs.", required=True)
    flags.DEFINE_string("cache_dir", "", "Folder for the decoded pictures; empty: WORK_DIR/cache.")
    flags.DEFINE_integer("short_steps", 60, "Steps of all runs but the first.", 10)
    flags.DEFINE_list("only", [], "Names of rows; empty: all.")
    flags.DEFINE_string("output", "", "JSON file for the table; empty: none.")


def main(f: flags.FlagValues) -> None:
    table = configurations(f.short_steps)
    unknown = sorted(set(f.only) - set(table))
    if unknown:
        raise ExperimentError(f"--only={unknown[0]!r} is none of {', '.join(table)}.")
    print("run                     steps  seconds  first loss  last loss  friends.png: bpp, PSNR")
    common = {
        "train_glob": f.train_glob,
        "cache_dir": f.cache_dir or os.path.join(f.work_dir, "cache"),
    }
    rows = []
    for name in f.only or table:
        rows.append(check(name, {**table[name], **common}, f.work_dir))
        print(line_of(rows[-1]), flush=True)
    if f.output:
        records.write_json(f.output, rows)
    bad = [row["name"] for row in rows if not row["good"]]
    if bad:
        raise LimitError(", ".join(bad))


if __name__ == "__main__":
    program.run(main, define_flags)
