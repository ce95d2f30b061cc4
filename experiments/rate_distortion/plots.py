"""Rate-distortion curves as pictures, PSNR and MS-SSIM (dB) over bits per pixel.

    python -m experiments.rate_distortion.plots experiments/results/kodak.csv --title "Kodak, 24 pictures"

writes FILE_psnr.png, FILE_psnr.svg, FILE_ms_ssim.png and FILE_ms_ssim.svg beside the results.
Measured curves are solid with markers; published ones are dashed and say so. Every curve carries
its name at its end, in its colour, so that no legend has to be matched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from absl import flags
from scipy.interpolate import PchipInterpolator

from experiments.common import program
from experiments.common.figures import OURS, PALETTE, pyplot, save, tidy
from experiments.common.program import ExperimentError
from experiments.rate_distortion import bd_rate

PUBLISHED_COLOURS = ["#333333", "#7a7a7a", "#5b4b8a", "#8a5b4b", "#4b8a6a"]
MARKERS = "osD^vPX*"
DEFAULT_PUBLISHED = [
    "VTM (VVC intra 4:4:4)",
    "BPG 4:4:4 (x265)",
    "GLLMM (paper, MSE)",
    "GLLMM (paper, MS-SSIM)",
    "Cheng2020 (paper, MSE)",
]
FILE_NAMES = {bd_rate.PSNR: "psnr", bd_rate.MS_SSIM: "ms_ssim"}


def draw(curves: Sequence[bd_rate.Curve], metric: str, title: str, max_bpp: float):
    """Returns a figure with one curve per codec.

    Args:
        curves: to draw, in one metric; those whose name starts with "ours" stand out.
        metric: label of the vertical axis.
        title: of the figure.
        max_bpp: right end of the horizontal axis.

    Raises:
        ExperimentError: when no curve has a point up to `max_bpp`.
    """
    curves = [curve for curve in curves if np.any(curve.bpp <= max_bpp)]
    if not curves:
        raise ExperimentError(f"No curve in {metric} has a point up to {max_bpp} bpp.")
    figure, axes = pyplot.subplots(figsize=(9.0, 6.0), layout="constrained")
    styles = styles_of(curves)
    labels = []
    for curve in curves:
        style = styles[curve.codec]
        x, y = visible_line(curve, max_bpp)
        axes.plot(x, y, style["line"], color=style["colour"], lw=style["width"])
        seen = curve.bpp <= max_bpp
        if not curve.published:
            axes.plot(
                curve.bpp[seen],
                curve.quality[seen],
                style["marker"],
                color=style["colour"],
                ms=4.5,
            )
        name = curve.codec + (", published" if curve.published else "")
        labels.append((x[-1], y[-1], name, style["colour"]))
    axes.set_xlim(0, max_bpp)
    low, high = axes.get_ylim()
    _place_labels(axes, labels, max_bpp, spacing=(high - low) / 30)
    axes.set_xlabel("bits per pixel (size of the file)")
    axes.set_ylabel(f"{metric}, dB" if metric == bd_rate.PSNR else metric)
    axes.set_title(title, loc="left")
    tidy(axes)
    return figure


def styles_of(curves: Sequence[bd_rate.Curve]) -> dict[str, dict]:
    """Returns codec -> colour, line, width, marker."""
    colours = iter([colour for colour in PALETTE if colour != OURS] * len(curves))
    greys = iter(PUBLISHED_COLOURS * len(curves))
    markers = iter(MARKERS * len(curves))
    styles = {}
    for curve in curves:
        ours = curve.codec.startswith("ours")
        if curve.published:
            styles[curve.codec] = {"colour": next(greys), "line": "--", "width": 1.2, "marker": ""}
        else:
            styles[curve.codec] = {
                "colour": OURS if ours else next(colours),
                "line": "-",
                "width": 2.6 if ours else 1.6,
                "marker": next(markers),
            }
    return styles


def visible_line(curve: bd_rate.Curve, max_bpp: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the curve that BD-rate integrates (PCHIP of log rate), cut at `max_bpp`."""
    quality = np.linspace(curve.quality[0], curve.quality[-1], 400)
    bpp = np.exp(PchipInterpolator(curve.quality, np.log(curve.bpp))(quality))
    return bpp[bpp <= max_bpp], quality[bpp <= max_bpp]


def _place_labels(axes, labels: list[tuple], max_bpp: float, spacing: float) -> None:
    """Writes each name at the end of its curve, names of neighbours moved apart vertically."""
    labels = sorted(labels, key=lambda label: label[1])
    heights = np.array([y for _, y, _, _ in labels])
    for _ in range(200):  # push apart until no two names are closer than `spacing`
        for i in range(len(heights) - 1):
            lacking = spacing - (heights[i + 1] - heights[i])
            if lacking > 1e-9:
                heights[i] -= lacking / 2
                heights[i + 1] += lacking / 2
    for (x, y, name, colour), height in zip(labels, heights):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(max_bpp * 1.02, height),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "alpha": 0.6},
        )


def define_flags() -> None:
    bd_rate.define_published()
    flags.DEFINE_list(
        "published_codecs", DEFAULT_PUBLISHED, "Published curves to draw; 'all' for all of them."
    )
    flags.DEFINE_multi_string("without", [], "Measured curves that are not drawn; repeatable.")
    flags.DEFINE_string("title", "", "Title; by default the name of the results.")
    flags.DEFINE_string("output", None, "Beginning of the files' paths; by default the results'.")
    flags.DEFINE_float("max_bpp", 1.5, "Right end of the horizontal axis.", lower_bound=0.01)


def main(f: flags.FlagValues, results: str) -> None:
    stem = f.output or os.path.splitext(results)[0]
    every = f.published_codecs == ["all"]
    for metric, curves in bd_rate.load_curves(results, f.published).items():
        chosen = [
            c
            for c in curves
            if (every or c.codec in f.published_codecs if c.published else c.codec not in f.without)
        ]
        figure = draw(chosen, metric, f.title or os.path.basename(stem), f.max_bpp)
        print("\n".join(save(figure, f"{stem}_{FILE_NAMES[metric]}")))


if __name__ == "__main__":
    program.run(main, define_flags, ["RESULTS"])
