"""The first thing to see: a photograph becomes a small file and comes back.

    make demo        (or: python -m experiments.demo [PICTURE])

compresses a sample photograph with the shipped default model, decompresses the file in a second
process through the console command, does so again with refined latents, prints what it cost and what
was lost, and leaves in demo/

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
import subprocess
import sys
import time
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no start-up messages of TensorFlow

import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw, ImageFont

from experiments.common.coders import Coder, ExperimentError, jpeg_coder
from experiments.rate_distortion.rate_distortion import read_image
from gllmm_tf import metrics

SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "assets/friends.png")
AMPLIFICATION = 8
ROUNDS = 6  # of refinement
CROP = (192, 256)  # height and width of each panel of the comparison, before doubling


def run_command(*arguments: str) -> float:
    """Runs the console command in a process of its own and returns its seconds.

    Raises:
        ExperimentError: with the command's own line when it fails.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "gllmm_tf.cli", *arguments], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise ExperimentError((done.stderr.strip() or "gllmm failed").splitlines()[-1])
    return time.perf_counter() - start


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
    """Returns the top left corner of the part of size `CROP` with most detail."""
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


def quality_text(original: np.ndarray, other: np.ndarray) -> str:
    """Returns PSNR and MS-SSIM as text."""
    ms_ssim = metrics.ms_ssim(original, other)
    text = f"PSNR {metrics.psnr(original, other):.2f} dB"
    return text if ms_ssim is None else f"{text}   MS-SSIM {ms_ssim:.4f}"


def demonstrate(
    picture: str, folder: str, model: str | None = None, quality: str | None = None
) -> str:
    """Makes all files in `folder` and returns the report.

    Args:
        picture: path.
        folder: created if there is none.
        model: name or path; None is the shipped default.
        quality: of a variable-rate model; None is its default.

    Raises:
        ExperimentError: when a step fails, with one line that says why.
    """
    os.makedirs(folder, exist_ok=True)
    names = "original.png", "picture.gllmm", "reconstruction.png", "refined.gllmm", "refined.png"
    original_path, *made = (os.path.join(folder, name) for name in names)
    file_path, decoded_path, refined_path, refined_decoded_path = made
    try:
        original = read_image(picture)
    except OSError as error:
        raise ExperimentError(f"{picture}: {error.strerror or error}.") from None
    Image.fromarray(original).save(original_path)
    for path in made:  # a former demo's
        if os.path.exists(path):
            os.remove(path)
    options = [] if model is None else [f"--model={model}"]
    encode_options = options + ([] if quality is None else [f"--quality={quality}"])
    encode_seconds = run_command("compress", *encode_options, original_path, file_path)
    decode_seconds = run_command("decompress", *options, file_path, decoded_path)
    reconstruction = read_image(decoded_path)
    refine_options = [*encode_options, f"--refine={ROUNDS}"]
    refine_seconds = run_command("compress", *refine_options, original_path, refined_path)
    run_command("decompress", *options, refined_path, refined_decoded_path)
    size, refined_size = (os.path.getsize(path) for path in (file_path, refined_path))
    jpeg, jpeg_size, jpeg_quality = jpeg_of_size(original, size)

    difference = amplified_difference(original, reconstruction)
    Image.fromarray(difference).save(os.path.join(folder, "difference.png"))
    titles = f"original, {original.size:,} bytes of pixels", f"gllmm_tf, {size:,} bytes"
    panels = zip((*titles, f"JPEG, {jpeg_size:,} bytes"), (original, reconstruction, jpeg))
    comparison(list(panels)).save(os.path.join(folder, "comparison.png"))

    height, width = original.shape[:2]
    bpp = [8 * number / (height * width) for number in (size, refined_size, jpeg_size)]
    return "\n".join(
        [
            f"{os.path.basename(picture)}, {width} x {height} pixels",
            f"  gllmm_tf  {size:7,} bytes   {bpp[0]:.3f} bpp   "
            f"{quality_text(original, reconstruction)}   ({original.size / size:.0f} : 1)",
            f"  refined   {refined_size:7,} bytes   {bpp[1]:.3f} bpp   "
            f"{quality_text(original, read_image(refined_decoded_path))}   (--refine {ROUNDS})",
            f"  JPEG      {jpeg_size:7,} bytes   {bpp[2]:.3f} bpp   "
            f"{quality_text(original, jpeg)}   (quality {jpeg_quality})",
            f"  compress {encode_seconds:.1f} s, refined {refine_seconds:.1f} s, decompress "
            f"{decode_seconds:.1f} s, each a process of its own with start and model loading",
            f"Look into {folder}: original.png, reconstruction.png, refined.png, difference.png "
            f"(errors times {AMPLIFICATION}), comparison.png",
        ]
    )


def define_flags() -> None:
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_string("output", "demo", "Folder for the files.")
    flags.DEFINE_string("model", None, "Name or path; default: the shipped default.")
    flags.DEFINE_string("quality", None, "Quality of a variable-rate model.")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 2:
        raise app.UsageError(f"One picture, please; got {argv[1:]}.")
    f = flags.FLAGS
    picture = os.path.normpath((argv[1:] or [SAMPLE])[0])
    try:
        print(demonstrate(picture, f.output, f.model, f.quality))
    except ExperimentError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    define_flags()
    app.run(main)
