"""What happens to pictures that are no photographs: flat, noisy, drawn, tiny, long.

    python -m experiments.rate_distortion.off_kodak

Every picture is made by the code below, compressed at the lowest, the default and the highest
quality, and decompressed. Told are the size beside that of an optimised PNG, PSNR and the largest
error of a channel of a pixel. Exit status 1 unless

    every picture goes there and back with its size and with the symbols that were written,
    no file is larger than its pixels, 3 bytes each, where a side below 16 counts as 16,
    noise takes at most 1.3 times the bytes of its PNG.

A latent stands for 16 x 16 pixels: hence the 16.

Writes a CSV with a row per picture and quality, a table (.md) beside it, and the same table into
docs/robustness.md (`--page=` for another page or none). Two minutes at N = 48 on two cores.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import gllmm_tf
from experiments.common import doc_tables
from experiments.common.coders import ExperimentError
from gllmm_tf import metrics
from gllmm_tf.codec.codec import DEFAULT_QUALITY
from gllmm_tf.errors import GllmmError
from gllmm_tf.zoo import registry

NOISE_LIMIT = 1.3  # times the bytes of the PNG
SMALLEST_SIDE = 16  # pixels; what is narrower may cost as much as this
FIELDS = ["picture", "width", "height", "quality", "bytes", "png_bytes", "psnr", "worst", "error"]


# Pictures -------------------------------------------------------------------------------------


def _flat(colour: Sequence[int], height: int = 256, width: int = 256) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def _noise(high: int = 256, channels: int = 3, size: int = 256) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, high, (size, size, channels))
    return np.broadcast_to(values, (size, size, 3)).astype(np.uint8)


def _gaussian_noise() -> np.ndarray:
    values = np.random.default_rng(1).normal(128, 20, (256, 256, 3))
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _checkerboard(side: int, size: int = 256) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size] // side
    return np.repeat(255 * ((rows + columns) % 2)[..., None], 3, -1).astype(np.uint8)


def _gradient(height: int, width: int) -> np.ndarray:
    across = np.linspace(0, 255, width)[None].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.stack([across, down, 255 - across], -1).round().astype(np.uint8)


def _text() -> np.ndarray:
    picture = Image.new("RGB", (512, 384), "white")
    draw = ImageDraw.Draw(picture)
    words = "The quick brown fox jumps over the lazy dog. 0123456789 (x + y)^2 = x^2 + 2 x y + y^2"
    for line in range(24):
        font = ImageFont.load_default(size=8 + line // 2)
        draw.text((6, 4 + 15 * line), words, "black" if line % 3 else "#0000c0", font)
    return np.asarray(picture)


def _line_art() -> np.ndarray:
    picture = Image.new("RGB", (512, 384), "white")
    draw = ImageDraw.Draw(picture)
    for i in range(24):
        draw.line([(0, 16 * i), (511, 383 - 16 * i)], "black", 1)
        draw.ellipse([256 - 10 * i, 192 - 7 * i, 256 + 10 * i, 192 + 7 * i], outline="#c00000")
        draw.rectangle([20 * i, 300, 20 * i + 10, 370], outline="black", fill="#40a0ff")
    return np.asarray(picture)


def _dot() -> np.ndarray:
    pixels = _flat((0, 0, 0))
    pixels[128, 128] = 255
    return pixels


def _halves() -> np.ndarray:
    pixels = _flat((0, 0, 0))
    pixels[:, 128:] = 255
    return pixels


@dataclasses.dataclass(frozen=True)
class Picture:
    """A made picture: its name, its pixels, and whether the limit of noise holds for it."""

    name: str
    pixels: np.ndarray  # uint8 [H, W, 3]
    noise: bool = False


def pictures() -> list[Picture]:
    """Returns all pictures; the same on every machine but for text, which is Pillow's to draw."""
    strip = _gradient(4000, 64)[:, 32:33]
    return [
        Picture("1 pixel", _flat((200, 30, 90), 1, 1)),
        Picture("strip, 1 wide", strip),
        Picture("strip, 1 high", strip.transpose(1, 0, 2)),
        Picture("strip of noise, 1 wide", _noise(size=64).reshape(-1, 1, 3)[:4000], noise=True),
        Picture("tall gradient", _gradient(2048, 16)),
        Picture("wide gradient", _gradient(16, 2048)),
        Picture("flat grey", _flat((128, 128, 128))),
        Picture("flat black", _flat((0, 0, 0))),
        Picture("flat white", _flat((255, 255, 255))),
        Picture("flat red", _flat((255, 0, 0))),
        Picture("gradient", _gradient(256, 256)),
        Picture("black and white halves", _halves()),
        Picture("white pixel on black", _dot()),
        Picture("checkerboard, 1 pixel", _checkerboard(1)),
        Picture("checkerboard, 8 pixels", _checkerboard(8)),
        Picture("text", _text()),
        Picture("line art", _line_art()),
        Picture("uniform noise", _noise(), noise=True),
        Picture("grey noise", _noise(channels=1), noise=True),
        Picture("black and white noise", 255 * _noise(high=2), noise=True),
        Picture("Gaussian noise, sigma 20", _gaussian_noise(), noise=True),
    ]


