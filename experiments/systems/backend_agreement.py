"""Do both backends read and write the same files?

    python -m experiments.systems.backend_agreement --images ~/kodak --qualities 1,4,8

compresses every picture with TensorFlow and with the portable backend and decompresses either file with
both:

    symbols   y_hat and z_hat of the four decodings against those of the file's encoder: equal, bit for bit
    pixels    the two pictures of one file: differences of at most 1, in at most 0.1 % of the values
    bytes     whether both encoders wrote the same file; a latent on a tie may be rounded otherwise, so
              this is counted and no limit

Exit status 1 if a limit is broken. About 15 s for a picture and quality on two cores.
"""

from __future__ import annotations

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.common import places, program, records
from experiments.common.pictures import find_images, read_image
from experiments.common.program import LimitError
from gllmm_tf.codec.backends import PORTABLE, TENSORFLOW
from gllmm_tf.codec.base import Codec, Decoded

WRITERS = (TENSORFLOW, PORTABLE)
MOST_SHARE = 1e-3  # of the values of a picture
FIELDS = ("picture", "quality", "writer", "bytes", "symbols_equal", "largest", "share", "same_file")


def same(one: Decoded, latents) -> bool:
    """Whether the symbols are equal, bit for bit."""
    return all(np.array_equal(a, b) for a, b in zip(one.latents, latents))


def agreement(codecs: dict[str, Codec], picture: str, pixels: np.ndarray, quality: float):
    """Returns a row per writer: see the module."""
    encoded = {name: codec.encode(pixels, quality) for name, codec in codecs.items()}
    same_file = len({one.data for one in encoded.values()}) == 1
    rows = []
    for writer, one in encoded.items():
        decoded = [codec.decode(one.data) for codec in codecs.values()]
        a, b = (d.image.astype(np.int16) for d in decoded)
        row = {
            "picture": picture,
            "quality": quality,
            "writer": writer,
            "bytes": len(one.data),
            "symbols_equal": all(same(d, one.latents) for d in decoded),
            "largest": int(np.max(np.abs(a - b))),
            "share": float(np.mean(a != b)),
            "same_file": same_file,
        }
        rows.append(row)
    return rows


def broken(rows: list[dict]) -> list[str]:
    """What is beyond its limit, a text each."""
    found = []
    for row in rows:
        name = f"{row['picture']} at quality {row['quality']:g}, written by {row['writer']}"
        if not row["symbols_equal"]:
            found.append(f"{name}: other symbols")
        if row["largest"] > 1 or row["share"] > MOST_SHARE:
            found.append(f"{name}: pixels differ by {row['largest']} in {row['share']:.2%}")
    return found


def define_flags() -> None:
    program.define_images()
    program.define_model()
    flags.DEFINE_list("qualities", ["1", "4", "8"], "Qualities.")
    flags.DEFINE_string("output", f"{places.RESULTS}/backend_agreement.csv", "CSV.")


def main(f: flags.FlagValues) -> None:
    codecs = {name: Codec.load(f.model, backend=name) for name in WRITERS}
    rows: list[dict] = []
    for name, path in tqdm(find_images(f.images).items(), leave=False):
        pixels = read_image(path)
        for quality in map(float, f.qualities):
            rows += agreement(codecs, name, pixels, quality)
    records.write_csv(f.output, FIELDS, rows, digits=4)
    share = np.mean([row["share"] for row in rows])
    print(
        f"{len(rows)} files, each decoded by both backends: symbols equal in "
        f"{sum(row['symbols_equal'] for row in rows)}; pixels differ by at most "
        f"{max(row['largest'] for row in rows)}, in {share:.4%} of the values on average and "
        f"{max(row['share'] for row in rows):.4%} at most; both encoders wrote the same file for "
        f"{sum(row['same_file'] for row in rows) // 2} of {len(rows) // 2}"
    )
    if failures := broken(rows):
        raise LimitError("; ".join(failures))


if __name__ == "__main__":
    program.run(main, define_flags)
