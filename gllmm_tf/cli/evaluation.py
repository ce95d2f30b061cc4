"""The command `evaluate`: pictures there and back, and a table of what that takes and costs."""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gllmm_tf import metrics
from gllmm_tf.cli import bd_rate, rivals
from gllmm_tf.cli.formats import LADDERS
from gllmm_tf.cli.inputs import expand
from gllmm_tf.cli.job import Abort, Job, Report
from gllmm_tf.cli.jobs import Codecs, check_quality, each, read_picture
from gllmm_tf.cli.reports import Voice, bpp, failure, one_line, quality_of
from gllmm_tf.errors import GllmmError, ModelError
from gllmm_tf.files import atomic, images

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec


def evaluate(args: argparse.Namespace) -> int:
    check_quality(args.quality)
    jobs = [Job(source) for source in expand(args.inputs)]
    _check_outputs(args, jobs)
    codecs, voice = Codecs(args, args.quality), Voice(args)
    rows: list[Row] = []
    curves = Curves(args.against, args.refine) if args.against else None
    width = max(4, *(len(os.path.basename(job.source)) for job in jobs))

    def evaluate(job: Job) -> Report:
        picture = read_picture(job.source, args.max_pixels)
        codec = codecs.chosen()
        row = evaluate_picture(codec, job.source, picture, args)
        points = curves.points_of(codec, picture.pixels) if curves else None

        def tell():
            if not rows:
                voice.say(table_line(Row._fields, width))
            rows.append(row)
            voice.say(table_row(row, width))
            voice.record(**row._asdict())
            if curves:
                curves.add(points)

        return tell

    done = each(jobs, evaluate, voice, progress=False, workers=1)
    if done > 1:
        voice.say(table_row(mean(rows), width))
    if curves and done:
        curves.tell(voice)
    if args.csv and rows:
        try:
            atomic.write_bytes_atomic(args.csv, to_csv(rows))
        except OSError as error:
            raise Abort(failure(args.csv, error)) from error
    return 0 if done == len(jobs) else 1


