"""Does every kind of training work? Short runs of train.py, each to a model that compresses a picture.

    python -m experiments.training.acceptance_training --train_glob='photos/**/*.jpg' --work_dir=runs/acceptance

runs train.py as a user would, with N = 32, once for each row of the table: both systems, MS-SSIM,
variable rate, every subset of the mixture's families. A row is good if no step was skipped, the loss at
the end (mean of the last fifth) is below that at the start (first fifth), and compress.py takes the
folder of the run as its --model, to a file that decodes. Exit status 1 if one is not good. The first row
has 200 steps of batch 8, the others --short_steps of batch 2. About ten minutes on two cores. A run
that is done already is not done again: --only and a second call continue.
"""

import itertools
import json
import os
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, ROOT)

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402
from PIL import Image  # noqa: E402

FAMILIES = ("gaussian", "laplacian", "logistic")


def configurations(short_steps):
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


def call(script, *arguments):
    """Runs a script of the repository; returns the finished process."""
    return subprocess.run(
        [sys.executable, os.path.join(ROOT, script), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def losses_of(folder):
    """Returns (mean loss of the first fifth, of the last fifth, skipped steps)."""
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as f:
        rows = [row for row in map(json.loads, f) if "loss" in row]
    losses = [row["loss"] for row in rows]
    if None in losses:
        return float("nan"), float("nan"), rows[-1]["skipped"]
    count = max(1, len(losses) // 5)
    return np.mean(losses[:count]), np.mean(losses[-count:]), rows[-1]["skipped"]


def round_trip(folder):
    """Compresses a photograph with the run's model and back; returns (bpp, PSNR) or an error."""
    picture = os.path.join(ROOT, "assets", "friends.png")
    file, decoded = (os.path.join(folder, name) for name in ("friends.gllmm", "friends.png"))
    # As a user would: straight after the training, from the folder of the run.
    for arguments in (
        ["compress", picture, file, f"--model={folder}"],
        ["decompress", file, decoded, f"--model={folder}"],
    ):
        done = call("compress.py", *arguments)
        if done.returncode:
            return done.stderr.strip()
    original, result = (np.asarray(Image.open(p).convert("RGB"), float) for p in (picture, decoded))
    mse = np.mean((original - result) ** 2)
    bpp = 8 * os.path.getsize(file) / (original.shape[0] * original.shape[1])
    return bpp, 10 * np.log10(255**2 / mse)


def check(name, settings, work_dir):
    """Runs one configuration; returns its row."""
    folder = os.path.join(work_dir, name.replace(" ", "_"))
    settings = dict(settings, run_dir=folder)
    began = time.monotonic()
    done = call("train.py", *(f"--{key}={value}" for key, value in settings.items()))
    row = {"name": name, "steps": settings["steps"], "good": False}
    row["seconds"] = round(time.monotonic() - began)
    if done.returncode:
        return {**row, "error": done.stderr.strip().splitlines()[-1]}
    row["first_loss"], row["last_loss"], row["skipped"] = losses_of(folder)
    coded = round_trip(folder)
    if isinstance(coded, str):
        return {**row, "error": coded}
    row["bpp"], row["psnr"] = coded
    row["good"] = bool(row["last_loss"] < row["first_loss"] and not row["skipped"])
    return row


def define_flags():
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_string("train_glob", None, "Globs of training pictures, as for train.py.")
    flags.DEFINE_string("work_dir", None, "Folder for the runs.")
    flags.DEFINE_string("cache_dir", "", "Folder for the decoded pictures; empty: WORK_DIR/cache.")
    flags.DEFINE_integer("short_steps", 60, "Steps of all runs but the first.", 10)
    flags.DEFINE_list("only", [], "Names of rows; empty: all.")
    flags.DEFINE_string("output", "", "JSON file for the table; empty: none.")
    flags.mark_flags_as_required(["train_glob", "work_dir"])


def main(argv):
    if len(argv) > 1:
        sys.exit(f"acceptance_training.py: unexpected argument {argv[1]!r}; see --help")
    f = flags.FLAGS
    table = configurations(f.short_steps)
    unknown = set(f.only) - set(table)
    if unknown:
        sys.exit(f"acceptance_training.py: --only={unknown.pop()!r} is none of {', '.join(table)}")
    rows = []
    print("run                     steps  seconds  first loss  last loss  friends.png: bpp, PSNR")
    for name, settings in table.items():
        if f.only and name not in f.only:
            continue
        cache = f.cache_dir or os.path.join(f.work_dir, "cache")
        data = dict(train_glob=f.train_glob, cache_dir=cache)
        row = check(name, {**settings, **data}, f.work_dir)
        rows.append(row)
        line = f"{name:22s}{row['steps']:7d}{row['seconds']:9d}"
        if "error" in row:
            line += f"  {row['error']}"
        else:
            line += "{first_loss:12.3f}{last_loss:11.3f}  {bpp:12.3f}{psnr:9.2f} dB".format(**row)
        print(f"{line}  {'good' if row['good'] else 'BAD'}", flush=True)
    if f.output:
        with open(f.output, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
            file.write("\n")
    sys.exit(not all(row["good"] for row in rows))


if __name__ == "__main__":
    define_flags()
    app.run(main)
