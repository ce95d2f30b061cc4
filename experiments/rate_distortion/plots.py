"""Rate-distortion curves as pictures, PSNR and MS-SSIM (dB) over bits per pixel.

    python -m experiments.rate_distortion.plots experiments/results/kodak.csv --title "Kodak, 24 pictures"

writes FILE_psnr.png, FILE_psnr.svg, FILE_ms_ssim.png and FILE_ms_ssim.svg beside the results.
Measured curves are solid with markers; published ones are dashed and say so. Every curve carries
its name at its end, in its colour (Okabe and Ito's palette, which colour-blind readers can tell
apart), so that no legend has to be matched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from absl import app, flags
from scipy.interpolate import PchipInterpolator

from experiments.common.coders import ExperimentError
from experiments.rate_distortion import bd_rate

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402 (the backend comes first)

PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#000000"]
OURS = "#d55e00"
PUBLISHED_COLOURS = ["#333333", "#7a7a7a", "#5b4b8a", "#8a5b4b", "#4b8a6a"]
MARKERS = "osD^vPX*"
DEFAULT_PUBLISHED = [
    "VTM (VVC intra 4:4:4)",
    "BPG 4:4:4 (x265)",
    "GLLMM (paper, MSE)",
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
    styles = _styles(curves)
    labels = []
    for curve in curves:
        style = styles[curve.codec]
        x, y = _visible_line(curve, max_bpp)
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
    axes.grid(color="#dddddd", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _styles(curves: Sequence[bd_rate.Curve]) -> dict[str, dict]:
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


def _visible_line(curve: bd_rate.Curve, max_bpp: float) -> tuple[np.ndarray, np.ndarray]:
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


def save(figure, path: str) -> list[str]:
    """Writes a figure as PNG and SVG and returns the two paths."""
    matplotlib.rcParams["svg.hashsalt"] = "gllmm_tf"  # the same data gives the same file
    figure.savefig(path + ".svg", metadata={"Date": None})
    return [save_png(figure, path), path + ".svg"]


def save_png(figure, path: str, dpi: int = 150) -> str:
    """Writes a figure as PNG and returns its path; for figures that are large as SVG."""
    figure.savefig(path + ".png", dpi=dpi)
    pyplot.close(figure)
    return path + ".png"


def define_flags() -> None:
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    bd_rate.define_published_flag()
    flags.DEFINE_list(
        "published_codecs", DEFAULT_PUBLISHED, "Published curves to draw; 'all' for all of them."
    )
    flags.DEFINE_string("title", "", "Title; by default the name of the results.")
    flags.DEFINE_string("output", None, "Beginning of the files' paths; by default the results'.")
    flags.DEFINE_float("max_bpp", 1.5, "Right end of the horizontal axis.", lower_bound=0.01)


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("One file of results, please.")
    f = flags.FLAGS
    stem = f.output or os.path.splitext(argv[1])[0]
    try:
        for metric, curves in bd_rate.load_curves(argv[1], f.published).items():
            wanted = f.published_codecs
            chosen = [
                c for c in curves if not c.published or c.codec in wanted or wanted == ["all"]
            ]
            figure = draw(chosen, metric, f.title or os.path.basename(stem), f.max_bpp)
            print("\n".join(save(figure, f"{stem}_{FILE_NAMES[metric]}")))
    except ExperimentError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    define_flags()
    app.run(main)
