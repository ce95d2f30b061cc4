"""How much faster is a folder in one process than a process per picture?

    python -m experiments.speed.folder_speed --images ~/kodak

compresses and decompresses the same pictures with the command line, once with a process for each and
once with one process for all, and compares the files of both ways byte by byte.

    loop, folder   pictures per minute of wall time, a process per picture and one for all
    ratio          folder over loop; the limit is 1.6
    net            the same with a start-up taken off every process, which is the time that it takes for
                   one picture of 64 x 64: what several pictures under way at once are worth, little
                   where one keeps all cores busy

Exit status 1 if the ratio is below its limit. The loop takes a start-up per picture and direction:
about seven minutes for 24 pictures on two cores.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

from experiments.common import places, processes, program, records
from experiments.common.pictures import find_images
from experiments.common.program import ExperimentError, LimitError

LIMIT = 1.6
FIELDS = ("step", "pictures", "loop_per_minute", "folder_per_minute", "ratio", "net")


def seconds_of(step: str, files: Sequence[str], folder: str, model: str | None) -> float:
    """Returns the seconds of one process that works on all `files`, results into `folder`."""
    use = ["--model", model] if model else []
    return processes.cost_of_gllmm(step, *use, "--output_dir", folder, *files).seconds


def start_up(folder: str, model: str | None) -> dict[str, float]:
    """Returns step -> seconds for a picture of 64 x 64 pixels."""
    path = os.path.join(folder, "small.png")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    compress = seconds_of("compress", [path], folder, model)
    return {
        "compress": compress,
        "decompress": seconds_of("decompress", [path + ".gllmm"], folder, model),
    }


def compare(step: str, files: Sequence[str], folder: str, model: str | None, start: float) -> dict:
    """Returns a row of the table.

    Args:
        step: "compress" or "decompress".
        files: to work on.
        folder: gets the results, in STEP-loop and STEP-folder.
        model: name or path; None for the default.
        start: seconds of a start-up.

    Raises:
        ExperimentError: the two ways give other files.
    """
    one, other = (os.path.join(folder, f"{step}-{name}") for name in ("loop", "folder"))
    loop = [seconds_of(step, [file], one, model) for file in tqdm(files, desc=step, leave=False)]
    together = seconds_of(step, files, other, model)
    for name in os.listdir(one):
        with open(os.path.join(one, name), "rb") as a, open(os.path.join(other, name), "rb") as b:
            if a.read() != b.read():
                raise ExperimentError(f"{name}: {step} gives something else in a folder")
    return row_of(step, loop, together, start)


def row_of(step: str, loop: Sequence[float], together: float, start: float) -> dict:
    """Returns a row of the table from seconds of the loop's processes, of the folder's, of a start."""
    count, total = len(loop), sum(loop)
    net = (total - count * start) / (together - start)
    rates = 60 * count / total, 60 * count / together
    return dict(zip(FIELDS, (step, count, *rates, total / together, net)))


def define_flags() -> None:
    program.define_images()
    program.define_model()
    flags.DEFINE_string("output", f"{places.RESULTS}/folder_speed.csv", "CSV.")


def main(f: flags.FlagValues) -> None:
    paths = list(find_images(f.images).values())
    with tempfile.TemporaryDirectory() as folder:
        start = start_up(folder, f.model)
        rows = [compare("compress", paths, folder, f.model, start["compress"])]
        coded = os.path.join(folder, "compress-folder")
        files = [os.path.join(coded, name) for name in sorted(os.listdir(coded))]
        rows.append(compare("decompress", files, folder, f.model, start["decompress"]))
    for row in rows:
        print(
            "{step:10s} {pictures} pictures: loop {loop_per_minute:.1f}, folder "
            "{folder_per_minute:.1f} a minute, ratio {ratio:.2f}, net {net:.2f}".format(**row)
        )
    records.write_csv(f.output, FIELDS, rows, digits=4)
    if min(row["ratio"] for row in rows) < LIMIT:
        raise LimitError(f"the ratio is below {LIMIT}")


if __name__ == "__main__":
    program.run(main, define_flags)
