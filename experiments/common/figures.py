"""Figures: matplotlib without a window, one palette, files that are equal for equal data."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402 (the backend comes first)

PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#000000"]
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

OURS = "#d55e00"  # of the palette, for our codec alone


def tidy(axes, grid: str = "both") -> None:
    """Gives axes a light grid ("x", "y", "both"; "" for none) and takes the upper and right spine."""
    if grid:
        axes.grid(axis=grid, color="#dddddd", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure, path: str) -> list[str]:
    """Writes a figure as PNG and SVG and returns the two paths."""
    matplotlib.rcParams["svg.hashsalt"] = "gllmm_tf"  # the same data gives the same file
    figure.savefig(path + ".svg", metadata={"Date": None})
    return [save_png(figure, path), path + ".svg"]


def save_png(figure, path: str, dpi: int = 150) -> str:
    """Writes a figure as PNG, closes it, and returns the path; for figures that are large as SVG."""
    figure.savefig(path + ".png", dpi=dpi)
    pyplot.close(figure)
    return path + ".png"
