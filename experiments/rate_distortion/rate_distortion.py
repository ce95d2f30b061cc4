"""Rate-distortion measurements: real files of every codec, decoded again, one CSV.

    python -m experiments.rate_distortion.rate_distortion --images ~/kodak --codecs jpeg,webp,ours \
        --output experiments/results/kodak.csv

Every row is one picture through one codec at one setting:

    image, codec, setting, bytes, bpp, psnr, ms_ssim, encode_seconds, decode_seconds

`bytes` is the length of the encoded file with its headers, `bpp` = 8 bytes / (width height), and
PSNR and MS-SSIM compare the uint8 RGB picture that the decoder returns with the original. Rows are
appended one by one; started again, the program skips the rows that the file has, so it can be
interrupted and widened (more pictures, codecs, settings) at will. Kodak's 24 pictures take about
ten minutes for the conventional codecs and half a minute per quality for a model of N = 64, on two
cores.

The codecs and their options are those of coders.py. JPEG XL and HEIF need a package each, and are
measured where `--codecs` names them. Our models of variable rate are measured at every half quality. With
`--refine` the encoder refines its latents; give that curve a `--label` of its own.

Averages (`average_curve`) follow the convention of the field: bpp, PSNR and MS-SSIM are averaged
over the pictures at each setting of a codec, and a curve goes through these points. JPEG 2000 is
the only codec here that is run at fixed rates instead of fixed qualities, as in the published
curve, with settings that favour PSNR (jpeg2000) and with Pillow's defaults (jpeg2000-pillow);
averaging favours both by that (by more than 1 dB on Kodak), which we leave to them.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import glob
import math
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from absl import app, flags
from PIL import Image, ImageOps
from tqdm import tqdm

from experiments.common.coders import CONVENTIONAL, Coder, ExperimentError, learned_coder
from gllmm_tf import metrics
from gllmm_tf.errors import GllmmError

FIELDS = [  # columns of the CSV
    "image",
    "codec",
    "setting",
    "bytes",
    "bpp",
    "psnr",
    "ms_ssim",
    "encode_seconds",
    "decode_seconds",
]
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm")


# Results --------------------------------------------------------------------------------------


def read_rows(path: str) -> list[dict]:
    """Reads a CSV of results.

    Returns:
        A dict per row with numbers as numbers; `ms_ssim` is None for pictures too small for it.

    Raises:
        ExperimentError: when the file cannot be read or is not of this form.
    """
    try:
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != FIELDS:
                raise ExperimentError(
                    f"{path}: columns must be {','.join(FIELDS)}, got {reader.fieldnames}."
                )
            return [_parse_row(row, path) for row in reader]
    except OSError as error:
        raise ExperimentError(f"{path}: {error.strerror}.") from None


def _parse_row(row: dict, path: str) -> dict:
    try:
        parsed = {field: float(row[field]) for field in FIELDS[4:] if field != "ms_ssim"}
        parsed["bytes"] = int(row["bytes"])
        parsed["ms_ssim"] = float(row["ms_ssim"]) if row["ms_ssim"] else None
    except (TypeError, ValueError):
        raise ExperimentError(f"{path}: not a row of results: {row}.") from None
    return {**row, **parsed}


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of a curve: means over `images` pictures at one setting."""

    setting: str
    bpp: float
    psnr: float
    ms_ssim: float | None  # None where some picture is too small for it
    encode_seconds: float
    decode_seconds: float
    images: int


def common_images(rows: Iterable[dict]) -> set[str]:
    """Returns the pictures that every (codec, setting) of `rows` has."""
    images = collections.defaultdict(set)
    for row in rows:
        images[row["codec"], row["setting"]].add(row["image"])
    return set.intersection(*images.values()) if images else set()