# Measurement ----------------------------------------------------------------------------------


def png_bytes(pixels: np.ndarray) -> int:
    """Returns the size of an optimised PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return len(file.getvalue())


def qualities_of(codec) -> list[float | None]:
    """Returns the lowest, the default and the highest quality; [None] for a fixed rate."""
    if codec.num_qualities is None:
        return [None]
    return sorted({1.0, min(DEFAULT_QUALITY, codec.num_qualities), float(codec.num_qualities)})


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
    if picture.noise and row["bytes"] > NOISE_LIMIT * row["png_bytes"]:
        return f"noise, larger than {NOISE_LIMIT} x PNG"
    return ""


def format_table(rows: Sequence[dict], model: str) -> str:
    """Returns the table as Markdown: a line per picture, three columns per quality."""
    qualities = list(dict.fromkeys(row["quality"] for row in rows))
    head = ["picture", "pixels", "PNG, bytes"]
    for quality in qualities:
        head += [f"quality {quality}: bytes" if quality else "bytes", "PSNR, dB", "worst error"]
    lines = [
        f"Model `{model}`.",
        "",
        "| " + " | ".join(head) + " |",
        "|---|---|" + "---:|" * (len(head) - 2),
    ]
    for name in dict.fromkeys(row["picture"] for row in rows):
        group = [row for row in rows if row["picture"] == name]
        first = group[0]
        cells = [name, f"{first['width']} x {first['height']}", f"{first['png_bytes']:,}"]
        for row in group:
            size = f"{row['bytes']:,}" if row["bytes"] != "" else "-"
            cells += [size, row["psnr"], str(row["worst"])]
            if row["error"]:
                cells[-3] += f" FAILED: {row['error']}"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_results(rows: Sequence[dict], text: str, output: str) -> None:
    """Writes the CSV and, beside it, the table."""
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    with open(output, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with open(os.path.splitext(output)[0] + ".md", "w") as file:
        file.write(text + "\n")


def define_flags() -> None:
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_string("model", None, "Name or path; default: the shipped default.")
    flags.DEFINE_string("output", "experiments/results/off_kodak.csv", "CSV.")
    flags.DEFINE_string(
        "page", os.path.join(doc_tables.DOCS, "robustness.md"), "Page with the table, or nothing."
    )


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]}; the pictures are made here.")
    f = flags.FLAGS
    try:
        codec = gllmm_tf.Codec.load(f.model)
        work = [(picture, q) for picture in pictures() for q in qualities_of(codec)]
        rows = [measure(codec, picture, q) for picture, q in tqdm(work, unit="file")]
        name = f.model or registry.DEFAULT_MODEL
        model = f"{os.path.basename(name)}, identity {codec.identity.hex()}"
        text = format_table(rows, model)
        print(text)
        write_results(rows, text, f.output)
        if f.page:
            doc_tables.insert(f.page, "off_kodak", text)
    except (ExperimentError, GllmmError) as error:
        raise SystemExit(str(error)) from None
    if any(row["error"] for row in rows):
        raise SystemExit("FAILED: see the rows marked so")


if __name__ == "__main__":
    define_flags()
    app.run(main)
