"""Time and memory of the command line on pictures of 1 to 64 megapixels.

    python -m experiments.speed.large_images --images PHOTOS

PHOTOS is a folder of photographs of at least 250 x 250 pixels. Every picture is a square mosaic of
their middles, each enlarged to twice its size, the same ones in the same order whatever the size of
the mosaic. It is compressed and decompressed by the command line in a process of its own, whose wall
time and peak resident memory are measured, start-up included. Start-up varies by tenths of a second,
as much as a megapixel takes, so the smaller pictures are measured several times, in turn.

    s / MP    seconds per megapixel
    net       the same without start-up, which is the time for a picture of 64 x 64 pixels
    ratio     net over the net of the smallest picture; the limit is 1.3
    peak MB   peak resident memory, the largest of the repetitions; the limit is 3000

Seconds are medians of the repetitions. Exit status 1 if a limit is exceeded. About ten minutes.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence

import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

from experiments.common import places, processes, program, records
from experiments.common.pictures import find_images
from experiments.common.program import LimitError

REPEATED_PIXELS = 10_000_000  # A picture is measured until it comes to about so many,
REPEATS = 7  # or so many times.
CELL = 500  # Pixels a side of each photograph's part of the mosaic.
RATIO_LIMIT = 1.3
PEAK_LIMIT = 3000  # MB
FIELDS = ("megapixels", "step", "bytes", "seconds", "s_per_mp", "net_s_per_mp", "ratio", "peak_mb")


def mosaic(paths: Sequence[str], megapixels: float) -> np.ndarray:
    """Returns uint8 [side, side, 3] made of photographs in turn, enlarged twice."""
    side = round((megapixels * 1e6) ** 0.5)
    cells = -(-side // CELL)
    picture = np.empty((side, side, 3), np.uint8)
    for i in range(cells * cells):
        row, column = (CELL * k for k in divmod(i, cells))
        place = picture[row : row + CELL, column : column + CELL]
        place[:] = _enlarged(paths[i % len(paths)])[: place.shape[0], : place.shape[1]]
    return picture


def _enlarged(path: str) -> np.ndarray:
    half = CELL // 2
    with Image.open(path) as photo:
        left, top = (max(0, (size - half) // 2) for size in photo.size)
        part = photo.convert("RGB").crop((left, top, left + half, top + half))
    return np.asarray(part.resize((CELL, CELL), Image.Resampling.LANCZOS))


def measure(
    pictures: Sequence[np.ndarray], folder: str, options: dict[str, Sequence[str]]
) -> list[dict]:
    """Returns two rows per picture, for compression and for decompression.

    Args:
        pictures: uint8 [H, W, 3] each.
        folder: for the files.
        options: step -> flags of the command line.
    """
    source, coded, back = (os.path.join(folder, name) for name in ("a.png", "a.gllmm", "b.png"))
    steps = {"compress": (source, coded), "decompress": (coded, back)}
    runs = {}
    turns = [
        i
        for turn in range(REPEATS)
        for i, picture in enumerate(pictures)
        if turn < max(1, REPEATED_PIXELS // picture[..., 0].size)
    ]
    for i in tqdm(turns, unit="picture", leave=False):
        Image.fromarray(pictures[i]).save(source, compress_level=1)
        for step, arguments in steps.items():
            cost = processes.cost_of_gllmm(step, *arguments, *options[step])
            runs.setdefault((i, step), []).append(cost)
        runs[i, "bytes"] = os.path.getsize(coded)
    return [
        dict(
            megapixels=picture[..., 0].size / 1e6,
            step=step,
            bytes=runs[i, "bytes"],
            seconds=statistics.median(cost.seconds for cost in runs[i, step]),
            peak_mb=max(cost.peak_megabytes for cost in runs[i, step]),
        )
        for i, picture in enumerate(pictures)
        for step in steps
    ]


def add_rates(rows: list[dict], start_up: dict[str, float]) -> None:
    """Adds the times per megapixel and their ratio to those of the first row of the same step."""
    first = {}
    for row in rows:
        row["s_per_mp"] = row["seconds"] / row["megapixels"]
        row["net_s_per_mp"] = (row["seconds"] - start_up[row["step"]]) / row["megapixels"]
        row["ratio"] = row["net_s_per_mp"] / first.setdefault(row["step"], row["net_s_per_mp"])


def options_of(f: flags.FlagValues) -> dict[str, list[str]]:
    """Returns step -> flags of the command line that pass these on."""
    both = {name: f[name].value for name in ("model", "tile", "memory")}
    steps = {"compress": {**both, "quality": f.quality}, "decompress": both}
    return {
        step: [f"--{name}={value}" for name, value in values.items() if value is not None]
        for step, values in steps.items()
    }


def define_flags() -> None:
    program.define_images()
    program.define_model()
    flags.DEFINE_list("megapixels", ["1", "4", "16", "64"], "Sizes.")
    flags.DEFINE_string("quality", None, "Of a variable-rate model.")
    flags.DEFINE_string("tile", None, "Passed on.")
    flags.DEFINE_string("memory", None, "Passed on.")
    flags.DEFINE_string("output", f"{places.RESULTS}/large_images.csv", "CSV.")


def main(f: flags.FlagValues) -> None:
    paths = list(find_images(f.images).values())
    sizes = sorted(program.numbers("megapixels", f.megapixels))
    pictures = [mosaic(paths, size) for size in sizes]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure([np.zeros((64, 64, 3), np.uint8), *pictures], folder, options_of(f))
    start_up = {row["step"]: row["seconds"] for row in rows[:2]}
    rows = rows[2:]
    add_rates(rows, start_up)
    print("start-up: " + ", ".join(f"{step} {value:.1f} s" for step, value in start_up.items()))
    print("    MP  step            bytes  seconds  s / MP     net  ratio  peak MB")
    for row in rows:
        print(
            "{megapixels:6.1f}  {step:10s} {bytes:10d} {seconds:8.1f} {s_per_mp:7.2f} "
            "{net_s_per_mp:7.2f} {ratio:6.2f} {peak_mb:8.0f}".format(**row)
        )
    records.write_csv(f.output, FIELDS, rows)
    if any(row["ratio"] > RATIO_LIMIT or row["peak_mb"] > PEAK_LIMIT for row in rows):
        raise LimitError(f"ratio above {RATIO_LIMIT} or peak above {PEAK_LIMIT} MB")


if __name__ == "__main__":
    program.run(main, define_flags)