def average_curve(rows: Sequence[dict]) -> dict[str, list[Point]]:
    """Averages over pictures, per codec and setting.

    Only pictures that every (codec, setting) has are counted, so that all points mean the same set
    also when an experiment is not complete.

    Args:
        rows: as from `read_rows`.

    Returns:
        Codec -> points by increasing bpp.

    Raises:
        ExperimentError: when no picture was measured with every codec and setting.
    """
    images = common_images(rows)
    if not images:
        raise ExperimentError("No picture was measured with every codec and setting.")
    groups = collections.defaultdict(list)
    for row in rows:
        if row["image"] in images:
            groups[row["codec"], row["setting"]].append(row)
    curves = collections.defaultdict(list)
    for (codec, setting), group in groups.items():
        means = {field: _mean([row[field] for row in group]) for field in FIELDS[4:]}
        curves[codec].append(Point(setting, **means, images=len(group)))
    return {codec: sorted(points, key=lambda p: p.bpp) for codec, points in curves.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean over pictures; None if one of them has no value."""
    return None if None in values else math.fsum(values) / len(values)


# Measurement ----------------------------------------------------------------------------------


def find_images(patterns: Sequence[str]) -> dict[str, str]:
    """Returns file name -> path of all pictures in folders, files and globs, sorted by name."""
    paths = []
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        if os.path.isdir(pattern):
            pattern = os.path.join(glob.escape(pattern), "*")
        found = [p for p in glob.glob(pattern) if p.lower().endswith(PICTURE_SUFFIXES)]
        if not found:
            raise ExperimentError(f"{pattern}: no pictures found.")
        paths += found
    names = {}
    for path in sorted(set(paths)):
        other = names.setdefault(os.path.basename(path), path)
        if other != path:
            raise ExperimentError(f"{path} and {other} have one file name; rename one of them.")
    return dict(sorted(names.items()))


def read_image(path: str) -> np.ndarray:
    """Returns a picture as uint8 [H, W, 3], upright."""
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def measure(image: np.ndarray, name: str, coder: Coder, setting: str) -> dict:
    """Encodes and decodes one picture and returns its row."""
    start = time.perf_counter()
    data = coder.encode(image, setting)
    encoded = time.perf_counter()
    decoded = coder.decode(data, setting)
    end = time.perf_counter()
    ms_ssim = metrics.ms_ssim(image, decoded)
    return {
        "image": name,
        "codec": coder.name,
        "setting": setting,
        "bytes": len(data),
        "bpp": f"{8 * len(data) / (image.shape[0] * image.shape[1]):.6f}",
        "psnr": f"{metrics.psnr(image, decoded):.4f}",
        "ms_ssim": "" if ms_ssim is None else f"{ms_ssim:.6f}",
        "encode_seconds": f"{encoded - start:.4f}",
        "decode_seconds": f"{end - encoded:.4f}",
    }


def run(images: dict[str, str], coders: Sequence[Coder], output: str) -> int:
    """Measures what `output` does not have yet and appends it row by row.

    Args:
        images: file name -> path.
        coders: with the settings to measure.
        output: path of the CSV; created if there is none.

    Returns:
        The number of rows added.

    Raises:
        ExperimentError: when `output` has rows of another model under one of the coders' settings.
    """
    present = _open_results(output)
    for coder in coders:
        _refuse_other_models(coder, present, output)
    missing = [
        (name, coder, setting)
        for name in images
        for coder in coders
        for setting in coder.settings
        if (name, coder.name, setting) not in present
    ]
    image, loaded, prepared = None, None, set()
    with open(output, "a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        progress = tqdm(missing, unit="file", disable=not missing)
        for name, coder, setting in progress:
            progress.set_postfix_str(f"{name} {coder.name} {setting.split('@')[0]}")
            if name != loaded:
                image, loaded = read_image(images[name]), name
            if (coder.name, image.shape) not in prepared:
                coder.prepare(image)
                prepared.add((coder.name, image.shape))
            writer.writerow(measure(image, name, coder, setting))
            file.flush()  # an interruption loses at most the row in progress
    return len(missing)


def _open_results(path: str) -> set[tuple[str, str, str]]:
    """Returns the (image, codec, setting) that a CSV has; starts or repairs the file if need be."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        with open(path, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(FIELDS)
    with open(path, "rb+") as file:
        content = file.read()
        if content.startswith(",".join(FIELDS).encode()):  # else read_rows says what is wrong
            file.truncate(content.rfind(b"\n") + 1)  # a row cut off is measured again
    return {(row["image"], row["codec"], row["setting"]) for row in read_rows(path)}


def _refuse_other_models(coder: Coder, present: set[tuple[str, str, str]], output: str) -> None:
    """Raises if the same curve would mix two models."""
    mine = {setting.split("@")[0]: setting for setting in coder.settings}
    for _, codec, setting in present:
        if codec == coder.name and mine.get(setting.split("@")[0], setting) != setting:
            raise ExperimentError(
                f"{output} has {codec} at {setting}, but the model here is "
                f"{mine[setting.split('@')[0]]}; choose another --label or --output, or delete "
                "those rows."
            )


# Command --------------------------------------------------------------------------------------


def define_flags() -> None:
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_multi_string(
        "images", None, "Folder, file or glob; may be repeated.", required=True
    )
    flags.DEFINE_list(
        "codecs",
        "jpeg,jpeg2000,jpeg2000-pillow,webp,avif,ours",
        f"Of {', '.join(CONVENTIONAL)}, ours.",
    )
    flags.DEFINE_list("model", [], "Names or paths of our models; default: the shipped one.")
    flags.DEFINE_string("label", "ours", "Name of our curve in the results.")
    flags.DEFINE_integer("refine", 0, "Rounds of refinement of our latents.", lower_bound=0)
    flags.DEFINE_multi_string(
        "qualities", [], "CODEC=SETTING,SETTING,... instead of the default settings; repeatable."
    )
    flags.DEFINE_string("output", "experiments/results/rate_distortion.csv", "CSV to extend.")


def _with_settings(coder: Coder, key: str, requests: dict[str, str]) -> Coder:
    """Returns the coder with the settings that the user asked for, if any."""
    if key not in requests:
        return coder
    settings = requests[key].split(",")
    suffix = "@" + coder.settings[0].split("@")[1] if "@" in coder.settings[0] else ""
    return dataclasses.replace(coder, settings=tuple(s + suffix for s in settings))


def _make_coders(
    codecs: list[str], models: list[str], label: str, qualities: list[str], refine: int = 0
) -> list:
    """Returns the codecs that the flags of these names ask for."""
    requests = dict(item.partition("=")[::2] for item in qualities)
    for name in [*codecs, *requests]:
        if name not in CONVENTIONAL and name != "ours":
            known = ", ".join(CONVENTIONAL)
            raise ExperimentError(f"Unknown codec {name!r}; there are {known}, ours.")
    if "ours" in requests and len(models) > 1:
        raise ExperimentError("Models of fixed rate have no qualities.")
    coders = []
    for name in codecs:
        make = CONVENTIONAL.get(name) or partial(learned_coder, label, models or [None], refine)
        coders.append(_with_settings(make(), name, requests))
    return coders


def print_averages(rows: Sequence[dict]) -> None:
    """Prints a line per codec and setting."""
    images = common_images(rows)
    print(f"Averages over the {len(images)} pictures that every codec and setting has")
    print("codec             setting     bpp    PSNR  MS-SSIM   enc s   dec s")
    for codec, points in average_curve(rows).items():
        for p in points:
            ms_ssim = "-" if p.ms_ssim is None else f"{p.ms_ssim:.4f}"
            print(
                f"{codec:12} {p.setting.split('@')[0]:>12} {p.bpp:7.4f} {p.psnr:7.3f} "
                f"{ms_ssim:>8} {p.encode_seconds:7.3f} {p.decode_seconds:7.3f}"
            )


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]}; pictures go to --images.")
    try:
        f = flags.FLAGS
        coders = _make_coders(f.codecs, f.model, f.label, f.qualities, f.refine)
        run(find_images(f.images), coders, f.output)
        print_averages(read_rows(f.output))
    except (ExperimentError, GllmmError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    define_flags()
    app.run(main)
