"""The first thing to see: a photograph becomes a small file and comes back.

    make demo        (or: python -m experiments.demo [PICTURE])

compresses a sample photograph with the shipped default model, decompresses the file in a second
process through the console command, does so again with refined latents where TensorFlow is installed,
prints what it cost and what was lost, and leaves in demo/

    original.png         the picture
    picture.gllmm        the file
    reconstruction.png   what the file holds
    refined.gllmm        the file of an encoder that took more time
    refined.png          what it holds
    difference.png       mid grey + 8 times (reconstruction - original)
    comparison.png       a part at double size: original, ours, JPEG in at most as many bytes

Under a minute on two cores.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import numpy as np
from absl import flags
from PIL import Image, ImageDraw, ImageFont

from experiments.common import places, processes, program
from experiments.common.coders import Coder, jpeg_coder
from experiments.common.pictures import read_image
from experiments.common.program import ExperimentError
from gllmm_tf import metrics
from gllmm_tf.codec import backends
from gllmm_tf.errors import GllmmError

AMPLIFICATION = 8
EFFORT = 2  # of the search for better latents
CROP = (192, 256)  # height and width of each panel of the comparison, before doubling
FILES = {  # what is left in the folder, in the order of the last lines
    "comparison.png": "a part of original, gllmm_tf and JPEG at double size: begin here",
    "original.png": "the picture",
    "picture.gllmm": "the file",
    "reconstruction.png": "what the file holds",
    "refined.gllmm": "the file of an encoder that searched longer",
    "refined.png": "what it holds",
    "difference.png": f"mid grey + {AMPLIFICATION} times (reconstruction - original)",
}


def gllmm(command: str, *arguments: str) -> None:
    """Runs the console command in a process of its own, and prints it with its seconds.

    Raises:
        ExperimentError: with the command's own line when it fails.
    """
    shown = ["gllmm", command, *arguments]
    print("  $ " + " ".join(shown), end="", flush=True)
    start = time.perf_counter()
    done = processes.finished([sys.executable, "-m", "gllmm_tf.cli", command, *arguments])
    print(f"   {time.perf_counter() - start:.1f} s", flush=True)
    if done.returncode:
        raise ExperimentError(processes.last_line(done))


def jpeg_of_size(image: np.ndarray, size: int) -> tuple[np.ndarray, int, int]:
    """Returns JPEG's best picture of at most `size` bytes, its bytes and its quality.

    Where even the lowest quality is larger, that one is returned.
    """
    coder: Coder = jpeg_coder()
    low, high = 1, 95
    while low < high:  # the largest quality that fits
        middle = (low + high + 1) // 2
        if len(coder.encode(image, str(middle))) <= size:
            low = middle
        else:
            high = middle - 1
    data = coder.encode(image, str(low))
    return coder.decode(data, str(low)), len(data), low


def amplified_difference(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Returns mid grey plus the amplified error, uint8."""
    error = reconstruction.astype(np.int32) - original
    return np.clip(128 + AMPLIFICATION * error, 0, 255).astype(np.uint8)


