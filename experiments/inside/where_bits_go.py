"""Where do the bits go? Per position of a picture and per channel of its latent.

    python -m experiments.inside.where_bits_go --image=assets/friends.png --quality=4

The information -log2 P of every element of y_hat and z_hat under the float model, of one picture at
one quality:

    per position   summed over the channels of y_hat, in bits per pixel of the 16 x 16 that a position
                   stands for, beside the picture
    per channel    summed over the positions, channels in order of their cost, and their running share

Writes a figure (.png) and a CSV with a row per channel. The header of the file and the coder's own
loss, a few bytes, are not in it (experiments/rate_distortion/rate_overhead.py measures them). Ten
seconds at N = 48 on two cores.
"""

from __future__ import annotations

import numpy as np
from absl import flags

from experiments.common import program, records
from experiments.common.figures import OURS, PALETTE, pyplot, save_png
from experiments.common.pictures import read_image
from experiments.inside.latents import (
    Latents,
    define_flags,
    look_inside,
    per_channel,
    per_position,
    title_of,
)
from gllmm_tf.config import LATENT_STRIDE

FIELDS = ("channel", "bits", "mean_magnitude", "zeros")


def draw(image: np.ndarray, latents: Latents, title: str):
    """Returns the figure: picture, map, channels."""
    height, width = image.shape[:2]
    figure = pyplot.figure(figsize=(9.0, 6.6), layout="constrained")
    axes = figure.subplot_mosaic([["picture", "map"], ["channels", "channels"]])
    axes["picture"].imshow(image[::3, ::3], extent=(0, width, height, 0))
    axes["picture"].set_title("the picture", loc="left", fontsize=10)
    bpp = per_position(latents.y_bits)
    extent = (0, bpp.shape[1] * LATENT_STRIDE, bpp.shape[0] * LATENT_STRIDE, 0)
    shown = axes["map"].imshow(bpp, cmap="cividis", extent=extent, vmin=0)
    axes["map"].set(xlim=(0, width), ylim=(height, 0))
    axes["map"].set_title("where its bits go", loc="left", fontsize=10)
    figure.colorbar(shown, ax=axes["map"], location="bottom", shrink=0.8, label="bits per pixel")
    for name in ("picture", "map"):
        axes[name].set(xticks=[], yticks=[])
    _draw_channels(axes["channels"], latents)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_channels(axes, latents: Latents) -> None:
    """Bars of the channels by cost, and their running share on the right."""
    bits = np.sort(per_channel(latents.y_bits))[::-1]
    ranks = np.arange(1, len(bits) + 1)
    axes.bar(ranks, bits / 8, width=0.9, color=PALETTE[0])
    axes.set_xlim(0.4, len(bits) + 0.6)
    axes.set_xlabel("channels of y, most expensive first")
    axes.set_ylabel("bytes of a channel", color=PALETTE[0])
    share = 100 * np.cumsum(bits) / bits.sum()
    right = axes.twinx()
    right.plot(ranks, share, color=OURS, lw=1.8)
    right.set_ylim(0, 105)
    right.set_ylabel("share of these and all before, %", color=OURS)
    half = int(np.searchsorted(share, 50)) + 1
    right.annotate(
        f"half of the bits in {half} of {len(bits)} channels",
        xy=(half, share[half - 1]),
        xytext=(half + 0.25 * len(bits), 50),
        va="center",
        color=OURS,
        arrowprops={"arrowstyle": "-", "color": OURS, "lw": 0.8},
    )
    for spines in (axes.spines, right.spines):
        spines["top"].set_visible(False)


def summary(latents: Latents) -> str:
    """Returns the division of the file in words."""
    y, z = float(latents.y_bits.sum()) / 8, float(latents.z_bits.sum()) / 8
    unused = int(np.sum(np.all(latents.y_hat == 0, axis=(0, 1))))
    return (
        f"{latents.size} bytes: y {y:.0f}, z {z:.0f} ({100 * z / (y + z):.1f} %), header and coder "
        f"{latents.size - y - z:.0f}; {unused} of {latents.y_hat.shape[-1]} channels are zero"
    )


def rows_of(latents: Latents) -> list[dict]:
    """Returns a row per channel: bits, mean magnitude and share of zeros of y_hat."""
    rows = []
    for channel, bits in enumerate(per_channel(latents.y_bits)):
        values = latents.y_hat[..., channel]
        magnitude, zeros = np.mean(np.abs(values)), np.mean(values == 0)
        cells = (channel, f"{bits:.1f}", f"{magnitude:.4f}", f"{zeros:.4f}")
        rows.append(dict(zip(FIELDS, cells)))
    return rows


def main(f: flags.FlagValues) -> None:
    image = read_image(f.image)
    latents = look_inside(f.model, image, f.quality)
    records.write_csv(f"{f.output}.csv", FIELDS, rows_of(latents))
    print(summary(latents))
    figure = draw(image, latents, title_of(f.model, f.image, latents))
    print(f"{f.output}.csv", save_png(figure, f.output, dpi=90), sep="\n")


if __name__ == "__main__":
    program.run(main, lambda: define_flags("where_bits_go"))
