"""What does it cost to fill a picture up to multiples of 64, and which filling costs least?

    python -m experiments.rate_distortion.padding_cost

Cuts squares out of pictures, whose sides are no multiples of 64, and codes each into real files

    continued   as the codec does it (`gllmm_tf/codec/padding.py`)
    repeated    after its last row and column have been repeated up to multiples of 64
    reflected   after it has been reflected there, as Cheng et al. do it

PSNR is that of the square itself, bits are per pixel of it, and

    cost     lambda 255^2 MSE + bits per pixel, what the model was trained for
    worth    how far the cost is below that of reflection, in percent of the rate with reflection

By default the pictures are the two sample photographs, which no model was trained on. The figures go to
a CSV. A minute on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import app, flags
from tqdm import tqdm

import gllmm_tf
from experiments.common.coders import ExperimentError
from experiments.rate_distortion.rate_distortion import find_images, read_image
from experiments.rate_distortion.refinement_rounds import cost_of, write_rows
from gllmm_tf import metrics
from gllmm_tf.errors import GllmmError

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
    for row in rows:
        row["worth"] = 100 * (rows[0]["cost"] - row["cost"]) / rows[0]["bpp"]
    return rows


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


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]}; pictures go to --images.")
    f = flags.FLAGS
    rows = []
    try:
        codec = gllmm_tf.Codec.load(f.model)
        if not codec.config.lambdas:
            raise ExperimentError("A model of variable rate is needed.")
        jobs = [
            (name, int(side), float(quality), part)
            for name, path in find_images(f.images).items()
            for side in f.sides
            for part in squares(read_image(path), int(side))
            for quality in f.qualities
        ]
        for name, side, quality, part in tqdm(jobs, unit="square", leave=False):
            about = {"image": name, "side": side, "quality": quality}
            rows += [{**about, **row} for row in measure(codec, part, quality)]
    except (ExperimentError, GllmmError) as error:
        raise SystemExit(str(error)) from None
    write_rows(f.output, FIELDS, rows)
    print(format_table(rows))


def format_table(rows: Sequence[dict]) -> str:
    """Means over the squares, a line per side, quality and padding."""
    lines = ["side  quality  padding      bytes    PSNR   worth"]
    keys = {(row["side"], row["quality"], row["padding"]): None for row in rows}
    for key in keys:
        group = [row for row in rows if (row["side"], row["quality"], row["padding"]) == key]
        size, psnr, worth = (np.mean([r[k] for r in group]) for k in ("bytes", "psnr", "worth"))
        lines.append("{:4d}  {:7g}  {:10s}".format(*key) + f"{size:8.0f} {psnr:7.2f} {worth:6.1f}%")
    return "\n".join(lines)


def define_flags() -> None:
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_list("images", ["assets/friends.png", "assets/picos_de_europa.png"], "Pictures.")
    flags.DEFINE_string("model", None, "Name or path; default: the shipped default.")
    flags.DEFINE_list("sides", ["200", "235", "250"], "Sides of the squares, pixels.")
    flags.DEFINE_list("qualities", ["2", "5", "8"], "Qualities.")
    flags.DEFINE_string("output", "experiments/results/padding_cost.csv", "CSV.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
