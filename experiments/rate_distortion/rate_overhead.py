"""Size of real files against the model's own information content, and the price of exactness.

    python -m experiments.rate_distortion.rate_overhead --images ~/kodak

For every picture and quality:

    content   sum over y_hat and z_hat of -log2 of the float model's likelihoods, in bytes
    file      bytes of the .gllmm file, headers and checksum included
    excess    file - content; the limit is 0.5 % of the content + 24 bytes, for every file
    exact     information of y_hat under the fixed-point probabilities that the coder uses, over
              the same under the float model's, - 1; the limit is 0.1 %, over all pictures of a
              quality

The float model has the weights of the model file. Exit status 1 when a limit is exceeded. The
figures go to a CSV with a row per file. About five seconds per file at N = 64 on two cores.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import flags
from tqdm import tqdm

import gllmm_tf
from experiments.common import places, program, records
from experiments.common.pictures import find_images, read_image
from experiments.common.program import LimitError
from gllmm_tf.model.compression import CompressionModel
from gllmm_tf.zoo.registry import read_model

FIELDS = ("image", "quality", "file", "content", "excess", "allowed", "exact_cost")
EXCESS_LIMIT = 0.005  # of the content
EXCESS_BYTES = 24
EXACT_LIMIT = 0.001


@dataclasses.dataclass(frozen=True)
class File:
    """Figures of one file.

    Attributes:
        image: name of the picture.
        quality: of a variable-rate model, else None.
        file_bytes: real size.
        content_bytes: float model's information in y_hat and z_hat.
        y_bytes: the part of y_hat in it.
        exact_y_bytes: the same under the fixed-point probabilities.
    """

    image: str
    quality: float | None
    file_bytes: int
    content_bytes: float
    y_bytes: float
    exact_y_bytes: float

    @property
    def excess(self) -> float:
        """Bytes beyond the content."""
        return self.file_bytes - self.content_bytes

    @property
    def allowed(self) -> float:
        """Limit of `excess` in bytes."""
        return EXCESS_LIMIT * self.content_bytes + EXCESS_BYTES


def measure(codec, model, image: np.ndarray, name: str, quality: float | None) -> File:
    """Returns the figures of one picture.

    Args:
        codec: `gllmm_tf.Codec`.
        model: the float `CompressionModel` of the same model file.
        image: uint8 [H, W, 3].
        name: of the picture.
        quality: None for a fixed-rate model.
    """
    encoded = codec.encode(image, quality)
    latents = [tf.cast(latent, tf.float32)[None] for latent in encoded.latents]
    qualities = None
    if quality is not None:  # which the float model counts from 1
        qualities = tf.constant([quality - codec.config.first_quality + 1], tf.float32)
    y_bits, z_bits = (float(bits[0]) for bits in model.information_bits(*latents, qualities))
    return File(
        image=name,
        quality=quality,
        file_bytes=len(encoded.data),
        content_bytes=(y_bits + z_bits) / 8,
        y_bytes=y_bits / 8,
        exact_y_bytes=codec.information_bits(encoded.latents, quality) / 8,
    )


def exact_cost(files: Sequence[File]) -> float:
    """Returns the relative cost of the fixed-point probabilities over some files."""
    return sum(f.exact_y_bytes for f in files) / sum(f.y_bytes for f in files) - 1.0


def report(files: Sequence[File]) -> tuple[str, bool]:
    """Returns a table with a line per quality, and whether all limits are kept."""
    groups = collections.defaultdict(list)
    for file in files:
        groups[file.quality].append(file)
    lines = ["quality  files  content B     file B  excess   worst file: B  of limit    exact"]
    kept = True
    for quality, group in groups.items():
        content = sum(f.content_bytes for f in group) / len(group)
        size = sum(f.file_bytes for f in group) / len(group)
        worst = max(group, key=lambda f: f.excess / f.allowed)
        cost = exact_cost(group)
        good = worst.excess <= worst.allowed and cost <= EXACT_LIMIT
        kept = kept and good
        lines.append(
            f"{'-' if quality is None else f'{quality:g}':>7} {len(group):6d} {content:10.1f} "
            f"{size:10.1f} {100 * (size / content - 1):+6.3f}% {worst.excess:+14.1f} "
            f"{100 * worst.excess / worst.allowed:8.1f}% {100 * cost:+7.4f}%"
            + ("" if good else "  EXCEEDED")
        )
    return "\n".join(lines), kept


def row_of(file: File) -> dict:
    """Returns a file as a row of the CSV."""
    return {
        "image": file.image,
        "quality": "" if file.quality is None else f"{file.quality:g}",
        "file": file.file_bytes,
        "content": f"{file.content_bytes:.2f}",
        "excess": f"{file.excess:.2f}",
        "allowed": f"{file.allowed:.2f}",
        "exact_cost": f"{exact_cost([file]):.6f}",
    }


def define_flags() -> None:
    program.define_images()
    program.define_model()
    program.define_qualities()
    flags.DEFINE_string("output", f"{places.RESULTS}/rate_overhead.csv", "CSV with all files.")


def main(f: flags.FlagValues) -> None:
    images = find_images(f.images)
    codec = gllmm_tf.Codec.of(read_model(f.model))  # one model
    model = CompressionModel.load(f.model)
    qualities = [None]
    if codec.num_qualities:
        qualities = program.numbers("qualities", f.qualities or codec.qualities)
    files = []
    with tqdm(total=len(images) * len(qualities), unit="file") as progress:
        for name, path in images.items():
            image = read_image(path)
            for quality in qualities:
                files.append(measure(codec, model, image, name, quality))
                progress.update()
    text, kept = report(files)
    print(text)
    records.write_csv(f.output, FIELDS, map(row_of, files))
    if not kept:
        raise LimitError("a limit is exceeded")


if __name__ == "__main__":
    program.run(main, define_flags)
