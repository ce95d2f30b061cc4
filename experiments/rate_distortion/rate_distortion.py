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
`--refine` the encoder refines its latents.

Averages are those of results.py. JPEG 2000 is the only codec here that is run at fixed rates instead
of fixed qualities, as in the published curve, with settings that favour PSNR (jpeg2000) and with
Pillow's defaults (jpeg2000-pillow); averaging favours both by that (by more than 1 dB on Kodak),
which we leave to them.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.common import places, program
from experiments.common.coders import CONVENTIONAL, Coder, learned_coder
from experiments.common.pictures import find_images, read_image
from experiments.common.program import ExperimentError
from experiments.rate_distortion import results
from gllmm_tf import metrics


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
        writer = csv.DictWriter(file, results.FIELDS, lineterminator="\n")
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
            csv.writer(file, lineterminator="\n").writerow(results.FIELDS)
    with open(path, "rb+") as file:
        content = file.read()
        if content.startswith(
            ",".join(results.FIELDS).encode()
        ):  # else read_rows says what is wrong
            file.truncate(content.rfind(b"\n") + 1)  # a row cut off is measured again
    return {(row["image"], row["codec"], row["setting"]) for row in results.read_rows(path)}


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
    program.define_images()
    known = f"Of {', '.join(CONVENTIONAL)}, ours."
    flags.DEFINE_list("codecs", "jpeg,jpeg2000,jpeg2000-pillow,webp,avif,ours", known)
    flags.DEFINE_list("model", [], "Names or paths of our models; default: the shipped one.")
    flags.DEFINE_string("label", None, "Name of our curve; default: model and pixels it has seen.")
    flags.DEFINE_integer("refine", 0, "Rounds of refinement of our latents.", lower_bound=0)
    flags.DEFINE_multi_string(
        "qualities", [], "CODEC=SETTING,SETTING,... instead of the default settings; repeatable."
    )
    output = f"{places.RESULTS}/rate_distortion.csv"
    flags.DEFINE_string("output", output, "CSV to extend.")


def _with_settings(coder: Coder, key: str, requests: dict[str, str]) -> Coder:
    """Returns the coder with the settings that the user asked for, if any."""
    if key not in requests:
        return coder
    settings = requests[key].split(",")
    return dataclasses.replace(coder, settings=tuple(s + coder.tag(s) for s in settings))


def make_coders(f: flags.FlagValues) -> list[Coder]:
    """Returns the codecs that the flags ask for.

    Raises:
        ExperimentError: one is unknown, or has no such settings.
    """
    requests = dict(item.partition("=")[::2] for item in f.qualities)
    for name in [*f.codecs, *requests]:
        if name not in CONVENTIONAL and name != "ours":
            known = ", ".join(CONVENTIONAL)
            raise ExperimentError(f"Unknown codec {name!r}; there are {known}, ours.")
    if "ours" in requests and len(f.model) > 1:
        raise ExperimentError("Models of fixed rate have no qualities.")
    coders = []
    for name in f.codecs:
        ours = partial(learned_coder, f.label, f.model or [None], f.refine)
        coders.append(_with_settings(CONVENTIONAL.get(name, ours)(), name, requests))
    return coders


def format_averages(rows: Sequence[dict]) -> str:
    """Returns a line per codec and setting."""
    count = len(results.common_images(rows))
    lines = [
        f"Averages over the {count} pictures that every codec and setting has",
        "codec             setting     bpp    PSNR  MS-SSIM   enc s   dec s",
    ]
    for codec, points in results.average_curve(rows).items():
        for p in points:
            ms_ssim = "-" if p.ms_ssim is None else f"{p.ms_ssim:.4f}"
            lines.append(
                f"{codec:12} {p.setting.split('@')[0]:>12} {p.bpp:7.4f} {p.psnr:7.3f} "
                f"{ms_ssim:>8} {p.encode_seconds:7.3f} {p.decode_seconds:7.3f}"
            )
    return "\n".join(lines)


def main(f: flags.FlagValues) -> None:
    run(find_images(f.images), make_coders(f), f.output)
    print(format_averages(results.read_rows(f.output)))


if __name__ == "__main__":
    program.run(main, define_flags)