def busiest_part(image: np.ndarray) -> tuple[int, int]:
    """Returns (top, left) of the part of size `CROP` that has most detail."""
    grey = image.astype(np.float64).mean(-1)
    detail = np.zeros_like(grey)
    detail[:-1] += np.abs(np.diff(grey, axis=0))
    detail[:, :-1] += np.abs(np.diff(grey, axis=1))
    total = np.pad(np.minimum(detail, 40.0).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (min(c, s) for c, s in zip(CROP, grey.shape))
    sums = total[height:, width:] - total[:-height, width:]
    sums = sums - (total[height:, :-width] - total[:-height, :-width])
    return np.unravel_index(np.argmax(sums), sums.shape)


def comparison(panels: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """Returns the same part of some pictures side by side at double size, each with its title."""
    top, left = busiest_part(panels[0][1])
    bar = 28
    parts = []
    for _, image in panels:
        part = Image.fromarray(image[top : top + CROP[0], left : left + CROP[1]])
        parts.append(part.resize((2 * part.width, 2 * part.height), Image.NEAREST))
    width, height = parts[0].size
    sheet = Image.new("RGB", (len(parts) * (width + 8) - 8, height + bar), "white")
    draw = ImageDraw.Draw(sheet)
    for i, ((title, _), part) in enumerate(zip(panels, parts)):
        sheet.paste(part, (i * (width + 8), bar))
        draw.text((i * (width + 8) + 2, 6), title, fill="black", font=ImageFont.load_default(15))
    return sheet


def row(name: str, size: int, original: np.ndarray, other: np.ndarray, note: str = "") -> str:
    """Returns a line of the table: a codec's file and what came back."""
    ms_ssim = metrics.ms_ssim(original, other)
    bpp = 8 * size / original[..., 0].size
    return (
        f"  {name:<12}{size:>10,}{bpp:>9.3f}{original.size / size:>8.0f} : 1"
        f"{metrics.psnr(original, other):>9.2f} dB{'-' if ms_ssim is None else f'{ms_ssim:.4f}':>10}"
        f"   {note}"
    ).rstrip()


def code(folder: str, stem: str, model: str | None, options: Sequence[str]) -> tuple[int, str]:
    """Compresses the original into STEM.gllmm and back; returns (bytes, path of the picture).

    Raises:
        ExperimentError: a command fails, with one line that says why.
    """
    use = [] if model is None else [f"--model={model}"]
    file = os.path.join(folder, f"{stem}.gllmm")
    decoded = os.path.join(folder, "reconstruction.png" if stem == "picture" else f"{stem}.png")
    for path in (file, decoded):  # a former demo's
        if os.path.exists(path):
            os.remove(path)
    gllmm("compress", *use, *options, os.path.join(folder, "original.png"), file)
    gllmm("decompress", *use, file, decoded)
    return os.path.getsize(file), decoded


def refined_line(
    folder: str, model: str | None, options: Sequence[str], original: np.ndarray
) -> str:
    """Codes the picture with refined latents and returns its line of the table, or why there is none."""
    try:
        backends.need_tensorflow("--effort", None)
    except GllmmError as error:
        return f"  refined     {error}"
    size, decoded = code(folder, "refined", model, [*options, f"--effort={EFFORT}"])
    return row("refined", size, original, read_image(decoded), f"--effort={EFFORT}")


def demonstrate(
    picture: str, folder: str, model: str | None = None, quality: str | None = None
) -> str:
    """Makes all files in `folder` and returns the report; prints each command on the way.

    Args:
        picture: path.
        folder: created if there is none.
        model: name or path; None is the shipped default.
        quality: of a variable-rate model; None is its default.

    Raises:
        ExperimentError: when a step fails, with one line that says why.
    """
    original = read_image(picture)
    os.makedirs(folder, exist_ok=True)
    Image.fromarray(original).save(os.path.join(folder, "original.png"))
    options = [] if quality is None else [f"--quality={quality}"]
    size, decoded = code(folder, "picture", model, options)
    refined = refined_line(folder, model, options, original)
    reconstruction = read_image(decoded)
    jpeg, jpeg_size, jpeg_quality = jpeg_of_size(original, size)

    difference = amplified_difference(original, reconstruction)
    Image.fromarray(difference).save(os.path.join(folder, "difference.png"))
    titles = f"original, {original.size:,} bytes of pixels", f"gllmm_tf, {size:,} bytes"
    panels = zip((*titles, f"JPEG, {jpeg_size:,} bytes"), (original, reconstruction, jpeg))
    comparison(list(panels)).save(os.path.join(folder, "comparison.png"))
    height, width = original.shape[:2]
    lines = [
        f"{os.path.basename(picture)}, {width} x {height} pixels",
        "",
        f"{'':14}{'bytes':>10}{'bpp':>9}{'ratio':>12}{'PSNR':>12}{'MS-SSIM':>10}",
        row("gllmm_tf", size, original, reconstruction),
        refined,
        row("JPEG", jpeg_size, original, jpeg, f"quality {jpeg_quality}, at most as many bytes"),
        "",
        f"Look into {folder}:",
    ]
    made = {name: text for name, text in FILES.items() if os.path.exists(f"{folder}/{name}")}
    return "\n".join([*lines, *(f"  {name:<20}{text}" for name, text in made.items())])


def define_flags() -> None:
    flags.DEFINE_string("output", "demo", "Folder for the files.")
    program.define_model()
    flags.DEFINE_string("quality", None, "Quality of a variable-rate model.")


def main(f: flags.FlagValues, picture: str = places.SAMPLES[0]) -> None:
    print("A photograph there and back; each command starts, loads the model and works:\n")
    print("\n" + demonstrate(os.path.normpath(picture), f.output, f.model, f.quality))


if __name__ == "__main__":
    program.run(main, define_flags, ["[PICTURE]"])
