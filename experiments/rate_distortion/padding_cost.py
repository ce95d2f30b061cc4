"""What does it cost to fill a picture up to multiples of 64, and which filling costs least?

    python -m experiments.rate_distortion.padding_cost

Cuts squares out of pictures, whose sides are no multiples of 64, and codes each into real files

    continued   as the codec does it (`gllmm_tf/codec/padding.py`)
    repeated    after its last row and column have been repeated up to multiples of 64
    reflected   after it has been reflected there, as Cheng et al. do it

PSNR is that of the square itself, bits are per pixel of it, and

    cost     lambda 255^2 MSE + bits per pixel, what the model was trained for
    worth    how far the cost is below that of reflection, in percent of the rate with reflection

By default the pictures are the two sample photographs, which the default model was not trained on. The
figures go to a CSV. A minute on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.common import places, program, records
from experiments.common.pictures import find_images, read_image
from experiments.common.program import ExperimentError
from experiments.rate_distortion.cost import cost_of, load_variable_rate, worth
from gllmm_tf import metrics

FIELDS = ("image", "side", "quality", "padding", "bytes", "bpp", "psnr", "cost", "worth")
PADDINGS = {"reflected": "reflect", "repeated": "edge", "continued": None}


def measure(codec, image: np.ndarray, quality: float) -> list[dict]:
    """Returns a row per padding of the picture, uint8 [H, W, 3]."""
    height, width = image.shape[:2]
    rows = []
    for name, mode in PADDINGS.items():
        coded = image
        if mode:
            coded = np.pad(image, [(0, -height % 64), (0, -width % 64), (0, 0)], mode)
        data = codec.compress(coded, quality)
        psnr = metrics.psnr(image, codec.decompress(data)[:height, :width])
        bpp = 8 * len(data) / (height * width)
        cost = cost_of(codec, quality, bpp, psnr)
        rows.append({"padding": name, "bytes": len(data), "bpp": bpp, "psnr": psnr, "cost": cost})
    return [{**row, "worth": worth(rows[0], row)} for row in rows]


def squares(image: np.ndarray, side: int) -> list[np.ndarray]:
    """Returns the squares that fit into a picture side by side, uint8 [side, side, 3].

    Raises:
        ExperimentError: none fits.
    """
    rows, columns = (range(0, length - side + 1, side) for length in image.shape[:2])
    parts = [image[r : r + side, c : c + side] for r in rows for c in columns]
    if not parts:
        raise ExperimentError(f"A picture has no {side} x {side} pixels; lower --sides.")
    return parts


def format_table(rows: Sequence[dict]) -> str:
    """Returns means over the squares, a line per side, quality and padding."""
    lines = ["side  quality  padding      bytes    PSNR   worth"]
    for key in dict.fromkeys((row["side"], row["quality"], row["padding"]) for row in rows):
        group = [row for row in rows if (row["side"], row["quality"], row["padding"]) == key]
        size, psnr, worth = (np.mean([r[k] for r in group]) for k in ("bytes", "psnr", "worth"))
        lines.append("{:4d}  {:7g}  {:10s}".format(*key) + f"{size:8.0f} {psnr:7.2f} {worth:6.1f}%")
    return "\n".join(lines)


def define_flags() -> None:
    program.define_images(places.SAMPLES)
    program.define_model()
    program.define_qualities(["2", "5", "8"])
    flags.DEFINE_list("sides", ["200", "235", "250"], "Sides of the squares, pixels.")
    flags.DEFINE_string("output", f"{places.RESULTS}/padding_cost.csv", "CSV.")


def main(f: flags.FlagValues) -> None:
    sides = program.numbers("sides", f.sides, int)
    qualities = program.numbers("qualities", f.qualities)
    codec = load_variable_rate(f.model)
    jobs = [
        (name, side, quality, part)
        for name, path in find_images(f.images).items()
        for side in sides
        for part in squares(read_image(path), side)
        for quality in qualities
    ]
    rows = []
    for name, side, quality, part in tqdm(jobs, unit="square", leave=False):
        about = {"image": name, "side": side, "quality": quality}
        rows += [{**about, **row} for row in measure(codec, part, quality)]
    records.write_csv(f.output, FIELDS, rows)
    print(format_table(rows))


if __name__ == "__main__":
    program.run(main, define_flags)
