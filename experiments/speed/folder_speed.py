"""How much faster is a folder in one process than a process per picture, load excluded?

    python -m experiments.speed.folder_speed --images ~/kodak --csv folder_speed.csv

Both compress and decompress the same files with the command line's own code. In either case a process
imports TensorFlow and loads the model before its clock starts; its graphs are made while the clock runs,
once in a folder, once per picture in the loop. Prints pictures per minute of wall time, and exits with
status 1 if the ratio is below 1.6. With --warm every process makes its graphs before the clock starts;
what is left is what several pictures under way at once are worth, which is little where one picture
keeps all cores busy: 1.2 on two cores, and no limit is set. The loop takes a start-up per picture and
direction: about seven minutes for 24 pictures on two cores.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from tqdm import tqdm

from experiments.common.coders import ExperimentError
from experiments.rate_distortion.rate_distortion import find_images
from gllmm_tf.cli import main as cli
from gllmm_tf.files import container
from gllmm_tf.files.images import write_bytes_atomic

IMAGES = flags.DEFINE_list("images", None, "Folders or patterns of pictures.", required=True)
MODEL = flags.DEFINE_string("model", None, "Name or path of the model; the default one if empty.")
CSV = flags.DEFINE_string("csv", None, "File for the table.")
WARM = flags.DEFINE_bool("warm", False, "Make the graphs before the clock starts.")
WORKER = flags.DEFINE_enum(
    "worker", None, ["compress", "decompress"], "Used by the program itself."
)

LIMIT = 1.6
FIELDS = ("step", "pictures", "loop_per_minute", "folder_per_minute", "ratio")


def work(step: str, files: Sequence[str], folder: str) -> None:
    """Runs one step over `files` into `folder` with a loaded codec and prints its seconds."""
    codec = cli._load_codec(MODEL.value)
    if WARM.value:
        codec.decompress(codec.compress(np.zeros((64, 64, 3), np.uint8)))
    cli._load_codec = lambda *_, **__: codec
    # Not `cli.parse_args`, which takes in absl's flags: this program has a --model of its own.
    args = argparse.Namespace(
        command=step,
        inputs=list(files),
        output_dir=folder,
        model=MODEL.value,
        quality=None,
        refine=0,
        verbose=False,
        tile=None,
        memory=None,
        max_pixels=container.MAX_PIXELS,
        crop=None,
    )
    stdout, sys.stdout = sys.stdout, io.StringIO()
    start = time.perf_counter()
    status = cli.main(args)
    seconds = time.perf_counter() - start
    sys.stdout = stdout
    if status:
        sys.exit(status)
    print(seconds)


def seconds_of(step: str, files: Sequence[str], folder: str) -> float:
    """Runs `work` in a process of its own."""
    options = ["--model", MODEL.value] if MODEL.value else []
    options.append(f"--warm={WARM.value}")
    command = [sys.executable, __file__, f"--worker={step}", f"--images={folder}", *options]
    result = subprocess.run([*command, *files], stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise ExperimentError(f"{step} of {len(files)} files: exit status {result.returncode}")
    return float(result.stdout)


def compare(step: str, files: Sequence[str], folder: str) -> dict:
    """Returns a row of the table; the results of both ways must be equal."""
    one, other = (os.path.join(folder, name) for name in (f"{step}-loop", f"{step}-folder"))
    loop = sum(seconds_of(step, [file], one) for file in tqdm(files, desc=step, leave=False))
    together = seconds_of(step, files, other)
    for name in os.listdir(one):
        with open(os.path.join(one, name), "rb") as a, open(os.path.join(other, name), "rb") as b:
            if a.read() != b.read():
                raise ExperimentError(f"{name}: {step} gives something else in a folder")
    rates = [60 * len(files) / seconds for seconds in (loop, together)]
    return dict(zip(FIELDS, (step, len(files), *rates, loop / together)))


def to_csv(rows: Sequence[dict]) -> bytes:
    """Returns the table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue().encode()


def main(argv: Sequence[str]) -> None:
    if WORKER.value:
        work(WORKER.value, argv[1:], IMAGES.value[0])
        return
    try:
        paths = list(find_images(IMAGES.value).values())
        with tempfile.TemporaryDirectory() as folder:
            rows = [compare("compress", paths, folder)]
            coded = os.path.join(folder, "compress-folder")
            files = [os.path.join(coded, name) for name in sorted(os.listdir(coded))]
            rows.append(compare("decompress", files, folder))
    except ExperimentError as error:
        sys.exit(f"error: {error}")
    for row in rows:
        print(
            "{step:10s} {pictures} pictures: loop {loop_per_minute:.1f}, folder "
            "{folder_per_minute:.1f} a minute, ratio {ratio:.2f}".format(**row)
        )
    if CSV.value:
        write_bytes_atomic(CSV.value, to_csv(rows))
    if not WARM.value and min(row["ratio"] for row in rows) < LIMIT:
        sys.exit(f"below the limit of {LIMIT}")


if __name__ == "__main__":
    app.run(main)
