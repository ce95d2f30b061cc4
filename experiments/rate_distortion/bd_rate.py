"""BD-rate: the average difference in rate between two codecs at equal quality.

    python -m experiments.rate_distortion.bd_rate experiments/results/kodak.csv --anchor jpeg
    python -m experiments.rate_distortion.bd_rate --published kodak --anchor "VTM (VVC intra 4:4:4)"

prints a table, in PSNR and in MS-SSIM (dB), with the range of quality over which each pair was
compared. The first argument is a file of rate_distortion.py; published curves stand beside it when
its pictures are exactly the 24 of Kodak (or with --published). Negative is better than the anchor.

Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001, with
piecewise cubic Hermite interpolation (PCHIP) in place of one cubic polynomial, as is now usual.
Of the second command one should see, in PSNR: GLLMM -3.3 %, Cheng et al. +3.4 %, AV1 +16 %,
BPG +22 %, WebP +79 %, JPEG 2000 +98 %, JPEG +208 %.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from collections.abc import Sequence

import numpy as np
from absl import flags

from experiments.common import doc_tables, places, program
from experiments.common.program import ExperimentError
from experiments.rate_distortion.results import average_curve, common_images, read_rows
from gllmm_tf import metrics
from gllmm_tf.cli.bd_rate import bd_rate as percent_of

PSNR, MS_SSIM = "PSNR", "MS-SSIM (dB)"  # the two scales of quality, both in dB
KODAK = {f"kodim{number:02d}" for number in range(1, 25)}


class NoOverlapError(ExperimentError):
    """Two curves that have no quality in common."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Rate over quality of one codec.

    Attributes:
        codec: its name.
        bpp: float64 [P], bits per pixel.
        quality: float64 [P], dB, strictly increasing.
        published: whether the figures are others', from a file of published results.
    """

    codec: str
    bpp: np.ndarray
    quality: np.ndarray
    published: bool = False


@dataclasses.dataclass(frozen=True)
class BdRate:
    """A BD-rate in percent, and the range of quality in dB over which it is the mean."""

    percent: float
    low: float
    high: float


def make_curve(
    codec: str, bpp: Sequence[float], quality: Sequence[float], published: bool = False
) -> Curve:
    """Returns a curve by increasing quality; of two points of one quality the cheaper one stays.

    Raises:
        ExperimentError: for fewer than two points, or rates or qualities that are not finite.
    """
    bpp, quality = np.asarray(bpp, np.float64), np.asarray(quality, np.float64)
    if not (np.all(np.isfinite(bpp)) and np.all(np.isfinite(quality)) and np.all(bpp > 0)):
        raise ExperimentError(f"{codec}: a rate or a quality of the curve is not a finite number.")
    order = np.lexsort((bpp, quality))  # by quality, then by rate
    bpp, quality = bpp[order], quality[order]
    first = np.concatenate([[True], np.diff(quality) > 0])
    if np.sum(first) < 2:
        raise ExperimentError(f"{codec}: a curve needs two qualities, got {np.sum(first)}.")
    return Curve(codec, bpp[first], quality[first], published)


def bd_rate(
    anchor: Curve, test: Curve, span: tuple[float, float] = (-math.inf, math.inf)
) -> BdRate:
    """Returns the BD-rate of `test` against `anchor`.

    With r(q) = ln of the rate that a codec needs for quality q, interpolated by PCHIP,

        percent = 100 (exp(mean over q in [low, high] of (r_test(q) - r_anchor(q))) - 1),

    where [low, high] is the range of quality that both curves cover, within `span` in dB.

    Raises:
        NoOverlapError: when that range is empty.
    """
    low = max(anchor.quality[0], test.quality[0], span[0])
    high = min(anchor.quality[-1], test.quality[-1], span[1])
    if low >= high:
        raise NoOverlapError(
            f"{anchor.codec} covers {anchor.quality[0]:.2f} to {anchor.quality[-1]:.2f} dB and "
            f"{test.codec} {test.quality[0]:.2f} to {test.quality[-1]:.2f} dB: "
            "no quality in common, add settings to one of them."
        )
    points = (zip(curve.bpp.tolist(), curve.quality.tolist()) for curve in (anchor, test))
    return BdRate(percent_of(*map(list, points), span), float(low), float(high))


def measured_curves(rows: Sequence[dict]) -> dict[str, list[Curve]]:
    """Returns metric -> curves of a file of rate_distortion.py, averaged over its pictures.

    MS-SSIM is averaged first and put on the decibel scale then. Codecs with fewer than two
    settings, and MS-SSIM of pictures too small for it, have no curve.
    """
    curves = {PSNR: [], MS_SSIM: []}
    for codec, points in average_curve(rows).items():
        if len(points) < 2:
            continue
        bpp = [point.bpp for point in points]
        curves[PSNR].append(make_curve(codec, bpp, [point.psnr for point in points]))
        if all(point.ms_ssim is not None for point in points):
            quality = [metrics.ms_ssim_db(point.ms_ssim) for point in points]
            curves[MS_SSIM].append(make_curve(codec, bpp, quality))
    return curves


def published_curves(name_or_path: str) -> dict[str, list[Curve]]:
    """Returns metric -> curves of a CSV with the columns codec, metric, bpp, value, source.

    Args:
        name_or_path: a file, or the name of one in experiments/published ("kodak").

    Raises:
        ExperimentError: when there is no such file or it has another form.
    """
    path = name_or_path
    if not os.path.exists(path):
        path = os.path.join(places.PUBLISHED, name_or_path + ".csv")
    scales = {
        "PSNR_RGB_dB": (PSNR, float),
        "MS_SSIM_RGB": (MS_SSIM, lambda value: metrics.ms_ssim_db(float(value))),
        "MS_SSIM_RGB_dB": (MS_SSIM, float),
    }
    points = {}  # (metric, codec) -> [(bpp, quality)]
    try:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                metric, convert = scales[row["metric"]]
                point = (float(row["bpp"]), convert(row["value"]))
                points.setdefault((metric, row["codec"]), []).append(point)
    except OSError as error:
        raise ExperimentError(f"{path}: {error.strerror}.") from None
    except (KeyError, ValueError) as error:
        raise ExperimentError(f"{path}: not a file of published curves ({error}).") from None
    curves = {PSNR: [], MS_SSIM: []}
    for (metric, codec), pairs in points.items():
        curves[metric].append(make_curve(codec, *zip(*pairs), published=True))
    return curves


def load_curves(results: str | None, published: str = "auto") -> dict[str, list[Curve]]:
    """Returns metric -> measured curves, then published ones.

    Args:
        results: a file of rate_distortion.py, or None.
        published: as in `published_curves`; "none"; or "auto", which is "kodak" when the pictures
            of `results` are the 24 of Kodak, and none for other pictures, to which they do not
            compare.
    """
    curves = {PSNR: [], MS_SSIM: []}
    images = set()
    if results is not None:
        rows = read_rows(results)
        images = {os.path.splitext(name)[0] for name in common_images(rows)}
        curves = measured_curves(rows)
    if published == "auto":
        published = "kodak" if images == KODAK else "none"
    if published != "none":
        curves = {metric: curves[metric] + published_curves(published)[metric] for metric in curves}
    return curves


def find_curve(curves: Sequence[Curve], codec: str) -> Curve:
    """Returns the curve of a codec.

    Raises:
        ExperimentError: when there is none.
    """
    for curve in curves:
        if curve.codec == codec:
            return curve
    names = ", ".join(curve.codec for curve in curves)
    raise ExperimentError(f"No curve of {codec!r}; there are {names or 'none'}.")


def table(
    curves: dict[str, list[Curve]], anchor: str, psnr_range: tuple[float, float] | None = None
) -> dict[str, dict[str, BdRate | None]]:
    """Returns codec -> metric -> BD-rate against an anchor, best PSNR first.

    With a `psnr_range`, nothing beyond these dB counts in PSNR.

    None stands for a curve that is missing or has no quality in common with the anchor's.

    Raises:
        ExperimentError: when the anchor has no curve in PSNR.
    """
    names = dict.fromkeys(curve.codec for metric in curves for curve in curves[metric])
    find_curve(curves[PSNR], anchor)
    rates = {name: dict.fromkeys(curves) for name in names}
    for metric, candidates in curves.items():
        if anchor not in [curve.codec for curve in candidates]:
            continue
        for curve in candidates:
            span = psnr_range if psnr_range and metric == PSNR else (-math.inf, math.inf)
            try:
                rates[curve.codec][metric] = bd_rate(find_curve(candidates, anchor), curve, span)
            except NoOverlapError:
                continue
    return dict(sorted(rates.items(), key=lambda item: _sort_key(item[1][PSNR])))


def _sort_key(rate: BdRate | None) -> float:
    return np.inf if rate is None else rate.percent


def format_table(
    curves: dict[str, list[Curve]], anchor: str, psnr_range: tuple[float, float] | None = None
) -> str:
    """Returns the table as Markdown; arguments as for `table`."""
    published = {c.codec for metric in curves for c in curves[metric] if c.published}
    head = ["codec", f"BD-rate against {anchor}, PSNR", "over dB", "BD-rate, MS-SSIM", "over dB"]
    rows = []
    for codec, rates in table(curves, anchor, psnr_range).items():
        cells = [codec + (" (published)" if codec in published else "")]
        for metric in (PSNR, MS_SSIM):
            rate = rates[metric]
            if rate is None:
                cells += ["-", "-"]
            else:
                cells += [f"{rate.percent:+.1f} %", f"{rate.low:.2f} to {rate.high:.2f}"]
        rows.append(cells)
    return "\n".join(doc_tables.markdown(head, "lrlrl", rows))


def define_flags() -> None:
    flags.DEFINE_string("anchor", "jpeg", "Codec to compare with, measured or published.")
    flags.DEFINE_list("psnr_range", [], "LOW,HIGH in dB, beyond which nothing counts in PSNR.")
    define_published()


def define_published() -> None:
    """Defines --published, for this program and others that draw the same curves."""
    flags.DEFINE_string(
        "published",
        "auto",
        "Published curves: a CSV, a name in experiments/published, none, or auto (Kodak's where "
        "the pictures are Kodak's).",
    )


def main(f: flags.FlagValues, results: str | None = None) -> None:
    ends = program.numbers("psnr_range", f.psnr_range)
    if len(ends) not in (0, 2):
        raise ExperimentError("--psnr_range takes two numbers, LOW,HIGH.")
    curves = load_curves(results, f.published)
    print(format_table(curves, f.anchor, (ends[0], ends[1]) if ends else None))


if __name__ == "__main__":
    program.run(main, define_flags, ["[RESULTS]"])
