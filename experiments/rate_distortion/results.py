"""The files of rate_distortion.py: a row per picture, codec and setting, and the curves through them.

Averages follow the convention of the field: bpp, PSNR and MS-SSIM are averaged over the pictures at
each setting of a codec, and a curve goes through these points.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import math
from collections.abc import Collection, Iterable, Sequence

from experiments.common.program import ExperimentError

FIELDS = [
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


def models_of_curves(rows: Sequence[dict]) -> dict[str, set[str]]:
    """Returns {name of a curve: what stands behind the "@" of its settings}, for those with any.

    That is the identity of a model, and behind a "+" the rounds of refinement.
    """
    made_by: dict[str, set[str]] = {}
    for row in rows:
        _, found, model = row["setting"].partition("@")
        if found:
            made_by.setdefault(row["codec"], set()).add(model)
    return made_by


def codec_of_models(rows: Sequence[dict], identities: Collection[str]) -> str:
    """Returns the name of the curve that models made without refinement.

    Args:
        rows: as from `read_rows`.
        identities: of the models of one scale of qualities, 16 hexadecimal digits each.

    Raises:
        ExperimentError: there is none.
    """
    for codec, made_by in models_of_curves(rows).items():
        if made_by == set(identities):
            return codec
    names = " and ".join(identities)
    raise ExperimentError(f"No curve of the model {names}; measure it with rate_distortion.py.")
