"""Where do the bits go? Per position of a picture and per channel of its latent.

    python -m experiments.inside.where_bits_go --image=assets/friends.png --quality=4

The information -log2 P of every element of y_hat and z_hat under the float model, of one picture at
one quality:

    per position   summed over the channels of y_hat, in bits per pixel of the 16 x 16 that a position
                   stands for, beside the picture
    per channel    summed over the positions, channels in order of their cost, and their running share

Writes a figure (.png) and a CSV with a row per channel. The header of the file and the coder's
own loss, a few bytes, are not in it (experiments/rate_distortion/rate_overhead.py measures them). Ten seconds at N =
48 on two cores.
"""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from absl import app, flags

import gllmm_tf
from experiments.common.coders import ExperimentError
from experiments.rate_distortion.plots import OURS, PALETTE, pyplot, save_png
from experiments.rate_distortion.rate_distortion import read_image
from gllmm_tf.config import LATENT_STRIDE
from gllmm_tf.errors import GllmmError
from gllmm_tf.model.mixture import Mixture
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.model_file import restore_model


@dataclasses.dataclass(frozen=True)
class Latents:
    """A coded picture seen from inside.

    Attributes:
        y_hat: float32 [h, w, N].
        mixture: of y_hat, `Mixture` with leading axes [h, w].
        y_bits: float32 [h, w, N].
        z_bits: float32 [h / 4, w / 4, N].
        size: bytes of the file.
        quality: or None for a fixed rate.
    """

    y_hat: np.ndarray
    mixture: Mixture
    y_bits: np.ndarray
    z_bits: np.ndarray
    size: int
    quality: float | None


def look_inside(model_name: str | None, image: np.ndarray, quality: float | None) -> Latents:
    """Codes uint8 [H, W, 3] and returns what the float model thinks of its latents."""
    stored = registry.read_model(model_name)
    codec, model = gllmm_tf.Codec(stored), restore_model(stored)
    encoded = codec.encode(image, quality)
    y_hat, z_hat = (tf.cast(latent, tf.float32)[None] for latent in encoded.latents)
    inverse_z, phi_offset = 1.0, 0.0
    if model.gains is not None:
        quality = codec.decode(encoded.data).quality
        _, _, _, inverse_z, phi_offset = model.gains(tf.constant([quality], tf.float32))
    phi = tf.cast(model.h_s(z_hat * inverse_z), tf.float32) + phi_offset
    mixture = model.mixture(y_hat, phi)
    return Latents(
        y_hat=y_hat[0].numpy(),
        mixture=mixture,
        y_bits=mixture.bits(y_hat)[0].numpy(),
        z_bits=model.z_bottleneck(z_hat)[0].numpy(),
        size=len(encoded.data),
        quality=quality,
    )


def per_position(y_bits: np.ndarray) -> np.ndarray:
    """Returns bits per pixel of every position, [h, w]."""
    return y_bits.sum(-1) / LATENT_STRIDE**2


def per_channel(y_bits: np.ndarray) -> np.ndarray:
    """Returns bits of every channel, [N]."""
    return y_bits.sum((0, 1), dtype=np.float64)


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


def write_csv(latents: Latents, path: str) -> None:
    """Writes a row per channel: bits, mean magnitude and share of zeros of y_hat."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["channel", "bits", "mean_magnitude", "zeros"])
        for channel, bits in enumerate(per_channel(latents.y_bits)):
            values = latents.y_hat[..., channel]
            magnitude, zeros = np.mean(np.abs(values)), np.mean(values == 0)
            writer.writerow([channel, f"{bits:.1f}", f"{magnitude:.4f}", f"{zeros:.4f}"])


def title_of(model: str | None, image_path: str, latents: Latents) -> str:
    """Returns the title of a figure of one picture at one quality."""
    name = os.path.basename(model or registry.DEFAULT_MODEL)
    at = "" if latents.quality is None else f", quality {latents.quality:g}"
    return f"{os.path.basename(image_path)}, {name}{at}, {latents.size:,} bytes"


def define_flags(output: str) -> None:
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_string("image", "assets/friends.png", "Picture.")
    flags.DEFINE_string("model", None, "Name or path; default: the shipped default.")
    flags.DEFINE_float("quality", None, "Of a variable-rate model; default: its default.")
    flags.DEFINE_string("output", output, "Beginning of the files' paths.")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]}; the picture goes to --image.")
    f = flags.FLAGS
    try:
        image = read_image(f.image)
        latents = look_inside(f.model, image, f.quality)
    except OSError as error:
        raise SystemExit(f"{f.image}: {error.strerror or error}") from None
    except (ExperimentError, GllmmError) as error:
        raise SystemExit(str(error)) from None
    write_csv(latents, f"{f.output}.csv")
    print(summary(latents))
    figure = draw(image, latents, title_of(f.model, f.image, latents))
    print(f"{f.output}.csv", save_png(figure, f.output, dpi=90), sep="\n")


if __name__ == "__main__":
    define_flags("experiments/results/where_bits_go")
    app.run(main)
