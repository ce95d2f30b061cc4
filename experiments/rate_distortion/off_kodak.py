"""What happens to pictures that are no photographs: flat, noisy, drawn, tiny, long.

    python -m experiments.rate_distortion.off_kodak

Every picture is made by made_pictures.py, compressed at the lowest, the default and the highest
quality, and decompressed. Printed are the size beside that of an optimised PNG, PSNR and the largest
error of a channel of a pixel. Exit status 1 unless

    every picture goes there and back with its size and with the symbols that were written,
    no file is larger than its pixels, 3 bytes each, where a side below 16 counts as 16,
    noise takes at most 1.3 times the bytes of its PNG, up to the default quality. Above, noise is kept as
    well as anything else, in as many bytes as that takes; noise of two values takes few in a PNG.

A latent stands for 16 x 16 pixels: hence the 16.

Writes a CSV with a row per picture and quality, a table (.md) beside it, and the same table into
docs/robustness.md (`--page=` for another page or none). Two minutes at N = 48 on two cores.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

import gllmm_tf
from experiments.common import doc_tables, places, program, records
from experiments.common.program import LimitError
from experiments.rate_distortion.made_pictures import Picture, pictures
from gllmm_tf import metrics
from gllmm_tf.config import DEFAULT_QUALITY
from gllmm_tf.errors import GllmmError
from gllmm_tf.zoo import registry

NOISE_LIMIT = 1.3  # times the bytes of the PNG
SMALLEST_SIDE = 16  # pixels; what is narrower may cost as much as this
FIELDS = ["picture", "width", "height", "quality", "bytes", "png_bytes", "psnr", "worst", "error"]


def png_bytes(pixels: np.ndarray) -> int:
    """Returns the size of an optimised PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return len(file.getvalue())


def qualities_of(codec) -> list[float | None]:
    """Returns the lowest, the default and the highest quality; [None] for a fixed rate."""
    if codec.num_qualities is None:
        return [None]
    lowest, highest = float(codec.qualities[0]), float(codec.qualities[-1])
    return sorted({lowest, min(max(DEFAULT_QUALITY, lowest), highest), highest})


def measure(codec, picture: Picture, quality: float | None) -> dict:
    """Returns the row of a picture at a quality; `error` says in one line what went wrong."""
    pixels = np.ascontiguousarray(picture.pixels)
    height, width = pixels.shape[:2]
    row = dict.fromkeys(FIELDS, "")
    row.update(picture=picture.name, width=width, height=height, png_bytes=png_bytes(pixels))
    row["quality"] = "" if quality is None else f"{quality:g}"
    try:
        encoded = codec.encode(pixels, quality)
        decoded = codec.decode(encoded.data)
    except GllmmError as error:
        return {**row, "error": str(error)}
    row["bytes"] = len(encoded.data)
    if decoded.image.shape != pixels.shape:
        return {**row, "error": f"decoded to {decoded.image.shape}"}
    same = [np.array_equal(a, b) for a, b in zip(encoded.latents, decoded.latents)]
    row["psnr"] = f"{metrics.psnr(pixels, decoded.image):.2f}"
    row["worst"] = int(np.max(np.abs(pixels.astype(int) - decoded.image)))
    return {**row, "error": _fault(picture, row, all(same))}


def _fault(picture: Picture, row: dict, same_symbols: bool) -> str:
    """Returns which limit is exceeded, "" if none is."""
    limit = 3 * max(row["width"], SMALLEST_SIDE) * max(row["height"], SMALLEST_SIDE)
    if not same_symbols:
        return "other symbols were read than written"
    if row["bytes"] > limit:
        return f"larger than the limit of {limit}"
    is_high = row["quality"] and float(row["quality"]) > DEFAULT_QUALITY
    if picture.noise and not is_high and row["bytes"] > NOISE_LIMIT * row["png_bytes"]:
        return f"noise, larger than {NOISE_LIMIT} x PNG"
    return ""


def format_table(rows: Sequence[dict], model: str) -> str:
    """Returns the table as Markdown: a line per picture, three columns per quality."""
    head = ["picture", "pixels", "PNG, bytes"]
    for quality in dict.fromkeys(row["quality"] for row in rows):
        head += [f"quality {quality}: bytes" if quality else "bytes", "PSNR, dB", "worst error"]
    lines = []
    for name in dict.fromkeys(row["picture"] for row in rows):
        group = [row for row in rows if row["picture"] == name]
        first = group[0]
        cells = [name, f"{first['width']} x {first['height']}", f"{first['png_bytes']:,}"]
        for row in group:
            size = f"{row['bytes']:,}" if row["bytes"] != "" else "-"
            size += f" FAILED: {row['error']}" if row["error"] else ""
            cells += [size, row["psnr"], row["worst"]]
        lines.append(cells)
    return "\n".join([f"Model `{model}`.", "", *doc_tables.markdown(head, "llr", lines)])


def define_flags() -> None:
    program.define_model()
    flags.DEFINE_string("output", f"{places.RESULTS}/off_kodak.csv", "CSV.")
    program.define_page("robustness.md")


def main(f: flags.FlagValues) -> None:
    codec = gllmm_tf.Codec.load(f.model)
    work = [(picture, q) for picture in pictures() for q in qualities_of(codec)]
    rows = [measure(codec, picture, q) for picture, q in tqdm(work, unit="file")]
    models = registry.names_and_identities(f.model).items()
    text = format_table(rows, " and ".join(f"{name}, identity {i}" for name, i in models))
    print(text)
    records.write_csv(f.output, FIELDS, rows)
    records.write_text(os.path.splitext(f.output)[0] + ".md", text + "\n")
    if f.page:
        doc_tables.insert(f.page, "off_kodak", text)
    if any(row["error"] for row in rows):
        raise LimitError("see the rows marked so")


if __name__ == "__main__":
    program.run(main, define_flags)
