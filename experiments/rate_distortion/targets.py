"""How near files come to a target: sizes from below, PSNR from above.

    python -m experiments.rate_distortion.targets --images ~/kodak

compresses every picture to sizes (bits per pixel) and to PSNRs that lie within the model's range, and
checks each file. Exit status 1 unless

    no file is larger than its target, and it is at most 2 % smaller or one quality step (a sixteenth)
    below: the next step is larger than the target,
    no decoded picture is below its PSNR, nor more than 0.05 dB above.

Writes a CSV with a row per picture and target, and prints means and extremes. Files of the model's
lowest and highest quality, between which targets can be met, are made first; a target outside is left
out. 24 pictures of Kodak take half an hour on two cores.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from absl import flags
from tqdm import tqdm

import gllmm_tf
from experiments.common import places, program, records
from experiments.common.pictures import find_images, read_image
from experiments.common.program import ExperimentError, LimitError
from gllmm_tf import metrics
from gllmm_tf.config import QUALITY_STEPS
from gllmm_tf.zoo.registry import read_model

BELOW = 0.02  # of a size
ABOVE = 0.05  # dB
FIELDS = ["picture", "kind", "target", "reached", "quality", "attempts", "seconds", "next", "error"]


def measure_size(codec, name: str, pixels: np.ndarray, bpp: float) -> dict:
    """Returns the row of a picture at a size; `next` is the size one quality step above."""
    limit = int(bpp * pixels.shape[0] * pixels.shape[1] / 8)
    with Attempts(codec) as attempts:
        encoded = codec.encode(pixels, target_size=limit)
    size = len(encoded.data)
    above = encoded.quality + 1 / QUALITY_STEPS
    following = len(codec.compress(pixels, above)) if above <= codec.qualities[-1] else ""
    error = ""
    if size > limit:
        error = "larger than the target"
    elif size < (1 - BELOW) * limit and following != "" and following <= limit:
        error = f"more than {BELOW:.0%} and a quality step below the target"
    return {
        **row_of(name, "size", encoded, attempts),
        "target": limit,
        "reached": size,
        "next": following,
        "error": error,
    }


def measure_psnr(codec, name: str, pixels: np.ndarray, psnr: float) -> dict:
    """Returns the row of a picture at a PSNR; `next` is the PSNR without the finer attempts."""
    with Attempts(codec) as attempts:
        encoded = codec.encode(pixels, target_psnr=psnr)
    reached = metrics.psnr(pixels, codec.decompress(encoded.data))
    plain = metrics.psnr(pixels, codec.decompress(codec.compress(pixels, encoded.quality)))
    error = ""
    if reached < psnr:
        error = "below the target"
    elif reached > psnr + ABOVE:
        error = f"more than {ABOVE} dB above the target"
    return {
        **row_of(name, "psnr", encoded, attempts),
        "target": psnr,
        "reached": reached,
        "next": plain,
        "error": error,
    }


def row_of(name: str, kind: str, encoded, attempts: Attempts) -> dict:
    """Returns what both kinds of rows have in common."""
    return {
        "picture": name,
        "kind": kind,
        "quality": encoded.quality,
        "attempts": attempts.count,
        "seconds": sum(encoded.seconds.values()),
    }


class Attempts:
    """Counts in a with-block how often latents are made of a picture."""

    def __init__(self, codec):
        self._networks = codec.networks
        self._latents = codec.networks.latents
        self.count = 0

    def __enter__(self) -> Attempts:
        def counted(*args):
            self.count += 1
            return self._latents(*args)

        self._networks.latents = counted
        return self

    def __exit__(self, *error) -> None:
        self._networks.latents = self._latents


def measure(codec, name: str, pixels: np.ndarray, bpps: Sequence[float], psnrs) -> list[dict]:
    """Returns the rows of a picture, for the targets within the model's range."""
    ends = [
        codec.compress(pixels, quality) for quality in (codec.qualities[0], codec.qualities[-1])
    ]
    low, high = (8 * len(data) / (pixels.shape[0] * pixels.shape[1]) for data in ends)
    rows = [measure_size(codec, name, pixels, bpp) for bpp in bpps if low < bpp < high]
    low, high = (metrics.psnr(pixels, codec.decompress(data)) for data in ends)
    return rows + [measure_psnr(codec, name, pixels, psnr) for psnr in psnrs if low < psnr < high]


def summary(rows: Sequence[dict]) -> list[str]:
    """Returns a line per kind of target: how far the files are from it."""
    lines = []
    for kind, unit in (("size", "%"), ("psnr", "dB")):
        group = [row for row in rows if row["kind"] == kind]
        if not group:
            continue
        off = [
            100 * (1 - row["reached"] / row["target"])
            if kind == "size"
            else row["reached"] - row["target"]
            for row in group
        ]
        attempts = np.mean([row["attempts"] for row in group])
        side = "below" if kind == "size" else "above"
        lines.append(
            f"{kind}: {len(group)} targets, {np.mean(off):.3f} {unit} {side} on average, at most "
            f"{max(off):.3f} {unit}, at least {min(off):.3f} {unit}; {attempts:.1f} attempts each"
        )
    return lines


def define_flags() -> None:
    program.define_images()
    program.define_model()
    flags.DEFINE_list("bpps", ["0.15", "0.3", "0.6", "1.0"], "Sizes, in bits per pixel.")
    flags.DEFINE_list("psnrs", ["28.5", "30", "32.5", "35"], "PSNRs in dB.")
    flags.DEFINE_string("output", f"{places.RESULTS}/targets.csv", "CSV to write.")


def main(f: flags.FlagValues) -> None:
    codec = gllmm_tf.Codec.of(read_model(f.model))  # one model, whose attempts are counted
    if codec.num_qualities is None:
        raise ExperimentError("--model: a model of fixed rate has no targets.")
    bpps, psnrs = program.numbers("bpps", f.bpps), program.numbers("psnrs", f.psnrs)
    rows: list[dict] = []
    for name, path in tqdm(find_images(f.images).items(), unit="picture"):
        stem = os.path.splitext(name)[0]
        rows += measure(codec, stem, read_image(path), bpps, psnrs)
        records.write_csv(f.output, FIELDS, rows)
    print("\n".join(summary(rows)))
    wrong = [
        f"{r['picture']}, {r['kind']} {r['target']:g}: {r['error']}" for r in rows if r["error"]
    ]
    if wrong:
        raise LimitError("; ".join(wrong))


if __name__ == "__main__":
    program.run(main, define_flags)
