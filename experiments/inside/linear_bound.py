"""How many channels of y does a PSNR need, if the transforms were linear and nothing were rounded?

    python -m experiments.inside.linear_bound --images 'photos/**/*.jpg'

Cuts 16 x 16 pixels, what one position of y stands for, out of photographs at random, takes the principal
components of these 768 numbers, and prints the PSNR of keeping the first N of them: no linear transform
with this stride and N channels does better on these blocks. It is no bound for networks, whose kernels
overlap and are not linear; it shows how fast the need of channels grows with the PSNR.

The figures go to a CSV. Some seconds for 600 photographs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.common import places, program, records
from experiments.common.pictures import find_images, read_image
from gllmm_tf.config import LATENT_STRIDE

FIELDS = ("channels", "psnr")


def blocks_of(images: Iterable[np.ndarray], count: int, seed: int) -> np.ndarray:
    """Random blocks: float32 [B, 768], values in 0..255.

    Args:
        images: uint8 [H, W, 3] each; those smaller than a block are left out.
        count: Blocks of each.
        seed: Decides their places.
    """
    side, rng = LATENT_STRIDE, np.random.default_rng(seed)
    blocks = []
    for image in images:
        height, width = image.shape[:2]
        if min(height, width) < side:
            continue
        rows = rng.integers(0, height - side + 1, count)
        columns = rng.integers(0, width - side + 1, count)
        blocks += [image[r : r + side, c : c + side].ravel() for r, c in zip(rows, columns)]
    return np.array(blocks, np.float32).reshape(-1, 3 * side**2)


def bounds(blocks: np.ndarray, channels: Sequence[int]) -> list[dict]:
    """Rows with the PSNR in dB that the first principal components of blocks reach."""
    centred = blocks - blocks.mean(0)
    variances = np.linalg.eigvalsh(centred.T.astype(np.float64) @ centred / len(centred))[::-1]
    lost = [max(variances[n:].sum() / len(variances), 1e-9) for n in channels]
    return [{"channels": n, "psnr": 10 * np.log10(255**2 / e)} for n, e in zip(channels, lost)]


def define_flags() -> None:
    program.define_images(places.SAMPLES)
    flags.DEFINE_list("channels", ["48", "96", "144", "192", "256", "320", "384"], "Of y.")
    flags.DEFINE_integer("blocks", 100, "Blocks of each picture.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Decides their places.")
    flags.DEFINE_string("output", f"{places.RESULTS}/linear_bound.csv", "CSV.")


def main(f: flags.FlagValues) -> None:
    paths = find_images(f.images).values()
    pictures = (read_image(path) for path in tqdm(paths, unit="picture", leave=False))
    rows = bounds(
        blocks_of(pictures, f.blocks, f.seed), program.numbers("channels", f.channels, int)
    )
    records.write_csv(f.output, FIELDS, rows)
    for row in rows:
        print("{channels:5d} channels  {psnr:6.2f} dB".format(**row))


if __name__ == "__main__":
    program.run(main, define_flags)
