"""How many rounds of refinement are worth their time?

    python -m experiments.rate_distortion.refinement_rounds

Codes pictures with 0, 3, 6, .. rounds (`gllmm_tf/codec/refinement.py`) into real files and decodes them:

    cost     lambda 255^2 MSE + bits per pixel, what the model was trained for and the rounds lower
    worth    how far the cost is below that without rounds, in percent of the rate without rounds
    seconds  of the whole encoding, after one of the same size

By default the pictures are the two sample photographs, which no model was trained on. The figures go to
a CSV. About five minutes on two cores.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence

import tensorflow as tf
from absl import app, flags
from tqdm import tqdm

import gllmm_tf
from experiments.common.coders import ExperimentError
from experiments.rate_distortion.rate_distortion import find_images, read_image
from gllmm_tf import losses, metrics
from gllmm_tf.errors import GllmmError
from gllmm_tf.files.images import write_bytes_atomic

FIELDS = ("image", "quality", "rounds", "bytes", "bpp", "psnr", "cost", "worth", "seconds")


def cost_of(codec, quality: float, bpp: float, psnr: float) -> float:
    """Returns lambda 255^2 MSE + bits per pixel."""
    multiplier = losses.lambda_of_quality(codec.config.lambdas, tf.constant([quality]))[0]
    return float(multiplier) * 255.0**2 * 10 ** (-psnr / 10) + bpp


def write_rows(path: str, fields: Sequence[str], rows: Sequence[dict]) -> None:
    """Writes a CSV, floats with six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    write_bytes_atomic(path, text.getvalue().encode())


def measure(codec, name: str, quality: float, rounds: Sequence[int]) -> list[dict]:
    """Returns a row per number of rounds, without `worth`; `name` is a path."""
    image = read_image(name)
    codec.compress(image, quality, 1)
    rows = []
    for count in rounds:
        start = time.perf_counter()
        data = codec.compress(image, quality, count)
        seconds = time.perf_counter() - start
        psnr = metrics.psnr(image, codec.decompress(data))
        bpp = 8 * len(data) / image[..., 0].size
        rows.append(dict(rounds=count, bytes=len(data), bpp=bpp, psnr=psnr))
        rows[-1]["cost"] = cost_of(codec, quality, bpp, psnr)
        rows[-1]["seconds"] = seconds
    return rows


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]}; pictures go to --images.")
    f = flags.FLAGS
    rounds = sorted({0, *map(int, f.rounds)})
    rows = []
    try:
        codec = gllmm_tf.Codec.load(f.model)
        if not codec.config.lambdas:
            raise ExperimentError("A model of variable rate is needed.")
        images = find_images(f.images)
        jobs = [(name, float(quality)) for name in images for quality in f.qualities]
        for name, quality in tqdm(jobs, unit="picture", leave=False):
            group = measure(codec, images[name], quality, rounds)
            plain = group[0]
            for row in group:
                worth = 100 * (plain["cost"] - row["cost"]) / plain["bpp"]
                rows.append(dict(row, image=name, quality=quality, worth=worth))
    except (ExperimentError, GllmmError) as error:
        raise SystemExit(str(error)) from None
    write_rows(f.output, FIELDS, rows)
    print("picture               quality  rounds    bytes     PSNR    cost   worth  seconds")
    for row in rows:
        print(
            "{image:22s} {quality:6g} {rounds:7d} {bytes:8d} {psnr:8.3f} {cost:7.4f} {worth:6.1f}% "
            "{seconds:8.2f}".format(**row)
        )
    print("mean worth: " + ", ".join(f"{n} rounds {_mean(rows, n):.1f} %" for n in rounds))


def _mean(rows: Sequence[dict], rounds: int) -> float:
    worth = [row["worth"] for row in rows if row["rounds"] == rounds]
    return sum(worth) / len(worth)


def define_flags() -> None:
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_list("images", ["assets/friends.png", "assets/picos_de_europa.png"], "Pictures.")
    flags.DEFINE_string("model", None, "Name or path; default: the shipped default.")
    flags.DEFINE_list("qualities", ["2", "5"], "Qualities.")
    flags.DEFINE_list("rounds", ["3", "6", "10", "20", "40"], "Rounds; 0 is always there.")
    flags.DEFINE_string("output", "experiments/results/refinement_rounds.csv", "CSV.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