def _check_outputs(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Aborts where something is known to fail after the work."""
    try:
        if args.against:
            rivals.check(args.against)
            bd_rate.check()
        for job in jobs if args.csv else ():
            atomic.check_target(args.csv, job.source)
    except (GllmmError, OSError) as error:
        raise Abort(failure(args.csv, error)) from error


class Curves:
    """Rate, PSNR and MS-SSIM of our codec and of another one over all pictures.

    Args:
        rival: Name of the other codec.
        refine: Rounds of the search of ours.
    """

    def __init__(self, rival: str, refine: int):
        self._rival, self._refine = rival, refine
        self._sums: dict[tuple[str, str], np.ndarray] = {}
        self._count = 0

    def points_of(self, codec: Codec, pixels: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        """{(codec, setting): (bits per pixel, PSNR, MS-SSIM)} of a picture."""
        points = {}
        for quality in codec.qualities:
            data = codec.compress(pixels, quality, refine=self._refine)
            points["gllmm", str(quality)] = _point(pixels, data, codec.decompress(data))
        if not points:
            raise ModelError("this model has one fixed rate, which makes no curve", "against")
        ladder = LADDERS[self._rival]
        for setting in ladder[:: max(len(ladder) // RIVAL_POINTS, 1)]:
            data = rivals.encode(self._rival, pixels, setting)
            points[self._rival, setting] = _point(pixels, data, rivals.decode(data))
        return points

    def add(self, points: dict[tuple[str, str], np.ndarray]) -> None:
        """Counts the points of a picture."""
        for key, point in points.items():
            self._sums[key] = self._sums.get(key, 0) + point
        self._count += 1

    def tell(self, voice: Voice) -> None:
        """Prints the mean of every setting, and the BD-rates of the means."""
        means = {key: total / self._count for key, total in self._sums.items()}
        for (codec, setting), (rate, psnr, ms_ssim) in means.items():
            similarity = "" if math.isnan(ms_ssim) else f", MS-SSIM {ms_ssim:.5f}"
            voice.say(f"{codec}@{setting}: {rate:.4f} bpp, {psnr:.2f} dB{similarity}")
        ours, theirs = (
            [tuple(point.tolist()) for (codec, _), point in means.items() if codec == name]
            for name in ("gllmm", self._rival)
        )
        scales = {
            "PSNR": [[(rate, psnr) for rate, psnr, _ in curve] for curve in (theirs, ours)],
            "MS-SSIM": [[(rate, _decibel(m)) for rate, _, m in curve] for curve in (theirs, ours)],
        }
        percents = {s: _known(bd_rate.bd_rate(*curves)) for s, curves in scales.items()}
        for scale, percent in percents.items():
            shown = f"no {scale} in common" if percent is None else f"{percent:+.1f} %"
            voice.say(f"BD-rate against {self._rival}, {scale}: {shown}")
        voice.record(
            against=self._rival,
            bd_rate_percent=percents["PSNR"],
            bd_rate_percent_ms_ssim=percents["MS-SSIM"],
            **{
                name: [tuple(map(_known, point)) for point in curve]
                for name, curve in (("gllmm", ours), (self._rival, theirs))
            },
        )


def _point(pixels: np.ndarray, data: bytes, x_hat: np.ndarray) -> np.ndarray:
    """(bits per pixel, PSNR, MS-SSIM or nan for a picture too small for it)."""
    rate = bpp(len(data), pixels.shape[0] * pixels.shape[1])
    psnr, ms_ssim = quality_of(pixels, x_hat)
    return np.array([rate, min(psnr, MOST_DB), math.nan if ms_ssim is None else ms_ssim])


def _known(value: float) -> float | None:
    """None for nan, which JSON does not have."""
    return None if math.isnan(value) else value


def _decibel(ms_ssim: float) -> float:
    return math.nan if math.isnan(ms_ssim) else min(metrics.ms_ssim_db(ms_ssim), MOST_DB)


class Row(NamedTuple):
    """One picture in the table of `evaluate`; times are in seconds.

    "bytes" and "bpp" are of the whole file, "picture_bpp" leaves out alpha, profile and other metadata.
    "psnr" is of RGB; "psnr_ycbcr" of the whole YCbCr picture, six times Y and once Cb and Cr.
    """

    file: str
    bytes: float
    bpp: float
    psnr: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float
    picture_bpp: float
    psnr_ycbcr: float


_FORMATS = ("{}", "{:.0f}", "{:.4f}", "{:.2f}", "{:.5f}", "{:.2f}", "{:.2f}", "{:.4f}", "{:.2f}")
_WIDTHS = (0, 9, 8, 7, 9, 9, 9, 12, 11)
RIVAL_POINTS = 12  # settings of another codec that make its curve
MOST_DB = 99.0  # stands for a picture without error in a mean


def evaluate_picture(
    codec: Codec, path: str, picture: images.Picture, args: argparse.Namespace
) -> Row:
    start = time.perf_counter()
    data = codec.encode(
        picture.pixels, args.quality, metadata=picture.metadata, refine=args.refine
    ).data
    middle = time.perf_counter()
    decoded = codec.decode(data, max_pixels=args.max_pixels)
    end = time.perf_counter()
    height, width = picture.pixels.shape[:2]
    psnr, ms_ssim = quality_of(picture.pixels, decoded.image)
    held = sum(map(len, decoded.metadata.values()))
    return Row(
        path,
        len(data),
        bpp(len(data), width * height),
        psnr,
        ms_ssim,
        middle - start,
        end - middle,
        bpp(len(data) - held, width * height),
        metrics.psnr_ycbcr(picture.pixels, decoded.image),
    )


def mean(rows: Sequence[Row]) -> Row:
    """Arithmetic means over the pictures; MS-SSIM over those large enough to have one."""
    means = {}
    for field in Row._fields[1:]:
        known = [value for value in (getattr(row, field) for row in rows) if value is not None]
        means[field] = statistics.fmean(known) if known else None
    return Row(file="mean", **means)


def table_row(row: Row, width: int) -> str:
    row = row._replace(file=one_line(os.path.basename(row.file)))
    return table_line(["-" if v is None else f.format(v) for f, v in zip(_FORMATS, row)], width)


def table_line(cells: Sequence[str], width: int) -> str:
    return cells[0].ljust(width) + "".join(c.rjust(w) for c, w in zip(cells[1:], _WIDTHS[1:]))


def to_csv(rows: Iterable[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow(["" if v is None else f.format(v) for f, v in zip(_FORMATS, row)])
    return text.getvalue().encode("utf-8", "backslashreplace")
