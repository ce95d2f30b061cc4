"""Do files decode elsewhere to exactly the pixels that the encoder expects?

    python -m experiments.systems.round_trip --images ~/kodak [--qualities 1,4,8]

compresses every picture, reconstructs it from the encoder's own latents, decompresses the files with
the console command in a process of its own, and compares pixel by pixel. Prints one line per file and
exits with status 1 if any pixel differs. A minute per quality for 24 pictures of 768 x 512.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.common import processes, program
from experiments.common.pictures import find_images
from experiments.common.program import ExperimentError, LimitError
from gllmm_tf.codec.base import Codec
from gllmm_tf.files.grey import is_grey
from gllmm_tf.files.images import read_image


def encode(
    codec: Codec, paths: Sequence[str], qualities: Sequence[float | None], folder: str
) -> dict[str, np.ndarray]:
    """Writes a file per picture and quality; returns its path -> the encoder's own pixels."""
    expected = {}
    for path in tqdm(paths, unit="picture"):
        pixels = read_image(path).pixels
        for quality in qualities:
            encoded = codec.encode(pixels, quality)
            name = os.path.join(folder, f"{os.path.basename(path)}.{quality}.gllmm")
            with open(name, "wb") as file:
                file.write(encoded.data)
            expected[name] = codec.reconstruct(
                encoded.latents, pixels.shape[:2], quality, is_grey=is_grey(pixels)
            )
    return expected


def picture_of(file: str) -> str:
    """The picture that `gllmm decompress` makes of a file of `encode`, in the same folder."""
    return file[: -len(".gllmm")] + ".png"


def decode(files: Sequence[str], model: str | None, folder: str) -> None:
    """Decompresses the files in another process, each to its `picture_of`.

    Raises:
        ExperimentError: the command failed.
    """
    use = ["--model", model] if model else []
    arguments = ("decompress", *use, "--output_dir", folder, *files)
    done = processes.module("gllmm_tf.cli", *arguments)
    if done.returncode:
        raise ExperimentError(processes.last_line(done))


def define_flags() -> None:
    program.define_images()
    program.define_model()
    program.define_qualities(["1", "4", "8"])


def main(f: flags.FlagValues) -> None:
    paths = list(find_images(f.images).values())
    codec = Codec.load(f.model)
    qualities = program.numbers("qualities", f.qualities) if codec.num_qualities else [None]
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        expected = encode(codec, paths, qualities, folder)
        decode(list(expected), f.model, folder)
        for name, wanted in expected.items():
            wrong = int(np.sum(read_image(picture_of(name)).pixels != wanted))
            print(f"{os.path.basename(name)}: {os.path.getsize(name)} bytes, {wrong} values differ")
            differing += wrong > 0
    print(f"{len(expected)} files, {differing} with differing pixels")
    if differing:
        raise LimitError(f"{differing} files decode to other pixels")


if __name__ == "__main__":
    program.run(main, define_flags)
